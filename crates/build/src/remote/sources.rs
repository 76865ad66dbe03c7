//! What is kept of remote sources, and what one build has asked already.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use kiln_layer::stop::Stop;
use kiln_oci::crash::around;
use kiln_oci::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{BuildErrorKind, RemoteError};
use crate::remote::port::{Access, Repositories, Resolved};
use crate::remove::remove_tree;
use crate::report::Reporter;
use crate::store::{Store, Temporary, note_use, read_json, write_json};

/// Remote sources of one build.
pub(crate) struct Sources<'a> {
    pub(super) store: &'a Store,
    pub(super) access: Access<'a>,
    pub(super) reporter: &'a Reporter<'a>,
    asked: Mutex<HashSet<Digest>>,
    resolved: Mutex<HashMap<Digest, Resolved>>,
}

/// A folder of the store with the files of a source.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    /// The commit's time, `Last-Modified`, or the time of an archive's newest file.
    pub(crate) time: Option<i64>,
    /// Its only file, if the source is one.
    pub(crate) file: Option<PathBuf>,
}

/// Says that a folder is whole, and of what.
#[derive(Serialize, Deserialize)]
pub(super) struct TreeRecord {
    /// For whoever looks into the store.
    pub(super) url: String,
    pub(super) commit: Option<String>,
    pub(super) time: Option<i64>,
    pub(super) file: Option<String>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(store: &'a Store, access: Access<'a>, reporter: &'a Reporter<'a>) -> Self {
        Self { store, access, reporter, asked: Mutex::default(), resolved: Mutex::default() }
    }

    /// For work that takes long: whether it is to be left undone.
    pub(crate) fn stop(&self) -> Stop<'_> {
        self.reporter.stop()
    }

    /// The build has failed: what still waits for a server is to end.
    pub(crate) fn abandon(&self) {
        self.access.fetcher.inspect(|fetcher| fetcher.abandon());
    }

    /// The failure was made good.
    pub(crate) fn resume(&self) {
        self.access.fetcher.inspect(|fetcher| fetcher.resume());
    }

    /// The store's blobs.
    pub(crate) fn store(&self) -> &'a Store {
        self.store
    }

    /// The kept folder `id`, made by `make` in an empty folder if it is not there. What `make` gives is moved into the store whole or
    /// not at all; builds that want the same take turns.
    pub(super) fn tree(
        &self,
        id: &Digest,
        make: impl FnOnce(&Path) -> Result<(PathBuf, TreeRecord), BuildErrorKind>,
    ) -> Result<Tree, BuildErrorKind> {
        let _turn = self.store.lock_while(&format!("source-{}", id.hex()), || self.reporter.check())?;
        let (root, path) = (self.store.source_tree(id), self.store.source_record(id));
        let record = match read_json::<TreeRecord>(&path)?.filter(|_| root.is_dir()) {
            Some(record) => {
                note_use(&path);
                record
            }
            None => {
                let place = self.place()?;
                let (made, record) = make(place.path())?;
                // Half of it may stand there if a machine went down between the two steps below.
                remove_tree(&root)?;
                around(|| fs_err::rename(&made, &root))?;
                // The record says for good that all of it is there, so it had better be on the disk.
                self.store.content().sync()?;
                write_json(&self.store.tmp(), &path, &record)?;
                record
            }
        };
        let file = record.file.as_ref().map(|name| root.join(name));
        Ok(Tree { root, time: record.time, file })
    }

    /// An empty folder for unfinished things.
    pub(super) fn place(&self) -> std::io::Result<Temporary> {
        self.store.temporary("source-")
    }

    pub(super) fn repositories(&self) -> Result<&'a dyn Repositories, RemoteError> {
        self.access.repositories.ok_or(RemoteError::Unavailable { what: "git repositories" })
    }

    pub(super) fn was_asked(&self, id: &Digest) -> bool {
        lock(&self.asked).contains(id)
    }

    pub(super) fn note_asked(&self, id: Digest) {
        lock(&self.asked).insert(id);
    }

    pub(super) fn resolved(&self, id: &Digest) -> Option<Resolved> {
        lock(&self.resolved).get(id).cloned()
    }

    pub(super) fn note_resolved(&self, id: Digest, found: Resolved) {
        lock(&self.resolved).insert(id, found);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
