//! Members out of a stream: headers joined with what extends them, contents with their holes filled.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::header::{Header, decimal, text};
use super::pax::Pax;
use super::sparse::{Piece, consistent, old_pieces, pieces};
use super::{BLOCK, TarError};
use crate::index::Mtime;

/// The largest PAX header, GNU long name or sparse map that is accepted. Go's archive/tar, and with it Docker, has this limit.
const EXTENSION: u64 = 1 << 20;

/// A member as the archive tells it: names raw, nothing resolved.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: i128,
    pub(crate) gid: i128,
    pub(crate) mtime: Mtime,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of content, holes included.
    pub(crate) size: u64,
    /// Where the content starts; `None` if it is not in one piece.
    pub(crate) offset: Option<u64>,
}

/// Reads an uncompressed tar member by member.
pub(crate) struct Members<R> {
    input: R,
    position: u64,
    /// Stored bytes of the current member that were not read yet.
    left: u64,
    /// Filling up to the block's end after them.
    padding: u64,
    /// What is stored of the current member; for a plain file one piece.
    pieces: Vec<Piece>,
    /// Index of the piece being read.
    piece: usize,
    /// Position inside the current file, holes included, and its size.
    at: u64,
    size: u64,
}

/// Extensions gathered before the header that they belong to.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.name.is_none() && self.link.is_none()
    }
}

