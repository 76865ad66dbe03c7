//! The index as bytes: small, quick to read, and impossible to take for anything else.
//!
//! `KILNIDX` and a version byte; counts; entries with paths that share what they can with the path before; opaque directories; at the
//! end the SHA-256 of all that. Numbers are LEB128. Reading checks everything: what [`decode`] returns is a valid
//! index, whatever the bytes were.

use std::collections::BTreeMap;
use std::io::{self, Write};

use kiln_oci::digest::{Digest, Hasher};

use crate::bytes::{Cursor, put_bytes, put_number, put_signed};
use crate::index::{Entry, Index, Kind, Mtime};
use crate::path::LayerPath;
use crate::rows::Row;

const MAGIC: &[u8; 8] = b"KILNIDX\x01";
const CHECKSUM: usize = 32;

/// How many bytes are written at a time.
const PIECE: usize = 64 << 10;

/// Why bytes are not an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not this format, or not this version of it.
    #[error("not a layer index of this version")]
    Magic,
    /// The checksum does not fit: cut short or damaged.
    #[error("the layer index is damaged")]
    Checksum,
    /// The checksum fits, but the content makes no sense.
    #[error("the layer index is not valid at byte {at}")]
    Invalid {
        /// Bytes from the start.
        at: usize,
    },
}

/// The bytes of `index`. The same index gives the same bytes.
pub fn encode(index: &Index) -> Vec<u8> {
    let mut encoder = Encoder::new(index.len());
    encoder.out.reserve(index.len() * 100);
    index.iter().for_each(|entry| encoder.push(&entry));
    encoder.finish(index.opaque())
}

/// Encodes an index piece by piece, for those that are not to be held in memory.
#[derive(Debug)]
pub struct Encoder {
    /// What was not written yet.
    out: Vec<u8>,
    /// Of what was written.
    hasher: Hasher,
    before: Vec<u8>,
}

impl Encoder {
    /// For an index of `count` entries.
    pub fn new(count: usize) -> Self {
        let mut out = MAGIC.to_vec();
        put_number(&mut out, count as u64);
        Self { out, hasher: Hasher::new(), before: Vec::new() }
    }

    /// Adds an entry, whose path sorts after that of the last.
    pub fn push(&mut self, entry: &Entry) {
        put_path(&mut self.out, &self.before, entry.path.as_bytes());
        self.before.clear();
        self.before.extend_from_slice(entry.path.as_bytes());
        put_entry(&mut self.out, entry);
    }

    /// Writes what there is by now to `to`, if that is worth a call.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&mut self, to: &mut impl Write) -> io::Result<()> {
        if self.out.len() < PIECE {
            return Ok(());
        }
        self.hasher.update(&self.out);
        to.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The bytes that were not written, to the end.
    pub fn finish(mut self, opaque: &[LayerPath]) -> Vec<u8> {
        put_number(&mut self.out, opaque.len() as u64);
        let mut before: &[u8] = b"";
        for path in opaque {
            put_path(&mut self.out, before, path.as_bytes());
            before = path.as_bytes();
        }
        self.hasher.update(&self.out);
        self.out.extend_from_slice(self.hasher.finish().as_bytes());
        self.out
    }
}

/// The index that [`encode`] made the bytes of.
///
/// # Errors
/// [`CodecError`]; never a panic, and never more memory than a small multiple of the input.
pub fn decode(bytes: &[u8]) -> Result<Index, CodecError> {
    if bytes.len() < MAGIC.len() + CHECKSUM || !bytes.starts_with(MAGIC) {
        return Err(CodecError::Magic);
    }
    let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if Digest::of(body).as_bytes() != checksum {
        return Err(CodecError::Checksum);
    }
    let mut cursor = Cursor::new(body, MAGIC.len());
    take_index(&mut cursor).ok_or(CodecError::Invalid { at: cursor.position() })
}

