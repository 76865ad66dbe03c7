//! Telling formats apart and reading them.

use std::io::{self, BufRead, BufReader, Read};

/// A format that compressed data comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Plain bytes.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
}

/// Kibibytes that an xz stream may ask for: what `xz -9` needs (65 MiB), with room.
const XZ_MEMORY: u32 = 160 << 10;
const BUFFER: usize = 64 << 10;

/// The format that data starting with `head` is in, by its magic number; six bytes are enough. No magic known: [`Format::None`].
pub fn detect(head: &[u8]) -> Format {
    match head {
        [0x1f, 0x8b, ..] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
        _ => Format::None,
    }
}

/// Reads `reader` decompressed; without a `format` it is told from the first bytes. Members or frames that follow each
/// other are one stream.
///
/// # Errors
/// Whatever the first read gives when the format has to be found out. The reader returned fails with
/// [`io::ErrorKind::UnexpectedEof`] or [`io::ErrorKind::InvalidData`] (bzip2 and xz: kinds of their libraries) on broken data.
pub fn decompressor<'a>(
    reader: impl Read + Send + 'a,
    format: Option<Format>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    let format = match format {
        Some(format) => format,
        None => detect(reader.fill_buf()?),
    };
    Ok(match format {
        Format::None => Box::new(reader),
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Format::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
        Format::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Format::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, XZ_MEMORY)),
    })
}
