//! Remembers the digests of a context's files, as git's index does.
//!
//! A digest is believed if device, inode, size, modification and change time are those of the last look. The change time cannot be set
//! by programs, so a file that was rewritten with its old size and modification time is seen. An entry whose change time is not
//! older than the look itself could have changed afterwards within the clock's grain: it is not kept.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kiln_layer::path::LayerPath;
use kiln_oci::digest::Digest;
use rustix::fs::{Stat, Statx, major, minor};

/// The clock of file systems ticks in steps of up to this many nanoseconds (a kernel tick at 100 Hz, doubled).
const GRAIN: i128 = 20_000_000;

/// That of file systems which keep no fractions of a second (ext3, FAT's two seconds).
const COARSE: i128 = 2_000_000_000;

/// What identifies a file's content without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) dev: u64,
    ino: u64,
    size: u64,
    mtime: i128,
    ctime: i128,
}

impl Stamp {
    pub(crate) fn of(stat: &Statx) -> Self {
        let nanos =
            |t: &rustix::fs::StatxTimestamp| i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec);
        Self {
            dev: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            ino: stat.stx_ino,
            size: stat.stx_size,
            mtime: nanos(&stat.stx_mtime),
            ctime: nanos(&stat.stx_ctime),
        }
    }

    /// The same out of the older call.
    pub(crate) fn of_stat(stat: &Stat) -> Self {
        let nanos = |secs: i64, nanos: u64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        Self {
            dev: u64::from(major(stat.st_dev)) << 32 | u64::from(minor(stat.st_dev)),
            ino: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            mtime: nanos(stat.st_mtime, stat.st_mtime_nsec),
            ctime: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

#[derive(Clone, Copy)]
struct Known {
    stamp: Stamp,
    digest: Option<Digest>,
    no_xattrs: bool,
}

/// The memory of one context.
pub(crate) struct StatCache {
    file: PathBuf,
    root: PathBuf,
    known: HashMap<Vec<u8>, Known>,
    /// Wall clock when this look began, in nanoseconds.
    now: i128,
    changed: bool,
}

const MAGIC: &[u8; 8] = b"kilnst2\n";
const FIXED: usize = 4 + 8 * 3 + 16 * 2 + 1 + 32;

impl StatCache {
    /// Reads the cache in `file`; empty if there is none or it is not understood. `now` is the wall clock in nanoseconds since 1970.
    /// It is that of the context in `root`.
    pub(crate) fn load(file: PathBuf, root: &Path, now: i128) -> Self {
        let decoded = fs_err::read(&file).ok().and_then(|bytes| decode(&bytes));
        let known = decoded.filter(|(of, _)| of == root).map(|(_, known)| known).unwrap_or_default();
        crate::store::note_use(&file);
        Self { file, root: root.to_owned(), known, now, changed: false }
    }

    pub(crate) fn digest(&self, path: &LayerPath, stamp: &Stamp) -> Option<Digest> {
        self.get(path, stamp)?.digest
    }

    pub(crate) fn has_no_xattrs(&self, path: &LayerPath, stamp: &Stamp) -> bool {
        self.get(path, stamp).is_some_and(|k| k.no_xattrs)
    }

    fn get(&self, path: &LayerPath, stamp: &Stamp) -> Option<&Known> {
        self.known.get(path.as_bytes()).filter(|k| k.stamp == *stamp)
    }

    /// Notes what was seen of `path`: the digest of its content, that it has no attributes.
    pub(crate) fn note(&mut self, path: &LayerPath, stamp: &Stamp, digest: Option<Digest>, no_xattrs: bool) {
        let grain = if stamp.ctime % 1_000_000_000 == 0 { COARSE } else { GRAIN };
        if stamp.ctime.max(stamp.mtime) > self.now - grain {
            return;
        }
        let fresh = Known { stamp: *stamp, digest: None, no_xattrs: false };
        let known = self.known.entry(path.as_bytes().to_vec()).or_insert(fresh);
        if known.stamp != *stamp {
            *known = fresh;
        }
        known.digest = digest.or(known.digest);
        known.no_xattrs |= no_xattrs;
        self.changed = true;
    }

    /// Writes what is known, if anything was learnt.
    pub(crate) fn save(&mut self, tmp: &Path) -> io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        self.changed = false;
        crate::store::write_bytes(tmp, &self.file, &encode(&self.root, &self.known))
    }
}

/// Takes out of the stat caches in `dir` what they know of files that are not there any more, and the caches of whole contexts
/// that are gone or cannot be understood.
pub(crate) fn forget_deleted(dir: &Path, tmp: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let file = entry?.path();
        let decoded = fs_err::read(&file).ok().and_then(|bytes| decode(&bytes));
        let Some((root, mut known)) = decoded.filter(|(root, _)| root.is_dir()) else {
            fs_err::remove_file(&file)?;
            continue;
        };
        let before = known.len();
        known.retain(|path, _| is_there(&root.join(OsStr::from_bytes(path))));
        if known.is_empty() {
            fs_err::remove_file(&file)?;
        } else if known.len() < before {
            crate::store::write_bytes(tmp, &file, &encode(&root, &known))?;
        }
    }
    Ok(())
}

