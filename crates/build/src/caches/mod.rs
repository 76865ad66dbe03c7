//! Cache mounts (`RUN --mount=type=cache`) on their way from machine to machine: `kiln cache export` and `import`.
//!
//! They travel as one artifact ([`kiln_oci::artifact`]). Of each cache it holds an index (what layers have, too: paths, owners, modes,
//! times, attributes, links, a hash for each file) and the bytes of its files one after the other, cut into chunks where their content
//! says so. A file that is added, changed or removed touches the chunks around it and no others, so the next export writes and sends only
//! those; equal pieces are there once, in whichever cache they are.
//!
//! A cache that is exported or imported is used by nobody meanwhile: builds share a lock on it, this takes it alone.

mod export;
mod format;
mod import;

use std::collections::BTreeMap;

use kiln_oci::artifact::{ArtifactError, ArtifactPlace, read_small};
use kiln_oci::digest::Digest;
use kiln_oci::manifest::Manifest;
use kiln_oci::source::SourceErrorKind;
use walkdir::WalkDir;

pub use export::CachesExported;
use format::{CONFIG, Caches};

use crate::engine::Engine;
use crate::error::{BuildError, BuildErrorKind};
use crate::report::Reporter;
use crate::store::{Lock, Store};

/// Which caches are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// Those with these ids.
    Ids(Vec<String>),
}

/// A cache mount of the store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CacheInfo {
    /// Its id, as `RUN --mount=type=cache,id=` gives it; by default where it is mounted.
    pub id: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Its files, directories left out.
    pub files: u64,
    /// Further copies that steps with `sharing=private` have made beside it; they are not exported.
    pub copies: u64,
}

impl Engine {
    /// The cache mounts of the store, by id.
    pub fn caches(&self) -> Result<Vec<CacheInfo>, BuildError> {
        Ok(list(&self.store)?.into_values().collect())
    }
}

fn list(store: &Store) -> Result<BTreeMap<String, CacheInfo>, BuildErrorKind> {
    let mut all: BTreeMap<String, CacheInfo> = BTreeMap::new();
    for entry in fs_err::read_dir(store.root().join("cache"))? {
        let path = entry?.path();
        // One that is just being made has no name yet.
        let Ok(id) = fs_err::read_to_string(path.join("id")) else { continue };
        let info = all.entry(id.clone()).or_insert(CacheInfo { id, bytes: 0, files: 0, copies: 0 });
        if path.extension().is_some() {
            info.copies += 1;
            continue;
        }
        // What vanishes meanwhile was taken away by a step.
        for file in WalkDir::new(path.join("data")).into_iter().flatten().filter(|f| !f.file_type().is_dir())
        {
            info.files += 1;
            info.bytes += file.metadata().map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 });
        }
    }
    Ok(all)
}

/// Waits until no step uses the cache called `id`, with a word if that takes time, and keeps steps away from it.
fn alone(store: &Store, id: &str, reporter: &Reporter<'_>) -> Result<Lock, BuildErrorKind> {
    let name = crate::run::cache::use_lock(&Digest::of(id.as_bytes()));
    if let Some(lock) = store.try_lock(&name).map_err(|e| e.kind)? {
        return Ok(lock);
    }
    reporter.notice(None, format!("cache {id:?} is in use by a build; waiting for it"));
    store.lock_while(&name, || reporter.check())
}

/// What is at `place`, if that is such an artifact.
fn read(place: &dyn ArtifactPlace, manifest: &Manifest) -> Result<Caches, ArtifactError> {
    let malformed = |detail: String| malformed(place, "the artifact", detail);
    if manifest.config.media_type != CONFIG {
        let kind = &manifest.config.media_type;
        return Err(malformed(format!("it holds no cache mounts but something else ({kind:?})")));
    }
    Caches::parse(&read_small(place, &manifest.config)?).map_err(malformed)
}

fn malformed(place: &dyn ArtifactPlace, what: &str, detail: String) -> ArtifactError {
    let kind = SourceErrorKind::Malformed { what: what.to_owned(), detail };
    ArtifactError { place: place.name(), kind }
}

/// The ids that are meant, all of which are among `known`.
fn chosen<T>(
    which: &Which,
    known: &BTreeMap<String, T>,
    whence: &str,
) -> Result<Vec<String>, BuildErrorKind> {
    let ids = match which {
        Which::All => return Ok(known.keys().cloned().collect()),
        Which::Ids(ids) => ids,
    };
    for id in ids {
        if !known.contains_key(id) {
            return Err(BuildErrorKind::NoCache {
                id: id.clone(),
                whence: whence.to_owned(),
                known: known.keys().cloned().collect(),
            });
        }
    }
    Ok(ids.clone())
}
