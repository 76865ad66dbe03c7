//! The writer that cuts, compresses and joins.

use std::io::{self, Write};

use super::pool::{Block, Pool, Work};
use super::{Compression, deflate, zstandard};
use crate::stop::Stop;

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
/// stream. Memory: a block of 512 KiB (zstd: 2 MiB), in and out, for each thread, and eight (zstd: five) more.
pub struct Compressor<'a, W> {
    out: W,
    compression: Compression,
    pool: Pool<'a>,
    /// What is being gathered.
    block: Block,
    /// Blocks that have been written, for their room.
    spare: Vec<Block>,
    /// Whether a block was handed in yet.
    started: bool,
}

impl<'a, W: Write> Compressor<'a, W> {
    /// A compressor into `out` with `threads` threads (0 and 1: none but the caller's).
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] around a [`BadLevel`]; threads that cannot be started.
    pub fn new(out: W, compression: Compression, threads: usize) -> io::Result<Self> {
        compression.check().map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        let threads = if compression == Compression::None { 1 } else { threads };
        Ok(Self {
            out,
            compression,
            pool: Pool::new((threads, ahead(compression)), work(compression))?,
            block: Block::default(),
            spare: Vec::new(),
            started: false,
        })
    }

    /// The same, to fail with [`crate::stop::Stopped`] when `stop` says so, also in the midst of a block that takes long.
    #[must_use]
    pub fn until(mut self, stop: Stop<'a>) -> Self {
        self.pool.until(stop);
        self
    }

    /// Writes what is left, and the end of the stream, flushes, and returns the destination.
    ///
    /// # Errors
    /// As for writing.
    pub fn finish(mut self) -> io::Result<W> {
        // Neither format has an empty stream without a member or frame.
        let empty = self.compression != Compression::None && !self.started;
        if !self.block.plain.is_empty() || empty {
            self.dispatch()?;
        }
        while let Some(block) = self.pool.pop()? {
            self.out.write_all(&block.packed)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    fn dispatch(&mut self) -> io::Result<()> {
        self.started = true;
        let next = self.spare.pop().unwrap_or_default();
        let block = std::mem::replace(&mut self.block, next);
        if let Some(mut done) = self.pool.push(block)? {
            self.out.write_all(&done.packed)?;
            done.plain.clear();
            self.spare.push(done);
        }
        Ok(())
    }

    fn block_size(&self) -> usize {
        match self.compression {
            Compression::None | Compression::Gzip { .. } => deflate::BLOCK,
            Compression::Zstd { .. } => zstandard::BLOCK,
        }
    }
}

/// How many blocks wait for a thread at most.
fn ahead(compression: Compression) -> usize {
    match compression {
        Compression::None | Compression::Gzip { .. } => deflate::AHEAD,
        Compression::Zstd { .. } => zstandard::AHEAD,
    }
}

/// What is done with each block, and at which level.
fn work(compression: Compression) -> (Work, i32) {
    match compression {
        // Never asked to: what is not compressed is not cut into blocks.
        Compression::None => (|block, _, _| deflate::compress(&block.plain, 0, &mut block.packed), 0),
        Compression::Gzip { level } => (
            |block, level, _| deflate::compress(&block.plain, level.unsigned_abs(), &mut block.packed),
            level.cast_signed(),
        ),
        Compression::Zstd { level } => {
            (|block, level, stop| zstandard::compress(&block.plain, level, &mut block.packed, stop), level)
        }
    }
}

impl<W: Write> Write for Compressor<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.compression == Compression::None {
            return self.out.write(bytes);
        }
        let room = self.block_size();
        let block = &mut self.block.plain;
        block.reserve_exact(room - block.len());
        let n = bytes.len().min(room - block.len());
        block.extend_from_slice(&bytes[..n]);
        if block.len() == room {
            self.dispatch()?;
        }
        Ok(n)
    }

    /// Does not cut a block: where blocks end must not depend on the caller.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
