//! The sandbox's tree of mounts, put together by handle.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};

use crate::backstage::{Backstage, EMPTY};
use crate::beneath;
use crate::error::{Action, Error, IdKind, failed};
use crate::mount::{NO_DEVICES, READ_ONLY, attach, bind_restricted, filesystem};
use crate::spec::{Mount, MountKind, Scratch, Spec};
use crate::{kernelfs, mount, overlay, stubs};

/// Neither set-id programs nor devices.
const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// The tree while it is being built.
struct Tree<'a> {
    root: BorrowedFd<'a>,
    backstage: &'a Backstage,
}

/// Attaches everything to `root`, a mount that is attached nowhere yet, and makes it `/`.
///
/// To be called by the first process of a new process id namespace, in the backstage's mount namespace.
pub(crate) fn enter(spec: &Spec, root: BorrowedFd<'_>, backstage: &Backstage) -> Result<(), Error> {
    let tree = Tree { root, backstage };
    let place = backstage.directory("root").map_err(failed(Action::Backstage))?;
    attach(root, place.as_fd()).map_err(failed(Action::Backstage))?;
    kernelfs::place_in(root, backstage)?;
    tree.configuration("etc/hosts", &spec.hosts)?;
    if let Some(content) = &spec.resolv_conf {
        tree.configuration("etc/resolv.conf", content)?;
    }
    for (number, mount) in spec.mounts.iter().enumerate() {
        tree.mount(number, mount)?;
    }
    pivot(root).map_err(failed(Action::Pivot))
}

/// Makes `root` the root and lets go of the old one with all that is mounted in it.
fn pivot(root: BorrowedFd<'_>) -> io::Result<()> {
    rustix::process::fchdir(root)?;
    // With both names the same, the old root lies on top of the new one and is what "." unmounts.
    rustix::process::pivot_root(c".", c".")?;
    unmount(c".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir(c"/")?)
}

impl Tree<'_> {
    /// A file of the sandbox's own that the process may write to without a trace.
    fn configuration(&self, path: &str, content: &[u8]) -> Result<(), Error> {
        let put = || {
            let file = self.backstage.file(&path.replace('/', "-"), content, 0o644)?;
            let target = beneath::open(self.root, Path::new(path))?;
            attach(bind_restricted(file.as_fd(), PLAIN)?.as_fd(), target.as_fd())
        };
        put().map_err(|source| Error::Mount { target: format!("/{path}"), source })
    }

    fn mount(&self, number: usize, mount: &Mount) -> Result<(), Error> {
        let made = self.make(number, &mount.kind, &mount.target)?;
        let kind = beneath::kind_of(made.as_fd())
            .map_err(|source| Error::Mount { target: mount.target.clone(), source })?;
        // Whatever is still missing lies in an earlier mount, where it may stay.
        let target = beneath::ensure(self.root, &beneath::normal(&mount.target), kind, &mut |_| ())
            .map_err(|source| Error::Target { target: mount.target.clone(), source })?;
        attach(made.as_fd(), target.as_fd())
            .map_err(|source| Error::Mount { target: mount.target.clone(), source })
    }

    /// Makes a mount that is attached nowhere yet.
    fn make(&self, number: usize, kind: &MountKind, target: &str) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Mount { target: target.to_owned(), source };
        match kind {
            MountKind::Bind { source, subpath, readonly } => bind_host(source, subpath.as_deref(), *readonly),
            MountKind::Socket { source } => bind_host(source, None, false),
            MountKind::Tmpfs { size, mode } => {
                let (mode, size) = (format!("{mode:o}"), size.map(|size| size.to_string()));
                let mut options = vec![("mode", mode.as_str())];
                options.extend(size.as_deref().map(|size| ("size", size)));
                filesystem(c"tmpfs", &options, PLAIN).map_err(failed)
            }
            MountKind::Overlay { lower, scratch, subpath } => {
                self.overlay(number, lower, scratch.as_ref(), subpath.as_deref())
            }
            MountKind::File { bytes, mode, uid, gid } => {
                let file = self.backstage.file(&format!("file{number}"), bytes, *mode).map_err(failed)?;
                give(file.as_fd(), *uid, *gid, target)?;
                let executable = mode & 0o111 != 0;
                let how = if executable { PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY } else { READ_ONLY };
                bind_restricted(file.as_fd(), how).map_err(failed)
            }
        }
    }

    /// Layers, or a part of them.
    fn overlay(
        &self,
        number: usize,
        lower: &[PathBuf],
        scratch: Option<&Scratch>,
        subpath: Option<&str>,
    ) -> Result<OwnedFd, Error> {
        let place =
            self.backstage.directory(&format!("overlay{number}")).map_err(failed(Action::Backstage))?;
        let empty = self.backstage.path(EMPTY);
        let whole = if lower.is_empty() && scratch.is_none() {
            mount::bind(rustix::fs::CWD, &empty).map_err(failed(Action::Backstage))?.0
        } else {
            // An overlay without a writable half needs two layers, so it gets an empty one.
            let layers: Vec<_> = lower.iter().chain([&empty]).cloned().collect();
            overlay::mount(&layers, scratch, &empty)?
        };
        let how = if scratch.is_some() { NO_DEVICES } else { NO_DEVICES | MountAttrFlags::MOUNT_ATTR_RDONLY };
        let part = || {
            attach(whole.as_fd(), place.as_fd())?;
            bind_restricted(
                beneath::open(whole.as_fd(), &beneath::normal(subpath.unwrap_or("")))?.as_fd(),
                how,
            )
        };
        part().map_err(|source| Error::Source { path: stubs::source_name(Path::new("/"), subpath), source })
    }
}

fn bind_host(source: &Path, subpath: Option<&str>, readonly: bool) -> Result<OwnedFd, Error> {
    let how = if readonly { NO_DEVICES | MountAttrFlags::MOUNT_ATTR_RDONLY } else { NO_DEVICES };
    beneath::open_host_sub(source, subpath)
        .and_then(|file| bind_restricted(file.as_fd(), how))
        .map_err(|error| Error::Source { path: stubs::source_name(source, subpath), source: error })
}

/// Changes the owner of a file that the sandbox made.
fn give(file: BorrowedFd<'_>, uid: u32, gid: u32, target: &str) -> Result<(), Error> {
    let one = |kind, id, owner, group| match rustix::fs::fchown(file, owner, group) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL) => Err(Error::Unmapped { kind, id }),
        Err(error) => Err(Error::Mount { target: target.to_owned(), source: error.into() }),
    };
    one(IdKind::User, uid, Some(Uid::from_raw(uid)), None)?;
    one(IdKind::Group, gid, None, Some(Gid::from_raw(gid)))
}