fn put_path(out: &mut Vec<u8>, before: &[u8], path: &[u8]) {
    let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
    put_number(out, shared as u64);
    put_bytes(out, &path[shared..]);
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    match &entry.kind {
        Kind::File { size, digest } => {
            out.push(b'f');
            put_number(out, *size);
            out.extend_from_slice(digest.as_bytes());
        }
        Kind::Hardlink { target } => {
            out.push(b'h');
            put_bytes(out, target.as_bytes());
        }
        Kind::Directory => out.push(b'd'),
        Kind::Symlink { target } => {
            out.push(b'l');
            put_bytes(out, target);
        }
        Kind::CharDevice { major, minor } => {
            out.push(b'c');
            put_number(out, u64::from(*major));
            put_number(out, u64::from(*minor));
        }
        Kind::BlockDevice { major, minor } => {
            out.push(b'b');
            put_number(out, u64::from(*major));
            put_number(out, u64::from(*minor));
        }
        Kind::Fifo => out.push(b'p'),
        Kind::Whiteout => out.push(b'w'),
    }
    for number in [entry.mode, entry.uid, entry.gid, entry.mtime.nanos] {
        put_number(out, u64::from(number));
    }
    put_signed(out, entry.mtime.secs);
    put_number(out, entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    put_number(out, entry.offset.map_or(0, |offset| offset + 1));
}

fn take_index(from: &mut Cursor<'_>) -> Option<Index> {
    let count = from.count()?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for _ in 0..count {
        let path = take_path(from, entries.last().map(|entry| &entry.path))?;
        entries.push(take_entry(from, path)?);
    }
    let count = from.count()?;
    let mut opaque: Vec<LayerPath> = Vec::with_capacity(count);
    for _ in 0..count {
        let path = take_path(from, opaque.last())?;
        opaque.push(path);
    }
    from.is_at_end().then(|| Index::from_sorted(entries, opaque))
}

/// A clean path that sorts after `before`.
fn take_path(from: &mut Cursor<'_>, before: Option<&LayerPath>) -> Option<LayerPath> {
    let known = before.map_or(&b""[..], LayerPath::as_bytes);
    let shared = known.get(..usize::try_from(from.number()?).ok()?)?;
    let path = LayerPath::exact(&[shared, from.bytes()?].concat())?;
    before.is_none_or(|before| *before < path).then_some(path)
}

fn take_entry(from: &mut Cursor<'_>, path: LayerPath) -> Option<Entry> {
    let kind = take_kind(from)?;
    let (mode, uid, gid, nanos) = (from.small()?, from.small()?, from.small()?, from.small()?);
    let secs = from.signed()?;
    let mut xattrs = BTreeMap::new();
    for _ in 0..from.count()? {
        let name = from.bytes()?.to_vec();
        xattrs.insert(name, from.bytes()?.to_vec());
    }
    let offset = from.number()?.checked_sub(1);
    let valid = mode <= 0o7777 && nanos < 1_000_000_000;
    valid.then_some(Entry { path, kind, mode, uid, gid, mtime: Mtime { secs, nanos }, xattrs, offset })
}

fn take_kind(from: &mut Cursor<'_>) -> Option<Kind> {
    Some(match from.take(1)?[0] {
        b'f' => {
            let size = from.number()?;
            Kind::File { size, digest: Digest::from_bytes(from.take(32)?.try_into().ok()?) }
        }
        b'h' => Kind::Hardlink { target: LayerPath::exact(from.bytes()?)? },
        b'd' => Kind::Directory,
        b'l' => Kind::Symlink { target: from.bytes()?.to_vec() },
        b'c' => Kind::CharDevice { major: from.small()?, minor: from.small()? },
        b'b' => Kind::BlockDevice { major: from.small()?, minor: from.small()? },
        b'p' => Kind::Fifo,
        b'w' => Kind::Whiteout,
        _ => return None,
    })
}

impl Row for Entry {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.path.as_bytes());
        put_entry(out, self);
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        let path = LayerPath::exact(from.bytes()?)?;
        take_entry(from, path)
    }
}