/// Also where it cannot be looked at: then it may be.
fn is_there(path: &Path) -> bool {
    let gone = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
    fs_err::symlink_metadata(path).err().is_none_or(|error| !gone.contains(&error.kind()))
}

fn encode(root: &Path, known: &HashMap<Vec<u8>, Known>) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + known.len() * (FIXED + 40));
    out.extend_from_slice(MAGIC);
    let root = root.as_os_str().as_bytes();
    out.extend_from_slice(&(root.len() as u32).to_le_bytes());
    out.extend_from_slice(root);
    for (path, k) in known {
        out.extend_from_slice(&(path.len() as u32).to_le_bytes());
        for number in [k.stamp.dev, k.stamp.ino, k.stamp.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&k.stamp.mtime.to_le_bytes());
        out.extend_from_slice(&k.stamp.ctime.to_le_bytes());
        out.push(u8::from(k.no_xattrs) | u8::from(k.digest.is_some()) << 1);
        out.extend_from_slice(k.digest.map_or([0; 32], |d| *d.as_bytes()).as_slice());
        out.extend_from_slice(path);
    }
    let sum = Digest::of(&out);
    out.extend_from_slice(sum.as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<(PathBuf, HashMap<Vec<u8>, Known>)> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Digest::of(body).as_bytes() != sum {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let length = u32::from_le_bytes(take(&mut rest)?) as usize;
    let (root, tail) = rest.split_at_checked(length)?;
    rest = tail;
    let mut known = HashMap::with_capacity(rest.len() / (FIXED + 16));
    while !rest.is_empty() {
        let length = u32::from_le_bytes(take(&mut rest)?) as usize;
        let [dev, ino, size] = [
            u64::from_le_bytes(take(&mut rest)?),
            u64::from_le_bytes(take(&mut rest)?),
            u64::from_le_bytes(take(&mut rest)?),
        ];
        let mtime = i128::from_le_bytes(take(&mut rest)?);
        let ctime = i128::from_le_bytes(take(&mut rest)?);
        let [flags] = take::<1>(&mut rest)?;
        let digest = Digest::from_bytes(take(&mut rest)?);
        let (path, tail) = rest.split_at_checked(length)?;
        rest = tail;
        let stamp = Stamp { dev, ino, size, mtime, ctime };
        let entry = Known { stamp, digest: (flags & 2 != 0).then_some(digest), no_xattrs: flags & 1 != 0 };
        known.insert(path.to_vec(), entry);
    }
    Some((OsStr::from_bytes(root).into(), known))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ctime: i128) -> Stamp {
        Stamp { dev: 1, ino: 2, size: 3, mtime: 4, ctime }
    }

    #[test]
    fn survives_a_round_trip_and_refuses_damage() {
        let mut cache = StatCache::load("/nonexistent/cache".into(), Path::new("/context"), 1_000_000_000);
        let path = LayerPath::clean("a/b");
        cache.note(&path, &stamp(5), Some(Digest::of(b"x")), false);
        cache.note(&path, &stamp(5), None, true);
        let bytes = encode(Path::new("/context"), &cache.known);
        let (root, back) = decode(&bytes).expect("decodes");
        assert_eq!(root, Path::new("/context"));
        assert_eq!(back[b"a/b".as_slice()].digest, Some(Digest::of(b"x")));
        assert!(back[b"a/b".as_slice()].no_xattrs);
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert!(decode(&bad).is_none(), "byte {i}");
        }
    }

    #[test]
    fn what_changed_just_now_is_not_believed() {
        let mut cache = StatCache::load("/nonexistent/cache".into(), Path::new("/context"), 1_000_000_000);
        let path = LayerPath::clean("a");
        cache.note(&path, &stamp(1_000_000_000 - 1), Some(Digest::of(b"x")), false);
        assert_eq!(cache.digest(&path, &stamp(1_000_000_000 - 1)), None);
        cache.note(&path, &stamp(0), Some(Digest::of(b"x")), false);
        assert_eq!(cache.digest(&path, &stamp(0)), None, "a clock of whole seconds");
        cache.note(&path, &stamp(5), Some(Digest::of(b"x")), false);
        assert_eq!(cache.digest(&path, &stamp(6)), None, "another change time");
        assert_eq!(cache.digest(&path, &stamp(5)), Some(Digest::of(b"x")));
    }
}
