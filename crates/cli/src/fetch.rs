//! Wires the registry crate's HTTP to the engine, which has none.

use std::io::Write;

use kiln_build::remote::{Ask, Fetched, Fetcher, Refused, RemoteError, Validators};
use kiln_registry::{Download, Downloader, Failure, Options, Wanted};

/// Downloads through [`Downloader`].
pub(crate) struct Http(Downloader);

impl Http {
    /// With the proxies, authorities and time-outs of `options`.
    pub(crate) fn new(options: Options) -> Self {
        Self(Downloader::new(options))
    }

    /// Breaks off whatever is under way.
    pub(crate) fn cancel(&self) {
        self.0.cancel();
    }
}

impl Fetcher for Http {
    fn abandon(&self) {
        self.0.cancel();
    }

    fn resume(&self) {
        self.0.resume();
    }

    fn fetch(&self, ask: &Ask<'_>, out: &mut dyn Write) -> Result<Fetched, RemoteError> {
        let wanted = Wanted {
            url: ask.url,
            authorization: ask.authorization,
            etag: ask.known.and_then(|known| known.etag.as_deref()),
            modified: ask.known.and_then(|known| known.modified.as_deref()),
        };
        match self.0.get(&wanted, out).map_err(|failure| explain(ask, failure))? {
            Download::Unchanged => Ok(Fetched::Unchanged),
            Download::Body(done) => {
                let validators = Validators { etag: done.etag, modified: done.modified };
                Ok(Fetched::Body { last_modified: done.last_modified, validators })
            }
        }
    }
}

/// A failure in the engine's words. Those of the registry crate hold no secrets.
fn explain(ask: &Ask<'_>, failure: Failure) -> RemoteError {
    let detail = match &failure {
        // The URL is in the message already.
        Failure::Status { status, .. } => {
            let said = failure.to_string();
            let words = said.split_once(": ").map_or("no reason given", |(_, words)| words);
            format!("the server answered {status}: {words}")
        }
        other => other.to_string(),
    };
    match failure {
        Failure::Denied { .. } if ask.authorization.is_some() => {
            RemoteError::Denied { refused: Refused::DownloadWithSecret, detail }
        }
        Failure::Denied { .. } => RemoteError::Denied { refused: Refused::Download, detail },
        Failure::Status { status: 404 | 410, .. } => RemoteError::NotFound { detail },
        Failure::Status { status, .. } => RemoteError::Status { status, detail },
        Failure::RateLimited { .. } => RemoteError::Status { status: 429, detail },
        Failure::Unreachable { .. } => RemoteError::Unreachable { detail },
        Failure::Broken { .. } => RemoteError::Cut { detail },
        Failure::Local { cause, .. } => RemoteError::Io(cause),
        Failure::Cancelled => RemoteError::Cancelled,
        _ => RemoteError::Failed { what: "the download".to_owned(), detail },
    }
}
