//! Overlay mounts, always with `userxattr`, so that root's and a user's stores look alike.
//!
//! Directories are handed to the kernel as `/proc/self/fd/N`: that has no length limit to run
//! into, needs no escaping, and leaves no path of the host in the sandbox's mount table.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::beneath;
use crate::error::Error;
use crate::mount;
use crate::spec::Scratch;

/// Directories of one overlay, opened.
struct Opened {
    lower: Vec<OwnedFd>,
    scratch: Option<(OwnedFd, OwnedFd)>,
}

/// A new overlay, mounted nowhere yet: `lower` topmost first, and `scratch` for the writes.
///
/// `anchor` is a directory to mount on for a moment, where an old kernel knows no other way; nobody
/// else may see this process's mounts.
pub(crate) fn mount(lower: &[PathBuf], scratch: Option<&Scratch>, anchor: &Path) -> Result<OwnedFd, Error> {
    allow_files(lower.len());
    let opened = open(lower, scratch)?;
    let failed =
        |detail: String, error: io::Error| Error::Overlay { layers: lower.len(), detail, source: error };
    match by_context(&opened) {
        Ok(mount) => Ok(mount),
        // Before 6.7 there is no `lowerdir+`.
        Err((detail, Errno::INVAL | Errno::NOSYS)) => {
            by_options(&opened, anchor).map_err(|error| failed(detail, error))
        }
        Err((detail, error)) => Err(failed(detail, error.into())),
    }
}

/// Makes room for one descriptor per layer.
fn allow_files(layers: usize) {
    let mut limit = getrlimit(Resource::Nofile);
    let needed = layers as u64 + 64;
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(limit.maximum.map_or(needed, |maximum| needed.min(maximum)));
        // Where it is refused, opening the layers says so.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

fn open(lower: &[PathBuf], scratch: Option<&Scratch>) -> Result<Opened, Error> {
    let open = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(rustix::fs::CWD, path, flags, Mode::empty())
            .map_err(|error| Error::Source { path: beneath::shown(path), source: error.into() })
    };
    let scratch = scratch.map(|scratch| Ok((open(&scratch.upper)?, open(&scratch.work)?)));
    Ok(Opened {
        lower: lower.iter().map(|path| open(path)).collect::<Result<_, _>>()?,
        scratch: scratch.transpose()?,
    })
}

fn name(directory: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", directory.as_raw_fd())
}

fn by_context(opened: &Opened) -> Result<OwnedFd, (String, Errno)> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| (String::new(), error))?;
    let configure = || {
        fsconfig_set_flag(context.as_fd(), c"userxattr")?;
        for lower in &opened.lower {
            fsconfig_set_string(context.as_fd(), c"lowerdir+", name(lower))?;
        }
        if let Some((upper, work)) = &opened.scratch {
            fsconfig_set_flag(context.as_fd(), c"volatile")?;
            fsconfig_set_string(context.as_fd(), c"upperdir", name(upper))?;
            fsconfig_set_string(context.as_fd(), c"workdir", name(work))?;
        }
        fsconfig_create(context.as_fd())?;
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    configure().map_err(|error| (explanation(&context), error))
}

/// The messages that the kernel left in a file system context.
fn explanation(context: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut line = [0; 512];
    while let Ok(length) = rustix::io::read(context, &mut line) {
        lines.push(String::from_utf8_lossy(&line[..length]).trim().to_owned());
    }
    lines.join("; ")
}

/// The old way: one string of options, which must fit a page, and a place to mount on.
fn by_options(opened: &Opened, anchor: &Path) -> io::Result<OwnedFd> {
    let lower: Vec<_> = opened.lower.iter().map(name).collect();
    let mut options = format!("userxattr,lowerdir={}", lower.join(":"));
    if let Some((upper, work)) = &opened.scratch {
        options.push_str(&format!(",volatile,upperdir={},workdir={}", name(upper), name(work)));
    }
    if options.len() >= 4096 {
        return Err(Errno::TOOBIG.into());
    }
    let options = CString::new(options)?;
    rustix::mount::mount(c"overlay", anchor, c"overlay", MountFlags::empty(), options.as_c_str())?;
    let copy = mount::bind(rustix::fs::CWD, anchor).map(|(mount, _)| mount);
    rustix::mount::unmount(anchor, UnmountFlags::DETACH)?;
    copy
}
