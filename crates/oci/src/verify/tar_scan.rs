//! Reads the headers of a tar and nothing else, strictly: what a runtime would have to guess is a defect.
//!
//! The formats are POSIX ustar and pax, and GNU's long names and sparse files. Memory is bounded whatever the tar says.

use std::io::{self, Read};

const BLOCK: usize = 512;
const LONGEST_EXTENSION: u64 = 1 << 20;

/// What is wrong with a tar itself; nothing after it can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarDefect {
    /// A header's checksum is wrong: not a tar, or damaged.
    #[error("bad header checksum at byte {offset}")]
    Checksum {
        /// Where the header is.
        offset: u64,
    },
    /// A number in a header or pax record cannot be read.
    #[error("bad number in the header at byte {offset}")]
    Number {
        /// Where the header is.
        offset: u64,
    },
    /// A pax record or long name cannot be read or is over 1 MiB.
    #[error("bad extended header at byte {offset}")]
    Extension {
        /// Where the header is.
        offset: u64,
    },
    /// It ends within a header or a file.
    #[error("truncated at byte {offset}")]
    Truncated {
        /// How long it is.
        offset: u64,
    },
    /// It ends without the two zero blocks.
    #[error("no end marker")]
    NoEnd,
}

/// Why scanning stopped.
#[derive(Debug)]
pub(super) enum ScanError {
    /// The tar is defective.
    Tar(TarDefect),
    /// The bytes could not be read or decompressed.
    Read(io::Error),
}

/// One entry; its data are skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TarEntry {
    /// As written, `prefix` and extensions applied.
    pub path: Vec<u8>,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    /// The type flag; `0` also for the old NUL.
    pub kind: u8,
    /// Bytes of data stored.
    pub size: u64,
    /// Where the data begin.
    pub offset: u64,
}

impl TarEntry {
    pub(super) fn is_directory(&self) -> bool {
        self.kind == b'5' || (self.kind == b'0' && self.path.ends_with(b"/"))
    }
}

/// A way to skip bytes faster than by reading them.
pub(super) type Skip<R> = fn(&mut R, u64) -> io::Result<()>;

/// Walks the entries of a tar.
pub(super) struct TarScan<R> {
    input: R,
    skip: Option<Skip<R>>,
    offset: u64,
    /// Data and padding of the last entry, not read yet.
    pending: u64,
}

