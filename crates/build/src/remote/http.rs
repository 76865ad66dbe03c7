//! Files by URL: asked for once per build, fetched only if they are others than last time.

use kiln_dockerfile::source::shown;
use kiln_oci::digest::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::error::{BuildErrorKind, RemoteError};
use crate::remote::port::{Ask, Fetched, Validators};
use crate::remote::secrets;
use crate::remote::sources::Sources;
use crate::store::{note_use, read_json, write_json};

/// How often a body is begun again whose connection broke.
const TRIES: u32 = 3;

/// A file of the web; its bytes are a blob of the store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpFile {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// From `Last-Modified`.
    pub(crate) last_modified: Option<i64>,
}

/// What a URL last gave.
#[derive(Serialize, Deserialize)]
struct Record {
    /// For whoever looks into the store.
    url: String,
    digest: Digest,
    size: u64,
    last_modified: Option<i64>,
    validators: Validators,
}

impl Record {
    fn file(&self) -> HttpFile {
        HttpFile { digest: self.digest, size: self.size, last_modified: self.last_modified }
    }
}

impl Sources<'_> {
    /// The file at `url`. With a checksum that the store's copy has, nobody is asked; else the server is, once per build, whether that
    /// copy is still good.
    pub(crate) fn file(&self, url: &str, checksum: Option<Digest>) -> Result<HttpFile, BuildErrorKind> {
        let failed = |source| BuildErrorKind::fetch(shown(url), source);
        let mut hasher = Hasher::new();
        hasher.part(b"kiln url 1");
        hasher.part(url.as_bytes());
        let id = hasher.finish();
        let _turn = self.store.lock_while(&format!("source-{}", id.hex()), || self.reporter.check())?;
        let path = self.store.source_record(&id);
        let content = self.store.content();
        // A record without its blob is worth nothing.
        let there = |record: &Record| content.size_of(&record.digest) == Some(record.size);
        let record = read_json::<Record>(&path)?.filter(there);
        let good =
            |record: &Record| checksum == Some(record.digest) || checksum.is_none() && self.was_asked(&id);
        if let Some(record) = record.as_ref().filter(|record| good(record)) {
            note_use(&path);
            return Ok(record.file());
        }
        let known = record.as_ref().map(|record| &record.validators);
        let known = known.filter(|known| known.etag.is_some() || known.modified.is_some());
        let file = match (self.download(url, known).map_err(failed)?, record) {
            (Some(new), _) => {
                let new = Record { url: shown(url), ..new };
                mismatch(&new, checksum).map_err(failed)?;
                write_json(&self.store.tmp(), &path, &new)?;
                new.file()
            }
            (None, Some(record)) => {
                mismatch(&record, checksum).map_err(failed)?;
                note_use(&path);
                record.file()
            }
            (None, None) => {
                let what = "the server's answer".to_owned();
                let detail = "unchanged since a time when nothing was here".to_owned();
                return Err(failed(RemoteError::Failed { what, detail }));
            }
        };
        self.note_asked(id);
        Ok(file)
    }

    /// `None` if what is `known` is still so.
    fn download(&self, url: &str, known: Option<&Validators>) -> Result<Option<Record>, RemoteError> {
        let fetcher = self.access.fetcher.ok_or(RemoteError::Unavailable { what: "downloads" })?;
        let authorization = secrets::of_download(&self.access, url)?;
        let ask = Ask { url, authorization: authorization.as_deref(), known };
        let store = |error: kiln_oci::error::StoreError| std::io::Error::other(error);
        let mut tries = 0;
        loop {
            let mut writer = self.store.content().writer().map_err(store)?;
            match fetcher.fetch(&ask, &mut writer) {
                Ok(Fetched::Unchanged) => return Ok(None),
                Ok(Fetched::Body { last_modified, validators }) => {
                    let blob = writer.finish().map_err(store)?;
                    let (digest, size) = (blob.digest, blob.size);
                    return Ok(Some(Record { url: String::new(), digest, size, last_modified, validators }));
                }
                Err(RemoteError::Cut { .. }) if tries + 1 < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

fn mismatch(record: &Record, checksum: Option<Digest>) -> Result<(), RemoteError> {
    match checksum {
        Some(expected) if expected != record.digest => {
            let (expected, got) = (expected.to_string(), record.digest.to_string());
            Err(RemoteError::Checksum { expected, got })
        }
        _ => Ok(()),
    }
}
