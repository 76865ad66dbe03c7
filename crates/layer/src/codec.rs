//! The index as bytes: small, quick to read, and impossible to take for anything else.
//!
//! `KILNIDX` and a version byte; counts; entries with paths that share what they can with the path before; opaque directories; at the
//! end the SHA-256 of all that. Numbers are LEB128. Reading checks everything: what [`decode`] returns is a valid
//! index, whatever the bytes were.

use std::collections::BTreeMap;

use kiln_oci::digest::Digest;

use crate::index::{Entry, Index, Kind, Mtime};
use crate::path::LayerPath;

const MAGIC: &[u8; 8] = b"KILNIDX\x01";
const CHECKSUM: usize = 32;

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
    let mut out = Vec::with_capacity(64 + index.entries.len() * 100);
    out.extend_from_slice(MAGIC);
    put_number(&mut out, index.entries.len() as u64);
    let mut before: &[u8] = b"";
    for entry in &index.entries {
        put_path(&mut out, before, entry.path.as_bytes());
        before = entry.path.as_bytes();
        put_entry(&mut out, entry);
    }
    put_number(&mut out, index.opaque.len() as u64);
    let mut before: &[u8] = b"";
    for path in &index.opaque {
        put_path(&mut out, before, path.as_bytes());
        before = path.as_bytes();
    }
    let checksum = Digest::of(&out);
    out.extend_from_slice(checksum.as_bytes());
    out
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
    let mut cursor = Cursor { body, at: MAGIC.len() };
    cursor.index().ok_or(CodecError::Invalid { at: cursor.at })
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
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
    // Zigzag: small numbers of either sign stay short.
    let secs = entry.mtime.secs;
    put_number(out, ((secs << 1) ^ (secs >> 63)).cast_unsigned());
    put_number(out, entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    put_number(out, entry.offset.map_or(0, |offset| offset + 1));
}

/// Reads forward; every method gives `None` for what cannot be.
struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn index(&mut self) -> Option<Index> {
        let count = self.count()?;
        let mut entries: Vec<Entry> = Vec::with_capacity(count);
        for _ in 0..count {
            let path = self.path(entries.last().map(|entry| &entry.path))?;
            entries.push(self.entry(path)?);
        }
        let count = self.count()?;
        let mut opaque: Vec<LayerPath> = Vec::with_capacity(count);
        for _ in 0..count {
            let path = self.path(opaque.last())?;
            opaque.push(path);
        }
        (self.at == self.body.len()).then_some(Index { entries, opaque })
    }

    /// A number of things that take at least a byte each.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.body.len() - self.at).then_some(count)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.body.get(self.at)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let bytes = self.body.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        self.take(length)
    }

    /// A clean path that sorts after `before`.
    fn path(&mut self, before: Option<&LayerPath>) -> Option<LayerPath> {
        let known = before.map_or(&b""[..], LayerPath::as_bytes);
        let shared = known.get(..usize::try_from(self.number()?).ok()?)?;
        let raw = [shared, self.bytes()?].concat();
        let path = LayerPath::clean(&raw);
        (path.as_bytes() == raw && before.is_none_or(|before| *before < path)).then_some(path)
    }

    fn entry(&mut self, path: LayerPath) -> Option<Entry> {
        let kind = self.kind()?;
        let (mode, uid, gid, nanos) = (self.small()?, self.small()?, self.small()?, self.small()?);
        let zigzag = self.number()?;
        let secs = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        let mut xattrs = BTreeMap::new();
        for _ in 0..self.count()? {
            let name = self.bytes()?.to_vec();
            xattrs.insert(name, self.bytes()?.to_vec());
        }
        let offset = self.number()?.checked_sub(1);
        let valid = mode <= 0o7777 && nanos < 1_000_000_000;
        valid.then_some(Entry { path, kind, mode, uid, gid, mtime: Mtime { secs, nanos }, xattrs, offset })
    }

    fn kind(&mut self) -> Option<Kind> {
        Some(match self.take(1)?[0] {
            b'f' => {
                let size = self.number()?;
                Kind::File { size, digest: Digest::from_bytes(self.take(32)?.try_into().ok()?) }
            }
            b'h' => {
                let raw = self.bytes()?;
                let target = LayerPath::clean(raw);
                (target.as_bytes() == raw).then_some(Kind::Hardlink { target })?
            }
            b'd' => Kind::Directory,
            b'l' => Kind::Symlink { target: self.bytes()?.to_vec() },
            b'c' => Kind::CharDevice { major: self.small()?, minor: self.small()? },
            b'b' => Kind::BlockDevice { major: self.small()?, minor: self.small()? },
            b'p' => Kind::Fifo,
            b'w' => Kind::Whiteout,
            _ => return None,
        })
    }
}
