//! Where COPY reads: a build context on disk or the root filesystem of a stage or image, behind one trait.

pub(crate) mod context;
pub(crate) mod rootfs;
pub(crate) mod statcache;

use std::collections::BTreeMap;

use kiln_layer::bytes::{Cursor, put_bytes, put_number, put_signed};
use kiln_layer::index::Mtime;
use kiln_layer::path::LayerPath;
use kiln_layer::rows::Row;
use kiln_layer::stop::Stop;
use kiln_oci::digest::Digest;

use crate::error::{BuildErrorKind, IgnoredBy};

/// A tree of files that COPY can read. Paths are clean and relative to its root; no call follows a symbolic link.
pub(crate) trait Files: Send + Sync {
    /// What is at `path`; `None` if nothing is, or if an ignore rule hides it.
    fn node(&self, path: &LayerPath) -> Result<Option<Node>, BuildErrorKind>;

    /// The names in directory `dir`, sorted, hidden ones left out.
    fn children(&self, dir: &LayerPath) -> Result<Names, BuildErrorKind>;

    /// The same, perhaps with hidden ones, for who asks for each node anyway.
    fn names(&self, dir: &LayerPath) -> Result<Names, BuildErrorKind> {
        self.children(dir)
    }

    /// Reads the regular file `path`, which [`Files::node`] gave as `node`, unless what is in it is known; fails when `stop` says so.
    fn read(&self, path: &LayerPath, node: &Node, stop: Stop<'_>) -> Result<Content, BuildErrorKind>;

    /// The digest of the file `path`, which [`Files::node`] gave as `node`, if that takes no look at its content.
    fn known(&self, _path: &LayerPath, _node: &Node) -> Option<Digest> {
        None
    }

    /// What it is called in messages: `the build context`, `stage "build"`.
    fn whence(&self) -> &str;

    /// The ignore rule that hides `path` although it exists, if one does.
    fn hidden_by(&self, path: &LayerPath) -> Option<IgnoredBy>;

    /// Whether a socket is at `path`, which [`Files::node`] passes over: it means nothing without the process behind it.
    fn is_socket(&self, _path: &LayerPath) -> bool {
        false
    }
}

/// The names in a directory, sorted. A directory may have very many: they are kept in one piece.
pub(crate) struct Names {
    bytes: Vec<u8>,
    /// Where each begins and ends.
    spans: std::vec::IntoIter<(usize, usize)>,
}

impl Names {
    /// Sorts what comes in any order.
    pub(crate) fn sorted<T: AsRef<[u8]>>(
        names: impl IntoIterator<Item = Result<T, BuildErrorKind>>,
    ) -> Result<Self, BuildErrorKind> {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for name in names {
            let start = bytes.len();
            bytes.extend_from_slice(name?.as_ref());
            spans.push((start, bytes.len()));
        }
        spans.sort_unstable_by(|a: &(usize, usize), b| bytes[a.0..a.1].cmp(&bytes[b.0..b.1]));
        Ok(Self { bytes, spans: spans.into_iter() })
    }

    /// How many are left.
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }
}

impl Iterator for Names {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.spans.next().map(|(start, end)| self.bytes[start..end].to_vec())
    }
}

/// Extended attributes by name.
pub(crate) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is in a file.
pub(crate) struct Content {
    /// SHA-256 of its bytes.
    pub(crate) digest: Digest,
    /// Its attributes, if its [`Node`] says that it has them not yet.
    pub(crate) xattrs: Option<Xattrs>,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Mtime,
    pub(crate) xattrs: Xattrs,
    /// Whether `xattrs` is still to come, with the content: of an open file they are cheaper to have.
    pub(crate) unread: bool,
    /// Equal for two names of one file.
    pub(crate) link: Option<(u64, u64)>,
    /// Of a file on the host: what tells that it did not change.
    pub(crate) stamp: Option<statcache::Stamp>,
    /// Of a file on the host whose content is known from before.
    pub(crate) digest: Option<Digest>,
}

