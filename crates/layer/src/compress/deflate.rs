//! One block as a gzip member of its own (RFC 1952), made without looking at any other block.

use std::cell::RefCell;
use std::io;

use libdeflater::{CompressionLvl, Compressor, Crc};

/// Bytes of input in one member. A reference reaches 32 KiB back and never into the member before, which costs 0.3 % of the size
/// (0.2629 against 0.2634 with twice as much, on source code); smaller blocks would cost more, larger ones memory.
pub(super) const BLOCK: usize = 512 << 10;

/// Blocks that may wait.
pub(super) const AHEAD: usize = 6;

/// Magic, deflate, no flags, no time, no level, unknown system: nothing that tells where it was made. What libdeflate
/// writes differs from it in the hint about the level only.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

thread_local! {
    /// Its tables are as large as a block: they are kept for the next one.
    static ENGINE: RefCell<Option<(u32, Compressor)>> = const { RefCell::new(None) };
}

/// Compresses `input` to one whole member, into `out`, whose content is replaced.
pub(super) fn compress(input: &[u8], level: u32, out: &mut Vec<u8>) -> io::Result<()> {
    if level == 0 || incompressible(input) {
        stored(input, out);
        return Ok(());
    }
    let length = ENGINE.with_borrow_mut(|slot| {
        let engine = match slot {
            Some((of, engine)) if *of == level => engine,
            _ => &mut slot.insert((level, engine(level)?)).1,
        };
        out.resize(engine.gzip_compress_bound(input.len()), 0);
        engine.gzip_compress(input, out).map_err(io::Error::other)
    })?;
    out.truncate(length);
    // Five bytes per 64 KiB is the price of storing; never pay more.
    if length > input.len() + input.len() / 8192 + 32 {
        stored(input, out);
    }
    Ok(())
}

fn engine(level: u32) -> io::Result<Compressor> {
    let level = i32::try_from(level).map_err(io::Error::other)?;
    // Its error says nothing, and no caller asks for a level that it does not have.
    let level = CompressionLvl::new(level).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(Compressor::new(level))
}

/// `input` as a member of deflate's stored blocks (RFC 1951, 3.2.4).
fn stored(input: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&HEADER);
    let last = input.len().div_ceil(0xffff).max(1) - 1;
    let pieces = if input.is_empty() { vec![input] } else { input.chunks(0xffff).collect() };
    for (n, piece) in pieces.into_iter().enumerate() {
        let length = piece.len() as u16;
        out.push(u8::from(n == last));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(piece);
    }
    let mut crc = Crc::new();
    crc.update(input);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&(input.len() as u32).to_le_bytes());
}

/// Whether trying is a waste: the bytes are spread evenly, and nothing comes twice. Archives inside of layers (wheels,
/// jars, images) are like that, and deflate is at its slowest on them.
fn incompressible(input: &[u8]) -> bool {
    // Larger than deflate's window, so that repetition shows as it will in the whole.
    const SAMPLE: usize = 64 << 10;
    if input.len() < 2 * SAMPLE {
        return false;
    }
    let (front, middle) = (&input[..SAMPLE], &input[input.len() / 2..][..SAMPLE.min(input.len() / 2)]);
    // A line in four tells of all of it: to count every byte took a tenth of the time of a layer that does not compress.
    let lines = || input.chunks(LINE).step_by(4);
    evenly_spread([front].into_iter()) && evenly_spread(lines()) && !repeats(front) && !repeats(middle)
}

/// Bytes that the processor fetches at once.
const LINE: usize = 64;

/// The chance that two bytes picked at random are equal is near 1/256. Whole numbers only, so that every machine agrees.
fn evenly_spread<'a>(input: impl Iterator<Item = &'a [u8]>) -> bool {
    // Four tables: a byte that follows its like does not wait for it.
    let mut counts = [[0u32; 256]; 4];
    let mut length = 0;
    for piece in input {
        length += piece.len() as u64;
        for four in piece.chunks(4) {
            for (table, byte) in counts.iter_mut().zip(four) {
                table[usize::from(*byte)] += 1;
            }
        }
    }
    let count = |value: usize| counts.iter().map(|table| u64::from(table[value])).sum::<u64>();
    let squares: u64 = (0..256).map(count).map(|n| n * n).sum();
    squares * 256 < length * length / 100 * 105
}

/// Whether more than one in 64 of the four bytes at a place stood somewhere before.
fn repeats(input: &[u8]) -> bool {
    const BITS: u32 = 14;
    let mut seen = vec![0u32; 1 << BITS];
    let mut found = 0;
    for four in input.windows(4) {
        let value = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        let slot = &mut seen[(value.wrapping_mul(0x9e37_79b1) >> (32 - BITS)) as usize];
        found += usize::from(*slot == value);
        *slot = value;
    }
    found > input.len() / 64
}
