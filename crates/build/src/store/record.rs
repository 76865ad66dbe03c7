//! Small files, written whole or not at all.

use std::io::{self, BufRead, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use kiln_oci::crash::around;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

/// Bytes that are written or compared at a time.
const BUFFER: usize = 64 << 10;

/// Writes `bytes` to `path` by way of a temporary in `tmp` and a rename. Idempotent, atomic; not synced: after a power loss
/// the file may be empty, which [`read_json`] takes for absent.
pub(crate) fn write_bytes(tmp: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(tmp, path, |out| out.write_all(bytes))
}

/// As [`write_bytes`]; `fill` writes what the file is to hold, in as small pieces as it likes.
pub(crate) fn write_with(
    tmp: &Path,
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let file = NamedTempFile::new_in(tmp)?;
    let mut out = io::BufWriter::with_capacity(BUFFER, file);
    fill(&mut out)?;
    keep(out.into_inner().map_err(io::IntoInnerError::into_error)?, path)
}

/// Gives a temporary the name `path`.
fn keep(file: NamedTempFile, path: &Path) -> io::Result<()> {
    let (_, temporary) = file.keep().map_err(|e| e.error)?;
    around(|| fs_err::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs_err::remove_file(&temporary);
    })
}

/// As [`write_bytes`], for what is likely to be there already: many steps leave what another left. Then it stays and counts as used. To
/// write it again would cost more: a file system brings to the disk what replaces something.
pub(crate) fn write_same(tmp: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Its name tells what is in it, but not whether a power loss has left all of that.
    if fs_err::read(path).is_ok_and(|known| known == bytes) {
        note_use(path);
        return Ok(());
    }
    write_bytes(tmp, path, bytes)
}

/// As [`write_same`] for what was written to a temporary already.
pub(crate) fn keep_same(mut file: NamedTempFile, path: &Path) -> io::Result<()> {
    if let Ok(known) = fs_err::File::open(path) {
        file.rewind()?;
        let mut left = io::BufReader::new(known);
        let same = io::copy(&mut file, &mut Compared { with: &mut left, read: Vec::new() }).is_ok();
        if same && left.fill_buf().is_ok_and(<[u8]>::is_empty) {
            note_use(path);
            return Ok(());
        }
    }
    keep(file, path)
}

/// How exactly uses are noted: a build that finds everything cached should write nothing.
const RECENTLY: Duration = Duration::from_secs(3600);

/// Notes that the record at `path` is of use: its time is what collection goes by. Best effort, since a store that cannot be written
/// may still be read.
pub(crate) fn note_use(path: &Path) {
    let now = SystemTime::now();
    let is_noted = |last: SystemTime| now.duration_since(last).is_ok_and(|age| age < RECENTLY);
    if fs_err::metadata(path).and_then(|meta| meta.modified()).is_ok_and(|last| !is_noted(last)) {
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let _ = utimensat(CWD, path, &times, AtFlags::empty());
    }
}

/// Writes a record.
pub(crate) fn write_json(tmp: &Path, path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_with(tmp, path, |out| Ok(serde_json::to_writer(out, value)?))
}

/// Writes a record piece by piece as `fill` does it, unless it is likely to be there already: then it stays, and counts as used. `fill` is asked for
/// the same text twice.
pub(super) fn write_named(
    tmp: &Path,
    path: &Path,
    fill: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    // Its name tells what is in it, but not whether a power loss has left all of that.
    if fs_err::File::open(path).is_ok_and(|known| holds(known, &fill)) {
        note_use(path);
        return Ok(());
    }
    write_with(tmp, path, fill)
}

/// Whether `known` is the very text that `fill` writes.
fn holds(known: impl Read, fill: impl Fn(&mut dyn Write) -> io::Result<()>) -> bool {
    let mut left = io::BufReader::with_capacity(BUFFER, known);
    let mut text = io::BufWriter::with_capacity(BUFFER, Compared { with: &mut left, read: Vec::new() });
    let same = fill(&mut text).is_ok() && text.flush().is_ok();
    drop(text);
    same && left.fill_buf().is_ok_and(<[u8]>::is_empty)
}

/// Takes what `with` gives and nothing else.
struct Compared<'a, R> {
    with: &'a mut R,
    read: Vec<u8>,
}

impl<R: Read> Write for Compared<'_, R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.read.resize(bytes.len(), 0);
        self.with.read_exact(&mut self.read)?;
        if self.read == bytes { Ok(bytes.len()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a record; `None` if there is none, or one that this kiln cannot understand: a record only ever saves work.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs_err::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_whole_stays_and_any_other_is_written_again() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("record.json");
        let value = vec!["x".repeat(30_000); 3];
        let whole = serde_json::to_vec(&value).unwrap();
        let mut other = whole.clone();
        other[50_000] = 0;
        let longer = [&whole[..], b" "].concat();
        let inode = || rustix::fs::stat(&path).unwrap().st_ino;
        for (before, stays) in
            [(&whole[..], true), (b"", false), (&whole[..70_000], false), (&other, false), (&longer, false)]
        {
            fs_err::write(&path, before).unwrap();
            let was = inode();
            write_named(tmp.path(), &path, |out| Ok(serde_json::to_writer(out, &value)?)).unwrap();
            assert_eq!(inode() == was, stays, "of {} bytes", before.len());
            assert_eq!(fs_err::read(&path).unwrap(), whole);
        }
        fs_err::remove_file(&path).unwrap();
        write_named(tmp.path(), &path, |out| Ok(serde_json::to_writer(out, &value)?)).unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), whole);
    }
}
