//! One entry of a layer, as a value.

use std::collections::BTreeMap;

use kiln_oci::digest::Digest;

use crate::path::LayerPath;

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: LayerPath,
    /// What.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Owner inside the image.
    pub uid: u32,
    /// Group inside the image.
    pub gid: u32,
    /// Time of modification.
    pub mtime: Mtime,
    /// Extended attributes; overlayfs's own never appear here.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where a file's bytes start in the layer's uncompressed tar, if the layer was packed or scanned.
    pub offset: Option<u64>,
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Seconds, may be negative.
    pub secs: i64,
    /// Nanoseconds, below 10^9.
    pub nanos: u32,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// SHA-256 of the content.
        digest: Digest,
    },
    /// Another name of a regular file of the same layer.
    Hardlink {
        /// The name that carries the content (it sorts first).
        target: LayerPath,
    },
    /// A directory. What it hides below is told by the opaque directories of its index.
    Directory,
    /// A symbolic link.
    Symlink {
        /// As written.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The path (and all below it) is gone.
    Whiteout,
}
