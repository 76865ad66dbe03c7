//! The index of a layer: all of its metadata, with a content hash for each file, without its bytes.

use std::collections::BTreeMap;

use kiln_oci::digest::{Digest, Hasher};

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
    /// A directory. What it hides below is told by [`Index::opaque`].
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

/// A layer's entries, sorted by path, each path once; the root itself has none unless the tar named it. Beside them the directories that
/// hide everything that lower layers have in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    entries: Vec<Entry>,
    opaque: Vec<LayerPath>,
}

/// Makes an index entry by entry; see [`Index::builder`].
#[derive(Debug, Default)]
pub struct Builder {
    entries: Vec<Entry>,
}

impl Builder {
    /// Adds an entry, whose path sorts after that of the last.
    pub fn push(&mut self, entry: &Entry) {
        debug_assert!(self.entries.last().is_none_or(|last| last.path < entry.path), "{:?}", entry.path);
        self.entries.push(entry.clone());
    }

    /// The index, with its opaque directories, which are sorted.
    pub fn finish(self, opaque: Vec<LayerPath>) -> Index {
        debug_assert!(opaque.is_sorted_by(|a, b| a < b), "{opaque:?}");
        Index { entries: self.entries, opaque }
    }
}

/// Entries of an index in order, made as they are asked for.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    entries: std::slice::Iter<'a, Entry>,
}

impl Iterator for Iter<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        self.entries.next().cloned()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

/// A place among the entries of an index that moves forward.
#[derive(Clone, Debug)]
pub(crate) struct Finger<'a> {
    index: &'a Index,
    at: usize,
}

impl Finger<'_> {
    /// The path of the entry that is pointed at; `None` at the end.
    pub(crate) fn path(&self) -> Option<&[u8]> {
        self.index.entries.get(self.at).map(|entry| entry.path.as_bytes())
    }

    /// The entry that is pointed at; `None` at the end.
    pub(crate) fn entry(&self) -> Option<Entry> {
        self.index.entries.get(self.at).cloned()
    }

    /// Goes to the next.
    pub(crate) fn step(&mut self) {
        self.at += 1;
    }

    /// Goes to the first entry that is not before `path`; stays if that is behind.
    pub(crate) fn seek(&mut self, path: &[u8]) {
        let rest = self.index.entries.get(self.at..).unwrap_or_default();
        self.at += rest.partition_point(|entry| entry.path.as_bytes() < path);
    }
}

impl<'a> IntoIterator for &'a Index {
    type Item = Entry;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl Index {
    /// An index to be made entry by entry.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An index of entries that are sorted by path, each path once, and of opaque directories, sorted as well.
    pub fn from_sorted(entries: impl IntoIterator<Item = Entry>, opaque: Vec<LayerPath>) -> Self {
        let mut builder = Self::builder();
        entries.into_iter().for_each(|entry| builder.push(&entry));
        builder.finish(opaque)
    }

    /// Sorts what was gathered in any order; of two entries with one path the later wins.
    pub fn from_unsorted(mut entries: Vec<Entry>, mut opaque: Vec<LayerPath>) -> Self {
        entries.reverse();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|b, a| a.path == b.path);
        opaque.sort();
        opaque.dedup();
        Self::from_sorted(entries, opaque)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none. There may be opaque directories still.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { entries: self.entries.iter() }
    }

