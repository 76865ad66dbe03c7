//! The index as bytes: small, quick to read, and impossible to take for anything else.
//!
//! `KILNIDX` and a version byte; counts; entries with paths that share what they can with the path before; opaque directories; at the
//! end the SHA-256 of all that. Numbers are LEB128. Reading checks everything: what [`decode`] returns is a valid
//! index, whatever the bytes were.

use std::io::{self, Write};

use kiln_oci::digest::{Digest, Hasher};

use crate::bytes::put_number;
use crate::encoded::{put_entry, put_path};
use crate::index::{Entry, Index};
use crate::path::LayerPath;

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
    encoder.out.reserve(index.encoded().len() + CHECKSUM);
    encoder.out.extend_from_slice(index.encoded());
    encoder.finish(index.opaque())
}

/// Writes what [`encode`] gives, and has none of it in memory twice.
///
/// # Errors
/// Those of `to`.
pub fn write(index: &Index, to: &mut impl Write) -> io::Result<()> {
    let mut encoder = Encoder::new(index.len());
    for piece in [&std::mem::take(&mut encoder.out)[..], index.encoded()] {
        encoder.hasher.update(piece);
        to.write_all(piece)?;
    }
    to.write_all(&encoder.finish(index.opaque()))
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

/// The index that [`encode`] made the bytes of. It keeps them.
///
/// # Errors
/// [`CodecError`]; never a panic, and never more memory than a small multiple of the input.
pub fn decode(bytes: Vec<u8>) -> Result<Index, CodecError> {
    if bytes.len() < MAGIC.len() + CHECKSUM || !bytes.starts_with(MAGIC) {
        return Err(CodecError::Magic);
    }
    let (body, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if Digest::of(body).as_bytes() != checksum {
        return Err(CodecError::Checksum);
    }
    let body = MAGIC.len()..body.len();
    Index::read(bytes, body).map_err(|at| CodecError::Invalid { at })
}
