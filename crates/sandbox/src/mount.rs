//! The kernel's mount calls by handle: make a mount, restrict it, attach it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::sys;

/// What every mount is that a sandboxed process can write to: it may make device nodes (Docker lets
/// it), but here they open nothing, as the devices control group sees to in Docker.
pub(crate) const NO_DEVICES: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;

/// Neither set-id programs nor devices nor any program.
pub(crate) const LOCKED_DOWN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// [`LOCKED_DOWN`] and not writable.
pub(crate) const READ_ONLY: MountAttrFlags = LOCKED_DOWN.union(MountAttrFlags::MOUNT_ATTR_RDONLY);

/// A new file system of type `name`, mounted nowhere yet.
pub(crate) fn filesystem(name: &CStr, options: &[(&str, &str)], how: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, how)?)
}

/// A copy of the mount at `path` under `directory` that starts there (a bind mount), mounted nowhere
/// yet. Submounts come along only where the kernel insists, because they were made by a more
/// privileged namespace.
pub(crate) fn bind(directory: BorrowedFd<'_>, path: &Path) -> io::Result<(OwnedFd, bool)> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    match open_tree(directory, path, flags) {
        Ok(mount) => Ok((mount, false)),
        Err(Errno::INVAL) => Ok((open_tree(directory, path, flags | OpenTreeFlags::AT_RECURSIVE)?, true)),
        Err(error) => Err(error.into()),
    }
}

/// [`bind`] of what `file` refers to, with restrictions.
pub(crate) fn bind_restricted(file: BorrowedFd<'_>, how: MountAttrFlags) -> io::Result<OwnedFd> {
    let (mount, recursive) = bind(file, Path::new(""))?;
    if !how.is_empty() {
        sys::set_mount_attributes(mount.as_fd(), recursive, u64::from(how.bits()))?;
    }
    Ok(mount)
}

/// Puts a mount on the mount point that `target` refers to.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags).map_err(Into::into)
}