#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl<R: Read> TarScan<R> {
    pub(super) fn new(input: R, skip: Option<Skip<R>>) -> Self {
        Self { input, skip, offset: 0, pending: 0 }
    }

    /// The next entry; `None` at the end marker.
    pub(super) fn next(&mut self) -> Result<Option<TarEntry>, ScanError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_pending()?;
            let at = self.offset;
            let Some(block) = self.block(true)? else { return Err(defect(TarDefect::NoEnd)) };
            if block.iter().all(|b| *b == 0) {
                return match self.block(true)? {
                    Some(next) if next.iter().all(|b| *b == 0) => Ok(None),
                    _ => Err(defect(TarDefect::NoEnd)),
                };
            }
            if !checksum_holds(&block) {
                return Err(defect(TarDefect::Checksum { offset: at }));
            }
            let size = number(&block[124..136]).ok_or(defect(TarDefect::Number { offset: at }))?;
            match block[156] {
                b'x' => self.pax(size, at, &mut extensions)?,
                b'g' => self.pend(size),
                b'L' => extensions.path = Some(trimmed(self.extension(size, at)?)),
                b'K' => extensions.link = Some(trimmed(self.extension(size, at)?)),
                _ => return self.entry(&block, size, extensions).map(Some),
            }
        }
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        size: u64,
        extensions: Extensions,
    ) -> Result<TarEntry, ScanError> {
        let kind = if block[156] == 0 { b'0' } else { block[156] };
        if kind == b'S' && block[482] != 0 {
            self.sparse_blocks()?;
        }
        // Links, devices, directories and pipes have no data, whatever their header says (as Go's archive/tar reads).
        let stored = if (b'1'..=b'6').contains(&kind) { 0 } else { extensions.size.unwrap_or(size) };
        let path = extensions.path.unwrap_or_else(|| ustar_path(block));
        let link = extensions.link.unwrap_or_else(|| text(&block[157..257]).to_vec());
        let entry = TarEntry { path, link, kind, size: stored, offset: self.offset };
        self.pend(stored);
        Ok(entry)
    }

    fn sparse_blocks(&mut self) -> Result<(), ScanError> {
        loop {
            let block = self.block(false)?.unwrap_or([0; BLOCK]);
            if block[504] == 0 {
                return Ok(());
            }
        }
    }

    fn pax(&mut self, size: u64, at: u64, into: &mut Extensions) -> Result<(), ScanError> {
        let bad = || defect(TarDefect::Extension { offset: at });
        let bytes = self.extension(size, at)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let space = rest.iter().position(|b| *b == b' ').ok_or_else(bad)?;
            let length = std::str::from_utf8(&rest[..space]).ok().and_then(|t| t.parse::<usize>().ok());
            let length = length.filter(|n| *n > space + 1 && *n <= rest.len()).ok_or_else(bad)?;
            let record = rest[space + 1..length].strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" if into.path.is_none() => into.path = Some(value.to_vec()),
                b"GNU.sparse.name" => into.path = Some(value.to_vec()),
                b"linkpath" => into.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|t| t.parse().ok());
                    into.size = Some(size.ok_or(defect(TarDefect::Number { offset: at }))?);
                }
                _ => {}
            }
            rest = &rest[length..];
        }
        Ok(())
    }

    fn extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>, ScanError> {
        if size > LONGEST_EXTENSION {
            return Err(defect(TarDefect::Extension { offset: at }));
        }
        let mut bytes = vec![0; size as usize];
        self.fill(&mut bytes, false)?;
        self.pending = padding(size);
        Ok(bytes)
    }

    fn pend(&mut self, size: u64) {
        self.pending = size.saturating_add(padding(size));
    }

    fn skip_pending(&mut self) -> Result<(), ScanError> {
        let count = std::mem::take(&mut self.pending);
        if let Some(skip) = self.skip {
            skip(&mut self.input, count).map_err(ScanError::Read)?;
            self.offset = self.offset.saturating_add(count);
            return Ok(());
        }
        let skipped =
            io::copy(&mut (&mut self.input).take(count), &mut io::sink()).map_err(ScanError::Read)?;
        self.offset += skipped;
        if skipped < count { Err(defect(TarDefect::Truncated { offset: self.offset })) } else { Ok(()) }
    }

    /// A block; `None` at the end of the input if that `may_end` here.
    fn block(&mut self, may_end: bool) -> Result<Option<[u8; BLOCK]>, ScanError> {
        let mut block = [0; BLOCK];
        Ok(self.fill(&mut block, may_end)?.then_some(block))
    }

    fn fill(&mut self, buffer: &mut [u8], may_end: bool) -> Result<bool, ScanError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) if filled == 0 && may_end => return Ok(false),
                Ok(0) => return Err(defect(TarDefect::Truncated { offset: self.offset + filled as u64 })),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ScanError::Read(error)),
            }
        }
        self.offset += filled as u64;
        Ok(true)
    }
}

fn defect(defect: TarDefect) -> ScanError {
    ScanError::Tar(defect)
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    let field = |i: usize| (148..156).contains(&i);
    let bytes = || block.iter().enumerate().map(|(i, b)| if field(i) { b' ' } else { *b });
    let unsigned: u64 = bytes().map(u64::from).sum();
    // Ancient tars added signed bytes.
    let signed: i64 = bytes().map(|b| i64::from(b as i8)).sum();
    number(&block[148..156]).is_some_and(|n| n == unsigned || i64::try_from(n) == Ok(signed))
}

/// Octal text, or GNU's big-endian binary.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (head, tail) = field.split_at(field.len() - 8);
        let zeros = head.iter().skip(1).all(|b| *b == 0);
        let fits = head.first() == Some(&0x80) && zeros && tail[0] & 0x80 == 0;
        return fits.then(|| tail.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
    }
    let digits = std::str::from_utf8(text(field)).ok()?.trim_matches(' ');
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

fn trimmed(bytes: Vec<u8>) -> Vec<u8> {
    text(&bytes).to_vec()
}

