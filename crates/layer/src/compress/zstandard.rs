//! One block as a zstd frame of its own.

use std::cell::RefCell;
use std::io;

use zstd::bulk::Compressor;

/// Bytes of input in one frame: the window of level 3, so that cutting costs little.
pub(super) const BLOCK: usize = 2 << 20;

/// Blocks that may wait. More of them would be a few per cent faster where a file changes its nature often, for 4 MiB of memory each.
pub(super) const AHEAD: usize = 3;

thread_local! {
    /// Its tables are megabytes: they are kept for the next block.
    static ENGINE: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
}

/// Compresses `input` to a whole frame with its size and checksum, into `out`, whose content is replaced.
pub(super) fn compress(input: &[u8], level: i32, out: &mut Vec<u8>) -> io::Result<()> {
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

fn engine(level: i32) -> io::Result<Compressor<'static>> {
    let mut engine = Compressor::new(level)?;
    engine.include_checksum(true)?;
    engine.include_contentsize(true)?;
    Ok(engine)
}
