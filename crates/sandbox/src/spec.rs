//! What to run: plain data, complete, without a look at the machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::wire;

/// One process to run over a root filesystem.
///
/// It has no `Debug` on purpose: environment and file mounts carry secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct Spec {
    /// What `/` is.
    pub rootfs: Rootfs,
    /// Program and arguments. A program without `/` is searched in the `PATH` of [`Spec::env`].
    pub argv: Vec<String>,
    /// The whole environment, in this order; nothing is added.
    pub env: Vec<(String, String)>,
    /// Absolute working directory. It must exist in the rootfs: making it is the caller's step.
    pub cwd: String,
    /// User id inside the sandbox.
    pub uid: u32,
    /// Group id inside the sandbox.
    pub gid: u32,
    /// Supplementary groups, complete. On [`Rung::SingleId`](crate::Rung::SingleId) the kernel
    /// lets nobody set groups: these are left out, and the caller's own remain, as `nogroup`.
    pub groups: Vec<u32>,
    /// Host name in the sandbox's own UTS namespace.
    pub hostname: String,
    /// Mounts in order; a later one may lie inside an earlier one.
    pub mounts: Vec<Mount>,
    /// What network there is.
    pub network: Network,
    /// How far the process is confined.
    pub security: Security,
    /// Content of `/etc/resolv.conf`; `None` leaves the rootfs's own.
    #[serde(with = "wire::optional_bytes")]
    pub resolv_conf: Option<Vec<u8>>,
    /// Content of `/etc/hosts`.
    #[serde(with = "wire::bytes")]
    pub hosts: Vec<u8>,
    /// Resource limits to set; the others are inherited.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes; 64 MiB when `None`.
    pub shm_size: Option<u64>,
    /// An empty directory that the caller makes and removes: a place to mount things that only the
    /// sandbox sees. Nothing is ever written to it.
    #[serde(with = "wire::path")]
    pub stubs: PathBuf,
}

/// What of a [`Spec`] can be set up before the rest of it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ground {
    #[serde(with = "wire::path")]
    pub(crate) stubs: PathBuf,
    pub(crate) network: Network,
    pub(crate) security: Security,
    pub(crate) shm_size: Option<u64>,
    /// Whether the process reads something; its file comes with the two for output.
    pub(crate) reads: bool,
}

impl Ground {
    pub(crate) fn of(spec: &Spec, reads: bool) -> Self {
        let Spec { network, security, shm_size, .. } = *spec;
        Self { stubs: spec.stubs.clone(), network, security, shm_size, reads }
    }
}

/// What `/` is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Rootfs {
    /// Layers, and a directory that receives what the process changes, in overlayfs's format with
    /// `user.overlay.` attributes (`userxattr`) whoever runs it.
    Overlay {
        /// Unpacked layers, topmost first; may be empty, the kernel takes up to 499.
        #[serde(with = "wire::paths")]
        lower: Vec<PathBuf>,
        /// Receives the changes. Mount points that were missing leave nothing in it.
        #[serde(with = "wire::path")]
        upper: PathBuf,
        /// Empty directory on the file system of `upper`.
        #[serde(with = "wire::path")]
        work: PathBuf,
    },
    /// A directory, changed in place. Missing mount points are made and removed again.
    Plain(#[serde(with = "wire::path")] PathBuf),
}

/// A mount beside the ones that every sandbox has.
#[derive(Clone, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the sandbox. Symbolic links are followed, never out of the rootfs.
    pub target: String,
    /// What is put there.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind {
        /// Where it is.
        #[serde(with = "wire::path")]
        source: PathBuf,
        /// A path in `source`, resolved with `source` as the root.
        subpath: Option<String>,
        /// Refuse writing.
        readonly: bool,
    },
    /// Memory.
    Tmpfs {
        /// Limit in bytes; the kernel's default (half of the memory) when `None`.
        size: Option<u64>,
        /// Permission bits of its root.
        mode: u32,
    },
    /// Layers, read-only or with writes thrown away.
    Overlay {
        /// Unpacked layers, topmost first.
        #[serde(with = "wire::paths")]
        lower: Vec<PathBuf>,
        /// Where writes go; read-only when `None`.
        scratch: Option<Scratch>,
        /// A path in the merged tree, resolved with it as the root.
        subpath: Option<String>,
    },
    /// A read-only file in memory, never on disk: secrets, scripts.
    File {
        /// The content.
        #[serde(with = "wire::bytes")]
        bytes: Vec<u8>,
        /// Permission bits; without an execute bit the mount is `noexec` too.
        mode: u32,
        /// Owner inside the sandbox.
        uid: u32,
        /// Group inside the sandbox.
        gid: u32,
    },
    /// A socket of the host, such as an SSH agent's, with the permissions that it has.
    Socket {
        /// Where it is.
        #[serde(with = "wire::path")]
        source: PathBuf,
    },
}

/// The writable half of an overlay whose writes are thrown away: two empty directories on one
/// file system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scratch {
    /// Receives the writes.
    #[serde(with = "wire::path")]
    pub upper: PathBuf,
    /// Overlayfs's working directory.
    #[serde(with = "wire::path")]
    pub work: PathBuf,
}

/// What network there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The caller's.
    Host,
    /// An own network namespace with loopback only.
    None,
}

/// How far the process is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Docker's default: its capability set, its system call filter, masked `/proc` and `/sys`.
    Sandbox,
    /// All capabilities of the user namespace, no filter, nothing masked.
    Insecure,
}

/// One resource limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Docker's name of it: `nofile`, `nproc`, ...
    pub name: String,
    /// Soft limit; `u64::MAX` is unlimited.
    pub soft: u64,
    /// Hard limit; `u64::MAX` is unlimited.
    pub hard: u64,
}

/// Where the process's output goes. Its input is always `/dev/null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Two pipes, read through [`Running`](crate::Running).
    Piped,
    /// The caller's own.
    Inherited,
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}
