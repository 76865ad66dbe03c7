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
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits until nobody holds it alone; others may share it.
    pub fn shared(path: &Path) -> io::Result<Self> {
        let (file, _) = open(path)?.into_parts();
        file.lock_shared()?;
        Ok(Self { _file: file })
    }
}
