//! Reads an encoded index once, from its first byte to its last, and checks everything on the way.

use std::io::{self, Read};

use kiln_oci::digest::Hasher;
use libdeflater::Crc;

use crate::bytes::Cursor;
use crate::encoded::{Encoded, Paths};
use crate::index::Index;
use crate::pages::Pages;
use crate::path::LayerPath;

/// What an encoded index begins with.
pub(crate) const MAGIC: &[u8; 8] = b"KILNIDX\x01";

/// Bytes of the checksum at its end.
pub(crate) const CHECKSUM: usize = 32;

/// How many bytes are read at a time.
const PIECE: usize = 128 << 10;

/// Paths that are held in full have no more than so many bytes, or so many times those that they were read from. No tree comes near, but who
/// means harm could have each path share almost all of a very long one.
const MOST: (usize, u64) = (64 << 20, 64);

/// Why bytes are not an index.
#[derive(Debug, thiserror::Error)]
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
        at: u64,
    },
    /// They cannot be had.
    #[error(transparent)]
    Read(#[from] io::Error),
}

/// The index of `length` bytes that `from` gives, the entries of which are in `pages` and get a table there.
///
/// # Errors
/// As [`crate::codec::decode`].
pub(crate) fn read(from: impl Read, length: u64, pages: Pages) -> Result<Index, CodecError> {
    let Some(body) = length.checked_sub((MAGIC.len() + CHECKSUM) as u64) else {
        return Err(CodecError::Magic);
    };
    let mut reading = Reading {
        from,
        left: body + MAGIC.len() as u64,
        hasher: Hasher::new(),
        bytes: Vec::new(),
        at: 0,
        start: 0,
        page: pages.needs_sums().then(Crc::new),
        summed: 0,
    };
    let magic = reading.take(|from| Some(from.take(MAGIC.len())? == MAGIC.as_slice()));
    if !matches!(magic, Ok(true)) {
        magic?;
        return Err(CodecError::Magic);
    }
    let index = reading.index(pages);
    // Damage is damage wherever it shows first.
    match index {
        Err(CodecError::Read(error)) => Err(error.into()),
        index => reading.verify().and(index),
    }
}

struct Reading<R> {
    from: R,
    /// Bytes that are still to be read, without the checksum.
    left: u64,
    /// Of what was read.
    hasher: Hasher,
    /// What was read last.
    bytes: Vec<u8>,
    /// Up to where that was understood.
    at: usize,
    /// The place of its first byte.
    start: u64,
    /// The checksum of the page that was begun, up to `summed`, if it is needed.
    page: Option<Crc>,
    summed: usize,
}

impl<R: Read> Reading<R> {
    fn index(&mut self, mut pages: Pages) -> Result<Index, CodecError> {
        let count = self.count()?;
        let mut paths = Paths::default();
        for number in 0..count {
            self.take(|from| paths.take(from).map(|_| ()))?;
            let at = self.position();
            if pages.table().wants(at) {
                let sum = self.end_page();
                if number > 0 {
                    pages.end_page(sum);
                }
                pages.begin(at, number, paths.last());
            }
            self.bounded(pages.table().path_bytes())?;
            self.take(|from| Encoded::take(from).filter(Encoded::is_valid).map(|_| ()))?;
        }
        pages.end_page(self.end_page());
        pages.finish(self.position(), count);
        let (mut paths, mut opaque, mut size) = (Paths::default(), Vec::new(), 0);
        for _ in 0..self.count()? {
            self.take(|from| paths.take(from).map(|_| ()))?;
            size += paths.last().len();
            self.bounded(size)?;
            opaque.push(LayerPath::of_clean(paths.last().to_vec()));
        }
        if self.left > 0 || self.at < self.bytes.len() {
            return Err(CodecError::Invalid { at: self.position() });
        }
        Ok(Index::of(pages, opaque))
    }

    /// A number of things that take at least a byte each.
    fn count(&mut self) -> Result<usize, CodecError> {
        let count = self.take(|from| from.number())?;
        let most = self.left + (self.bytes.len() - self.at) as u64;
        let count = usize::try_from(count).ok().filter(|count| *count as u64 <= most);
        count.ok_or(CodecError::Invalid { at: self.position() })
    }

    fn bounded(&self, held: usize) -> Result<(), CodecError> {
        let at = self.position();
        let most = u64::try_from(MOST.0).unwrap_or(u64::MAX).max(MOST.1.saturating_mul(at));
        if held as u64 > most { Err(CodecError::Invalid { at }) } else { Ok(()) }
    }

    /// Bytes from the start up to what was not understood yet.
    fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    /// What `parse` makes of what comes next. It is asked again with more bytes if it can make nothing of those that there are, unless
    /// those are all; of what it needs no more than a small multiple is held.
    fn take<T>(&mut self, mut parse: impl FnMut(&mut Cursor<'_>) -> Option<T>) -> Result<T, CodecError> {
        loop {
            let mut from = Cursor::new(&self.bytes, self.at);
            if let Some(found) = parse(&mut from) {
                self.at = from.position();
                return Ok(found);
            }
            let at = self.start + from.position() as u64;
            if self.left == 0 {
                return Err(CodecError::Invalid { at });
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), CodecError> {
        if let Some(page) = &mut self.page {
            page.update(&self.bytes[self.summed..self.at]);
        }
        self.bytes.drain(..self.at);
        self.start += self.at as u64;
        (self.at, self.summed) = (0, 0);
        let known = self.bytes.len();
        let more = PIECE.max(known).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.bytes.resize(known + more, 0);
        self.from.read_exact(&mut self.bytes[known..])?;
        self.hasher.update(&self.bytes[known..]);
        self.left -= more as u64;
        Ok(())
    }

    /// The checksum of what came since the last page ended, if it is needed.
    fn end_page(&mut self) -> Option<u32> {
        let page = self.page.as_mut()?;
        page.update(&self.bytes[self.summed..self.at]);
        self.summed = self.at;
        Some(std::mem::take(page).sum())
    }

    /// Reads what is left, and whether the checksum at the end is that of all.
    fn verify(mut self) -> Result<(), CodecError> {
        while self.left > 0 {
            self.at = self.bytes.len();
            self.fill()?;
        }
        let mut checksum = [0; CHECKSUM];
        self.from.read_exact(&mut checksum)?;
        if self.hasher.finish().as_bytes() == &checksum { Ok(()) } else { Err(CodecError::Checksum) }
    }
}
