//! One block of a gzip member, made without looking at any other but for the 32 KiB before it.

use std::io;

use flate2::Crc;
use zlib_rs::{Deflate, DeflateError, DeflateFlush};

/// Bytes of input in one block. With the window carried over, the size does not count for the ratio (0.3492 with 1 MiB,
/// 0.3490 with 256 KiB on 200 MB of `/usr/lib`); small blocks keep the memory small.
pub(super) const BLOCK: usize = 256 << 10;
/// Deflate's window: what a block may refer back to.
pub(super) const WINDOW: usize = 1 << WINDOW_BITS;
const WINDOW_BITS: u8 = 15;

/// Magic, deflate, no flags, no time, no level, unknown system: nothing that tells where it was made.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block, which ends the deflate stream.
const END: [u8; 2] = [3, 0];

/// The bytes after the last block.
pub(super) fn trailer(crc: &Crc) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&END);
    bytes[2..6].copy_from_slice(&crc.sum().to_le_bytes());
    bytes[6..].copy_from_slice(&crc.amount().to_le_bytes());
    bytes
}

/// Compresses `input` to raw deflate that ends at a byte's edge and is not the stream's end. `before` is what stands in
/// front of it in the stream, at most [`WINDOW`] bytes.
pub(super) fn compress(before: &[u8], input: &[u8], level: u32) -> io::Result<Vec<u8>> {
    if level == 0 || incompressible(input)? {
        return Ok(stored(input));
    }
    let out = deflate(before, input, level)?;
    // Five bytes per 64 KiB is the price of storing; never pay more.
    Ok(if out.len() > input.len() + input.len() / 8192 { stored(input) } else { out })
}

/// The engine is named outright. flate2 would take the C one as soon as anything else in the same build asks for that, and
/// the bytes would change with it.
fn deflate(before: &[u8], input: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let failed = |error: DeflateError| io::Error::other(error.as_str());
    let level = i32::try_from(level).map_err(io::Error::other)?;
    let mut engine = Deflate::new(level, false, WINDOW_BITS);
    if !before.is_empty() {
        engine.set_dictionary(before).map_err(failed)?;
    }
    // Room for everything at once: the engine's output depends on how often it is asked.
    let mut out = vec![0; input.len() + input.len() / 8 + 1024];
    engine.compress(input, &mut out, DeflateFlush::SyncFlush).map_err(failed)?;
    let length = usize::try_from(engine.total_out()).map_err(io::Error::other)?;
    if engine.total_in() != input.len() as u64 || length == out.len() {
        return Err(io::Error::from(io::ErrorKind::WriteZero));
    }
    out.truncate(length);
    out.shrink_to_fit();
    Ok(out)
}

/// `input` in deflate's stored blocks (RFC 1951, 3.2.4).
fn stored(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() + 5 * input.len().div_ceil(0xffff));
    for piece in input.chunks(0xffff) {
        let length = piece.len() as u16;
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(piece);
    }
    out
}

/// Whether trying is a waste: the bytes are spread evenly, and samples do not shrink. Archives inside of layers (wheels,
/// jars, images) are like that, and deflate is at its slowest on them.
fn incompressible(input: &[u8]) -> io::Result<bool> {
    // Larger than the window, so that repetition shows as it will in the whole.
    const SAMPLE: usize = 2 * WINDOW;
    if input.len() < 2 * SAMPLE || !evenly_spread(input) {
        return Ok(false);
    }
    let ends = [&input[..SAMPLE], &input[input.len() - SAMPLE..]];
    let mut shrunk = 0;
    for sample in ends {
        shrunk += deflate(&[], sample, 1)?.len();
    }
    Ok(shrunk > 2 * SAMPLE / 100 * 99)
}

/// The chance that two bytes picked at random are equal is near 1/256. Whole numbers only, so that every machine agrees.
fn evenly_spread(input: &[u8]) -> bool {
    let mut counts = [0u64; 256];
    for byte in input {
        counts[usize::from(*byte)] += 1;
    }
    let squares: u64 = counts.iter().map(|n| n * n).sum();
    let length = input.len() as u64;
    squares * 256 < length * length / 100 * 105
}
