//! What a command changed: an overlay's upper directory, read as the index of a layer.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kiln_oci::digest::{Digest, Hasher};
use rustix::fs::{AtFlags, FileType, Stat};

use crate::index::{Entry, Index, Kind, Mtime};
use crate::path::LayerPath;
use crate::stop::{Stop, Stopped};
use crate::tree::{self, Root};
use crate::unpack::Owners;
use crate::view::View;
use crate::xattr;

/// Why an upper directory cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The directory or something in it cannot be read.
    #[error("cannot read what changed")]
    Read {
        /// Why, with the path.
        source: io::Error,
    },
    /// Overlayfs stored a rename or a change of metadata in a form that kiln's mounts do not use, so the directory alone does
    /// not tell what is there.
    #[error("{path} is marked {mark}, which the overlay was not mounted to use")]
    Mark {
        /// Path inside the image.
        path: String,
        /// The attribute.
        mark: String,
    },
    /// It was not wanted any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Reads `upper`, the upper directory of an overlay (mounted with `userxattr`, now unmounted or at rest) over `lower`, as
/// the index of the layer that it makes. Memory grows with the number of changed files only, and only those are read.
///
/// - Whiteouts stay if they hide something, opaque marks if `lower` has a directory there.
/// - Of the names of one file the first in order carries the content; sockets are left out.
/// - Directories and files that are as `lower` has them, with nothing changed below, are left out (overlayfs copies the parents
///   of a change up, and what is merely opened for writing); the root comes only if it changed.
/// - Times are kept as they are; packing cuts them to seconds.
/// - With [`Owners::Mine`], what belongs to the caller belongs to whom it belonged in `lower`, and else to root.
///
/// # Errors
/// See [`DiffError`].
pub fn diff_upper(
    upper: &Path,
    lower: &View,
    owners: Owners,
    (threads, stop): (usize, Stop<'_>),
) -> Result<Index, DiffError> {
    let root = Root::open(upper).map_err(|source| DiffError::Read { source })?;
    let mut walk = Walk::new(&root, lower, owners)?;
    walk.run(stop)?;
    let Walk { mut changes, opaque, .. } = walk;
    changes.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    join_hardlinks(&mut changes);
    hash(&root, &mut changes, (threads, stop))?;
    let opaque: BTreeSet<LayerPath> = opaque.into_iter().collect();
    let entries = without_unchanged(changes, &opaque);
    Ok(Index::from_sorted(entries, opaque.into_iter().collect()))
}

/// Something in the upper directory.
struct Change {
    entry: Entry,
    /// What the lower layers have in its place.
    below: Option<Entry>,
    /// Device and inode, for a file with several names.
    inode: Option<(u64, u64)>,
}

impl Change {
    /// Whether the lower layers have the same here. Never so for a file with several names, which would lose the others.
    fn unchanged(&self) -> bool {
        let (Some(old), None) = (&self.below, self.inode) else { return false };
        let new = &self.entry;
        let in_time = match new.kind {
            Kind::Directory => true,
            Kind::File { .. } => new.mtime.secs == old.mtime.secs,
            _ => false,
        };
        in_time
            && new.kind == old.kind
            && (new.mode, new.uid, new.gid) == (old.mode, old.uid, old.gid)
            && new.xattrs == old.xattrs
    }
}

struct Walk<'a> {
    root: &'a Root,
    lower: &'a View,
    owners: Owners,
    /// The ids under which the caller's own files appear.
    own: (u32, u32),
    changes: Vec<Change>,
    opaque: Vec<LayerPath>,
    /// Directories still to be read, and whether the lower layers have something to show in them.
    todo: Vec<(LayerPath, bool)>,
}

