//! The directories of one run, made before they are needed and removed after, while commands are at work.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tempfile::TempDir;

use crate::error::BuildErrorKind;
use crate::remove::remove_tree;
use crate::store::Store;

/// The directories of one run; removed with everything in them when it is over.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new(store: &Store) -> Result<Self, BuildErrorKind> {
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(store.tmp())?;
        store.check_attributes(dir.path())?;
        for name in ["upper", "work"] {
            fs_err::create_dir(dir.path().join(name))?;
        }
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Overlayfs leaves directories without permissions; what cannot be removed now is found by the next collection.
        let _ = remove_tree(self.0.path());
    }
}

/// Those of the runs of a build. Making and removing them takes a tenth of a short step.
#[derive(Default)]
pub(crate) struct Scratches {
    spare: Mutex<Option<Scratch>>,
    sweeper: Mutex<Option<Sweeper>>,
    stubs: Mutex<Option<TempDir>>,
}

/// A thread that removes directories, in no hurry.
struct Sweeper {
    used: Sender<Scratch>,
    thread: JoinHandle<()>,
}

impl Scratches {
    /// Directories for a run: those that [`Scratches::prepare`] made, or new ones.
    pub(crate) fn take(&self, store: &Store) -> Result<Taken<'_>, BuildErrorKind> {
        let spare = guard(&self.spare).take();
        let scratch = spare.map_or_else(|| Scratch::new(store), Ok)?;
        Ok(Taken { path: scratch.path().to_owned(), scratch: Some(scratch), from: self })
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
            None => tempfile::Builder::new().prefix("stubs-").tempdir_in(store.tmp())?,
        };
        Ok(stubs.insert(dir).path().to_owned())
    }

    /// Has those of a run that is over removed, by the end of the build.
    fn sweep(&self, scratch: Scratch) {
        let mut sweeper = guard(&self.sweeper);
        if sweeper.is_none() {
            let (used, next) = channel::<Scratch>();
            let thread = std::thread::Builder::new().name("sweep".to_owned());
            *sweeper = thread
                .spawn(move || next.into_iter().for_each(drop))
                .map(|thread| Sweeper { used, thread })
                .ok();
        }
        // Without a thread it goes here and now.
        if let Some(sweeper) = &*sweeper {
            let _ = sweeper.used.send(scratch);
        }
    }
}

/// The directories of a run that is not over yet. However it ends, nobody waits for them to be removed: a command that was killed may have
/// left gigabytes.
pub(crate) struct Taken<'a> {
    path: PathBuf,
    /// Until it is given back.
    scratch: Option<Scratch>,
    from: &'a Scratches,
}

impl Taken<'_> {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            self.from.sweep(scratch);
        }
    }
}

impl Drop for Scratches {
    fn drop(&mut self) {
        if let Some(Sweeper { used, thread }) = guard(&self.sweeper).take() {
            drop(used);
            let _ = thread.join();
        }
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
