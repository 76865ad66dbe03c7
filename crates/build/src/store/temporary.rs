//! Temporary directories, for whose end nobody waits.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::remove::remove_tree;

/// A directory in the store's `tmp/`. Dropped, it is removed with all that is in it: by a thread, for what a killed command or
/// a copy of very many files has left takes a while.
pub(crate) struct Temporary {
    /// Empty if it is kept.
    path: PathBuf,
    sweeper: Arc<Sweeper>,
}

impl Temporary {
    /// Makes one in `tmp`.
    pub(super) fn new(tmp: &Path, prefix: &str, sweeper: &Arc<Sweeper>) -> io::Result<Self> {
        let path = tempfile::Builder::new().prefix(prefix).tempdir_in(tmp)?.keep();
        Ok(Self { path, sweeper: sweeper.clone() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, which is the caller's now.
    pub(crate) fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            self.sweeper.sweep(std::mem::take(&mut self.path));
        }
    }
}

/// Removes directories one after the other. Dropped, it waits for the last.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    thread: Mutex<Option<(Sender<PathBuf>, JoinHandle<()>)>>,
}

impl Sweeper {
    fn sweep(&self, path: PathBuf) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (paths, next) = channel();
            let named = std::thread::Builder::new().name("sweep".to_owned());
            let started = named.spawn(move || next.into_iter().for_each(|path: PathBuf| remove(&path)));
            *thread = started.ok().map(|handle| (paths, handle));
        }
        match &*thread {
            Some((paths, _)) => drop(paths.send(path)),
            // Without a thread it goes here and now.
            None => remove(&path),
        }
    }
}

/// What cannot be removed now is found by the next collection.
fn remove(path: &Path) {
    let _ = remove_tree(path);
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((paths, handle)) = thread.take() {
            drop(paths);
            let _ = handle.join();
        }
    }
}
