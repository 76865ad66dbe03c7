//! One member of an archive as it passes by.

use std::collections::BTreeMap;

use kiln_oci::digest::Digest;

use crate::index::{Entry, Kind, Mtime};
use crate::path::LayerPath;

/// What a stream of members says at one place: an index's [`Entry`] before a file's digest is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where.
    pub path: LayerPath,
    /// What.
    pub body: Body,
    /// Permission bits (`0o7777`).
    pub mode: u32,
    /// Owner inside the image.
    pub uid: u32,
    /// Group inside the image.
    pub gid: u32,
    /// Time of modification.
    pub mtime: Mtime,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a [`Member`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A regular file; its bytes come along.
    File {
        /// Bytes, holes included.
        size: u64,
    },
    /// Another name of an earlier member that is no directory.
    Hardlink {
        /// That member.
        target: LayerPath,
    },
    /// A directory.
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
    /// The path is gone.
    Whiteout,
    /// The directory hides what lower layers have in it.
    Opaque,
}

impl Member {
    /// A member that is nothing but a mark: mode, owner and time are zero, so that marks never differ.
    pub(crate) fn mark(path: LayerPath, body: Body) -> Self {
        Self { path, body, mode: 0, uid: 0, gid: 0, mtime: Mtime::default(), xattrs: BTreeMap::new() }
    }

    /// A directory that something needs and nobody described.
    pub(crate) fn implicit_directory(path: LayerPath) -> Self {
        Self { mode: 0o755, ..Self::mark(path, Body::Directory) }
    }

    /// As an entry, without what a file holds.
    pub(crate) fn into_entry(self) -> Entry {
        let Self { path, body, mode, uid, gid, mtime, xattrs } = self;
        let kind = match body {
            Body::File { size } => Kind::File { size, digest: Digest::from_bytes([0; 32]) },
            Body::Hardlink { target } => Kind::Hardlink { target },
            Body::Symlink { target } => Kind::Symlink { target },
            Body::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            Body::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            Body::Fifo => Kind::Fifo,
            // What a mark says of a directory is no entry's business.
            Body::Directory | Body::Opaque => Kind::Directory,
            Body::Whiteout => Kind::Whiteout,
        };
        Entry { path, kind, mode, uid, gid, mtime, xattrs, offset: None }
    }
}

impl From<&Entry> for Member {
    fn from(entry: &Entry) -> Self {
        let body = match &entry.kind {
            Kind::File { size, .. } => Body::File { size: *size },
            Kind::Hardlink { target } => Body::Hardlink { target: target.clone() },
            Kind::Directory => Body::Directory,
            Kind::Symlink { target } => Body::Symlink { target: target.clone() },
            Kind::CharDevice { major, minor } => Body::CharDevice { major: *major, minor: *minor },
            Kind::BlockDevice { major, minor } => Body::BlockDevice { major: *major, minor: *minor },
            Kind::Fifo => Body::Fifo,
            Kind::Whiteout => Body::Whiteout,
        };
        Self {
            path: entry.path.clone(),
            body,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs.clone(),
        }
    }
}
