//! Owners, modes, attributes and times, in the order in which they do not undo each other: a change of owner clears set-id
//! bits and capabilities, a mode may forbid to set attributes, everything changes the time.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::Owners;
use super::place::Parent;
use crate::index::{Entry, Kind};
use crate::path::LayerPath;
use crate::places::{Place, Places};
use crate::tar::{Body, Member};
use crate::tree;
use crate::view::View;
use crate::xattr;

/// Directories and how they are to look in the end; nothing is known yet of those that only their children gave away. Until then
/// they are open to their owner, so that they can be filled.
pub(super) struct Directories(Places);

impl Directories {
    /// None so far; `dir` is where a file may be made for those that memory need not hold.
    pub(super) fn new(dir: &Path) -> Self {
        Self(Places::new(dir))
    }

    /// A directory that nobody described so far.
    pub(super) fn imply(&mut self, path: LayerPath) -> io::Result<()> {
        self.put(path, Place::Implied)
    }

    pub(super) fn describe(&mut self, member: &Member) -> io::Result<()> {
        self.put(member.path.clone(), Place::Inode(member.clone().into_entry()))
    }

    fn put(&mut self, path: LayerPath, place: Place) -> io::Result<()> {
        if self.0.get(&path)?.is_some_and(|known| known.is_leaf()) {
            self.0.renew(&path);
        }
        self.0.put(path, place)
    }

    /// `path` is no directory any more.
    pub(super) fn forget(&mut self, path: &LayerPath) -> io::Result<()> {
        match self.0.get(path)? {
            Some(Place::Implied | Place::Inode(_)) => self.0.put(path.clone(), Place::Shared(0)),
            _ => Ok(()),
        }
    }

    /// Hands over all and how they were described, parents after what they hold: their modes may forbid to go through.
    pub(super) fn deepest_first(
        self,
        take: &mut dyn FnMut(LayerPath, Option<Member>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut open: Vec<(LayerPath, Option<Member>)> = Vec::new();
        self.0.drain(&mut |path, place| {
            while let Some((done, member)) = open.pop_if(|(dir, _)| !path.may_lead_into(dir)) {
                take(done, member)?;
            }
            let member = match place {
                Place::Inode(entry) => Some(Member::from(&Entry { path: path.clone(), ..entry })),
                Place::Implied => None,
                Place::Whiteout | Place::Shared(_) => return Ok(()),
            };
            open.push((path, member));
            Ok(())
        })?;
        open.into_iter().rev().try_for_each(|(path, member)| take(path, member))
    }
}

/// A directory that nobody described is as in `lower`, else 0755 root.
pub(super) fn implied(path: &LayerPath, lower: Option<&View>) -> io::Result<Member> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Limits;

    #[test]
    fn what_was_replaced_is_forgotten_and_parents_come_last() {
        let dir = |path: &str, mode| Member { mode, ..Member::implicit_directory(LayerPath::clean(path)) };
        for limits in [(1, 2), (1, 9), (1 << 20, 2)].map(|(held, runs)| Limits { held, runs, tail: 0 }) {
            let dir_of_files = tempfile::tempdir().expect("a directory");
            let mut directories = Directories(Places::with_limits(dir_of_files.path(), limits));
            for path in ["", "a", "a/b", "a/b/c", "a-"] {
                directories.imply(LayerPath::clean(path)).expect("kept");
            }
            directories.describe(&dir("a/b", 1)).expect("kept");
            directories.describe(&dir("a-", 2)).expect("kept");
            for file in ["a/file", "a", "a-/file"] {
                directories.forget(&LayerPath::clean(file)).expect("kept");
            }
            directories.describe(&dir("a", 3)).expect("kept");
            directories.describe(&dir("a/d", 4)).expect("kept");
            let mut found = Vec::new();
            let mut take = |path: LayerPath, described: Option<Member>| {
                found.push((path.display(), described.map(|dir| dir.mode)));
                Ok(())
            };
            directories.deepest_first(&mut take).expect("read back");
            let expected = [("/a-", Some(2)), ("/a/d", Some(4)), ("/a", Some(3)), ("/", None)];
            assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)), "{limits:?}");
        }
    }
}