impl<'a> Walk<'a> {
    /// Starts with the root itself.
    fn new(root: &'a Root, lower: &'a View, owners: Owners) -> Result<Self, DiffError> {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut walk =
            Self { root, lower, owners, own, changes: Vec::new(), opaque: Vec::new(), todo: Vec::new() };
        let top = LayerPath::root();
        let dir = root.open_dir(&top).map_err(|error| walk.read_error(&top, error))?;
        walk.take(Spot { dir: dir.as_fd(), name: b".", path: top, shown: true })?;
        Ok(walk)
    }

    fn run(&mut self, stop: Stop<'_>) -> Result<(), DiffError> {
        while let Some((path, shown)) = self.todo.pop() {
            stop.check()?;
            let failed = |error| self.read_error(&path, error);
            let dir = self.root.open_dir(&path).map_err(failed)?;
            let names = tree::names(dir.as_fd()).map_err(failed)?;
            for name in names {
                let path = path.join(&name);
                self.take(Spot { dir: dir.as_fd(), name: &name, path, shown })?;
            }
        }
        Ok(())
    }

    fn take(&mut self, spot: Spot<'_>) -> Result<(), DiffError> {
        let failed = |error| self.read_error(&spot.path, error);
        let stat = rustix::fs::statat(spot.dir, spot.name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| failed(errno.into()))?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Socket {
            return Ok(());
        }
        let raw = tree::xattrs(spot.dir, spot.name, tree::interesting).map_err(failed)?;
        let Attributes { xattrs, opaque, whiteout } = Attributes::of(raw, &spot.path)?;
        let below = self.lower.lookup(&spot.path).filter(|_| spot.shown).map(|found| found.entry);
        let device_whiteout = file_type == FileType::CharacterDevice && stat.st_rdev == 0;
        if device_whiteout || (whiteout && file_type == FileType::RegularFile) {
            if below.is_some() {
                let entry = whiteout_entry(spot.path);
                self.changes.push(Change { entry, below: None, inode: None });
            }
            return Ok(());
        }
        let kind = kind_of(&spot, &stat).map_err(failed)?;
        if file_type == FileType::Directory {
            let merged = below.as_ref().is_some_and(|entry| entry.kind == Kind::Directory);
            self.todo.push((spot.path.clone(), merged && !opaque));
            if merged && opaque {
                self.opaque.push(spot.path.clone());
            }
        }
        let named_twice = file_type == FileType::RegularFile && stat.st_nlink > 1;
        let inode = named_twice.then_some((stat.st_dev, stat.st_ino));
        let (uid, gid) = self.owner(&stat, below.as_ref());
        let mtime = Mtime { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
        let mode = stat.st_mode & 0o7777;
        let entry = Entry { path: spot.path, kind, mode, uid, gid, mtime, xattrs, offset: None };
        self.changes.push(Change { entry, below, inode });
        Ok(())
    }

    fn owner(&self, stat: &Stat, below: Option<&Entry>) -> (u32, u32) {
        if self.owners == Owners::Keep {
            return (stat.st_uid, stat.st_gid);
        }
        let real = |id: u32, own: u32, below: Option<u32>| {
            if id == own || id == 0 { below.unwrap_or(0) } else { id }
        };
        (
            real(stat.st_uid, self.own.0, below.map(|entry| entry.uid)),
            real(stat.st_gid, self.own.1, below.map(|entry| entry.gid)),
        )
    }

    fn read_error(&self, path: &LayerPath, error: io::Error) -> DiffError {
        DiffError::Read { source: self.root.named("read", path, error) }
    }
}

/// A name in a directory of the tree.
struct Spot<'a> {
    dir: BorrowedFd<'a>,
    name: &'a [u8],
    path: LayerPath,
    /// No opaque directory hides what the lower layers have at `path`.
    shown: bool,
}

/// What is there; a file's digest comes later.
fn kind_of(spot: &Spot<'_>, stat: &Stat) -> io::Result<Kind> {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(spot.dir, spot.name, Vec::new())?;
            Kind::Symlink { target: target.into_bytes() }
        }
        FileType::CharacterDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Fifo => Kind::Fifo,
        _ => Kind::File { size: stat.st_size.cast_unsigned(), digest: Digest::from_bytes([0; 32]) },
    })
}

