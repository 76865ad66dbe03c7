//! The writer that cuts, compresses and joins.

use std::io::{self, Write};
use std::sync::Arc;

use flate2::Crc;

use super::pool::Pool;
use super::{Compression, deflate, zstandard};

/// A level that the format does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compression level {level} is not between {least} and {most}")]
pub struct BadLevel {
    /// What was asked for.
    pub level: i64,
    /// The lowest there is.
    pub least: i64,
    /// The highest there is.
    pub most: i64,
}

impl Compression {
    /// Whether the level is one that the format has.
    ///
    /// # Errors
    /// [`BadLevel`].
    pub fn check(self) -> Result<(), BadLevel> {
        let (level, least, most) = match self {
            Self::None => return Ok(()),
            Self::Gzip { level } => (i64::from(level), 0, 9),
            Self::Zstd { level } => (i64::from(level), 1, 22),
        };
        if (least..=most).contains(&level) { Ok(()) } else { Err(BadLevel { level, least, most }) }
    }
}

/// Compresses what is written to it into `W`. Call [`Compressor::finish`]: a compressor that is only dropped leaves a cut-off
/// stream. Memory: two blocks of 256 KiB (zstd: 4 MiB), in and out, for each thread.
pub struct Compressor<W> {
    out: W,
    compression: Compression,
    pool: Pool,
    block: Vec<u8>,
    /// The end of the block before, for gzip.
    before: Arc<[u8]>,
    crc: Crc,
    /// Whether a block was handed in yet.
    started: bool,
}

impl<W: Write> Compressor<W> {
    /// A compressor into `out` with `threads` threads (0 and 1: none but the caller's).
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] around a [`BadLevel`]; threads that cannot be started; the header cannot be written.
    pub fn new(mut out: W, compression: Compression, threads: usize) -> io::Result<Self> {
        compression.check().map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        if let Compression::Gzip { .. } = compression {
            out.write_all(&deflate::HEADER)?;
        }
        let threads = if compression == Compression::None { 1 } else { threads };
        Ok(Self {
            out,
            compression,
            pool: Pool::new(threads)?,
            block: Vec::new(),
            before: Arc::default(),
            crc: Crc::new(),
            started: false,
        })
    }

    /// Writes what is left, and the end of the stream, flushes, and returns the destination.
    ///
    /// # Errors
    /// As for writing.
    pub fn finish(mut self) -> io::Result<W> {
        // Zstd has no empty stream without a frame.
        let empty_zstd = matches!(self.compression, Compression::Zstd { .. }) && !self.started;
        if !self.block.is_empty() || empty_zstd {
            self.dispatch()?;
        }
        while let Some(bytes) = self.pool.pop()? {
            self.out.write_all(&bytes)?;
        }
        if let Compression::Gzip { .. } = self.compression {
            self.out.write_all(&deflate::trailer(&self.crc))?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn dispatch(&mut self) -> io::Result<()> {
        self.started = true;
        let room = self.block_size();
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(room));
        let done = match self.compression {
            Compression::None => Some(block),
            Compression::Gzip { level } => {
                self.crc.update(&block);
                let tail = Arc::from(&block[block.len().saturating_sub(deflate::WINDOW)..]);
                let before = std::mem::replace(&mut self.before, tail);
                self.pool.push(Box::new(move || deflate::compress(&before, &block, level)))?
            }
            Compression::Zstd { level } => {
                self.pool.push(Box::new(move || zstandard::compress(&block, level)))?
            }
        };
        match done {
            Some(bytes) => self.out.write_all(&bytes),
            None => Ok(()),
        }
    }

    fn block_size(&self) -> usize {
        match self.compression {
            Compression::None | Compression::Gzip { .. } => deflate::BLOCK,
            Compression::Zstd { .. } => zstandard::BLOCK,
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.compression == Compression::None {
            return self.out.write(bytes);
        }
        let room = self.block_size();
        let n = bytes.len().min(room - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == room {
            self.dispatch()?;
        }
        Ok(n)
    }

    /// Does not cut a block: where blocks end must not depend on the caller.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
