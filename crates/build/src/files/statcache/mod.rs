//! Remembers the digests of a context's files, as git's index does.
//!
//! A digest is believed if device, inode, size, modification and change time are those of the last look. The change time cannot be set
//! by programs, so a file that was rewritten with its old size and modification time is seen. An entry whose change time is not
//! older than the look itself could have changed afterwards within the clock's grain: it is not kept.
//!
//! Memory holds a few thousand entries, however many files there are: what earlier builds knew is looked up in their file block by block, what
//! this one learns goes to temporary files from time to time, and in the end both are merged into the file for the next.

mod block;
mod kept;
mod known;
mod learnt;
mod table;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kiln_layer::path::LayerPath;
use kiln_oci::digest::Digest;

pub(crate) use known::{Known, Stamp};
use learnt::{Entries, Learnt, Limits};
use table::Table;

/// The memory of one context.
pub(crate) struct StatCache {
    file: PathBuf,
    root: PathBuf,
    tmp: PathBuf,
    limits: Limits,
    /// What is in the file.
    before: Option<Table<Known>>,
    learnt: Learnt,
    /// Wall clock when this look began, in nanoseconds.
    now: i128,
}

impl StatCache {
    /// Opens the cache in `file`; empty if there is none or it is not understood. `now` is the wall clock in nanoseconds since 1970.
    /// It is that of the context in `root`. What it cannot hold goes to files in `tmp`.
    pub(crate) fn load(file: PathBuf, root: &Path, now: i128, tmp: PathBuf) -> Self {
        Self::limited(file, root, (now, tmp), Limits::USUAL)
    }

    fn limited(file: PathBuf, root: &Path, (now, tmp): (i128, PathBuf), limits: Limits) -> Self {
        crate::store::note_use(&file);
        let learnt = Learnt::new(tmp.clone(), limits);
        let mut cache = Self { file, root: root.to_owned(), tmp, limits, before: None, learnt, now };
        cache.open();
        cache
    }

    fn open(&mut self) {
        self.before = kept::open(&self.file).filter(|(of, _)| *of == self.root).map(|(_, table)| table);
    }

    /// What is known of `path` if it is still as `stamp` says.
    pub(crate) fn get(&self, path: &LayerPath, stamp: &Stamp) -> Option<Known> {
        let path = path.as_bytes();
        let known = self.learnt.get(path).or_else(|| self.before.as_ref()?.get(path));
        known.filter(|known| known.stamp == *stamp)
    }

    /// The digest of the content of `path` if it is still as `stamp` says.
    pub(crate) fn digest(&self, path: &LayerPath, stamp: &Stamp) -> Option<Digest> {
        self.get(path, stamp)?.digest
    }

    /// Notes what was seen of `path`: the digest of its content, that it has no attributes.
    pub(crate) fn note(
        &mut self,
        path: &LayerPath,
        stamp: &Stamp,
        digest: Option<Digest>,
        no_xattrs: bool,
    ) -> io::Result<()> {
        if stamp.is_racy(self.now) {
            return Ok(());
        }
        let mut known = Known { stamp: *stamp, digest, no_xattrs };
        let is_all = digest.is_some() && no_xattrs;
        if let Some(more) = (!is_all).then(|| self.get(path, stamp)).flatten() {
            known.digest = digest.or(more.digest);
            known.no_xattrs |= more.no_xattrs;
        }
        self.learnt.put(path.as_bytes(), known)
    }

    /// Writes what is known, if anything was learnt. Atomic, as all records.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if self.learnt.is_empty() {
            return Ok(());
        }
        let before = self.before.iter().map(|table| Box::new(table.rows()) as Entries<'_>);
        let all = learnt::newest(self.learnt.parts().chain(before));
        crate::store::write_with(&self.tmp, &self.file, |out| {
            kept::write(out, &self.root, all, self.limits.block)
        })?;
        self.learnt = Learnt::new(self.tmp.clone(), self.limits);
        self.open();
        Ok(())
    }
}

/// Takes out of the stat caches in `dir` what they know of files that are not there any more, and the caches of whole contexts
/// that are gone or cannot be understood.
pub(crate) fn forget_deleted(dir: &Path, tmp: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let file = entry?.path();
        let Some((root, table)) = kept::open(&file).filter(|(root, _)| root.is_dir()) else {
            fs_err::remove_file(&file)?;
            continue;
        };
        let is_there = |path: &[u8]| is_there(&root.join(OsStr::from_bytes(path)));
        let (mut some_left, mut some_gone) = (false, false);
        let mut rows = table.rows();
        while let Some((path, _)) = (!some_left || !some_gone).then(|| rows.next()).flatten() {
            let is_there = is_there(&path);
            some_left |= is_there;
            some_gone |= !is_there;
        }
        if !some_left {
            fs_err::remove_file(&file)?;
        } else if some_gone || rows.is_damaged() {
            let left = table.rows().filter(|(path, _)| is_there(path));
            crate::store::write_with(tmp, &file, |out| kept::write(out, &root, left, Limits::USUAL.block))?;
        }
    }
    Ok(())
}

/// Also where it cannot be looked at: then it may be.
fn is_there(path: &Path) -> bool {
    let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    fs_err::symlink_metadata(path).err().is_none_or(|error| !gone.contains(&error.kind()))
}

#[cfg(test)]
mod tests;
