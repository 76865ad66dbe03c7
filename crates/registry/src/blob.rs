//! Reading a blob to its end over connections that break.

use std::io::{self, Read};
use std::sync::Arc;

use kiln_oci::descriptor::Descriptor;
use kiln_oci::reference::Reference;
use kiln_oci::source::SourceError;
use ureq::http::Method;

use crate::answer::{Answer, broken};
use crate::error::Failure;
use crate::retry::{Attempts, check};
use crate::session::{Ask, Payload, Registry, Session};
use crate::token::Access;

/// So much progress makes earlier failures forgotten.
const PROGRESS: u64 = 1 << 20;

/// A blob's bytes as the registry has them: exactly as many as the descriptor says, or an error. The digest is the
/// reader's business.
///
/// When a connection breaks or stalls, the rest is asked for with `Range` (RFC 9110, section 14.2); a server that does
/// not know ranges sends all of it again, and what was had is passed over.
pub(crate) struct BlobReader {
    session: Arc<Session>,
    registry: Arc<Registry>,
    access: Access,
    blob: Descriptor,
    /// The image, for errors.
    reference: Reference,
    at: u64,
    body: Option<Box<dyn Read + Send>>,
    url: String,
    failed: u32,
    /// Where `failed` was last set to zero.
    renewed_at: u64,
}

impl BlobReader {
    /// Asks for a blob; errors before the first byte show here.
    pub(crate) fn open(
        session: Arc<Session>,
        registry: Arc<Registry>,
        reference: &Reference,
        blob: &Descriptor,
    ) -> Result<Self, Failure> {
        let mut reader = Self {
            session,
            registry,
            access: Access::pull(&reference.repository),
            blob: blob.clone(),
            reference: reference.clone(),
            at: 0,
            body: None,
            url: String::new(),
            failed: 0,
            renewed_at: 0,
        };
        reader.connect()?;
        Ok(reader)
    }

    fn what(&self) -> String {
        format!("blob {}", self.blob.digest)
    }

    /// Opens the body from `self.at` on. Retries of the request itself happen below.
    fn connect(&mut self) -> Result<(), Failure> {
        let url = format!("{}/v2/{}/blobs/{}", self.registry.base, self.access.repository, self.blob.digest);
        let mut headers = vec![("accept", "*/*".to_owned())];
        if self.at > 0 {
            headers.push(("range", format!("bytes={}-", self.at)));
        }
        let ask = Ask {
            method: Method::GET,
            url,
            headers,
            access: &self.access,
            body: Payload::None,
            fine: if self.at > 0 { &[200, 206] } else { &[200] },
        };
        let answer = self.session.send(&self.registry, &ask)?;
        let skip = self.position(&answer)?;
        self.url = answer.url.clone();
        let mut body: Box<dyn Read + Send> = Box::new(answer.into_reader());
        let skipped = io::copy(&mut (&mut body).take(skip), &mut io::sink());
        match skipped {
            Ok(n) if n == skip => {}
            Ok(_) => return Err(broken(&self.url, &io::ErrorKind::UnexpectedEof.into())),
            Err(e) => return Err(broken(&self.url, &e)),
        }
        self.body = Some(body);
        Ok(())
    }

    /// How much of a body to pass over to get to `self.at`; fails if its announced size is not the descriptor's.
    fn position(&self, answer: &Answer) -> Result<u64, Failure> {
        let mismatch = |expected: String, got: String| Failure::Mismatch { what: self.what(), expected, got };
        if answer.status() == 206 {
            let want = format!("bytes {}-{}/{}", self.at, self.blob.size.saturating_sub(1), self.blob.size);
            let got = answer.header("content-range").unwrap_or("no Content-Range");
            let unknown_total = want.replace(&format!("/{}", self.blob.size), "/*");
            return if got == want || got == unknown_total {
                Ok(0)
            } else {
                Err(mismatch(want, got.to_owned()))
            };
        }
        match answer.length() {
            Some(length) if length != self.blob.size => {
                Err(mismatch(format!("{} bytes", self.blob.size), format!("{length} bytes")))
            }
            _ => Ok(self.at),
        }
    }

    fn advance(&mut self, buf: &mut [u8]) -> Result<usize, Failure> {
        loop {
            check(&self.session.options().cancel)?;
            let mut failure = match &mut self.body {
                Some(body) => match body.read(buf) {
                    Ok(0) if self.at == self.blob.size => return Ok(0),
                    Ok(0) => broken(&self.url, &io::ErrorKind::UnexpectedEof.into()),
                    Ok(n) => return self.count(n as u64).map(|()| n),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => broken(&self.url, &e),
                },
                None => match self.connect() {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
            };
            self.body = None;
            if self.at == self.blob.size {
                // Everything is here; how the connection ended does not matter.
                return Ok(0);
            }
            if let Failure::Unreachable { detail, .. } = &mut failure {
                *detail = format!(
                    "{detail} (after {} of {} bytes of {})",
                    self.at, self.blob.size, self.blob.digest
                );
            }
            self.again(failure)?;
        }
    }

    fn count(&mut self, n: u64) -> Result<(), Failure> {
        self.at += n;
        if self.at > self.blob.size {
            let expected = format!("{} bytes", self.blob.size);
            return Err(Failure::Mismatch { what: self.what(), expected, got: "more".to_owned() });
        }
        if self.at - self.renewed_at >= PROGRESS {
            self.renewed_at = self.at;
            self.failed = 0;
        }
        Ok(())
    }

    fn again(&mut self, failure: Failure) -> Result<(), Failure> {
        let options = self.session.options();
        let mut attempts = Attempts::after(self.failed, &options.retry, &options.cancel);
        attempts.again(failure)?;
        self.failed += 1;
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        self.advance(buf).map_err(|failure| {
            let error: SourceError = failure.into_source(&self.reference);
            io::Error::other(error)
        })
    }
}
