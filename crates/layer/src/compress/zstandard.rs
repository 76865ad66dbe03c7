//! One block as a zstd frame of its own.

use std::cell::RefCell;
use std::io;

use zstd::bulk::Compressor;
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use crate::stop::Stop;

/// Bytes of input in one frame: the window of level 3, so that cutting costs little.
pub(super) const BLOCK: usize = 2 << 20;

/// Blocks that may wait. More of them would be a few per cent faster where a file changes its nature often, for 4 MiB of memory each.
pub(super) const AHEAD: usize = 3;

thread_local! {
    /// Its tables are megabytes: they are kept for the next block.
    static ENGINE: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
}

/// From this level on a block takes so long that it is compressed piece by piece.
const SLOW: i32 = 13;

/// One piece.
const PIECE: usize = 128 << 10;

/// Compresses `input` to a whole frame with its size and checksum, into `out`, whose content is replaced.
pub(super) fn compress(input: &[u8], level: i32, out: &mut Vec<u8>, stop: Stop<'_>) -> io::Result<()> {
    if level >= SLOW {
        return slowly(input, level, out, stop);
    }
    ENGINE.with_borrow_mut(|slot| {
        let engine = match slot {
            Some((of, engine)) if *of == level => engine,
            _ => &mut slot.insert((level, engine(level)?)).1,
        };
        out.clear();
        out.reserve(zstd::zstd_safe::compress_bound(input.len()));
        engine.compress_to_buffer(input, out)?;
        Ok(())
    })
}

fn slowly(input: &[u8], level: i32, out: &mut Vec<u8>, stop: Stop<'_>) -> io::Result<()> {
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(input.len()));
    let mut engine = Encoder::new(level)?;
    engine.set_parameter(CParameter::ChecksumFlag(true))?;
    engine.set_pledged_src_size(Some(input.len() as u64))?;
    let mut to = OutBuffer::around(out);
    for piece in input.chunks(PIECE) {
        stop.check()?;
        let mut from = InBuffer::around(piece);
        while from.pos() < piece.len() {
            engine.run(&mut from, &mut to)?;
        }
    }
    match engine.finish(&mut to, true)? {
        0 => Ok(()),
        left => Err(io::Error::other(format!("zstd has {left} bytes more than it said that it could have"))),
    }
}

fn engine(level: i32) -> io::Result<Compressor<'static>> {
    let mut engine = Compressor::new(level)?;
    engine.include_checksum(true)?;
    engine.include_contentsize(true)?;
    Ok(engine)
}
