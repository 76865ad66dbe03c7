//! The folder of records: one JSON file a build, called by its number.

use std::io::{self, Write};
use std::path::PathBuf;

use kiln_oci::crash::around;
use kiln_oci::digest::Digest;

use crate::error::BuildErrorKind;
use crate::key::KeyParts;
use crate::record::{BuildId, BuildRecord, Ending, FORMAT, Recording};
use crate::store::{Store, read_parts, write_parts};
use crate::why::{Inputs, Sorting};

/// How many builds are remembered.
const KEPT: usize = 50;

/// Bytes of a file of parts above which one such file is looked at, not several.
const MANY_PARTS: u64 = 256 << 10;

/// A past build.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its number.
    pub id: BuildId,
    /// What is known of it.
    pub record: BuildRecord,
}

/// Why the past cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// There is no build yet, or no record of one any more.
    #[error("no build is recorded in {root}", root = .root.display())]
    Nothing {
        /// The store.
        root: PathBuf,
    },
    /// The build is not among those that are remembered.
    #[error("no build {id} is recorded; there are {first} to {last}")]
    UnknownBuild {
        /// Which.
        id: BuildId,
        /// The oldest that is.
        first: BuildId,
        /// The newest.
        last: BuildId,
    },
    /// The record cannot be understood.
    #[error("{path}: this record of a build is damaged: {problem}", path = .path.display())]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The record was written by another kiln.
    #[error("{path}: this record of a build has form {form}, this kiln reads form {FORMAT}", path = .path.display())]
    OtherForm {
        /// Its file.
        path: PathBuf,
        /// Its form.
        form: u32,
    },
    /// The build has no such step.
    #[error("the build has no step {step:?}; it has {known}")]
    UnknownStep {
        /// As given.
        step: String,
        /// What it has.
        known: String,
    },
    /// What a record names is not in the store any more.
    #[error("layer {layer} is not in the store any more")]
    LayerGone {
        /// Which.
        layer: Digest,
    },
    /// A layer cannot be looked at.
    #[error("layer {layer}")]
    Layer {
        /// Which.
        layer: Digest,
        /// Why.
        #[source]
        source: Box<BuildErrorKind>,
    },
    /// Input or output failed; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The records of a store.
#[derive(Clone, Copy)]
pub struct History<'a> {
    store: &'a Store,
}

impl<'a> History<'a> {
    /// Those of `store`; nothing is read yet.
    pub fn of(store: &'a Store) -> Self {
        Self { store }
    }

    /// The numbers of all builds that are remembered, oldest first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn ids(&self) -> Result<Vec<BuildId>, HistoryError> {
        let mut ids = Vec::new();
        for entry in fs_err::read_dir(self.store.builds())? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".json")).map(str::parse);
            if let Some(Ok(number)) = number {
                ids.push(BuildId(number));
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// The build with number `id`.
    ///
    /// # Errors
    /// If it is not there, damaged, or of another form.
    pub fn load(&self, id: BuildId) -> Result<Kept, HistoryError> {
        let path = self.path(id);
        let bytes = match fs_err::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.unknown(id)?),
            Err(error) => return Err(error.into()),
        };
        #[derive(serde::Deserialize)]
        struct Form {
            format: u32,
        }
        let damaged = |problem: String| HistoryError::Damaged { path: path.clone(), problem };
        match serde_json::from_slice::<Form>(&bytes) {
            Ok(Form { format: FORMAT }) => {}
            Ok(Form { format }) => return Err(HistoryError::OtherForm { path, form: format }),
            Err(error) => return Err(damaged(error.to_string())),
        }
        let record = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        Ok(Kept { id, record })
    }

    /// The newest build.
    ///
    /// # Errors
    /// If there is none, or as [`History::load`].
    pub fn last(&self) -> Result<Kept, HistoryError> {
        let newest = self.ids()?.pop().ok_or_else(|| self.nothing())?;
        self.load(newest)
    }

    /// Where the log called `name` is, if it is still there.
    pub fn log(&self, name: &str) -> Option<PathBuf> {
        // A name is one component, whatever a damaged record says.
        let name = std::path::Path::new(name).file_name()?.to_str()?;
        Some(self.store.log_path(name)).filter(|path| path.is_file())
    }

    /// What the key of a step is made of, if that is still there.
    pub(crate) fn inputs(&self, key: &Digest) -> Result<Option<Inputs>, HistoryError> {
        let mut sorting = Sorting::new(self.store.tmp());
        let whole = read_parts(&self.store.parts_path(key), &mut |part| {
            sorting.add(part);
            Ok(())
        })?;
        Ok(whole.then(|| sorting.end()))
    }

    /// The same of a key that is just being made.
    pub(crate) fn sorted(&self, parts: &KeyParts) -> Result<Inputs, HistoryError> {
        let mut sorting = Sorting::new(self.store.tmp());
        parts.each(&mut |part| {
            sorting.add(part);
            Ok(())
        })?;
        Ok(sorting.end())
    }

    /// Whether those parts are more than a glance at.
    pub(crate) fn has_many_parts(&self, key: &Digest) -> bool {
        fs_err::metadata(self.store.parts_path(key)).is_ok_and(|meta| meta.len() > MANY_PARTS)
    }

    /// The store.
    pub(crate) fn store(&self) -> &'a Store {
        self.store
    }

    /// Keeps the record of a build that has ended. Atomic; of several processes each gets a number of its own. It is not synced: after
    /// a power loss the record may be damaged. The caller holds a lease.
    pub(crate) fn end(&self, recording: &Recording, ending: Ending) -> Result<BuildId, HistoryError> {
        let record = recording.ended(ending);
        for (place, parts) in recording.parts() {
            if let Some(key) = record.step(place).and_then(|step| step.key) {
                write_parts(self.store, &key, &parts)?;
            }
        }
        self.keep(&record)
    }

    fn path(&self, id: BuildId) -> PathBuf {
        self.store.builds().join(format!("{}.json", id.0))
    }

    fn nothing(&self) -> HistoryError {
        HistoryError::Nothing { root: self.store.root().to_owned() }
    }

    fn unknown(&self, id: BuildId) -> Result<HistoryError, HistoryError> {
        let ids = self.ids()?;
        Ok(match (ids.first(), ids.last()) {
            (Some(first), Some(last)) => HistoryError::UnknownBuild { id, first: *first, last: *last },
            _ => self.nothing(),
        })
    }

    /// Writes a record under the next free number, whole or not at all, and forgets the oldest if there are too many.
    fn keep(&self, record: &BuildRecord) -> Result<BuildId, HistoryError> {
        let ids = self.ids()?;
        let mut file = tempfile::NamedTempFile::new_in(self.store.tmp())?;
        file.write_all(&serde_json::to_vec(record).map_err(io::Error::from)?)?;
        let mut id = BuildId(ids.last().map_or(1, |last| last.0 + 1));
        // Another build may end at the same moment and take the number.
        loop {
            match around(|| file.persist_noclobber(self.path(id))) {
                Ok(_) => break,
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                    file = error.file;
                    id.0 += 1;
                }
                Err(error) => return Err(error.error.into()),
            }
        }
        let too_many = (ids.len() + 1).saturating_sub(KEPT);
        ids[..too_many].iter().try_for_each(|old| self.forget(*old))?;
        Ok(id)
    }

    fn forget(&self, id: BuildId) -> Result<(), HistoryError> {
        match fs_err::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
