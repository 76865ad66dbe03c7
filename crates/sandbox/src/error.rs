//! What can go wrong, on either side of the helper.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::rung::Rung;
use crate::wire::errno;

/// Why a process could not be run, or a namespace not be entered.
///
/// The helper's errors cross over as they are: an I/O error keeps its number.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Error {
    /// The program could not start itself again.
    #[error("cannot start the sandbox helper: {source}")]
    Helper {
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// The helper ended without a word: killed by something outside, or a bug.
    #[error("the sandbox helper ended without a result ({status})")]
    Vanished {
        /// How it ended.
        status: String,
    },
    /// A namespace could not be made.
    #[error("cannot create the sandbox's namespaces: {source}")]
    Namespaces {
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// Layers could not be joined.
    #[error("cannot mount {layers} layers as an overlay: {source}{}", detail_suffix(detail))]
    Overlay {
        /// How many lower directories there were.
        layers: usize,
        /// The kernel's own explanation, where it gave one.
        detail: String,
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// The source of a mount, a layer or the rootfs could not be opened.
    #[error("{path}: {source}")]
    Source {
        /// The path, with the subpath where there is one.
        path: String,
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// A mount point could not be found or made.
    #[error("cannot prepare the mount point {target}: {source}")]
    Target {
        /// Path in the sandbox.
        target: String,
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// A mount could not be put in its place.
    #[error("cannot mount {target}: {source}")]
    Mount {
        /// Path in the sandbox.
        target: String,
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// A step of the set-up failed.
    #[error("cannot {action}: {source}")]
    Setup {
        /// Which.
        action: Action,
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// The working directory is missing or cannot be entered.
    #[error("cannot enter the working directory {path}: {source}")]
    Cwd {
        /// Path in the sandbox.
        path: String,
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// The program is in no directory of `PATH`.
    #[error("exec: \"{program}\": executable file not found in $PATH")]
    NotFound {
        /// As it was asked for.
        program: String,
    },
    /// The program could not be started.
    #[error("exec: \"{program}\": {source}")]
    Exec {
        /// As it was asked for.
        program: String,
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// An id has no counterpart outside the user namespace.
    #[error("{kind} {id} is not mapped here: it needs subordinate ids for this user in /etc/{}", kind.file())]
    Unmapped {
        /// User or group.
        kind: IdKind,
        /// The id inside the sandbox.
        id: u32,
    },
    /// There is no limit of this name.
    #[error("unknown ulimit {name}")]
    UnknownUlimit {
        /// The name.
        name: String,
    },
    /// A limit was refused.
    #[error("cannot set the ulimit {name}: {source}")]
    Ulimit {
        /// The name.
        name: String,
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// An argument or a variable holds a NUL byte, or there are no arguments.
    #[error("the command is empty or holds a NUL byte")]
    BadCommand,
    /// A user namespace was asked for on a rung that has none.
    #[error("{rung} needs no user namespace")]
    NoUserNamespace {
        /// The rung.
        rung: Rung,
    },
    /// A user namespace can only be entered before the process starts threads.
    #[error("cannot enter a user namespace: the process has threads already")]
    Threads,
    /// The user namespace could not be made.
    #[error("cannot create a user namespace: {source}")]
    UserNamespace {
        /// What the system said.
        #[serde(with = "errno")]
        source: io::Error,
    },
    /// The user has no subordinate ids.
    #[error("no subordinate ids for {user} in /etc/{}", kind.file())]
    NoSubordinateIds {
        /// User or group ids.
        kind: IdKind,
        /// The user's name or number.
        user: String,
    },
    /// `newuidmap` or `newgidmap` failed.
    #[error("{program} failed: {message}")]
    IdMap {
        /// Which.
        program: String,
        /// What it wrote, or why it did not run.
        message: String,
    },
}

fn detail_suffix(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// A user or a group id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IdKind {
    /// A user id.
    User,
    /// A group id.
    Group,
}

impl IdKind {
    /// Name of the file in `/etc` that grants subordinate ids of this kind, subuid(5), subgid(5).
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::User => "subuid",
            Self::Group => "subgid",
        }
    }
}

impl fmt::Display for IdKind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::User => "user id",
            Self::Group => "group id",
        })
    }
}

/// A step of the set-up that concerns no single path of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Action {
    /// Keep the host and the sandbox apart.
    Isolate,
    /// Make the mount namespace and the sandbox's private tmpfs.
    Backstage,
    /// Make `/dev`.
    Dev,
    /// Mount `/proc`.
    Proc,
    /// Mount `/sys`.
    Sys,
    /// Hide or protect kernel paths.
    Mask,
    /// Change the root.
    Pivot,
    /// Set the host name.
    Hostname,
    /// Bring the loopback interface up.
    Loopback,
    /// Start the process.
    Fork,
    /// Become the user.
    Identity,
    /// Drop capabilities.
    Capabilities,
    /// Install the system call filter.
    Filter,
    /// Connect standard input and output.
    Streams,
}

impl fmt::Display for Action {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Isolate => "isolate the sandbox",
            Self::Backstage => "make the sandbox's private tmpfs",
            Self::Dev => "set up /dev",
            Self::Proc => "mount /proc",
            Self::Sys => "mount /sys",
            Self::Mask => "mask kernel paths",
            Self::Pivot => "change the root",
            Self::Hostname => "set the host name",
            Self::Loopback => "bring the loopback interface up",
            Self::Fork => "start the process",
            Self::Identity => "change the user and groups",
            Self::Capabilities => "drop capabilities",
            Self::Filter => "install the system call filter",
            Self::Streams => "connect standard input and output",
        })
    }
}

/// `map_err(failed(action))`, for the steps that need no more than a name.
pub(crate) fn failed<E: Into<io::Error>>(action: Action) -> impl FnOnce(E) -> Error {
    move |source| Error::Setup { action, source: source.into() }
}
