//! Directories by handle. Every path below a [`Root`] is opened component by component without following symbolic links, so
//! whatever a hostile archive or command left in the tree, nothing outside of it is reached.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use kiln_oci::digest::Digest;

use crate::path::LayerPath;
use crate::xattr;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory that stands for the root of a filesystem tree.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    known: Known,
}

/// Says what a file's bytes hash to if it is still as described.
type Look = Box<dyn Fn(&LayerPath, &Stat) -> Option<Digest> + Send + Sync>;

#[derive(Default)]
struct Known(Option<Look>);

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Known(..)" } else { "Known" })
    }
}

impl Root {
    /// Opens the directory at `path`; here, and only here, symbolic links are followed.
    ///
    /// # Errors
    /// With the path in the message.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|errno| named("open", &path.to_string_lossy(), errno.into()))?;
        Ok(Self { fd, path: path.to_owned(), known: Known::default() })
    }

    /// The same root, which believes `known` for what a file hashes to: `known` sees the path and what `fstat` says now, and answers
    /// only if the file was hashed in that state and a change since would show in it.
    #[must_use]
    pub fn knowing(
        self,
        known: impl Fn(&LayerPath, &Stat) -> Option<Digest> + Send + Sync + 'static,
    ) -> Self {
        Self { known: Known(Some(Box::new(known))), ..self }
    }

    /// Opens a file as [`Root::open_file`] does; with its digest and state, if they are known.
    pub(crate) fn open_known(&self, path: &LayerPath) -> io::Result<(File, Option<(Digest, Stat)>)> {
        let (file, stat) = self.try_open_file(path).map_err(|error| self.named("open", path, error))?;
        let digest = self.known.0.as_ref().and_then(|known| known(path, &stat));
        Ok((file, digest.map(|digest| (digest, stat))))
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the regular file at `path` for reading.
    ///
    /// # Errors
    /// With the path in the message; a symbolic link on the way or at the end, and anything that is no regular file, are
    /// errors too.
    pub fn open_file(&self, path: &LayerPath) -> io::Result<File> {
        let opened = self.try_open_file(path).map_err(|error| self.named("open", path, error))?;
        Ok(opened.0)
    }

    fn try_open_file(&self, path: &LayerPath) -> io::Result<(File, Stat)> {
        // A fifo that took the file's place must not block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match open_beneath(self.fd.as_fd(), path, flags) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.open_unreadable(path, flags)?
            }
            other => other?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok((File::from(fd), stat))
    }

    /// Opens a file that belongs to the caller, who took the right to read it away: some distributions keep `/etc/shadow` with
    /// mode 0000. The mode is put back at once.
    fn open_unreadable(&self, path: &LayerPath, flags: OFlags) -> io::Result<OwnedFd> {
        let fd = open_beneath(self.fd.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC)?;
        let stat = rustix::fs::fstat(&fd)?;
        let own = stat.st_uid == rustix::process::geteuid().as_raw();
        if !own || FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // By the handle's own name, so that it is this file whatever happens to the path.
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        rustix::fs::chmod(&name, mode | Mode::RUSR)?;
        let opened = rustix::fs::open(&name, flags - OFlags::NOFOLLOW, Mode::empty());
        rustix::fs::chmod(&name, mode)?;
        Ok(opened?)
    }

    /// Opens the directory at `path` for reading.
    pub(crate) fn open_dir(&self, path: &LayerPath) -> io::Result<OwnedFd> {
        if path.is_root() {
            return Ok(rustix::fs::openat(&self.fd, ".", DIRECTORY | OFlags::RDONLY, Mode::empty())?);
        }
        open_beneath(self.fd.as_fd(), path, DIRECTORY | OFlags::RDONLY)
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn named(&self, doing: &str, path: &LayerPath, error: io::Error) -> io::Error {
        named(doing, &format!("{}{}", self.path.display(), path.display()), error)
    }
}

/// An I/O error that says what was done to which path.
pub(crate) fn named(doing: &str, path: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {doing} {path}: {error}"))
}

fn open_beneath(root: BorrowedFd<'_>, path: &LayerPath, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(root, path.as_bytes(), flags, Mode::empty(), resolve) {
        // Old kernels have no openat2, and some containers' seccomp profiles forbid it.
        Err(Errno::NOSYS | Errno::PERM) => {}
        other => return Ok(other?),
    }
    let parent = walk(root, &path.parent().unwrap_or_default())?;
    Ok(rustix::fs::openat(&parent, path.name(), flags | OFlags::NOFOLLOW, Mode::empty())?)
}

/// Opens directory after directory, none of them through a link. The result is good for `*at` calls only.
pub(crate) fn walk(root: BorrowedFd<'_>, path: &LayerPath) -> io::Result<OwnedFd> {
    let mut at = rustix::fs::openat(root, ".", DIRECTORY | OFlags::PATH, Mode::empty())?;
    for name in path.components() {
        at = rustix::fs::openat(&at, name, DIRECTORY | OFlags::PATH, Mode::empty())?;
    }
    Ok(at)
}

/// The names in a directory (a descriptor open for reading), sorted.
pub(crate) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes `name` in `parent` and, if it is a directory, all below it. Nothing there: no error.
pub(crate) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return Ok(other?),
    }
    let dir = rustix::fs::openat(parent, name, DIRECTORY | OFlags::RDONLY, Mode::empty())?;
    for child in names(dir.as_fd())? {
        remove(dir.as_fd(), &child)?;
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// A path to `name` in `parent` for the calls that know no directory handles.
pub(crate) fn proc_path(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<CString> {
    let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat();
    CString::new(path).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The attributes of `name` in `parent`, of whatever type and without following it; every one that `wanted` wants.
pub(crate) fn xattrs(
    parent: BorrowedFd<'_>,
    name: &[u8],
    wanted: impl Fn(&[u8]) -> bool,
) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(parent, name)?;
    let mut list = Vec::new();
    loop {
        let size = match rustix::fs::llistxattr_query(&path) {
            Err(Errno::NOTSUP) | Ok(0) => return Ok(Vec::new()),
            other => other?,
        };
        list.resize(size, 0);
        match rustix::fs::llistxattr(&path, &mut list[..]) {
            Ok(n) => break list.truncate(n),
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut found = Vec::new();
    for key in list.split(|b| *b == 0).filter(|key| !key.is_empty() && wanted(key)) {
        if let Some(value) = xattr_value(&path, key)? {
            found.push((key.to_vec(), value));
        }
    }
    Ok(found)
}

fn xattr_value(path: &CString, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
    // The largest value that Linux has.
    let mut value = vec![0; 64 << 10];
    match rustix::fs::lgetxattr(path, key, &mut value[..]) {
        Ok(n) => {
            value.truncate(n);
            Ok(Some(value))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// [`xattrs`] that belong to an image or tell of overlayfs's doings.
pub(crate) fn interesting(name: &[u8]) -> bool {
    xattr::belongs_to_image(name) || xattr::is_overlay(name)
}
