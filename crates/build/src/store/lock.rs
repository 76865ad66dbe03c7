//! File locks. The kernel drops them when their holder dies, however it dies.

use std::io;
use std::path::Path;

/// A held lock; dropped, it is free again.
#[derive(Debug)]
pub struct Lock {
    _file: std::fs::File,
}

fn open(path: &Path) -> io::Result<fs_err::File> {
    fs_err::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

fn held(tried: Result<(), std::fs::TryLockError>, file: std::fs::File) -> io::Result<Option<Lock>> {
    match tried {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

impl Lock {
    /// Waits until it is the only holder.
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        let (file, _) = open(path)?.into_parts();
        file.lock()?;
        Ok(Self { _file: file })
    }

    /// `None` if somebody holds it.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        let (file, _) = open(path)?.into_parts();
        held(file.try_lock(), file)
    }

    /// `None` if somebody holds it alone.
    pub fn try_shared(path: &Path) -> io::Result<Option<Self>> {
        let (file, _) = open(path)?.into_parts();
        held(file.try_lock_shared(), file)
    }

    /// Of a directory, which has to be there. `None` if somebody holds it.
    pub fn try_exclusive_directory(path: &Path) -> io::Result<Option<Self>> {
        let (file, _) = fs_err::File::open(path)?.into_parts();
        held(file.try_lock(), file)
    }

    /// Waits until nobody holds it alone; others may share it.
    pub fn shared(path: &Path) -> io::Result<Self> {
        let (file, _) = open(path)?.into_parts();
        file.lock_shared()?;
        Ok(Self { _file: file })
    }
}
