//! Overlay mounts, always with `userxattr`, so that root's and a user's stores look alike.
//!
//! Directories are handed to the kernel as `.` while the process stands in them, or where it is too old for one at a time as
//! `/proc/self/fd/N`: that has no length limit to run into, needs no escaping, and leaves no path of the host in the sandbox's mount
//! table, as descriptors would.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::beneath;
use crate::error::Error;
use crate::mount;
use crate::spec::Scratch;

/// A new overlay, mounted nowhere yet: `lower` topmost first, and `scratch` for the writes.
///
/// `anchor` is a directory to mount on for a moment, where an old kernel knows no other way; nobody
/// else may see this process's mounts.
pub(crate) fn mount(lower: &[PathBuf], scratch: Option<&Scratch>, anchor: &Path) -> Result<OwnedFd, Error> {
    let layers = lower.len();
    let failed = |detail: String, source: io::Error| Error::Overlay { layers, detail, source };
    match by_context(lower, scratch) {
        Ok(mount) => Ok(mount),
        // Before 6.7 there is no `lowerdir+`.
        Err(Refusal::Kernel { error: Errno::INVAL | Errno::NOSYS, detail }) => {
            let opened = open_all(lower, scratch)?;
            by_options(&opened, anchor).map_err(|error| failed(detail, error))
        }
        Err(Refusal::Kernel { detail, error }) => Err(failed(detail, error.into())),
        Err(Refusal::Directory(error)) => Err(error),
    }
}

/// Why an overlay was not made by steps.
enum Refusal {
    /// One of its directories cannot be entered.
    Directory(Error),
    /// The kernel refuses, with what it said.
    Kernel { detail: String, error: Errno },
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Self::Kernel { detail: String::new(), error }
    }
}

fn unusable(path: &Path, error: Errno) -> Error {
    Error::Source { path: beneath::shown(path), source: error.into() }
}

/// The way of today: step by step. The working directory is afterwards what it was, or the root if that cannot be entered, as where
/// root has become another user in a directory of its own.
fn by_context(lower: &[PathBuf], scratch: Option<&Scratch>) -> Result<OwnedFd, Refusal> {
    let context = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &CStr, directory: &Path| -> Result<(), Refusal> {
        rustix::process::chdir(directory).map_err(|error| Refusal::Directory(unusable(directory, error)))?;
        Ok(fsconfig_set_string(context.as_fd(), key, c".")?)
    };
    let configure = || {
        fsconfig_set_flag(context.as_fd(), c"userxattr")?;
        lower.iter().try_for_each(|lower| set(c"lowerdir+", lower))?;
        if let Some(scratch) = scratch {
            fsconfig_set_flag(context.as_fd(), c"volatile")?;
            set(c"upperdir", &scratch.upper)?;
            set(c"workdir", &scratch.work)?;
        }
        fsconfig_create(context.as_fd())?;
        Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
    };
    let here = rustix::fs::openat(rustix::fs::CWD, c".", DIRECTORY, Mode::empty());
    let mounted = configure();
    match here {
        Ok(here) => rustix::process::fchdir(here)?,
        Err(_) => rustix::process::chdir(c"/")?,
    }
    mounted.map_err(|refusal| match refusal {
        Refusal::Kernel { error, .. } => Refusal::Kernel { detail: explanation(&context), error },
        directory => directory,
    })
}

/// How a directory is opened that is only to be named.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The messages that the kernel left in a file system context.
fn explanation(context: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut line = [0; 512];
    while let Ok(length) = rustix::io::read(context, &mut line) {
        lines.push(String::from_utf8_lossy(&line[..length]).trim().to_owned());
    }
    lines.join("; ")
}

/// Directories of one overlay, opened.
struct Opened {
    lower: Vec<OwnedFd>,
    scratch: Option<(OwnedFd, OwnedFd)>,
}

/// One descriptor for each directory; the program gets the limit as it was.
fn open_all(lower: &[PathBuf], scratch: Option<&Scratch>) -> Result<Opened, Error> {
    let limit = getrlimit(Resource::Nofile);
    let layers = lower.len() as u64 + 64;
    if limit.current.is_some_and(|current| current < layers) {
        let current = Some(limit.maximum.map_or(layers, |maximum| layers.min(maximum)));
        // Where it is refused, opening the layers says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
    let opened = open(lower, scratch);
    let _ = setrlimit(Resource::Nofile, limit);
    opened
}

fn open(lower: &[PathBuf], scratch: Option<&Scratch>) -> Result<Opened, Error> {
    let open = |path: &Path| {
        rustix::fs::openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty())
            .map_err(|error| unusable(path, error))
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

#[cfg(test)]
mod tests {
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::UnshareFlags;

    use super::*;

    /// On a new kernel nothing else would use the old way. Every test runs on a thread of its own, so
    /// the mount namespace ends with it.
    #[test]
    fn the_old_way_does_the_same() {
        if let Err(error) = crate::sys::unshare(UnshareFlags::NEWNS) {
            println!("skipped, it takes root: {error}");
            return;
        }
        mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let names: Vec<_> = (0..150).map(|number| format!("lower{number}")).collect();
        for name in names.iter().map(String::as_str).chain(["upper", "work", "anchor"]) {
            fs_err::create_dir(path(name)).unwrap();
            fs_err::write(path(name).join("from"), name).unwrap();
        }
        fs_err::remove_file(path("upper/from")).unwrap();
        fs_err::remove_file(path("work/from")).unwrap();
        let lower: Vec<_> = names.iter().map(|name| path(name)).collect();
        let scratch = Scratch { upper: path("upper"), work: path("work") };
        let mounted = by_options(&open(&lower, Some(&scratch)).unwrap(), &path("anchor")).unwrap();
        let inside = PathBuf::from(name(&mounted));
        assert_eq!(fs_err::read_to_string(inside.join("from")).unwrap(), "lower0");
        fs_err::write(inside.join("new"), "x").unwrap();
        assert_eq!(fs_err::read_to_string(path("upper/new")).unwrap(), "x");
        assert!(path("anchor/from").exists() && !path("anchor/new").exists(), "nothing stays mounted there");
        let merged = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!merged.contains(directory.path().to_str().unwrap()));
    }
}