/// Kinds of nodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NodeKind {
    File { size: u64 },
    Directory,
    Symlink { target: Vec<u8> },
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// All but its stamp and what goes with it: who reads the file has done so by then.
impl Row for Node {
    fn put(&self, out: &mut Vec<u8>) {
        let (kind, numbers, target): (u64, [u64; 2], &[u8]) = match &self.kind {
            NodeKind::File { size } => (0, [*size, 0], &[]),
            NodeKind::Directory => (1, [0, 0], &[]),
            NodeKind::Symlink { target } => (2, [0, 0], target),
            NodeKind::CharDevice { major, minor } => (3, [u64::from(*major), u64::from(*minor)], &[]),
            NodeKind::BlockDevice { major, minor } => (4, [u64::from(*major), u64::from(*minor)], &[]),
            NodeKind::Fifo => (5, [0, 0], &[]),
        };
        put_number(out, kind);
        numbers.iter().for_each(|number| put_number(out, *number));
        put_bytes(out, target);
        [self.mode, self.uid, self.gid].iter().for_each(|number| put_number(out, u64::from(*number)));
        put_signed(out, self.mtime.secs);
        put_number(out, u64::from(self.mtime.nanos));
        put_number(out, self.xattrs.len() as u64);
        for (name, value) in &self.xattrs {
            put_bytes(out, name);
            put_bytes(out, value);
        }
        put_number(out, u64::from(self.unread));
        put_number(out, u64::from(self.link.is_some()));
        let (device, inode) = self.link.unwrap_or_default();
        put_number(out, device);
        put_number(out, inode);
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        let (kind, [a, b]) = (from.number()?, [from.number()?, from.number()?]);
        let target = from.bytes()?;
        let (major, minor) = (u32::try_from(a).unwrap_or_default(), u32::try_from(b).unwrap_or_default());
        let kind = match kind {
            0 => NodeKind::File { size: a },
            1 => NodeKind::Directory,
            2 => NodeKind::Symlink { target: target.to_vec() },
            3 => NodeKind::CharDevice { major, minor },
            4 => NodeKind::BlockDevice { major, minor },
            5 => NodeKind::Fifo,
            _ => return None,
        };
        let (mode, uid, gid) = (from.small()?, from.small()?, from.small()?);
        let mtime = Mtime { secs: from.signed()?, nanos: from.small()? };
        let mut xattrs = Xattrs::new();
        for _ in 0..from.count()? {
            let name = from.bytes()?.to_vec();
            xattrs.insert(name, from.bytes()?.to_vec());
        }
        let (unread, linked) = (from.number()? > 0, from.number()? > 0);
        let inode = (from.number()?, from.number()?);
        Some(Self {
            kind,
            mode,
            uid,
            gid,
            mtime,
            xattrs,
            unread,
            link: linked.then_some(inode),
            stamp: None,
            digest: None,
        })
    }
}

impl Node {
    pub(crate) fn is_dir(&self) -> bool {
        self.kind == NodeKind::Directory
    }
}

/// Follows every symbolic link of `path` inside the root of `files`, the last component too. `None` if something on the way is
/// not there.
pub(crate) fn follow(
    files: &dyn Files,
    path: &LayerPath,
) -> Result<Option<(LayerPath, Node)>, BuildErrorKind> {
    let mut pending: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    pending.reverse();
    let mut at = LayerPath::root();
    let mut hops = 0;
    let mut node = match files.node(&at)? {
        Some(root) => root,
        None => return Ok(None),
    };
    while let Some(name) = pending.pop() {
        if name == b".." {
            if !node.is_dir() {
                return Ok(None);
            }
            at = at.parent().unwrap_or_default();
            match files.node(&at)? {
                Some(above) => node = above,
                None => return Ok(None),
            }
            continue;
        }
        let next = at.join(&name);
        let Some(found) = files.node(&next)? else { return Ok(None) };
        if let NodeKind::Symlink { target } = &found.kind {
            hops += 1;
            if hops > 255 {
                return Err(BuildErrorKind::Copy {
                    message: format!("too many symbolic links on the way to {:?}", path.display()),
                    help: None,
                });
            }
            if target.starts_with(b"/") {
                at = LayerPath::root();
                match files.node(&at)? {
                    Some(root) => node = root,
                    None => return Ok(None),
                }
            }
            pending.extend(
                target
                    .split(|b| *b == b'/')
                    .rev()
                    .filter(|c| !c.is_empty() && *c != b".")
                    .map(<[u8]>::to_vec),
            );
            continue;
        }
        at = next;
        node = found;
    }
    Ok(Some((at, node)))
}
