//! The 512-byte header block: POSIX.1-1988 ustar, GNU, star and v7, read; ustar, written.

use super::{BLOCK, TarError};

/// A header block, fields decoded and nothing judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: i128,
    pub(crate) gid: i128,
    pub(crate) size: u64,
    pub(crate) mtime: i64,
    pub(crate) flag: u8,
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

/// Whether `block` (at least 512 bytes) starts a tar: a header whose checksum is right. The way ADD tells an archive
/// from any other file.
pub fn looks_like_tar(block: &[u8]) -> bool {
    block.len() >= BLOCK && block[..BLOCK].iter().any(|b| *b != 0) && checksum_matches(&block[..BLOCK])
}

fn checksum_matches(block: &[u8]) -> bool {
    let Some(stored) = number(&block[148..156]) else { return false };
    let (mut unsigned, mut signed) = (0i128, 0i128);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += i128::from(byte);
        signed += i128::from(byte.cast_signed());
    }
    // Old tars summed signed bytes.
    stored == unsigned || stored == signed
}

impl Header {
    pub(crate) fn parse(block: &[u8; BLOCK], position: u64) -> Result<Self, TarError> {
        let bad = |field| TarError::Header { position, field };
        if !checksum_matches(block) {
            return Err(bad("checksum"));
        }
        let field =
            |from: usize, to: usize, name: &'static str| number(&block[from..to]).ok_or_else(|| bad(name));
        let small = |value: i128, name: &'static str| u32::try_from(value).map_err(|_| bad(name));
        let posix = &block[257..263] == b"ustar\0";
        let mut name = text(&block[..100]).to_vec();
        if posix {
            let end = if &block[508..512] == b"tar\0" { 476 } else { 500 };
            let prefix = text(&block[345..end]);
            if !prefix.is_empty() {
                name = [prefix, b"/", &name].concat();
            }
        }
        let flag = block[156];
        let device = matches!(flag, b'3' | b'4');
        Ok(Self {
            name,
            link: text(&block[157..257]).to_vec(),
            mode: (field(100, 108, "mode")? & 0o7777) as u32,
            uid: field(108, 116, "uid")?,
            gid: field(116, 124, "gid")?,
            size: u64::try_from(field(124, 136, "size")?).map_err(|_| bad("size"))?,
            mtime: i64::try_from(field(136, 148, "mtime")?).map_err(|_| bad("mtime"))?,
            flag,
            major: if device { small(field(329, 337, "major")?, "major")? } else { 0 },
            minor: if device { small(field(337, 345, "minor")?, "minor")? } else { 0 },
        })
    }

    /// The block as ustar. Names must fit (see [`split_name`]); numbers that do not fit are written as zero, since a PAX
    /// record then carries them.
    pub(crate) fn ustar(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let (prefix, name) = split_name(&self.name).unwrap_or((b"", &self.name[..self.name.len().min(100)]));
        put(&mut block, 0, name);
        put_octal(&mut block[100..108], u64::from(self.mode));
        put_octal(&mut block[108..116], u64::try_from(self.uid).unwrap_or(0));
        put_octal(&mut block[116..124], u64::try_from(self.gid).unwrap_or(0));
        put_octal(&mut block[124..136], self.size);
        put_octal(&mut block[136..148], u64::try_from(self.mtime).unwrap_or(0));
        block[156] = self.flag;
        put(&mut block, 157, &self.link[..self.link.len().min(100)]);
        put(&mut block, 257, b"ustar\x0000");
        put_octal(&mut block[329..337], u64::from(self.major));
        put_octal(&mut block[337..345], u64::from(self.minor));
        put(&mut block, 345, prefix);
        put(&mut block, 148, b"        ");
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        put_octal(&mut block[148..155], sum);
        block[155] = b' ';
        block
    }
}

/// The largest number that an octal field of `width` bytes (its NUL included) holds.
pub(crate) fn octal_limit(width: usize) -> u64 {
    (1 << (3 * (width - 1))) - 1
}

/// Prefix and name of a ustar header for `name`; `None` if it needs a PAX record.
pub(crate) fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // A slash that leaves 1..=100 bytes after it and at most 155 before it. A directory's last slash is no cut.
    let first = name.len().saturating_sub(101);
    let cut = (first..=155.min(name.len() - 2)).find(|i| name[*i] == b'/')?;
    (cut > 0).then(|| (&name[..cut], &name[cut + 1..]))
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put_octal(field: &mut [u8], value: u64) {
    let mut value = if value > octal_limit(field.len()) { 0 } else { value };
    for byte in field.iter_mut().rev().skip(1) {
        *byte = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

/// A field up to its first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

/// An octal field, blanks and NULs around it allowed and an empty one zero, or GNU's base 256.
pub(crate) fn number(field: &[u8]) -> Option<i128> {
    if field.first()? & 0x80 != 0 {
        return base256(field);
    }
    let mut value: i128 = 0;
    let start = field.iter().position(|b| !matches!(b, b' ' | 0)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|b| matches!(b, b' ' | 0)).unwrap_or(digits.len());
    for byte in &digits[..end] {
        match byte {
            b'0'..=b'7' => value = value * 8 + i128::from(byte - b'0'),
            _ => return None,
        }
    }
    Some(value)
}

/// A decimal number, digits only: what PAX records and sparse maps hold.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn base256(field: &[u8]) -> Option<i128> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (at, byte) in field.iter().enumerate() {
        let byte = match (at, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).ok().map(i128::from)
}
