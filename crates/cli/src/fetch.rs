//! Wires the registry crate's HTTP to the engine, which has none: for `ADD https://...`.

use std::io::Write;

use kiln_build::request::{FetchError, Fetched, Fetcher};
use kiln_registry::{Downloader, Options};

/// Downloads through [`Downloader`].
pub(crate) struct Http(Downloader);

impl Http {
    /// With the proxies, authorities and time-outs of `options`.
    pub(crate) fn new(options: Options) -> Self {
        Self(Downloader::new(options))
    }
}

impl Fetcher for Http {
    fn fetch(&self, url: &str, out: &mut dyn Write) -> Result<Fetched, FetchError> {
        let failed = |failure: kiln_registry::Failure| FetchError { reason: failure.to_string() };
        let done = self.0.get(url, out).map_err(failed)?;
        Ok(Fetched { last_modified: done.last_modified })
    }
}
