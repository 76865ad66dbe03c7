//! Compression of layers, both ways.
//!
//! Going out, a layer is cut into blocks of a fixed size that are compressed each on its own, by as many threads as the
//! caller allows. What comes out depends on the bytes that went in, the format and the level, and on nothing
//! else: not on the number of threads, not on the sizes of the caller's writes, not on the host, whose libraries take no part.
//!
//! Coming in, everything that registries and `ADD` may meet is read: gzip (several members too), zstd, bzip2, xz.

mod decompress;
mod deflate;
mod pool;
mod write;
mod zstandard;

pub use decompress::{Format, decompressor, detect};
pub use write::{BadLevel, Compressor};

/// How a layer is compressed on the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// Gzip members of 512 KiB each (RFC 1952, 2.2), one stream to every reader.
    Gzip {
        /// 0 (stored) to 9, as libdeflate counts: each is faster than zlib's level that packs alike.
        level: u32,
    },
    /// Zstandard frames of 2 MiB each (RFC 8878).
    Zstd {
        /// 1 to 22.
        level: i32,
    },
}

impl Compression {
    /// Gzip as Docker has it: level 6.
    pub const GZIP: Self = Self::Gzip { level: 6 };
    /// Zstd as its authors have it: level 3.
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// The format that reads it back.
    pub fn format(self) -> Format {
        match self {
            Self::None => Format::None,
            Self::Gzip { .. } => Format::Gzip,
            Self::Zstd { .. } => Format::Zstd,
        }
    }
}
