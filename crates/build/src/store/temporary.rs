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
    after: Option<Box<dyn Send>>,
    sweeper: Arc<Sweeper>,
}

impl Temporary {
    /// Makes one in `tmp`.
    pub(super) fn new(tmp: &Path, prefix: &str, sweeper: &Arc<Sweeper>) -> io::Result<Self> {
        let path = tempfile::Builder::new().prefix(prefix).tempdir_in(tmp)?.keep();
        Ok(Self { path, after: None, sweeper: sweeper.clone() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Has it removed after `last` was dropped, for which nobody waits, either.
    pub(crate) fn remove_after(&mut self, last: impl Send + 'static) {
        self.after = Some(Box::new(last));
    }

    /// The directory, which is the caller's now.
    pub(crate) fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            let path = std::mem::take(&mut self.path);
            self.sweeper.sweep(Rubbish { after: self.after.take(), path });
        }
    }
}

/// A directory that is to be removed, after something else was dropped.
struct Rubbish {
    after: Option<Box<dyn Send>>,
    path: PathBuf,
}

/// Removes directories one after the other. Dropped, it waits for the last.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    thread: Mutex<Option<(Sender<Rubbish>, JoinHandle<()>)>>,
}

impl Sweeper {
    fn sweep(&self, rubbish: Rubbish) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let (all, next) = channel();
            let named = std::thread::Builder::new().name("sweep".to_owned());
            let started = named.spawn(move || next.into_iter().for_each(remove));
            *thread = started.ok().map(|handle| (all, handle));
        }
        match &*thread {
            Some((all, _)) => drop(all.send(rubbish)),
            // Without a thread it goes here and now.
            None => remove(rubbish),
        }
    }
}

/// What cannot be removed now is found by the next collection.
fn remove(Rubbish { after, path }: Rubbish) {
    drop(after);
    let _ = remove_tree(&path);
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((all, handle)) = thread.take() {
            drop(all);
            let _ = handle.join();
        }
    }
}
