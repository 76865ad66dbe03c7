//! The directories of one run, made before they are needed and removed after, while commands are at work.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::BuildErrorKind;
use crate::store::{Store, Temporary};

/// The directories of one run; removed with everything in them when it is over.
pub(crate) struct Scratch(Temporary);

impl Scratch {
    pub(crate) fn new(store: &Store) -> Result<Self, BuildErrorKind> {
        let dir = store.temporary("run-")?;
        store.check_attributes(dir.path())?;
        for name in ["upper", "work"] {
            fs_err::create_dir(dir.path().join(name))?;
        }
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves the end of a `run` that was killed to whoever removes its directories: unmounting what it has written takes a while.
    pub(crate) fn abandon(mut self, run: impl Send + 'static) {
        self.0.remove_after(run);
    }
}

/// Those of the runs of a build. Making them takes a tenth of a short step.
#[derive(Default)]
pub(crate) struct Scratches {
    spare: Mutex<Option<Scratch>>,
    stubs: Mutex<Option<Temporary>>,
}

impl Scratches {
    /// Directories for a run: those that [`Scratches::prepare`] made, or new ones.
    pub(crate) fn take(&self, store: &Store) -> Result<Scratch, BuildErrorKind> {
        let spare = guard(&self.spare).take();
        spare.map_or_else(|| Scratch::new(store), Ok)
    }

    /// Makes those of the next run. Should that fail, it is tried again when they are needed.
    pub(crate) fn prepare(&self, store: &Store) {
        let mut spare = guard(&self.spare);
        if spare.is_none() {
            *spare = Scratch::new(store).ok();
        }
    }

    /// An empty directory that every sandbox mounts something upon, where no other sees it.
    pub(crate) fn stubs(&self, store: &Store) -> Result<PathBuf, BuildErrorKind> {
        let mut stubs = guard(&self.stubs);
        let dir = match stubs.take() {
            Some(dir) => dir,
            None => store.temporary("stubs-")?,
        };
        Ok(stubs.insert(dir).path().to_owned())
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