impl<R: Read> Members<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, position: 0, left: 0, padding: 0, pieces: Vec::new(), piece: 0, at: 0, size: 0 }
    }

    /// The next member, or `None` at the end of the archive. Skips what was not read of the one before.
    pub(crate) fn next(&mut self) -> Result<Option<Raw>, TarError> {
        self.skip_rest()?;
        let mut extensions = Extensions::default();
        loop {
            let start = self.position;
            let Some(block) = self.header_block()? else {
                return if extensions.is_empty() {
                    Ok(None)
                } else {
                    Err(TarError::Truncated { position: start })
                };
            };
            let header = Header::parse(&block, start)?;
            match header.flag {
                b'x' | b'X' => extensions.pax = Some(Pax::parse(&self.extension(header.size)?, start)?),
                b'L' => extensions.name = Some(text(&self.extension(header.size)?).to_vec()),
                b'K' => extensions.link = Some(text(&self.extension(header.size)?).to_vec()),
                // Global records (git's commit id) and volume labels describe no file.
                b'g' | b'V' => {
                    self.extension(header.size)?;
                }
                _ => return self.member(&block, header, extensions, start).map(Some),
            }
        }
    }

    /// The bytes of the current member, holes as zeros.
    pub(crate) fn content(&mut self) -> Content<'_, R> {
        Content { members: self }
    }

    /// What an error inside the content means for the archive.
    pub(crate) fn cut_off(&self, source: io::Error) -> TarError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => TarError::Truncated { position: self.position },
            _ => TarError::Read { position: self.position, source },
        }
    }

    fn member(
        &mut self,
        block: &[u8; BLOCK],
        header: Header,
        extensions: Extensions,
        start: u64,
    ) -> Result<Raw, TarError> {
        let mut pax = extensions.pax.unwrap_or_default();
        let mut stored = pax.size.unwrap_or(header.size);
        // Links, devices and directories have no data, whatever their header says.
        if matches!(header.flag, b'1'..=b'6') {
            stored = 0;
        }
        let padded = stored.checked_next_multiple_of(BLOCK as u64);
        let padded = padded.filter(|n| self.position.checked_add(*n).is_some());
        let padded = padded.ok_or(TarError::Header { position: start, field: "size" })?;
        (self.left, self.padding) = (stored, padded - stored);
        let name = pax.sparse.name.clone().or(extensions.name).or(pax.path.take()).unwrap_or(header.name);
        let sparse = if header.flag == b'S' {
            Some(self.old_map(block, start)?)
        } else if matches!(header.flag, b'0' | 0 | b'7') {
            self.pax_map(&pax, start)?
        } else {
            None
        };
        let whole = sparse.is_none();
        let (pieces, size) = sparse.unwrap_or_else(|| (vec![Piece { offset: 0, length: stored }], stored));
        if !consistent(&pieces, size, self.left) {
            return Err(TarError::Extended { position: start, field: "sparse map" });
        }
        (self.pieces, self.piece, self.at, self.size) = (pieces, 0, 0, size);
        // v7 had no type for directories; a trailing slash says it.
        let flag = match header.flag {
            0 if name.ends_with(b"/") => b'5',
            0 | b'7' | b'S' => b'0',
            flag => flag,
        };
        Ok(Raw {
            name,
            link: extensions.link.or(pax.link).unwrap_or(header.link),
            flag,
            mode: header.mode,
            uid: pax.uid.unwrap_or(header.uid),
            gid: pax.gid.unwrap_or(header.gid),
            mtime: pax.mtime.unwrap_or(Mtime { secs: header.mtime, nanos: 0 }),
            major: header.major,
            minor: header.minor,
            xattrs: pax.xattrs,
            size,
            offset: whole.then_some(self.position),
        })
    }

    /// Old GNU: four pairs in the header, the real size, then blocks of 21 pairs while a flag says so.
    fn old_map(&mut self, block: &[u8; BLOCK], start: u64) -> Result<(Vec<Piece>, u64), TarError> {
        let bad = || TarError::Extended { position: start, field: "sparse map" };
        let mut map = Vec::new();
        old_pieces(&block[386..482], &mut map).ok_or_else(bad)?;
        let real = super::header::number(&block[483..495]).and_then(|n| u64::try_from(n).ok());
        let mut extended = block[482] != 0;
        let mut read = 0;
        while extended {
            read += BLOCK as u64;
            if read > EXTENSION {
                return Err(bad());
            }
            let more = self.block()?;
            old_pieces(&more[..504], &mut map).ok_or_else(bad)?;
            extended = more[504] != 0;
        }
        Ok((map, real.ok_or_else(bad)?))
    }

    fn pax_map(&mut self, pax: &Pax, start: u64) -> Result<Option<(Vec<Piece>, u64)>, TarError> {
        let bad = || TarError::Extended { position: start, field: "sparse map" };
        let numbers = match (&pax.sparse.numbers, pax.sparse.major) {
            (_, 1) => self.stored_map(start)?,
            (Some(numbers), 0) => numbers.clone(),
            (None, 0) => return Ok(None),
            _ => return Err(bad()),
        };
        let real = pax.sparse.real_size.ok_or_else(bad)?;
        Ok(Some((pieces(&numbers).ok_or_else(bad)?, real)))
    }

    /// Form 1.0: the map stands before the data as decimal lines, the first of them the number of pairs.
    fn stored_map(&mut self, start: u64) -> Result<Vec<u64>, TarError> {
        let bad = || TarError::Extended { position: start, field: "sparse map" };
        let (mut numbers, mut line, mut pairs) = (Vec::new(), Vec::new(), None);
        let mut read = 0;
        loop {
            read += BLOCK as u64;
            if read > EXTENSION || self.left < BLOCK as u64 {
                return Err(bad());
            }
            let block = self.block()?;
            self.left -= BLOCK as u64;
            for byte in block {
                if byte != b'\n' {
                    line.push(byte);
                    continue;
                }
                let number = decimal(&line).ok_or_else(bad)?;
                line.clear();
                match pairs {
                    None => pairs = Some(number),
                    Some(_) => numbers.push(number),
                }
                if pairs.is_some_and(|n| numbers.len() as u64 / 2 == n) {
                    return Ok(numbers);
                }
            }
        }
    }

    /// A header block; `None` at the end: no more bytes, or two blocks of zeros.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let start = self.position;
        let Some(block) = self.try_block()? else { return Ok(None) };
        if block.iter().any(|b| *b != 0) {
            return Ok(Some(block));
        }
        match self.try_block()? {
            Some(second) if second.iter().any(|b| *b != 0) => {
                Err(TarError::Header { position: start, field: "end of archive" })
            }
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], TarError> {
        let position = self.position;
        self.try_block()?.ok_or(TarError::Truncated { position })
    }

    fn try_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(TarError::Truncated { position: self.position }),
                n => filled += n,
            }
        }
        Ok(Some(block))
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENSION {
            return Err(TarError::Extended { position: self.position, field: "size" });
        }
        let mut data = Vec::new();
        for _ in 0..size.div_ceil(BLOCK as u64) {
            data.extend_from_slice(&self.block()?);
        }
        data.truncate(size as usize);
        Ok(data)
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let mut rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        let mut waste = [0; 8192];
        while rest > 0 {
            let length = rest.min(waste.len() as u64) as usize;
            match self.read(&mut waste[..length])? {
                0 => return Err(TarError::Truncated { position: self.position }),
                n => rest -= n as u64,
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        loop {
            match self.input.read(buffer) {
                Ok(n) => {
                    self.position += n as u64;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(TarError::Read { position: self.position, source }),
            }
        }
    }
}

/// The bytes of one member. An archive that ends early gives [`io::ErrorKind::UnexpectedEof`].
pub(crate) struct Content<'a, R> {
    members: &'a mut Members<R>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let members = &mut *self.members;
        while members.pieces.get(members.piece).is_some_and(|p| p.offset + p.length <= members.at) {
            members.piece += 1;
        }
        let piece = members.pieces.get(members.piece);
        let (stored, end) = match piece {
            Some(piece) if piece.offset <= members.at => (true, piece.offset + piece.length),
            Some(piece) => (false, piece.offset),
            None => (false, members.size),
        };
        let length = buffer.len().min(usize::try_from(end - members.at).unwrap_or(usize::MAX));
        if length == 0 {
            return Ok(0);
        }
        if !stored {
            buffer[..length].fill(0);
            members.at += length as u64;
            return Ok(length);
        }
        let n = members.input.read(&mut buffer[..length])?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        members.position += n as u64;
        members.left -= n as u64;
        members.at += n as u64;
        Ok(n)
    }
}
