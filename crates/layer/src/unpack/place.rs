//! Making one name in one open directory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags, makedev};
use rustix::io::Errno;

use crate::path::LayerPath;
use crate::tar::Body;
use crate::tree::{self, Root};

/// A directory that holds what is being placed.
pub(super) type Parent = Arc<OwnedFdRef>;

/// An open directory, shared by the members in it.
pub(super) struct OwnedFdRef(OwnedFd);

impl AsFd for OwnedFdRef {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The directory used last; members come directory by directory.
#[derive(Default)]
pub(super) struct Parents {
    last: Option<(LayerPath, Parent)>,
}

impl Parents {
    /// Opens the directory `wanted`. Missing ones are made, private for now, and told to `made`.
    pub(super) fn open(
        &mut self,
        root: &Root,
        wanted: &LayerPath,
        made: &mut dyn FnMut(LayerPath) -> io::Result<()>,
    ) -> io::Result<Parent> {
        if let Some((last, fd)) = &self.last
            && last == wanted
        {
            return Ok(Arc::clone(fd));
        }
        let mut fd = tree::walk(root.fd(), &LayerPath::root())?;
        let mut at = LayerPath::root();
        for name in wanted.components() {
            at = at.join(name);
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::PATH;
            fd = match rustix::fs::openat(&fd, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&fd, name, Mode::RWXU)?;
                    made(at.clone())?;
                    rustix::fs::openat(&fd, name, flags, Mode::empty())?
                }
                other => other?,
            };
        }
        let fd = Arc::new(OwnedFdRef(fd));
        self.last = Some((wanted.clone(), Arc::clone(&fd)));
        Ok(fd)
    }

    /// Something else stands at `path` now.
    pub(super) fn forget(&mut self, path: &LayerPath) {
        if self.last.as_ref().is_some_and(|(last, _)| last.is_within(path)) {
            self.last = None;
        }
    }
}

/// Runs `make`; if something is in the way, removes it and runs `make` again.
fn replacing<T>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn() -> rustix::io::Result<T>,
) -> io::Result<T> {
    match make() {
        Err(Errno::EXIST) => {
            tree::remove(parent, name)?;
            Ok(make()?)
        }
        other => Ok(other?),
    }
}

pub(super) fn new_file(parent: &Parent, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    replacing(parent.as_fd(), name, || rustix::fs::openat(parent, name, flags, mode)).map(File::from)
}

pub(super) fn reopen(parent: &Parent, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(parent, name, flags, Mode::empty())?))
}

/// Writes all of `content`, leaving out what is zero anyway.
pub(super) fn fill(file: &mut File, size: u64, content: &mut dyn Read) -> io::Result<()> {
    let mut buffer = vec![0; (64 << 10).min(size.max(1) as usize)];
    let (mut position, mut hole) = (0u64, false);
    while position < size {
        let length = (buffer.len() as u64).min(size - position) as usize;
        let piece = &mut buffer[..length];
        content.read_exact(piece)?;
        let zeros = length >= 4096 && piece.iter().all(|b| *b == 0);
        if !zeros {
            if hole {
                file.seek(SeekFrom::Start(position))?;
            }
            file.write_all(piece)?;
        }
        hole = zeros;
        position += length as u64;
    }
    if hole {
        file.set_len(size)?;
    }
    Ok(())
}

/// Makes a directory, private for now, unless there is one.
pub(super) fn new_directory(parent: &Parent, name: &[u8]) -> io::Result<()> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) => {}
        other => return Ok(other?),
    }
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(());
    }
    tree::remove(parent.as_fd(), name)?;
    Ok(rustix::fs::mkdirat(parent, name, Mode::RWXU)?)
}

pub(super) fn hardlink(from: &Parent, target: &[u8], parent: &Parent, name: &[u8]) -> io::Result<()> {
    // Without AT_SYMLINK_FOLLOW a link to a link is one more name of the link itself.
    replacing(parent.as_fd(), name, || rustix::fs::linkat(from, target, parent, name, AtFlags::empty()))
}

pub(super) fn whiteout(parent: &Parent, name: &[u8]) -> io::Result<()> {
    replacing(parent.as_fd(), name, || {
        rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))
    })
}

pub(super) fn mark_opaque(dir: &OwnedFd) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(dir, "user.overlay.opaque", b"y", XattrFlags::empty())?)
}

/// Makes a symbolic link, fifo or device; `false` if it is a device and making one is not allowed.
pub(super) fn special(parent: &Parent, name: &[u8], body: &Body) -> io::Result<bool> {
    let node = |kind, major, minor| {
        let mode = Mode::RUSR | Mode::WUSR;
        replacing(parent.as_fd(), name, || {
            rustix::fs::mknodat(parent, name, kind, mode, makedev(major, minor))
        })
    };
    let made = match body {
        Body::Symlink { target } => {
            return replacing(parent.as_fd(), name, || {
                rustix::fs::symlinkat(target.as_slice(), parent, name)
            })
            .map(|()| true);
        }
        Body::CharDevice { major, minor } => node(FileType::CharacterDevice, *major, *minor),
        Body::BlockDevice { major, minor } => node(FileType::BlockDevice, *major, *minor),
        Body::Fifo => return node(FileType::Fifo, 0, 0).map(|()| true),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // What was there before is replaced by nothing, not left to be taken for the device.
            tree::remove(parent.as_fd(), name)?;
            Ok(false)
        }
        other => other.map(|()| true),
    }
}
