//! A tmpfs of the sandbox's own that no path of the finished tree leads to: the source of files,
//! devices, and mount points, at the price of memory only.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::mount::{attach, filesystem};
use crate::{beneath, sys};

/// Its empty directory, to hide others with.
pub(crate) const EMPTY: &str = "empty";

/// The tmpfs, mounted in a mount namespace that nobody else sees.
pub(crate) struct Backstage {
    mount: OwnedFd,
    place: PathBuf,
    /// The mount namespace that the process came from.
    outside: OwnedFd,
}

impl Backstage {
    /// Moves this process into a mount namespace of its own and mounts the tmpfs over `place`.
    pub(crate) fn enter(place: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let outside = rustix::fs::openat(rustix::fs::CWD, c"/proc/self/ns/mnt", flags, Mode::empty())?;
        sys::unshare(UnshareFlags::NEWNS)?;
        // Nothing that is mounted from here on may show outside, and the other way round.
        mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let mount = filesystem(c"tmpfs", &[("mode", "755")], MountAttrFlags::MOUNT_ATTR_NOSUID)?;
        attach(mount.as_fd(), beneath::open_host(place)?.as_fd())?;
        Ok(Self { mount, place: place.to_owned(), outside })
    }

    /// Goes back to where the process came from. With the last process gone, everything in the mount
    /// namespace is unmounted; it cannot be unmounted by name, for its root may be locked.
    pub(crate) fn leave(self) -> io::Result<()> {
        let kind = Some(LinkNameSpaceType::Mount);
        Ok(move_into_link_name_space(self.outside.as_fd(), kind)?)
    }

    /// The tmpfs's root.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// A path in the tmpfs; good until the root is changed.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// A new directory.
    pub(crate) fn directory(&self, name: &str) -> io::Result<OwnedFd> {
        rustix::fs::mkdirat(&self.mount, name, Mode::from(0o755))?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.mount, name, flags, Mode::empty())?)
    }

    /// A new file.
    pub(crate) fn file(&self, name: &str, content: &[u8], mode: u32) -> io::Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.mount, name, flags, Mode::from(0o600))?;
        let mut rest = content;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        rustix::fs::fchmod(&file, Mode::from(mode & 0o7777))?;
        Ok(file)
    }
}
