//! System calls that no safe wrapper offers. The only `unsafe` code of the whole program.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `clone(2)` without a new stack: `fork` into the namespaces that `flags` name. `None` in the
/// child. The process must have a single thread.
pub(crate) fn fork_into(flags: libc::c_int) -> io::Result<Option<Pid>> {
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: no stack and no thread-local storage are passed, so the child continues on a copy of
    // this one's memory as after fork(2). The helper has one thread, so no lock can be held by a
    // thread that the child lacks.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    Ok(Pid::from_raw(pid as i32))
}

/// `execve(2)`; returns only if it failed.
pub(crate) fn exec(program: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|item| item.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// `unshare(2)` of namespaces.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: the danger is `FILES` only, which gives threads different descriptor tables; all
    // callers pass namespace flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// `mount_setattr(2)` on the mount (with `recursive`, the tree of mounts) that `mount` refers to.
pub(crate) fn set_mount_attributes(mount: BorrowedFd<'_>, recursive: bool, set: u64) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a constant C string and the structure is passed with its own size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of_val(&attributes),
        )
    };
    check(result).map(drop)
}

/// `seccomp(2)`, `SECCOMP_SET_MODE_FILTER`. Needs `CAP_SYS_ADMIN` in the user namespace.
pub(crate) fn install_filter(filter: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the program points to `len` instructions that live through the call; the kernel
    // copies and verifies them and writes to none.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    check(result).map(drop)
}

/// Gives every signal its default action and unblocks all: what a new program may expect.
pub(crate) fn reset_signals() {
    let default = [0_u64; 4];
    let none = 0_u64;
    // SAFETY: both are kernel structures of zeros (SIG_DFL, no flags, empty mask) of at least the
    // kernel's size. The system calls are used, not libc's functions, because those refuse the two
    // signals that libc keeps for itself. The numbers that may not be changed fail without harm.
    unsafe {
        let nothing = std::ptr::null::<u64>();
        for signal in 1..=64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), nothing, size_of_val(&none));
        }
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            nothing,
            size_of_val(&none),
        );
    }
}

/// Closes every descriptor from `first` on. For a helper that has opened none of its own yet.
pub(crate) fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: called as a helper's first act, when no Rust object owns a descriptor beyond the
    // standard three.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// Brings the interface `lo` of the current network namespace up. `socket` is any IP socket.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: zero is a valid ifreq; the name fits with its NUL; SIOCSIFFLAGS reads the structure
    // during the call only.
    let result = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        // Its type differs between C libraries.
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    };
    check(libc::c_long::from(result)).map(drop)
}

/// A new pseudo terminal: the side of whoever sits at it, and the side of the programs.
pub fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut ours, mut theirs) = (-1, -1);
    let nothing = std::ptr::null_mut();
    // SAFETY: both numbers are written during the call only; the other arguments may be null. What the call
    // gives are two new descriptors that nobody else owns.
    let pair = unsafe {
        check(libc::openpty(&raw mut ours, &raw mut theirs, nothing, nothing.cast(), nothing.cast()).into())?;
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    };
    for side in [&pair.0, &pair.1] {
        rustix::io::fcntl_setfd(side, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(pair)
}

static TERMINATION: AtomicBool = AtomicBool::new(false);

extern "C" fn note_termination(_signal: libc::c_int) {
    TERMINATION.store(true, Ordering::SeqCst);
}

/// The flag that [`flag_signal`] sets.
pub(crate) fn termination_flag() -> &'static AtomicBool {
    &TERMINATION
}

/// Lets `signal` set the termination flag the first time, and act as usual the second time.
pub(crate) fn flag_signal(signal: i32) -> io::Result<()> {
    // SAFETY: zero is a valid sigaction; the handler only stores to an atomic, which is
    // async-signal-safe.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note_termination as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    check(libc::c_long::from(result)).map(drop)
}

#[cfg(test)]
mod tests {
    /// Who adds a block says here that it is wanted; each stands below its justification.
    #[test]
    fn blocks_are_counted() {
        let code = include_str!("sys.rs").split("#[cfg(test)]").next().unwrap_or_default();
        let count = |what: &str| code.matches(what).count();
        assert_eq!((count(concat!("un", "safe {")), count("// SAFETY: ")), (10, 10));
    }
}
