//! Owners, modes, attributes and times, in the order in which they do not undo each other: a change of owner clears set-id
//! bits and capabilities, a mode may forbid to set attributes, everything changes the time.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::Owners;
use super::place::Parent;
use crate::index::Kind;
use crate::path::LayerPath;
use crate::tar::{Body, Member};
use crate::tree;
use crate::view::View;
use crate::xattr;

/// Directories and how they are to look in the end; nothing is known yet of those that only their children gave away. Until then
/// they are open to their owner, so that they can be filled.
#[derive(Default)]
pub(super) struct Directories(BTreeMap<LayerPath, Option<Member>>);

impl Directories {
    /// A directory that nobody described so far.
    pub(super) fn imply(&mut self, path: LayerPath) {
        self.0.insert(path, None);
    }

    pub(super) fn describe(&mut self, member: &Member) {
        self.0.insert(member.path.clone(), Some(member.clone()));
    }

    /// `path` is no directory any more.
    pub(super) fn forget(&mut self, path: &LayerPath) {
        self.0.remove(path);
        let below = |at: &LayerPath| at.is_within(path);
        while let Some((found, _)) = self.0.range(path.join([0])..).next().filter(|(at, _)| below(at)) {
            let found = found.clone();
            self.0.remove(&found);
        }
    }

    /// Parents come after what they hold: their modes may forbid to go through. A directory that nobody described is as in `lower`, else
    /// 0755 root.
    pub(super) fn deepest_first(
        self,
        lower: Option<&View>,
    ) -> impl Iterator<Item = (LayerPath, io::Result<Member>)> {
        self.0.into_iter().rev().map(move |(path, member)| {
            let member = member.map_or_else(|| implied(&path, lower), Ok);
            (path, member)
        })
    }
}

fn implied(path: &LayerPath, lower: Option<&View>) -> io::Result<Member> {
    Ok(match lower.map_or(Ok(None), |view| view.lookup(path))? {
        Some(found) if found.entry.kind == Kind::Directory => Member::from(&found.entry),
        _ => Member::implicit_directory(path.clone()),
    })
}

/// Sets everything on an open file or directory. `false`: an attribute is missing, since the caller may not set it.
pub(super) fn set_by_handle(fd: impl AsFd, member: &Member, owners: Owners) -> io::Result<bool> {
    if owners == Owners::Keep {
        rustix::fs::fchown(&fd, Some(uid(member)), Some(gid(member)))?;
    }
    let complete =
        set_xattrs(member, |name, value| rustix::fs::fsetxattr(&fd, name, value, XattrFlags::empty()))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(member.mode))?;
    rustix::fs::futimens(&fd, &times(member))?;
    Ok(complete)
}

/// The same for what must not be opened: links, fifos, devices.
pub(super) fn set_by_name(parent: &Parent, name: &[u8], member: &Member, owners: Owners) -> io::Result<bool> {
    let link = matches!(member.body, Body::Symlink { .. });
    if owners == Owners::Keep {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, name, Some(uid(member)), Some(gid(member)), flags)?;
    }
    if !link {
        // Made a moment ago in a directory that nobody else writes to, so not a link.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(member.mode), AtFlags::empty())?;
    }
    let mut complete = true;
    if !member.xattrs.is_empty() {
        let path = tree::proc_path(parent.as_fd(), name)?;
        complete =
            set_xattrs(member, |name, value| rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()))?;
    }
    rustix::fs::utimensat(parent, name, &times(member), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(complete)
}

fn set_xattrs(member: &Member, set: impl Fn(&[u8], &[u8]) -> rustix::io::Result<()>) -> io::Result<bool> {
    let mut complete = true;
    for (name, value) in &member.xattrs {
        if !xattr::belongs_to_image(name) {
            continue;
        }
        match set(name, value) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::NOTSUP) => complete = false,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(complete)
}

fn uid(member: &Member) -> Uid {
    Uid::from_raw(member.uid)
}

fn gid(member: &Member) -> Gid {
    Gid::from_raw(member.gid)
}

fn times(member: &Member) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: member.mtime.secs, tv_nsec: member.mtime.nanos.into() },
    }
}
