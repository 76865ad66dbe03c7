//! Plain downloads, for `ADD https://...`: no registry, no credentials, but the same proxies, trust and patience.

use std::io::{self, Write};

use ureq::http::Method;

use crate::answer::{Answer, broken};
use crate::error::Failure;
use crate::options::Options;
use crate::retry;
use crate::transport::{Call, Transport};
use crate::url::{Site, resolve, shown};

/// The most redirects that are followed.
const REDIRECTS: usize = 10;

/// Fetches files by URL.
pub struct Downloader {
    transport: Transport,
}

/// A finished download.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downloaded {
    /// `Last-Modified`, in seconds since 1970, if the server gave it.
    pub last_modified: Option<i64>,
    /// Bytes of the body.
    pub size: u64,
}

impl Downloader {
    /// A downloader; nothing is read and nobody asked before the first download.
    pub fn new(options: Options) -> Self {
        Self { transport: Transport::new(options) }
    }

    /// Writes the body of `url` to `out`. Redirects are followed; any status but 200 is an error. Connecting is tried again as
    /// [`Options::retry`] says; once bytes have come, a broken connection is an error, since `out` cannot take them back.
    ///
    /// # Errors
    /// See [`Failure`]; one of `out` is [`Failure::Local`].
    pub fn get(&self, url: &str, out: &mut dyn Write) -> Result<Downloaded, Failure> {
        let options = self.transport.options();
        let answer = retry::run(&options.retry, &options.cancel, || self.open(url))?;
        let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
        let last_modified =
            answer.header("last-modified").and_then(|text| parser.parse_timestamp(text.trim()).ok());
        let (place, promised) = (answer.url.clone(), answer.length());
        let mut out = Local { out, failed: None };
        let copied = io::copy(&mut answer.into_reader(), &mut out);
        if let Some(cause) = out.failed {
            return Err(Failure::Local { what: "the place for the download".to_owned(), cause });
        }
        let size = copied.map_err(|cause| broken(&place, &cause))?;
        match promised {
            Some(length) if length != size => {
                let cause = io::Error::from(io::ErrorKind::UnexpectedEof);
                Err(broken(&place, &cause))
            }
            _ => Ok(Downloaded { last_modified: last_modified.map(|t| t.as_second()), size }),
        }
    }

    fn open(&self, url: &str) -> Result<Answer, Failure> {
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS {
            let unverified = Site::of(&url).is_some_and(|site| self.transport.is_insecure(&site.authority));
            let call = Call { method: Method::GET, url: &url, unverified, headers: Vec::new(), body: None };
            let answer = Answer::new(url.clone(), self.transport.send(call)?);
            match answer.status() {
                200 => return Ok(answer),
                301..=303 | 307 | 308 => {}
                _ => return Err(answer.into_failure("none")),
            }
            let target = answer.header("location").and_then(|location| resolve(&url, location));
            answer.drain();
            url = target.ok_or_else(|| Failure::Malformed {
                what: format!("redirect from {}", shown(&url)),
                detail: "it leads nowhere".to_owned(),
            })?;
        }
        Err(Failure::Malformed { what: shown(&url), detail: format!("more than {REDIRECTS} redirects") })
    }
}

/// Tells errors of the writer from those of the network.
struct Local<'a> {
    out: &'a mut dyn Write,
    failed: Option<io::Error>,
}

impl Write for Local<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
