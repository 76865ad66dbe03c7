//! The policy of the system call filter, as data.
//!
//! It follows Docker's default profile (moby/profiles, `seccomp/default.json`) for a container with
//! the default capability set. Docker lists what is allowed; here stands the complement, what is
//! refused of the calls known when the list was made, and anything newer is refused by number.
//! System calls that every kernel since 5.11 lacks are in neither.

/// No such system call on that architecture.
pub(crate) const NONE: u32 = u32::MAX;

/// The newest call that the policy knows (`removexattrat`); later ones get `ENOSYS`, so that
/// programs fall back to older ones. The number is the same on all architectures.
pub(crate) const NEWEST: u32 = 466;

/// `clone3`: its flags lie in memory, where a filter cannot look, so it gets `ENOSYS`, and libc
/// falls back to `clone`.
pub(crate) const CLONE3: u32 = 435;

/// The `CLONE_NEW*` flags of `clone`, without which it is allowed.
pub(crate) const CLONE_NAMESPACES: u32 = 0x7e02_0000;

/// Address families that `socket` refuses: `AF_ALG`, `AF_VSOCK`.
pub(crate) const SOCKET_REFUSED: [u32; 2] = [38, 40];

/// Personalities that may be chosen: Linux, 32 bit Linux, both with `UNAME26`, and the query.
pub(crate) const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// A system call's numbers.
#[allow(dead_code, reason = "each architecture reads its own columns; names are for people and tests")]
pub(crate) struct Call {
    /// Name, as in section 2 of the manual.
    pub(crate) name: &'static str,
    pub(crate) x86_64: u32,
    pub(crate) i386: u32,
    pub(crate) aarch64: u32,
}

const fn call(name: &'static str, x86_64: u32, i386: u32, aarch64: u32) -> Call {
    Call { name, x86_64, i386, aarch64 }
}

/// `clone`, allowed unless it makes namespaces.
pub(crate) const CLONE: Call = call("clone", 56, 120, 220);
/// `socket`, allowed but for [`SOCKET_REFUSED`].
pub(crate) const SOCKET: Call = call("socket", 41, 359, 198);
/// `personality`, allowed for [`PERSONALITIES`].
pub(crate) const PERSONALITY: Call = call("personality", 135, 136, 92);

/// Refused with `EPERM`, whatever the arguments.
pub(crate) const REFUSED: &[Call] = &[
    call("acct", 163, 51, 89),
    call("add_key", 248, 286, 217),
    call("bpf", 321, 357, 280),
    call("clock_settime", 227, 264, 112),
    call("clock_settime64", NONE, 404, NONE),
    call("delete_module", 176, 129, 106),
    call("fanotify_init", 300, 338, 262),
    call("finit_module", 313, 350, 273),
    call("fsconfig", 431, 431, 431),
    call("fsmount", 432, 432, 432),
    call("fsopen", 430, 430, 430),
    call("fspick", 433, 433, 433),
    call("get_mempolicy", 239, 275, 236),
    call("init_module", 175, 128, 105),
    call("io_uring_enter", 426, 426, 426),
    call("io_uring_register", 427, 427, 427),
    call("io_uring_setup", 425, 425, 425),
    call("ioperm", 173, 101, NONE),
    call("iopl", 172, 110, NONE),
    call("kcmp", 312, 349, 272),
    call("kexec_file_load", 320, NONE, 294),
    call("kexec_load", 246, 283, 104),
    call("keyctl", 250, 288, 219),
    call("lookup_dcookie", 212, 253, 18),
    call("lsm_get_self_attr", 459, 459, 459),
    call("lsm_list_modules", 461, 461, 461),
    call("lsm_set_self_attr", 460, 460, 460),
    call("mbind", 237, 274, 235),
    call("migrate_pages", 256, 294, 238),
    call("mount", 165, 21, 40),
    call("mount_setattr", 442, 442, 442),
    call("move_mount", 429, 429, 429),
    call("move_pages", 279, 317, 239),
    call("open_by_handle_at", 304, 342, 265),
    call("open_tree", 428, 428, 428),
    call("perf_event_open", 298, 336, 241),
    call("pidfd_getfd", 438, 438, 438),
    call("pivot_root", 155, 217, 41),
    call("process_madvise", 440, 440, 440),
    call("quotactl", 179, 131, 60),
    call("quotactl_fd", 443, 443, 443),
    call("reboot", 169, 88, 142),
    call("request_key", 249, 287, 218),
    call("set_mempolicy", 238, 276, 237),
    call("set_mempolicy_home_node", 450, 450, 450),
    call("setdomainname", 171, 121, 162),
    call("sethostname", 170, 74, 161),
    call("setns", 308, 346, 268),
    call("settimeofday", 164, 79, 170),
    call("stime", NONE, 25, NONE),
    call("swapoff", 168, 115, 225),
    call("swapon", 167, 87, 224),
    call("syslog", 103, 103, 116),
    call("umount", NONE, 22, NONE),
    call("umount2", 166, 52, 39),
    call("unshare", 272, 310, 97),
    call("userfaultfd", 323, 374, 282),
    call("vhangup", 153, 111, 58),
    call("vm86", NONE, 166, NONE),
    call("vm86old", NONE, 113, NONE),
];