    /// The entries from the first that is `path` or sorts after it.
    pub fn starting_at(&self, path: &LayerPath) -> Iter<'_> {
        let start = self.entries.partition_point(|e| e.path < *path);
        Iter { entries: self.entries[start..].iter() }
    }

    /// A place before the first entry whose path is `path` or sorts after it.
    pub(crate) fn finger(&self, path: &[u8]) -> Finger<'_> {
        let mut finger = Finger { index: self, at: 0 };
        finger.seek(path);
        finger
    }

    /// The entry at exactly `path`.
    pub fn get(&self, path: &LayerPath) -> Option<Entry> {
        self.position(path).map(|i| self.entries[i].clone())
    }

    /// How many entries come before that at exactly `path`; `None` if there is none.
    pub fn position(&self, path: &LayerPath) -> Option<usize> {
        self.entries.binary_search_by(|e| e.path.cmp(path)).ok()
    }

    /// Whether there is an entry at `path`, and whether that is a directory.
    pub fn is_directory(&self, path: &LayerPath) -> Option<bool> {
        self.position(path).map(|i| self.entries[i].kind == Kind::Directory)
    }

    /// The entries at and below `dir`.
    pub fn within(&self, dir: &LayerPath) -> impl Iterator<Item = Entry> {
        // Siblings such as `dir-x` sort between `dir` and `dir/x`, so those are stepped over.
        self.starting_at(dir)
            .take_while(move |e| e.path.as_bytes().starts_with(dir.as_bytes()))
            .filter(move |e| e.path.is_within(dir))
    }

    /// Directories that hide everything that lower layers have in them; sorted.
    pub fn opaque(&self) -> &[LayerPath] {
        &self.opaque
    }

    /// Whether `dir` is one of [`Index::opaque`].
    pub fn is_opaque(&self, dir: &LayerPath) -> bool {
        self.opaque.binary_search(dir).is_ok()
    }

    /// Identity of what the layer *does* to a root filesystem: everything but times and tar offsets. Two layers with one
    /// content id are interchangeable for whatever is built on top of them.
    pub fn content_id(&self) -> Digest {
        self.identity().content
    }

    /// Identity of the layer itself, times included: names its stored forms.
    pub fn layer_id(&self) -> Digest {
        self.identity().layer
    }

    fn identity(&self) -> Identity {
        let mut identifier = Identifier::default();
        self.entries.iter().for_each(|entry| identifier.add(entry));
        identifier.finish(&self.opaque)
    }
}

/// What names a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// See [`Index::content_id`].
    pub content: Digest,
    /// See [`Index::layer_id`].
    pub layer: Digest,
}

/// Finds the [`Identity`] of a layer whose entries come one by one, in order.
#[derive(Debug)]
pub struct Identifier {
    content: Hasher,
    /// Equal neighbours count as one: of a context many files have one time.
    times: Vec<(Mtime, u32)>,
}

impl Default for Identifier {
    fn default() -> Self {
        let mut content = Hasher::new();
        content.part(b"kiln layer content 1");
        Self { content, times: Vec::new() }
    }
}

impl Identifier {
    /// Adds an entry.
    pub fn add(&mut self, entry: &Entry) {
        hash_entry(&mut self.content, entry);
        match self.times.last_mut() {
            Some((time, count)) if *time == entry.mtime && *count < u32::MAX => *count += 1,
            _ => self.times.push((entry.mtime, 1)),
        }
    }

    /// What all of them make together with the `opaque` directories, sorted.
    pub fn finish(mut self, opaque: &[LayerPath]) -> Identity {
        self.content.part(b"opaque");
        opaque.iter().for_each(|path| self.content.part(path.as_bytes()));
        let content = self.content.finish();
        let mut hasher = Hasher::new();
        hasher.part(content.as_bytes());
        for (time, count) in self.times {
            for _ in 0..count {
                hasher.update(&time.secs.to_le_bytes());
                hasher.update(&time.nanos.to_le_bytes());
            }
        }
        Identity { content, layer: hasher.finish() }
    }
}

fn hash_entry(hasher: &mut Hasher, entry: &Entry) {
    hasher.part(entry.path.as_bytes());
    let (tag, numbers, bytes): (u8, [u64; 2], &[u8]) = match &entry.kind {
        Kind::File { size, digest } => (b'f', [*size, 0], digest.as_bytes()),
        Kind::Hardlink { target } => (b'h', [0, 0], target.as_bytes()),
        Kind::Directory => (b'd', [0, 0], b""),
        Kind::Symlink { target } => (b'l', [0, 0], target),
        Kind::CharDevice { major, minor } => (b'c', [u64::from(*major), u64::from(*minor)], b""),
        Kind::BlockDevice { major, minor } => (b'b', [u64::from(*major), u64::from(*minor)], b""),
        Kind::Fifo => (b'p', [0, 0], b""),
        Kind::Whiteout => (b'w', [0, 0], b""),
    };
    hasher.update(&[tag]);
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    hasher.part(bytes);
    for number in [entry.mode, entry.uid, entry.gid] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&(entry.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &entry.xattrs {
        hasher.part(name);
        hasher.part(value);
    }
}
