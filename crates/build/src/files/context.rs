//! A build context: a directory of the host, seen through its ignore file.
//!
//! Only what an instruction names is looked at. Every access goes by a handle of the root with `RESOLVE_BENEATH` and
//! without following links, so no link in a context leads to the host.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kiln_dockerfile::ignore::Ignore;
use kiln_layer::index::Mtime;
use kiln_layer::path::LayerPath;
use kiln_layer::stop::Stop;
use kiln_oci::digest::{Digest, Hasher};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, StatxFlags, openat, openat2, statx};
use rustix::io::Errno;

use crate::error::{BuildErrorKind, IgnoredBy};
use crate::files::statcache::{Stamp, StatCache};
use crate::files::{Content, Files, Names, Node, NodeKind, Xattrs};

/// How many directories are kept open.
const RECENT: usize = 4;

/// A directory given as a context.
pub(crate) struct ContextFiles {
    root: PathBuf,
    handle: OwnedFd,
    whence: String,
    ignore: Option<(String, Ignore)>,
    // Threads that look at files side by side mostly read both.
    cache: RwLock<StatCache>,
    recent: RwLock<Vec<(LayerPath, Arc<OwnedFd>)>>,
}

impl ContextFiles {
    /// Opens `root`; `ignore` is its ignore file with its name.
    pub(crate) fn open(
        root: &Path,
        whence: String,
        ignore: Option<(String, Ignore)>,
        cache: StatCache,
    ) -> Result<Self, BuildErrorKind> {
        let handle =
            rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|e| io_at(root, "open", e))?;
        Ok(Self {
            root: root.to_owned(),
            handle,
            whence,
            ignore,
            cache: RwLock::new(cache),
            recent: RwLock::new(Vec::new()),
        })
    }

    /// Keeps what was learnt for the next build.
    pub(crate) fn save(&self) -> Result<(), BuildErrorKind> {
        Ok(write(&self.cache).save()?)
    }

    /// The directory on the host.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The digest of the file at `path`, if `stat` is what it was hashed under.
    pub(crate) fn known_digest(&self, path: &LayerPath, stat: &Stat) -> Option<Digest> {
        read(&self.cache).digest(path, &Stamp::of_stat(stat))
    }

    fn host_path(&self, path: &LayerPath) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.root.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
    }

    /// Opens a file or directory beneath the root.
    pub(crate) fn open_beneath(&self, path: &LayerPath, flags: OFlags) -> Result<OwnedFd, BuildErrorKind> {
        let name: &[u8] = if path.is_root() { b"." } else { path.as_bytes() };
        openat2(
            &self.handle,
            name,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
        .map_err(|e| io_at(&self.host_path(path), "open", e))
    }

    /// A handle of the directory `path`. The latest few are kept: whoever looks at a directory's files looks at all of them, and a few
    /// threads may.
    fn directory(&self, path: &LayerPath) -> Result<Arc<OwnedFd>, Errno> {
        if let Some((_, handle)) = read(&self.recent).iter().find(|(known, _)| known == path) {
            return Ok(handle.clone());
        }
        let name: &[u8] = if path.is_root() { b"." } else { path.as_bytes() };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let handle = Arc::new(openat2(&self.handle, name, flags, Mode::empty(), resolve)?);
        let mut recent = write(&self.recent);
        recent.truncate(RECENT - 1);
        recent.insert(0, (path.clone(), handle.clone()));
        Ok(handle)
    }

    /// What is on disk at `path`, whatever the ignore file says. A link on the way to it counts as absence: [`super::follow`]
    /// takes one component at a time.
    fn on_disk(&self, path: &LayerPath) -> Result<Option<Node>, BuildErrorKind> {
        let failed = |e| io_at(&self.host_path(path), "look at", e);
        let absent = |e| matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::LOOP);
        let dir = match self.directory(&path.parent().unwrap_or_default()) {
            Ok(dir) => dir,
            Err(e) if absent(e) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let name: &[u8] = if path.is_root() { b"." } else { path.name() };
        let stat = match statx(&*dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
            Ok(stat) => stat,
            Err(e) if absent(e) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let kind = match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
            FileType::RegularFile => NodeKind::File { size: stat.stx_size },
            FileType::Directory => NodeKind::Directory,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&*dir, name, Vec::new()).map_err(failed)?;
                NodeKind::Symlink { target: target.into_bytes() }
            }
            FileType::Fifo => NodeKind::Fifo,
            FileType::CharacterDevice => {
                NodeKind::CharDevice { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor }
            }
            FileType::BlockDevice => {
                NodeKind::BlockDevice { major: stat.stx_rdev_major, minor: stat.stx_rdev_minor }
            }
            // A socket, see `Files::is_socket`.
            _ => return Ok(None),
        };
        let stamp = Stamp::of(&stat);
        let is_file = matches!(kind, NodeKind::File { .. });
        let known = read(&self.cache).get(path, &stamp);
        let has_digest = known.is_some_and(|known| known.digest.is_some());
        let has_none = known.is_some_and(|known| known.no_xattrs);
        let unread = is_file && !has_digest && !has_none;
        let xattrs = if (is_file || kind == NodeKind::Directory) && !unread && !has_none {
            let xattrs = self.xattrs(path, (&dir, name))?;
            if xattrs.is_empty() {
                write(&self.cache).note(path, &stamp, None, true)?;
            }
            xattrs
        } else {
            Xattrs::new()
        };
        Ok(Some(Node {
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: 0,
            gid: 0,
            mtime: Mtime { secs: stat.stx_mtime.tv_sec, nanos: 0 },
            xattrs,
            unread,
            link: (is_file && stat.stx_nlink > 1).then_some((stamp.dev, stat.stx_ino)),
            stamp: Some(stamp),
            digest: known.and_then(|known| known.digest),
        }))
    }

    /// The attributes of what is called `name` in `dir`.
    fn xattrs(&self, path: &LayerPath, (dir, name): (&OwnedFd, &[u8])) -> Result<Xattrs, BuildErrorKind> {
        // There are no calls for a name below a handle; the handle's own name in /proc is as good.
        let by_handle = [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat();
        let list = |names: &mut [u8]| rustix::fs::llistxattr(by_handle.as_slice(), names);
        let get = |name: &[u8], value: &mut [u8]| rustix::fs::lgetxattr(by_handle.as_slice(), name, value);
        xattrs(list, get).map_err(|e| io_at(&self.host_path(path), "read the attributes of", e))
    }

    fn verdict(&self, path: &LayerPath, is_dir: bool) -> bool {
        match &self.ignore {
            Some((_, ignore)) if !path.is_root() => ignore.decide(path.as_bytes(), is_dir).ignored,
            _ => false,
        }
    }

    /// An ignored directory is there nevertheless if something below it is brought back.
    fn brought_back(&self, dir: &LayerPath) -> Result<bool, BuildErrorKind> {
        let Some((_, ignore)) = &self.ignore else { return Ok(true) };
        if !ignore.may_hold_reincluded(dir.as_bytes()) {
            return Ok(false);
        }
        for name in self.list(dir)? {
            if self.node(&dir.join(&name))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn list(&self, dir: &LayerPath) -> Result<Names, BuildErrorKind> {
        let handle = self.open_beneath(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let failed = |e| io_at(&self.host_path(dir), "list", e);
        let entries = rustix::fs::Dir::new(handle).map_err(failed)?;
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_owned()).map_err(failed));
        let real = |name: &CString| !matches!(name.as_bytes(), b"." | b"..");
        let names = names.filter(|name| name.as_ref().map_or(true, real));
        Names::sorted(names.map(|name| name.map(CString::into_bytes)))
    }
}

impl Files for ContextFiles {
    fn node(&self, path: &LayerPath) -> Result<Option<Node>, BuildErrorKind> {
        let Some(node) = self.on_disk(path)? else { return Ok(None) };
        if self.verdict(path, node.is_dir()) && !(node.is_dir() && self.brought_back(path)?) {
            return Ok(None);
        }
        Ok(Some(node))
    }

    fn is_socket(&self, path: &LayerPath) -> bool {
        let stat = self
            .directory(&path.parent().unwrap_or_default())
            .and_then(|dir| rustix::fs::statat(&*dir, path.name(), AtFlags::SYMLINK_NOFOLLOW));
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
    }

    fn children(&self, dir: &LayerPath) -> Result<Names, BuildErrorKind> {
        let names = self.list(dir)?;
        if self.ignore.is_none() {
            return Ok(names);
        }
        let shown = |name: Vec<u8>| match self.node(&dir.join(&name)) {
            Ok(node) => node.map(|_| Ok(name)),
            Err(error) => Some(Err(error)),
        };
        Names::sorted(names.filter_map(shown))
    }

    fn names(&self, dir: &LayerPath) -> Result<Names, BuildErrorKind> {
        self.list(dir)
    }

    fn known(&self, path: &LayerPath, node: &Node) -> Option<Digest> {
        node.digest.or_else(|| read(&self.cache).digest(path, &node.stamp?))
    }

    fn read(&self, path: &LayerPath, node: &Node, stop: Stop<'_>) -> Result<Content, BuildErrorKind> {
        let known = if node.unread { None } else { self.known(path, node) };
        if let Some(digest) = known {
            return Ok(Content { digest, xattrs: None });
        }
        let failed = |e| io_at(&self.host_path(path), "read", e);
        // A fifo that took the file's place must not block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = self
            .directory(&path.parent().unwrap_or_default())
            .and_then(|dir| openat(&*dir, path.name(), flags, Mode::empty()))
            .map_err(|e| io_at(&self.host_path(path), "open", e))?;
        let stat = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map_err(failed)?;
        if !FileType::from_raw_mode(u32::from(stat.stx_mode)).is_file() {
            return Err(failed(Errno::INVAL));
        }
        let stamp = Stamp::of(&stat);
        let xattrs = node.unread.then(|| {
            let list = |names: &mut [u8]| rustix::fs::flistxattr(&file, names);
            let get = |name: &[u8], value: &mut [u8]| rustix::fs::fgetxattr(&file, name, value);
            xattrs(list, get).map_err(failed)
        });
        let xattrs = xattrs.transpose()?;
        let digest = hash(&file, stat.stx_size, stop)?.map_err(failed)?;
        let has_none = xattrs.as_ref().is_some_and(Xattrs::is_empty);
        write(&self.cache).note(path, &stamp, Some(digest), has_none)?;
        Ok(Content { digest, xattrs })
    }

    fn whence(&self) -> &str {
        &self.whence
    }

    fn hidden_by(&self, path: &LayerPath) -> Option<IgnoredBy> {
        let (file, ignore) = self.ignore.as_ref()?;
        let node = self.on_disk(path).ok()??;
        let verdict = ignore.decide(path.as_bytes(), node.is_dir());
        let rule = verdict.rule.filter(|_| verdict.ignored)?;
        Some(IgnoredBy { file: file.clone(), line: rule.line, rule: rule.text.clone() })
    }
}

/// The attributes that belong to an image: file capabilities and `user.*`. Those of the host's security modules do not.
fn xattrs(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Xattrs, Errno> {
    let mut room = [0; 256];
    let mut more = Vec::new();
    let names = match list(&mut room) {
        Ok(length) => &room[..length],
        Err(Errno::NOTSUP) => &[],
        Err(Errno::RANGE) => {
            // The kernel has no longer lists than this.
            more.resize(65536, 0);
            let length = list(&mut more)?;
            &more[..length]
        }
        Err(errno) => return Err(errno),
    };
    let ours = |n: &&[u8]| {
        *n == b"security.capability" || (n.starts_with(b"user.") && !n.starts_with(b"user.overlay."))
    };
    let mut found = Xattrs::new();
    for name in names.split(|b| *b == 0).filter(ours) {
        let mut value = vec![0; 65536];
        let length = get(name, &mut value)?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

/// Hashes a regular file of about `size` bytes.
fn hash(file: &OwnedFd, size: u64, stop: Stop<'_>) -> Result<Result<Digest, Errno>, BuildErrorKind> {
    let mut hasher = Hasher::new();
    // One byte more, so that a small file ends with its first read.
    let mut buffer = vec![0; size.saturating_add(1).min(128 << 10) as usize];
    loop {
        stop.check().map_err(std::io::Error::from)?;
        let count = match rustix::io::read(file, &mut buffer) {
            Ok(count) => count,
            Err(errno) => return Ok(Err(errno)),
        };
        hasher.update(&buffer[..count]);
        if count < buffer.len() {
            return Ok(Ok(hasher.finish()));
        }
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

fn io_at(path: &Path, what: &str, errno: Errno) -> BuildErrorKind {
    let error = std::io::Error::from(errno);
    BuildErrorKind::Io(std::io::Error::new(
        error.kind(),
        format!("cannot {what} {}: {error}", path.display()),
    ))
}