fn whiteout_entry(path: LayerPath) -> Entry {
    let implicit = crate::view::implicit_directory(path);
    Entry { kind: Kind::Whiteout, mode: 0, ..implicit }
}

/// Attributes, overlayfs's own taken out and understood.
#[derive(Default)]
struct Attributes {
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    opaque: bool,
    whiteout: bool,
}

impl Attributes {
    fn of(raw: Vec<(Vec<u8>, Vec<u8>)>, path: &LayerPath) -> Result<Self, DiffError> {
        let mut found = Self::default();
        for (name, value) in raw {
            if !xattr::is_overlay(&name) {
                found.xattrs.insert(name.clone(), xattr::portable(&name, value));
                continue;
            }
            match name.rsplit(|b| *b == b'.').next() {
                Some(b"opaque") => found.opaque = value == b"y",
                Some(b"whiteout") => found.whiteout = true,
                Some(b"redirect" | b"metacopy") => {
                    let mark = String::from_utf8_lossy(&name).into_owned();
                    return Err(DiffError::Mark { path: path.display(), mark });
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Makes all but the first name of each file links to that.
fn join_hardlinks(changes: &mut [Change]) {
    let mut first: HashMap<(u64, u64), usize> = HashMap::new();
    for at in 0..changes.len() {
        let Some(inode) = changes[at].inode else { continue };
        let carrier = *first.entry(inode).or_insert(at);
        if carrier != at {
            let Entry { path: target, mode, uid, gid, mtime, xattrs, .. } = changes[carrier].entry.clone();
            let path = changes[at].entry.path.clone();
            let kind = Kind::Hardlink { target };
            changes[at].entry = Entry { path, kind, mode, uid, gid, mtime, xattrs, offset: None };
        }
    }
}

/// Leaves out what is as below. A directory stays if something in it does, but for the root.
fn without_unchanged(changes: Vec<Change>, opaque: &BTreeSet<LayerPath>) -> Vec<Entry> {
    let mut parents: HashSet<LayerPath> = HashSet::new();
    let mut entries = Vec::with_capacity(changes.len());
    for change in changes.into_iter().rev() {
        let path = &change.entry.path;
        let needed = opaque.contains(path) || (parents.contains(path) && !path.is_root());
        if change.unchanged() && !needed {
            continue;
        }
        parents.extend(path.parent());
        entries.push(change.entry);
    }
    entries.reverse();
    entries
}

/// Files at least for each thread: starting one costs more than hashing a few.
const FILES_PER_THREAD: usize = 8;

/// Fills in the digests, with a few threads if there is enough to do.
fn hash(root: &Root, changes: &mut [Change], (threads, stop): (usize, Stop<'_>)) -> Result<(), DiffError> {
    let files: Vec<usize> =
        (0..changes.len()).filter(|at| matches!(changes[*at].entry.kind, Kind::File { .. })).collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(files.len()));
    let work = || {
        while let Some(at) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = hash_file(root, &changes[*at].entry.path, stop);
            let failed = result.is_err();
            done.lock().unwrap_or_else(PoisonError::into_inner).push((*at, result));
            if failed {
                return;
            }
        }
    };
    let threads = threads.min(files.len() / FILES_PER_THREAD);
    if threads <= 1 {
        work();
    } else {
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    }
    for (at, result) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
        let (digest, size) = result?;
        changes[at].entry.kind = Kind::File { size, digest };
    }
    Ok(())
}

fn hash_file(root: &Root, path: &LayerPath, stop: Stop<'_>) -> Result<(Digest, u64), DiffError> {
    let mut file = root.open_file(path).map_err(|source| DiffError::Read { source })?;
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let mut buffer = vec![0; 128 << 10];
    loop {
        stop.check()?;
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(DiffError::Read { source: root.named("read", path, error) }),
        }
    }
}
