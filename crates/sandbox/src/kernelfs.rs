//! What every sandbox has beside its rootfs: `/proc`, `/sys`, `/dev`, and what of them is hidden.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, makedev, mknodat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use crate::backstage::{Backstage, EMPTY};
use crate::beneath::{self, Kind};
use crate::error::{Action, Error, failed};
use crate::mount::{LOCKED_DOWN, READ_ONLY, attach, bind, bind_restricted, filesystem};
use crate::spec::{Ground, Security};
use crate::sys;

/// Hidden in a sandboxed process's view, as Docker does.
const MASKED: &[&str] = &[
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/devices/virtual/powercap",
    "sys/firmware",
];

/// Readable only, as Docker has it.
const PROTECTED: &[&str] = &["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

/// Devices that every sandbox sees: name, major, minor (Linux's devices.txt).
const DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links in `/dev`.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Docker's default size of `/dev/shm`.
const SHM_SIZE: u64 = 64 << 20;

/// The three, as they are called backstage and in the sandbox.
const TREES: [(&str, Action); 3] = [("proc", Action::Proc), ("sys", Action::Sys), ("dev", Action::Dev)];

/// Makes the three of the current namespaces, backstage, where no program sees them yet.
pub(crate) fn prepare(ground: &Ground, backstage: &Backstage) -> Result<(), Error> {
    for (name, action) in TREES {
        backstage.directory(name).map_err(failed(action))?;
    }
    let empty = backstage.directory(EMPTY).map_err(failed(Action::Backstage))?;
    let insecure = ground.security == Security::Insecure;
    let root = backstage.root();
    proc(root)?;
    sys(root, insecure, empty.as_fd())?;
    dev(root, root, ground.shm_size)?;
    if insecure { Ok(()) } else { mask(root, empty.as_fd()) }
}

/// Moves them to where the program expects them.
pub(crate) fn place_in(root: BorrowedFd<'_>, backstage: &Backstage) -> Result<(), Error> {
    for (name, action) in TREES {
        let made = beneath::open(backstage.root(), Path::new(name)).map_err(failed(action))?;
        let target = beneath::open(root, Path::new(name)).map_err(failed(action))?;
        attach(made.as_fd(), target.as_fd()).map_err(failed(action))?;
    }
    Ok(())
}

/// Mounts `/proc` of the current process id namespace.
fn proc(root: BorrowedFd<'_>) -> Result<(), Error> {
    let mount = || {
        let target = beneath::open(root, Path::new("proc"))?;
        attach(filesystem(c"proc", &[], LOCKED_DOWN)?.as_fd(), target.as_fd())
    };
    mount().map_err(failed(Action::Proc))
}

/// Mounts `/sys`: an own instance where the network namespace permits, else the host's without the
/// file systems mounted in it. `empty` is an empty directory.
fn sys(root: BorrowedFd<'_>, writable: bool, empty: BorrowedFd<'_>) -> Result<(), Error> {
    let how = if writable { LOCKED_DOWN } else { READ_ONLY };
    let mount = || {
        let target = beneath::open(root, Path::new("sys"))?;
        let sys = match filesystem(c"sysfs", &[], how) {
            Ok(sys) => sys,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let (sys, recursive) = bind(CWD, Path::new("/sys"))?;
                sys::set_mount_attributes(sys.as_fd(), recursive, u64::from(how.bits()))?;
                attach(sys.as_fd(), target.as_fd())?;
                return if recursive { hide_submounts(root, "/sys/", empty) } else { Ok(()) };
            }
            Err(error) => return Err(error),
        };
        attach(sys.as_fd(), target.as_fd())
    };
    mount().map_err(failed(Action::Sys))
}

/// Puts `empty` over every mount of the host below `prefix`.
fn hide_submounts(root: BorrowedFd<'_>, prefix: &str, empty: BorrowedFd<'_>) -> io::Result<()> {
    let table = fs_err::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<_> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| point.starts_with(prefix))
        .collect();
    points.sort_unstable();
    points.dedup();
    let mut hidden: Option<&str> = None;
    for point in points {
        if hidden.is_some_and(|above| point.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))) {
            continue;
        }
        cover(root, point.trim_start_matches('/'), empty)?;
        hidden = Some(point);
    }
    Ok(())
}

