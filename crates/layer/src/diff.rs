//! What a command changed: an overlay's upper directory, read as the index of a layer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kiln_oci::digest::{Digest, Hasher};
use rustix::fs::{AtFlags, FileType, Stat};

use crate::index::{Builder, Entry, Index, Kind, Mtime};
use crate::path::LayerPath;
use crate::rows::HELD;
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
    #[error("{0}")]
    Stopped(#[from] Stopped),
}

/// Reads `upper`, the upper directory of an overlay (mounted with `userxattr`, now unmounted or at rest) over `lower`, as
/// the index of the layer that it makes. Only changed files are read, and memory holds little more of them than the names in the directories on
/// the way to where it is; the index of very many is in a file in `dir`.
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
    dir: &Path,
) -> Result<Index, DiffError> {
    let root = Root::open(upper).map_err(|source| DiffError::Read { source })?;
    let mut walk = Walk::new(&root, lower, owners);
    let mut all = All::new(dir);
    let mut some = Vec::new();
    while let Some(change) = walk.next(stop)? {
        some.push(change);
        if some.len() >= AT_ONCE {
            all.take(&root, std::mem::take(&mut some), (threads, stop))?;
        }
    }
    all.take(&root, some, (threads, stop))?;
    all.changed(walk.opaque, dir).map_err(|source| DiffError::Read { source })
}

/// So many changes are hashed together.
const AT_ONCE: usize = 8192;

/// Something in the upper directory.
struct Change {
    /// Its path is known to who has it.
    entry: Entry,
    below: Below,
    /// For a file with several names.
    inode: Option<Inode>,
    /// Of a directory, whether the lower layers have something to show in it.
    merged: bool,
    /// Whether nothing of the lower layers shows in it, though they have something.
    opaque: bool,
}

/// A file with several names.
#[derive(Clone, Copy)]
struct Inode {
    /// Its device and number.
    id: (u64, u64),
    /// How many names it has.
    names: usize,
}

/// What the lower layers have in the place of a change.
enum Below {
    /// Nothing, or something else.
    Other,
    /// The same.
    Same,
    /// The same if the file holds this.
    SameIf(Kind),
}

impl Below {
    fn of(old: &Entry, new: &Entry) -> Self {
        let is_same =
            (new.mode, new.uid, new.gid) == (old.mode, old.uid, old.gid) && new.xattrs == old.xattrs;
        match (&new.kind, &old.kind) {
            (Kind::Directory, Kind::Directory) if is_same => Self::Same,
            (Kind::File { .. }, Kind::File { .. }) if is_same && new.mtime.secs == old.mtime.secs => {
                Self::SameIf(old.kind.clone())
            }
            _ => Self::Other,
        }
    }
}

impl Change {
    fn of(entry: Entry) -> Self {
        Self { entry, below: Below::Other, inode: None, merged: false, opaque: false }
    }

    /// Whether the lower layers do not have the same here. Always so for a file with several names, which would lose the others.
    fn counts(&self) -> bool {
        let is_same = match &self.below {
            Below::Other => false,
            Below::Same => true,
            Below::SameIf(kind) => self.entry.kind == *kind,
        };
        !is_same || self.inode.is_some() || self.opaque
    }
}

struct Walk<'a> {
    root: &'a Root,
    lower: &'a View,
    owners: Owners,
    /// The ids under which the caller's own files appear.
    own: (u32, u32),
    opaque: BTreeSet<LayerPath>,
    /// What stands in directories that were read, and whether the lower layers show in its place what they have: no opaque directory hides it.
    ahead: BTreeMap<LayerPath, bool>,
    /// The directory of what came last.
    latest: Option<(LayerPath, OwnedFd)>,
}

impl<'a> Walk<'a> {
    /// Starts with the root itself.
    fn new(root: &'a Root, lower: &'a View, owners: Owners) -> Self {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let ahead = BTreeMap::from([(LayerPath::root(), true)]);
        Self { root, lower, owners, own, opaque: BTreeSet::new(), ahead, latest: None }
    }

    /// The next change in the order of paths; files are not read yet.
    fn next(&mut self, stop: Stop<'_>) -> Result<Option<Change>, DiffError> {
        // Whatever is in a directory sorts after it.
        while let Some((path, shown)) = self.ahead.pop_first() {
            stop.check()?;
            let parent = path.parent().unwrap_or_default();
            let known = self.latest.take().filter(|(latest, _)| *latest == parent);
            let dir = known.map_or_else(|| self.open(&parent), |(_, dir)| Ok(dir))?;
            let change = self.look(&dir, (&path, shown))?;
            self.latest = Some((parent, dir));
            let Some(mut change) = change else { continue };
            if change.entry.kind == Kind::Directory {
                let dir = self.open(&path)?;
                let names = tree::names(dir.as_fd()).map_err(|error| self.read_error(&path, error))?;
                self.ahead.extend(names.iter().map(|name| (path.join(name), change.merged)));
                self.latest = Some((path.clone(), dir));
            }
            change.entry.path = path;
            return Ok(Some(change));
        }
        Ok(None)
    }

    fn open(&self, dir: &LayerPath) -> Result<OwnedFd, DiffError> {
        self.root.open_dir(dir).map_err(|error| self.read_error(dir, error))
    }

