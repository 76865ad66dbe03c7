//! Reading answers: headers, bounded bodies, and what an unwelcome status means.

use std::io::Read;
use std::time::Duration;

use kiln_oci::digest::Digest;
use ureq::Body;
use ureq::http::Response;

use crate::error::{Failure, decode};
use crate::retry::retry_after;
use crate::url::{Site, shown};

/// The most that is read of an error's body.
const ERROR_BODY: u64 = 64 * 1024;

/// An HTTP answer and where it came from.
pub(crate) struct Answer {
    /// The address that answered, after redirects.
    pub(crate) url: String,
    response: Response<Body>,
}

impl Answer {
    pub(crate) fn new(url: String, response: Response<Body>) -> Self {
        Self { url, response }
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// All values of a header that are text.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.response.headers().get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// `Content-Length`.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The `Content-Type` without its parameters.
    pub(crate) fn media_type(&self) -> &str {
        self.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default().trim()
    }

    /// `Docker-Content-Digest`, if it is there and a SHA-256.
    pub(crate) fn digest(&self) -> Option<Digest> {
        self.header("docker-content-digest")?.trim().parse().ok()
    }

    /// Fails if the server names another digest for what it took or gave than ours.
    pub(crate) fn agree(&self, what: &str, ours: &Digest) -> Result<(), Failure> {
        match self.digest() {
            Some(theirs) if theirs != *ours => Err(Failure::Mismatch {
                what: format!("{what} as named by the server"),
                expected: ours.to_string(),
                got: theirs.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// The body, unbounded.
    pub(crate) fn into_reader(self) -> impl Read + Send + 'static {
        self.response.into_body().into_reader()
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(crate) fn into_bytes(self, what: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        let too_big = || Failure::Malformed {
            what: what.to_owned(),
            detail: format!("it is larger than {} MiB", limit >> 20),
        };
        let length = self.length();
        if length.is_some_and(|length| length > limit) {
            return Err(too_big());
        }
        let url = self.url.clone();
        let mut bytes = Vec::new();
        let read = self.into_reader().take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|e| broken(&url, &e))?;
        if bytes.len() as u64 > limit {
            return Err(too_big());
        }
        Ok(bytes)
    }

    /// Reads what little is left of a body, so that the connection can serve the next request.
    pub(crate) fn drain(self) {
        // If it fails, the connection is not used again; that is all.
        let _ = std::io::copy(&mut self.into_reader().take(ERROR_BODY), &mut std::io::sink());
    }

    /// What this answer means as a failure. `tried` says which credentials were used, for 401 and 403.
    pub(crate) fn into_failure(self, tried: &str) -> Failure {
        let url = shown(&self.url);
        let status = self.status();
        let wait = self.wait();
        let mut body = Vec::new();
        // A body that breaks off is as good as none: the status is what counts.
        let _ = self.into_reader().take(ERROR_BODY).read_to_end(&mut body);
        let (errors, mut detail) = decode(&body);
        match status {
            401 | 403 => {
                if !detail.is_empty() && !tried.is_empty() {
                    detail.push_str("; ");
                }
                detail.push_str(tried);
                Failure::Denied { url, status, errors, detail }
            }
            429 => Failure::RateLimited { url, wait, errors, detail },
            _ => Failure::Status { url, status, wait, errors, detail },
        }
    }

    fn wait(&self) -> Option<Duration> {
        retry_after(self.header("retry-after")?, self.header("date"))
    }
}

/// A connection that broke while a body was read.
pub(crate) fn broken(url: &str, cause: &std::io::Error) -> Failure {
    let host = Site::of(url).map_or_else(|| shown(url), |site| site.authority);
    Failure::Unreachable { host, detail: format!("the connection broke: {cause}"), permanent: false }
}