/// Mounts `/dev` with its devices, terminals, shared memory and message queues. `scratch` is a
/// directory out of the process's reach on a mount that allows devices.
fn dev(root: BorrowedFd<'_>, scratch: BorrowedFd<'_>, shm_size: Option<u64>) -> Result<(), Error> {
    let make = || {
        let target = beneath::open(root, Path::new("dev"))?;
        let how = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let dev = filesystem(c"tmpfs", &[("mode", "755"), ("size", "65536k")], how)?;
        attach(dev.as_fd(), target.as_fd())?;
        for (name, major, minor) in DEVICES {
            let flags = OFlags::CREATE | OFlags::CLOEXEC | OFlags::RDONLY;
            drop(rustix::fs::openat(&dev, *name, flags, Mode::from(0o666))?);
            let device = device(scratch, name, makedev(*major, *minor))?;
            attach(device.as_fd(), at(&dev, name)?.as_fd())?;
        }
        for (name, to) in LINKS {
            rustix::fs::symlinkat(*to, &dev, *name)?;
        }
        let size = shm_size.unwrap_or(SHM_SIZE).to_string();
        let shm = filesystem(c"tmpfs", &[("mode", "1777"), ("size", &size)], LOCKED_DOWN)?;
        place(&dev, "shm", &shm)?;
        place(&dev, "mqueue", &filesystem(c"mqueue", &[], LOCKED_DOWN)?)?;
        place(&dev, "pts", &devpts()?)
    };
    make().map_err(failed(Action::Dev))
}

/// A mount of one device. Every other mount forbids devices, so that a node which the process makes
/// opens nothing. A user namespace cannot make nodes and gets the host's, with its mode and owner
/// out of reach.
fn device(scratch: BorrowedFd<'_>, name: &str, number: u64) -> io::Result<OwnedFd> {
    let how = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    match mknodat(scratch, name, FileType::CharacterDevice, Mode::from(0o666), number) {
        Ok(()) => {
            rustix::fs::chmodat(scratch, name, Mode::from(0o666), AtFlags::empty())?;
            let node = rustix::fs::openat(scratch, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
            bind_restricted(node.as_fd(), how)
        }
        Err(Errno::PERM) => {
            let node = beneath::open_host(&Path::new("/dev").join(name))?;
            bind_restricted(node.as_fd(), how | MountAttrFlags::MOUNT_ATTR_RDONLY)
        }
        Err(error) => Err(error.into()),
    }
}

/// Own pseudo terminals. Group 5 is `tty` by convention, but need not exist in a user namespace.
fn devpts() -> io::Result<OwnedFd> {
    let how = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    match filesystem(c"devpts", &options, how) {
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            filesystem(c"devpts", &options[..2], how)
        }
        other => other,
    }
}

fn place(directory: &OwnedFd, name: &str, mount: &OwnedFd) -> io::Result<()> {
    rustix::fs::mkdirat(directory, name, Mode::from(0o755))?;
    attach(mount.as_fd(), at(directory, name)?.as_fd())
}

fn at(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(Into::into)
}

/// Hides and protects what Docker hides and protects. `/dev` must be there already; `empty` is an
/// empty directory.
fn mask(root: BorrowedFd<'_>, empty: BorrowedFd<'_>) -> Result<(), Error> {
    let mask = || -> io::Result<()> {
        for path in MASKED {
            cover(root, path, empty)?;
        }
        for path in PROTECTED {
            if let Some(file) = existing(root, path)? {
                attach(bind_restricted(file.as_fd(), READ_ONLY)?.as_fd(), file.as_fd())?;
            }
        }
        Ok(())
    };
    mask().map_err(failed(Action::Mask))
}

/// Covers `path`, if it exists, with nothing: a file with `/dev/null`, a directory with `empty`.
fn cover(root: BorrowedFd<'_>, path: &str, empty: BorrowedFd<'_>) -> io::Result<()> {
    let Some(target) = existing(root, path)? else { return Ok(()) };
    let nothing = match beneath::kind_of(target.as_fd())? {
        Kind::Directory => bind_restricted(empty, READ_ONLY)?,
        Kind::File => bind_restricted(
            beneath::open(root, Path::new("dev/null"))?.as_fd(),
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_RDONLY,
        )?,
    };
    attach(nothing.as_fd(), target.as_fd())
}

fn existing(root: BorrowedFd<'_>, path: &str) -> io::Result<Option<OwnedFd>> {
    match beneath::open(root, Path::new(path)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
