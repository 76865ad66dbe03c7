//! The index as bytes: small, quick to read, and impossible to take for anything else.
//!
//! `KILNIDX` and a version byte; counts; entries with paths that share what they can with the path before; opaque directories; at the
//! end the SHA-256 of all that. Numbers are LEB128. Reading checks everything: what [`decode`] returns is a valid
//! index, whatever the bytes were.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use kiln_oci::digest::Hasher;

use crate::bytes::put_number;
use crate::encoded::{put_entry, put_path};
use crate::index::{Entry, Index};
use crate::pages::Pages;
use crate::path::LayerPath;
pub use crate::reading::CodecError;
use crate::reading::{MAGIC, read};

/// How many bytes are written at a time.
const PIECE: usize = 64 << 10;

/// The bytes of `index`. The same index gives the same bytes.
///
/// # Errors
/// If entries cannot be had; see [`Index`].
pub fn encode(index: &Index) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write(index, &mut bytes)?;
    Ok(bytes)
}

/// Writes what [`encode`] gives, little of it at a time.
///
/// # Errors
/// Those of `to`, and those of [`encode`].
pub fn write(index: &Index, to: &mut impl Write) -> io::Result<()> {
    let mut encoder = Encoder::new(index.len());
    index.encoded(&mut |piece| {
        encoder.out.extend_from_slice(piece);
        encoder.write(to)
    })?;
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
    let index = read(bytes.as_slice(), bytes.len() as u64, Pages::in_memory())?;
    Ok(index.holding(bytes))
}

/// The index in the file at `path`. If it has more than `held` bytes, mostly [`crate::rows::HELD`], they are checked now, and read again when
/// they are asked for: the file may be removed or replaced meanwhile, but not be changed.
///
/// # Errors
/// As [`decode`]; a file that cannot be read is named.
pub fn load(path: &Path, held: usize) -> Result<Index, CodecError> {
    let mut file = fs_err::File::open(path)?;
    let length = file.metadata()?.len();
    if length <= held as u64 {
        let mut bytes = Vec::with_capacity(length as usize);
        file.read_to_end(&mut bytes)?;
        return decode(bytes);
    }
    let again = file.file().try_clone()?;
    read(file, length, Pages::in_file(again, path.display().to_string(), held))
}

/// The index that `from` gives, which may have `most` bytes; more than `held`, mostly [`crate::rows::HELD`], are in an unnamed file in `dir`.
///
/// # Errors
/// As [`decode`], and those of `from` and of the file.
pub fn receive(from: &mut dyn Read, most: u64, (dir, held): (&Path, usize)) -> Result<Index, CodecError> {
    let mut bytes = Vec::new();
    let mut from = from.take(most + 1);
    from.by_ref().take(held as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() <= held && bytes.len() as u64 <= most {
        return decode(bytes);
    }
    let mut file = tempfile::tempfile_in(dir)?;
    file.write_all(&bytes)?;
    let length = bytes.len() as u64 + io::copy(&mut from, &mut file)?;
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than it may be").into());
    }
    file.seek(SeekFrom::Start(0))?;
    let again = file.try_clone()?;
    read(file, length, Pages::in_file(again, format!("an unnamed file in {}", dir.display()), held))
}
