//! GNU's sparse files: which pieces of a file are stored, the rest being zeros. Old GNU headers (type `S`) and the PAX
//! forms 0.0, 0.1 and 1.0.

use super::header::{decimal, number};

/// A stored piece of a sparse file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Zeros that kiln is willing to make up for one file. The map of a hostile archive costs nothing and could otherwise ask
/// for 2^63 of them.
const HOLES: u64 = 64 << 30;

/// The `GNU.sparse.*` records.
#[derive(Debug, Default)]
pub(crate) struct PaxSparse {
    pub(crate) major: u64,
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) real_size: Option<u64>,
    /// Offsets and lengths by turns, of 0.0 and 0.1.
    pub(crate) numbers: Option<Vec<u64>>,
}

impl PaxSparse {
    /// Takes one record, the key without `GNU.sparse.`.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let value_of = || decimal(value).ok_or("sparse record");
        match key {
            b"major" => self.major = value_of()?,
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.real_size = Some(value_of()?),
            b"offset" | b"numbytes" => {
                let numbers = self.numbers.get_or_insert_default();
                if (numbers.len() % 2 == 1) != (key == b"numbytes") {
                    return Err("sparse record");
                }
                numbers.push(value_of()?);
            }
            b"map" => {
                let fields = value.split(|b| *b == b',').filter(|_| !value.is_empty());
                let numbers: Option<Vec<u64>> = fields.map(decimal).collect();
                self.numbers = Some(numbers.ok_or("sparse map")?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Pieces out of offsets and lengths by turns.
pub(crate) fn pieces(numbers: &[u64]) -> Option<Vec<Piece>> {
    let pairs = numbers.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    Some(pairs.map(|pair| Piece { offset: pair[0], length: pair[1] }).collect())
}

/// Old GNU: 24-byte pairs, an unused one ends them.
pub(crate) fn old_pieces(mut area: &[u8], into: &mut Vec<Piece>) -> Option<()> {
    while area.len() >= 24 && area[0] != 0 {
        let field = |at: usize| u64::try_from(number(&area[at..at + 12])?).ok();
        into.push(Piece { offset: field(0)?, length: field(12)? });
        area = &area[24..];
    }
    Some(())
}

/// Whether the pieces are in order, inside a file of `real` bytes, and hold `stored` bytes in all.
pub(crate) fn consistent(pieces: &[Piece], real: u64, stored: u64) -> bool {
    let (mut end, mut sum) = (0u64, 0u64);
    for piece in pieces {
        let (Some(next), Some(total)) =
            (piece.offset.checked_add(piece.length), sum.checked_add(piece.length))
        else {
            return false;
        };
        if piece.offset < end || next > real {
            return false;
        }
        (end, sum) = (next, total);
    }
    sum == stored && real - sum <= HOLES
}
