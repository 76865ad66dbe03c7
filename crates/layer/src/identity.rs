//! What a layer is called: hashes over its entries.

use std::io;
use std::path::Path;
use std::sync::Arc;

use kiln_oci::digest::{Digest, Hasher};

use crate::bytes::{Cursor, put_number, put_signed};
use crate::encoded::{Encoded, Parts};
use crate::entry::{Entry, Mtime};
use crate::path::LayerPath;
use crate::rows::{Row, Rows};

/// What names a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// See `Index::content_id`.
    pub content: Digest,
    /// See `Index::layer_id`.
    pub layer: Digest,
}

/// Finds the [`Identity`] of a layer whose entries come one by one, in order, and need not be had twice.
#[derive(Debug)]
pub struct Identifier {
    content: Content,
    /// Equal neighbours count as one: of a context many files have one time.
    times: Rows<Times>,
    last: Times,
}

/// One time, of so many entries.
#[derive(Clone, Copy, Debug, Default)]
struct Times(Mtime, u64);

impl Identifier {
    /// Keeps what it must in memory, and in a file in `dir` if that is much.
    pub fn new(dir: impl Into<Arc<Path>>) -> Self {
        Self { content: Content::new(), times: Rows::new(dir), last: Times::default() }
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// If the times cannot be kept.
    pub fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let xattrs = entry.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let owned = [entry.mode, entry.uid, entry.gid];
        self.content.add(entry.path.as_bytes(), &Parts::of(&entry.kind), owned, xattrs);
        if self.last.1 > 0 && self.last.0 != entry.mtime {
            self.times.push(&self.last)?;
            self.last.1 = 0;
        }
        self.last = Times(entry.mtime, self.last.1 + 1);
        Ok(())
    }

    /// What all of them make together with the `opaque` directories, sorted.
    ///
    /// # Errors
    /// If the times cannot be read back.
    pub fn finish(self, opaque: &[LayerPath]) -> io::Result<Identity> {
        let content = self.content.finish(opaque);
        let mut layer = LayerHasher::new(&content);
        for times in self.times.iter().chain([Ok(self.last)]) {
            let Times(time, count) = times?;
            (0..count).for_each(|_| layer.add(time));
        }
        Ok(Identity { content, layer: layer.finish() })
    }
}

/// Hashes all that a layer does.
#[derive(Debug)]
pub(crate) struct Content {
    hasher: Hasher,
    /// Not hashed yet: there are many small pieces to an entry.
    pending: Vec<u8>,
}

/// How many bytes are hashed at a time.
const PIECE: usize = 4 << 10;

impl Content {
    pub(crate) fn new() -> Self {
        let mut new = Self { hasher: Hasher::new(), pending: Vec::with_capacity(2 * PIECE) };
        new.part(b"kiln layer content 1");
        new
    }

    /// Adds the entry at `path` as it is encoded.
    pub(crate) fn add_encoded(&mut self, path: &[u8], entry: &Encoded<'_>) {
        self.add(path, &entry.kind, [entry.mode, entry.uid, entry.gid], entry.xattrs.iter());
    }

    fn add<'x>(
        &mut self,
        path: &[u8],
        kind: &Parts<'_>,
        owned: [u32; 3],
        xattrs: impl ExactSizeIterator<Item = (&'x [u8], &'x [u8])>,
    ) {
        self.part(path);
        self.pending.push(kind.tag);
        for number in kind.numbers {
            self.pending.extend_from_slice(&number.to_le_bytes());
        }
        self.part(kind.bytes);
        for number in owned {
            self.pending.extend_from_slice(&number.to_le_bytes());
        }
        self.pending.extend_from_slice(&(xattrs.len() as u64).to_le_bytes());
        for (name, value) in xattrs {
            self.part(name);
            self.part(value);
        }
        if self.pending.len() >= PIECE {
            self.flush();
        }
    }

    /// As [`Hasher::part`].
    fn part(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.pending.extend_from_slice(bytes);
    }

    fn flush(&mut self) {
        self.hasher.update(&self.pending);
        self.pending.clear();
    }

    /// What all make together with the `opaque` directories, sorted.
    pub(crate) fn finish(mut self, opaque: &[LayerPath]) -> Digest {
        self.part(b"opaque");
        opaque.iter().for_each(|path| self.part(path.as_bytes()));
        self.flush();
        self.hasher.finish()
    }
}

/// Hashes what a layer does and the times of its entries.
#[derive(Debug)]
pub(crate) struct LayerHasher(Hasher);

impl LayerHasher {
    pub(crate) fn new(content: &Digest) -> Self {
        let mut hasher = Hasher::new();
        hasher.part(content.as_bytes());
        Self(hasher)
    }

    pub(crate) fn add(&mut self, time: Mtime) {
        self.0.update(&time.secs.to_le_bytes());
        self.0.update(&time.nanos.to_le_bytes());
    }

    pub(crate) fn finish(self) -> Digest {
        self.0.finish()
    }
}

impl Row for Times {
    fn put(&self, out: &mut Vec<u8>) {
        put_signed(out, self.0.secs);
        put_number(out, u64::from(self.0.nanos));
        put_number(out, self.1);
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        Some(Self(Mtime { secs: from.signed()?, nanos: from.small()? }, from.number()?))
    }
}
