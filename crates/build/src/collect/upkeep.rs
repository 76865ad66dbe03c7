//! Keeping a store under its share of the disk, without anybody asking.
//!
//! The question whether it is time costs two system calls and is asked after each build; the answer is yes about once a day, and when
//! the disk is nearly full. What is done then is a collection like any other, but it never waits for a build.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::statvfs;

use crate::collect::choice::PruneOptions;
use crate::collect::survey::Survey;
use crate::collect::{Pruned, Usage};
use crate::engine::Engine;
use crate::error::{BuildError, BuildErrorKind};
use crate::store::STAMP;

/// A store may take this many hundredths of its disk.
const SHARE: u64 = 60;

/// It gets smaller, if it can, while fewer hundredths of the disk than this are free.
const FREE: u64 = 10;

/// But however full the disk is, it may keep this many hundredths.
const RESERVED: u64 = 10;

/// How often a store is looked at.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How often while the disk is nearly full.
const NEARLY_FULL: Duration = Duration::from_secs(10 * 60);

/// How much a store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// A share of its disk: 60 %, less if under 10 % of the disk is free, but never less than 10 %.
    Share,
    /// This many bytes.
    Bytes(u64),
}

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes in all.
    pub size: u64,
    /// Bytes that this user may still write.
    pub free: u64,
}

impl Disk {
    /// That of `path`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let disk = statvfs(path)?;
        Ok(Self { size: disk.f_blocks * disk.f_frsize, free: disk.f_bavail * disk.f_frsize })
    }

    fn is_nearly_full(&self) -> bool {
        self.free < self.size / 100 * FREE
    }

    /// How many bytes a store may have that has `store` now.
    fn allowance(&self, store: u64) -> u64 {
        let lacking = (self.size / 100 * FREE).saturating_sub(self.free);
        let shrunk = store.saturating_sub(lacking).max(self.size / 100 * RESERVED);
        if lacking > 0 { shrunk.min(self.size / 100 * SHARE) } else { self.size / 100 * SHARE }
    }
}

/// Whether the store in `root` should be looked at now. Two system calls; no is also the answer where they fail.
pub fn is_due(root: &Path, now: SystemTime) -> bool {
    let Ok(disk) = Disk::of(root) else { return false };
    let interval = if disk.is_nearly_full() { NEARLY_FULL } else { DAY };
    match fs_err::metadata(stamp(root)).and_then(|meta| meta.modified()) {
        // After a clock was set back the stamp lies in the future; that must not put it off for years.
        Ok(last) => now.duration_since(last).map_or(true, |age| age >= interval),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Notes that the store is looked at now, so that no other build does so for a while.
pub fn note_upkeep(root: &Path) -> io::Result<()> {
    fs_err::write(stamp(root), "")
}

fn stamp(root: &Path) -> PathBuf {
    root.join(STAMP)
}

impl Engine {
    /// Takes away what nothing needs, and the longest unused until the store is within `limit`. `None` if a build is running: the
    /// next one will ask again.
    pub fn tend(&self, limit: Limit) -> Result<Option<Pruned>, BuildError> {
        let root = self.store.root();
        let survey = Survey::of(root).map_err(BuildErrorKind::from)?;
        let total = survey.total();
        let usage = Usage::of(&survey, &self.named_blobs()?);
        let allowed = match limit {
            Limit::Bytes(bytes) => bytes,
            Limit::Share => Disk::of(root).map_err(BuildErrorKind::from)?.allowance(total),
        };
        // Images with a name and the store's own folders are no cache.
        let keep = (total > allowed).then(|| allowed.saturating_sub(usage.images + survey.frame));
        self.prune_if_idle(&PruneOptions {
            keep_storage: Some(keep.unwrap_or(u64::MAX)),
            ..PruneOptions::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_a_disk() {
        let table = [
            // size, free, store, allowed
            (1000, 500, 400, 600),
            (1000, 250, 700, 600),
            (1000, 100, 700, 600),
            (1000, 40, 300, 240),
            (1000, 0, 300, 200),
            (1000, 0, 150, 100),
            (1000, 0, 50, 100),
            (1000, 0, 900, 600),
        ];
        for (size, free, store, allowed) in table {
            assert_eq!(Disk { size, free }.allowance(store), allowed, "{size} {free} {store}");
        }
    }

    #[test]
    fn when_it_is_time() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        assert!(is_due(dir.path(), now), "never looked at");
        note_upkeep(dir.path()).unwrap();
        assert!(!is_due(dir.path(), now + Duration::from_secs(60)));
        assert!(is_due(dir.path(), now + 2 * DAY));
        assert!(is_due(dir.path(), now - 2 * DAY), "the clock was set back");
        assert!(!is_due(Path::new("/nonexistent/store"), now));
    }
}
