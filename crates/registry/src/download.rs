//! Plain downloads, for `ADD https://...` and contexts by URL: no registry and none of its credentials, but the same proxies, trust and
//! patience.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::Method;

use crate::answer::Answer;
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

/// What to fetch.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Where. A user name and password in it become a header, for its own site alone.
    pub url: &'a str,
    /// The value of an `Authorization` header for the URL's own site; a redirect to another host, port or scheme is followed without it.
    pub authorization: Option<&'a str>,
    /// The `ETag` of what is known already.
    pub etag: Option<&'a str>,
    /// Its `Last-Modified`; see [`Downloaded::modified`].
    pub modified: Option<&'a str>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Download {
    /// The body was written.
    Body(Downloaded),
    /// What is known is still so; nothing was written.
    Unchanged,
}

/// A finished download.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downloaded {
    /// `Last-Modified`, in seconds since 1970, if the server gave it.
    pub last_modified: Option<i64>,
    /// `Last-Modified` as it was given, if it can serve to ask again: it has to be a minute older than the answer, or another version
    /// may have the same (RFC 9110, section 8.8.2.2).
    pub modified: Option<String>,
    /// `ETag`.
    pub etag: Option<String>,
    /// Bytes of the body.
    pub size: u64,
}

/// How much older than the answer a `Last-Modified` has to be to stand for one version, in seconds.
const SETTLED: i64 = 60;

impl Downloader {
    /// A downloader; nothing is read and nobody asked before the first download.
    pub fn new(options: Options) -> Self {
        Self { transport: Transport::new(options) }
    }

    /// Breaks off whatever is under way. Every download from now on fails.
    pub fn cancel(&self) {
        self.transport.cancel();
    }

    /// Takes [`Downloader::cancel`] back. Nothing may be under way.
    pub fn resume(&self) {
        self.transport.resume();
    }

    /// Writes the body of what is `wanted` to `out`. Redirects are followed; any status but 200, and 304 if something is known, is an
    /// error. Connecting is tried again as [`Options::retry`] says; once bytes have come, a broken connection is [`Failure::Broken`],
    /// since `out` cannot take them back.
    ///
    /// # Errors
    /// See [`Failure`]; one of `out` is [`Failure::Local`].
    pub fn get(&self, wanted: &Wanted<'_>, out: &mut dyn Write) -> Result<Download, Failure> {
        let options = self.transport.options();
        let answer = retry::run(&options.retry, &options.cancel, || self.open(wanted))?;
        let same =
            wanted.etag.is_some_and(|known| !known.starts_with("W/") && answer.header("etag") == Some(known));
        // Some servers send everything again, under the same name.
        if answer.status() == 304 || same {
            return Ok(Download::Unchanged);
        }
        let mut done = described(&answer);
        let (place, promised) = (answer.url.clone(), answer.length());
        let mut out = Local { out, failed: None };
        let copied = io::copy(&mut answer.into_reader(), &mut out);
        if let Some(cause) = out.failed {
            return Err(Failure::Local { what: "the place for the download".to_owned(), cause });
        }
        retry::check(&options.cancel)?;
        let cut = |cause: &io::Error| Failure::Broken { url: shown(&place), detail: cause.to_string() };
        done.size = copied.map_err(|cause| cut(&cause))?;
        match promised {
            Some(length) if length != done.size => Err(cut(&io::Error::from(io::ErrorKind::UnexpectedEof))),
            _ => Ok(Download::Body(done)),
        }
    }

    fn open(&self, wanted: &Wanted<'_>) -> Result<Answer, Failure> {
        let (mut url, user) = without_user(wanted.url);
        let authorization = wanted.authorization.map(str::to_owned).or(user);
        let home = Site::of(&url);
        for _ in 0..=REDIRECTS {
            let site = Site::of(&url);
            let unverified = site.as_ref().is_some_and(|site| self.transport.is_insecure(&site.authority));
            let mut headers = Vec::new();
            if let Some(value) = authorization.clone().filter(|_| site == home) {
                headers.push(("authorization", value));
            }
            let conditions = [("if-none-match", wanted.etag), ("if-modified-since", wanted.modified)];
            headers
                .extend(conditions.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))));
            let call = Call { method: Method::GET, url: &url, unverified, headers, body: None };
            let answer = Answer::new(url.clone(), self.transport.send(call)?);
            match answer.status() {
                200 => return Ok(answer),
                304 if wanted.etag.is_some() || wanted.modified.is_some() => return Ok(answer),
                301..=303 | 307 | 308 => {}
                _ => return Err(answer.into_failure("")),
            }
            let location = answer.header("location").map(str::to_owned);
            let target = location.as_deref().and_then(|location| resolve(&url, location));
            answer.drain();
            url = target.ok_or_else(|| Failure::Malformed {
                what: format!("redirect from {}", shown(&url)),
                detail: location.map_or("it leads nowhere".to_owned(), |location| {
                    format!("{:?} is no address of http or https", shown(&location))
                }),
            })?;
        }
        Err(Failure::Malformed { what: shown(&url), detail: format!("more than {REDIRECTS} redirects") })
    }
}

fn described(answer: &Answer) -> Downloaded {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let seconds = |text: &str| parser.parse_timestamp(text.trim()).ok().map(|time| time.as_second());
    let text = answer.header("last-modified");
    let last_modified = text.and_then(seconds);
    let date = answer.header("date").and_then(seconds);
    let settled = last_modified.zip(date).is_some_and(|(modified, date)| date - modified >= SETTLED);
    let modified = text.filter(|_| settled).map(|text| text.trim().to_owned());
    let etag = answer.header("etag").map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    Downloaded { last_modified, modified, etag, size: 0 }
}

/// A URL without user name and password, and what they are as a header.
fn without_user(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let Some((user, host)) = authority.rsplit_once('@') else { return (url.to_owned(), None) };
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let pair = [percent_decoded(name), b":".to_vec(), percent_decoded(password)].concat();
    let header = (!user.is_empty()).then(|| format!("Basic {}", STANDARD.encode(pair)));
    (format!("{scheme}://{host}{path}"), header)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let byte = rest.get(at + 1..at + 3).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        out.push(byte.unwrap_or(b'%'));
        rest = &rest[at + if byte.is_some() { 3 } else { 1 }..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_leave_the_url() {
        for (url, bare, header) in [
            ("http://h/x@y", "http://h/x@y", None),
            ("http://u:p%40ss@h:1/x?y=a@b", "http://h:1/x?y=a@b", Some("Basic dTpwQHNz")),
            ("http://token@h", "http://h", Some("Basic dG9rZW46")),
            ("http://a%:b%z%41@h/", "http://h/", Some("Basic YSU6YiV6QQ==")),
            ("http://@h/", "http://h/", None),
        ] {
            assert_eq!(without_user(url), (bare.to_owned(), header.map(str::to_owned)), "{url}");
        }
    }
}
