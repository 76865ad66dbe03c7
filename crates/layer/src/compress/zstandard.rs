//! One block as a zstd frame of its own.

use std::io;

/// Bytes of input in one frame: twice the window of level 3, so that cutting costs little.
pub(super) const BLOCK: usize = 4 << 20;

/// Compresses `input` to a whole frame with its size and checksum.
pub(super) fn compress(input: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut engine = zstd::bulk::Compressor::new(level)?;
    engine.include_checksum(true)?;
    engine.include_contentsize(true)?;
    engine.compress(input)
}
