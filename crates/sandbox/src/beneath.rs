//! Paths resolved beneath a directory handle: a hostile root filesystem's symbolic links and `..`
//! end at its own root, whatever happens meanwhile.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Symbolic links followed before a path counts as a loop, as the kernel does.
const LINK_LIMIT: usize = 40;

/// What a mount point must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

/// Something that [`ensure`] makes.
pub(crate) struct Made {
    /// The directory that it is made in.
    pub(crate) parent: OwnedFd,
    /// That directory's path beneath the root, without symbolic links.
    pub(crate) parent_path: PathBuf,
    /// Its name there.
    pub(crate) name: OsString,
    /// What it is.
    pub(crate) kind: Kind,
}

/// Opens `path` (`O_PATH`) with `root` as its root, following symbolic links.
pub(crate) fn open(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    resolve(root, path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` (`O_PATH`) beneath `root`; a symbolic link anywhere in it is an error.
pub(crate) fn open_exactly(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    resolve(root, path, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
}

fn resolve(root: BorrowedFd<'_>, path: &Path, how: ResolveFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), how) {
            // A rename somewhere on the machine raced with a `..`: the kernel asks to try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}

/// The absolute path that `path` means lexically, as a relative one: `..` never rises above `/`.
pub(crate) fn normal(path: &str) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => {
                parts.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    parts
}

/// Opens `path` as [`open`] does and makes what is missing of it: directories `0755`, and an empty
/// file or a directory at the end. Before it makes something it hands it to `announce`.
pub(crate) fn ensure(
    root: BorrowedFd<'_>,
    path: &Path,
    kind: Kind,
    announce: &mut dyn FnMut(Made),
) -> io::Result<OwnedFd> {
    match open(root, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let mut todo: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
    let (mut done, mut links) = (PathBuf::new(), 0);
    while let Some(name) = todo.pop_front() {
        if name == "/" || name == "." {
            continue;
        } else if name == ".." {
            done.pop();
            continue;
        }
        let parent = open_exactly(root, &done)?;
        match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                links += 1;
                if links > LINK_LIMIT {
                    return Err(Errno::LOOP.into());
                }
                let link = rustix::fs::readlinkat(&parent, &name, Vec::new())?;
                let link = PathBuf::from(OsString::from_vec(link.into_bytes()));
                if link.is_absolute() {
                    done.clear();
                }
                for part in link.iter().rev() {
                    todo.push_front(part.to_owned());
                }
                continue;
            }
            Ok(_) => {}
            Err(Errno::NOENT) => {
                let kind = if todo.is_empty() { kind } else { Kind::Directory };
                let made = Made { parent, parent_path: done.clone(), name: name.clone(), kind };
                let parent = made.parent.try_clone()?;
                announce(made);
                make(parent.as_fd(), &name, kind)?;
            }
            Err(error) => return Err(error.into()),
        }
        done.push(name);
    }
    open_exactly(root, &done)
}

fn make(parent: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> io::Result<()> {
    match kind {
        Kind::Directory => rustix::fs::mkdirat(parent, name, Mode::from(0o755))?,
        Kind::File => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(parent, name, flags, Mode::from(0o644)).map(drop)?;
        }
    }
    Ok(())
}

/// Whether the open file is a directory.
pub(crate) fn kind_of(file: BorrowedFd<'_>) -> io::Result<Kind> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    let directory = FileType::from_raw_mode(mode) == FileType::Directory;
    Ok(if directory { Kind::Directory } else { Kind::File })
}

/// Opens a path of the host (`O_PATH`).
pub(crate) fn open_host(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty()).map_err(Into::into)
}

/// Opens `path`, and `subpath` in it with `path` as the root.
pub(crate) fn open_host_sub(path: &Path, subpath: Option<&str>) -> io::Result<OwnedFd> {
    let whole = open_host(path)?;
    match subpath {
        Some(subpath) => open(whole.as_fd(), &normal(subpath)),
        None => Ok(whole),
    }
}

/// Path bytes without a NUL, for messages and names.
pub(crate) fn shown(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}