fn ustar_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    if &block[257..263] == b"ustar\0" && !prefix.is_empty() {
        [prefix, b"/", name].concat()
    } else {
        name.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(bytes: &[u8]) -> Result<Vec<TarEntry>, String> {
        let mut scan = TarScan::new(bytes, None);
        let mut entries = Vec::new();
        loop {
            match scan.next() {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => return Ok(entries),
                Err(error) => return Err(format!("{error:?}")),
            }
        }
    }

    fn header(path: &str, kind: u8, size: &[u8; 12]) -> [u8; BLOCK] {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_entry_type(tar::EntryType::new(kind));
        header.as_mut_bytes()[124..136].copy_from_slice(size);
        header.set_cksum();
        *header.as_bytes()
    }

    fn with_end(blocks: &[&[u8]]) -> Vec<u8> {
        let mut bytes = blocks.concat();
        bytes.resize(bytes.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
        bytes
    }

    #[test]
    fn sizes_of_every_notation() {
        let table: &[(&[u8; 12], Option<u64>)] = &[
            (b"00000000003\0", Some(3)),
            (b"         3 \0", Some(3)),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\0\0\0\0\0\x03", Some(3)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"00000000009\0", None),
        ];
        for (field, size) in table {
            let got = scan(&with_end(&[&header("f", b'0', field), b"abc"]));
            match size {
                Some(0) => assert!(got.is_err(), "the contents are taken for a header"),
                Some(size) => assert_eq!(got.unwrap()[0].size, *size),
                None => assert!(got.unwrap_err().contains("Number")),
            }
        }
    }

    #[test]
    fn a_size_in_a_pax_record_counts() {
        let record = b"10 size=3\n";
        let pax = header("x", b'x', b"00000000012\0");
        let mut padded = record.to_vec();
        padded.resize(BLOCK, 0);
        let file = header("f", b'0', b"00000000000\0");
        let entries = scan(&with_end(&[&pax, &padded, &file, b"abc"])).unwrap();
        assert_eq!((entries.len(), entries[0].size, entries[0].offset), (1, 3, 3 * BLOCK as u64));
    }

    #[test]
    fn links_have_no_data_whatever_they_say() {
        let link = header("l", b'1', b"00000000777\0");
        let file = header("f", b'0', b"00000000000\0");
        assert_eq!(scan(&with_end(&[&link, &file])).unwrap().len(), 2);
    }

    #[test]
    fn an_endless_extension_is_refused_before_it_is_read() {
        for kind in [b'x', b'L', b'K'] {
            let bytes = with_end(&[&header("x", kind, b"77777777777\0")]);
            assert!(scan(&bytes).unwrap_err().contains("Extension"));
        }
    }

    #[test]
    fn bad_pax_records() {
        for record in ["x", "5 a=b\n", "99 a=b\n", "0 a=b\n", "4 ab\n", "6 a=bc", "-6 a=b\n", "9 size=x\n"] {
            let size = format!("{:011o}\0", record.len());
            let size: &[u8; 12] = size.as_bytes().try_into().unwrap();
            let bytes = with_end(&[&header("x", b'x', size), record.as_bytes()]);
            assert!(scan(&bytes).is_err(), "{record:?}");
        }
    }

    #[test]
    fn sparse_headers_go_on_in_further_blocks() {
        let mut sparse = tar::Header::new_gnu();
        sparse.set_path("s").unwrap();
        sparse.set_entry_type(tar::EntryType::GNUSparse);
        sparse.set_size(3);
        sparse.as_mut_bytes()[482] = 1;
        sparse.set_cksum();
        let mut more = [0; BLOCK];
        more[504] = 1;
        let file = header("f", b'0', b"00000000000\0");
        let mut data = b"abc".to_vec();
        data.resize(BLOCK, 0);
        let bytes = with_end(&[sparse.as_bytes(), &more, &[0; BLOCK], &data, &file]);
        let paths: Vec<_> = scan(&bytes).unwrap().into_iter().map(|e| e.path).collect();
        assert_eq!(paths, [b"s", b"f"]);
    }

    proptest! {
        /// Headers with right checksums but wild fields neither panic nor loop.
        #[test]
        fn nothing_panics(edits in prop::collection::vec((0..512_usize, any::<u8>()), 0..12), tail in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut block = header("f", b'x', b"00000000010\0");
            edits.iter().for_each(|(at, byte)| block[*at] = *byte);
            let unsummed = scan(&[&block[..], &tail].concat());
            drop(unsummed);
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let summed = scan(&[&block[..], &tail].concat());
            drop(summed);
        }
    }
}
