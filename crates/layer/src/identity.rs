//! What a layer is called: hashes over its entries.

use kiln_oci::digest::{Digest, Hasher};

use crate::encoded::{Encoded, Parts};
use crate::entry::{Entry, Mtime};
use crate::path::LayerPath;

/// What names a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// See `Index::content_id`.
    pub content: Digest,
    /// See `Index::layer_id`.
    pub layer: Digest,
}

/// Finds the [`Identity`] of a layer whose entries come one by one, in order.
#[derive(Debug)]
pub struct Identifier {
    content: Hasher,
    /// Not hashed yet: there are many small pieces to an entry.
    pending: Vec<u8>,
    /// Equal neighbours count as one: of a context many files have one time.
    times: Vec<(Mtime, u32)>,
}

impl Default for Identifier {
    fn default() -> Self {
        let mut new =
            Self { content: Hasher::new(), pending: Vec::with_capacity(2 * PIECE), times: Vec::new() };
        new.part(b"kiln layer content 1");
        new
    }
}

/// How many bytes are hashed at a time.
const PIECE: usize = 4 << 10;

impl Identifier {
    /// Adds an entry.
    pub fn add(&mut self, entry: &Entry) {
        let xattrs = entry.xattrs.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let owned = [entry.mode, entry.uid, entry.gid];
        self.add_parts(entry.path.as_bytes(), &Parts::of(&entry.kind), owned, xattrs);
        self.add_time(entry.mtime);
    }

    /// Adds the entry at `path` as it is encoded.
    pub(crate) fn add_encoded(&mut self, path: &[u8], entry: &Encoded<'_>) {
        self.add_parts(path, &entry.kind, [entry.mode, entry.uid, entry.gid], entry.xattrs.iter());
        self.add_time(entry.mtime);
    }

    fn add_parts<'x>(
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
        self.content.update(&self.pending);
        self.pending.clear();
    }

    fn add_time(&mut self, mtime: Mtime) {
        match self.times.last_mut() {
            Some((time, count)) if *time == mtime && *count < u32::MAX => *count += 1,
            _ => self.times.push((mtime, 1)),
        }
    }

    /// What all of them make together with the `opaque` directories, sorted.
    pub fn finish(mut self, opaque: &[LayerPath]) -> Identity {
        self.part(b"opaque");
        opaque.iter().for_each(|path| self.part(path.as_bytes()));
        self.flush();
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