    /// What is at `path`, which is in `dir`; `None` for what makes no layer.
    fn look(
        &mut self,
        dir: &OwnedFd,
        (path, shown): (&LayerPath, bool),
    ) -> Result<Option<Change>, DiffError> {
        let failed = |error| self.read_error(path, error);
        let (dir, name): (_, &[u8]) = (dir.as_fd(), if path.is_root() { b"." } else { path.name() });
        let stat =
            rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| failed(errno.into()))?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Socket {
            return Ok(None);
        }
        let raw = tree::xattrs(dir, name, tree::interesting).map_err(failed)?;
        let Attributes { xattrs, opaque, whiteout } = Attributes::of(raw, path)?;
        let below = if shown { self.lower.lookup(path).map_err(failed)? } else { None };
        let below = below.map(|found| found.entry);
        let device_whiteout = file_type == FileType::CharacterDevice && stat.st_rdev == 0;
        if device_whiteout || (whiteout && file_type == FileType::RegularFile) {
            return Ok(below.is_some().then(|| Change::of(whiteout_entry())));
        }
        let kind = kind_of((dir, name), &stat).map_err(failed)?;
        let is_directory = |entry: &Entry| entry.kind == Kind::Directory;
        let merged = file_type == FileType::Directory && below.as_ref().is_some_and(is_directory);
        if merged && opaque {
            self.opaque.insert(path.clone());
        }
        let named_twice = file_type == FileType::RegularFile && stat.st_nlink > 1;
        let names = usize::try_from(stat.st_nlink).unwrap_or(usize::MAX);
        let inode = Inode { id: (stat.st_dev, stat.st_ino), names };
        let (uid, gid) = self.owner(&stat, below.as_ref());
        let mtime = Mtime { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
        let mode = stat.st_mode & 0o7777;
        let path = LayerPath::root();
        let entry = Entry { path, kind, mode, uid, gid, mtime, xattrs, offset: None };
        let below = below.map_or(Below::Other, |old| Below::of(&old, &entry));
        let inode = named_twice.then_some(inode);
        Ok(Some(Change { entry, below, inode, merged: merged && !opaque, opaque: merged && opaque }))
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

/// What is there; a file's digest comes later.
fn kind_of((dir, name): (BorrowedFd<'_>, &[u8]), stat: &Stat) -> io::Result<Kind> {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
            Kind::Symlink { target: target.into_bytes() }
        }
        FileType::CharacterDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Fifo => Kind::Fifo,
        _ => Kind::File { size: stat.st_size.cast_unsigned(), digest: Digest::from_bytes([0; 32]) },
    })
}

fn whiteout_entry() -> Entry {
    let implicit = crate::view::implicit_directory(LayerPath::root());
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

/// All changes, those that are none among them.
struct All {
    index: Builder,
    kept: Kept,
    /// Files with several names of which not all have come.
    first: HashMap<(u64, u64), First>,
}

/// The first name of a file with several, and its owner.
struct First {
    path: LayerPath,
    ids: (u32, u32),
    /// Names that are to come.
    left: usize,
}

impl All {
    fn new(dir: &Path) -> Self {
        Self { index: Index::builder_in(dir, HELD), kept: Kept::default(), first: HashMap::new() }
    }

    /// Takes the next changes, in order.
    fn take(&mut self, root: &Root, mut some: Vec<Change>, how: (usize, Stop<'_>)) -> Result<(), DiffError> {
        some.iter_mut().for_each(|change| self.join(change));
        hash(root, &mut some, how)?;
        for change in some {
            self.index.push(&change.entry);
            self.kept.add(&change.entry, change.counts());
        }
        Ok(())
    }

    /// Makes all but the first name of a file links to that.
    fn join(&mut self, change: &mut Change) {
        let Some(Inode { id, names }) = change.inode else { return };
        let entry = &mut change.entry;
        let new = || First { path: entry.path.clone(), ids: (entry.uid, entry.gid), left: names };
        let first = self.first.entry(id).or_insert_with(new);
        first.left = first.left.saturating_sub(1);
        if first.path != entry.path {
            entry.kind = Kind::Hardlink { target: first.path.clone() };
            (entry.uid, entry.gid) = first.ids;
        }
        if first.left == 0 {
            self.first.remove(&id);
        }
    }

    /// The index without what is as below.
    fn changed(self, opaque: BTreeSet<LayerPath>, dir: &Path) -> io::Result<Index> {
        let (kept, opaque) = (self.kept, opaque.into_iter().collect());
        if kept.all {
            return Ok(self.index.finish(opaque));
        }
        let all = self.index.finish(Vec::new());
        let mut changed = Index::builder_in(dir, HELD);
        for (number, entry) in all.iter().enumerate() {
            let entry = entry?;
            if kept.has(number) {
                changed.push(&entry);
            }
        }
        Ok(changed.finish(opaque))
    }
}

/// Which entries stay: those that count, and the directories that they are in, but for the root.
struct Kept {
    /// A bit for each.
    bits: Vec<u64>,
    count: usize,
    all: bool,
    /// Directories in which there may be more, and their numbers.
    open: Vec<(LayerPath, usize)>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { bits: Vec::new(), count: 0, all: true, open: Vec::new() }
    }
}

impl Kept {
    /// Takes the next entry, in order.
    fn add(&mut self, entry: &Entry, counts: bool) {
        let number = self.count;
        self.count += 1;
        self.bits.resize(number / 64 + 1, 0);
        let path = &entry.path;
        // Siblings such as `path-x` come before `path/x`.
        self.open.retain(|(dir, _)| path.is_within(dir) || *path < dir.join([0]));
        if counts {
            let above = self.open.iter().filter(|(dir, _)| path.is_within(dir)).map(|(_, number)| *number);
            above.chain([number]).for_each(|number| self.bits[number / 64] |= 1 << (number % 64));
        } else {
            self.all = false;
        }
        if entry.kind == Kind::Directory && !path.is_root() {
            self.open.push((path.clone(), number));
        }
    }

    fn has(&self, number: usize) -> bool {
        self.bits.get(number / 64).is_some_and(|bits| bits >> (number % 64) & 1 == 1)
    }
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
