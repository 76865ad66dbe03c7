//! One pass over a layer: digest, size, diff id, and what is in its tar.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read};

use super::place::{Opened, Place};
use super::problem::ProblemKind;
use super::tar_scan::{ScanError, TarEntry, TarScan};
use crate::digest::{DiffId, Digest, Hasher};
use crate::media_type::LayerCompression;

const MOST_PROBLEMS: usize = 100;
const BUFFER: usize = 128 << 10;

/// What a layer is, whatever is claimed of it.
#[derive(Debug, Clone)]
pub(super) struct LayerFacts {
    pub digest: Digest,
    pub size: u64,
    pub compression: LayerCompression,
    /// Unless it could not be decompressed.
    pub diff_id: Option<DiffId>,
    pub problems: Vec<ProblemKind>,
    /// Hard links whose targets must be in a layer below: link, target.
    pub unresolved: Vec<(String, String)>,
}

/// Reads a layer once. Memory does not grow with the size of the layer, but by about 18 bytes with each entry.
pub(super) fn examine((reader, _): Opened<'_>) -> io::Result<LayerFacts> {
    let mut raw = Hashing::new(reader);
    let mut contents = Contents::new();
    let (compression, plain) = {
        let mut buffered = BufReader::with_capacity(BUFFER, &mut raw);
        let compression = compression_by_magic(buffered.fill_buf()?);
        (compression, decode(buffered, compression, &mut contents))
    };
    let diff_id = match plain {
        Ok(digest) => Some(DiffId(digest)),
        Err(error) => {
            contents.note(ProblemKind::Decompress { detail: error.to_string() });
            None
        }
    };
    drain(&mut raw)?;
    let (digest, size) = raw.finish();
    let Contents { problems, unresolved, .. } = contents;
    Ok(LayerFacts { digest, size, compression, diff_id, problems, unresolved })
}

/// Removes from `wanted` the paths that a layer has.
pub(super) fn find_paths(place: &Place, file: &str, wanted: &mut Vec<(String, String)>) -> io::Result<()> {
    let Some((reader, _)) = place.file(file)? else { return Ok(()) };
    let mut buffered = BufReader::with_capacity(BUFFER, reader);
    let compression = compression_by_magic(buffered.fill_buf()?);
    let mut scan = TarScan::new(decoder(buffered, compression)?, None);
    // A defect is told where the layer itself is examined.
    while let Ok(Some(entry)) = scan.next() {
        if let Some(path) = normal(&entry.path) {
            wanted.retain(|(_, target)| *target != path);
        }
    }
    Ok(())
}

fn decode<'a>(
    input: impl BufRead + 'a,
    compression: LayerCompression,
    contents: &mut Contents,
) -> io::Result<Digest> {
    let mut plain = Hashing::new(decoder(input, compression)?);
    let mut scan = TarScan::new(BufReader::with_capacity(BUFFER, &mut plain), None);
    loop {
        match scan.next() {
            Ok(Some(entry)) => contents.add(&entry),
            Ok(None) => break,
            Err(ScanError::Tar(defect)) => {
                contents.note(defect.into());
                break;
            }
            Err(ScanError::Read(error)) => return Err(error),
        }
    }
    drop(scan);
    drain(&mut plain)?;
    Ok(plain.finish().0)
}

fn decoder<'a>(input: impl BufRead + 'a, compression: LayerCompression) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        LayerCompression::None => Box::new(input),
        LayerCompression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        LayerCompression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
    })
}

/// What the first bytes say.
fn compression_by_magic(start: &[u8]) -> LayerCompression {
    match start {
        [0x1f, 0x8b, ..] => LayerCompression::Gzip,
        // A frame, or a skippable frame as zstd:chunked and pzstd have.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => LayerCompression::Zstd,
        _ => LayerCompression::None,
    }
}

struct Contents {
    /// Hashes of the paths seen; the lowest bit says that it is a directory. Randomly keyed, so that nobody can make two
    /// paths collide on purpose; by chance it happens once in 10^7 layers of a million entries.
    seen: HashSet<u64>,
    keys: RandomState,
    problems: Vec<ProblemKind>,
    unresolved: Vec<(String, String)>,
}

impl Contents {
    fn new() -> Self {
        let (problems, unresolved) = (Vec::new(), Vec::new());
        Self { seen: HashSet::new(), keys: RandomState::new(), problems, unresolved }
    }

    fn note(&mut self, problem: ProblemKind) {
        match self.problems.len() {
            0..MOST_PROBLEMS => self.problems.push(problem),
            MOST_PROBLEMS => self.problems.push(ProblemKind::More),
            _ => {}
        }
    }

    fn add(&mut self, entry: &TarEntry) {
        let Some(path) = normal(&entry.path) else {
            self.note(ProblemKind::Escape { path: lossy(&entry.path) });
            return;
        };
        let hash = self.keys.hash_one(&path);
        let (file, directory) = (hash & !1, hash | 1);
        if entry.kind == b'1' {
            self.add_hard_link(&path, &entry.link);
        }
        let twice = if entry.is_directory() {
            // The same directory twice does no harm, and other builders write it.
            self.seen.insert(directory);
            self.seen.contains(&file)
        } else {
            !self.seen.insert(file) || self.seen.contains(&directory)
        };
        if twice {
            self.note(ProblemKind::Duplicate { path });
        }
    }

    fn add_hard_link(&mut self, path: &str, target: &[u8]) {
        let Some(target) = normal(target) else {
            self.note(ProblemKind::Escape { path: format!("{path} -> {}", lossy(target)) });
            return;
        };
        if self.seen.contains(&(self.keys.hash_one(&target) & !1)) {
            return;
        }
        if self.unresolved.len() < MOST_PROBLEMS {
            self.unresolved.push((path.to_owned(), target));
        } else {
            self.note(ProblemKind::Hardlink { path: path.to_owned(), target });
        }
    }
}

/// A path without `.` and doubled slashes; `None` if it is absolute or has a `..`. Bytes that are not UTF-8 are kept
/// apart from those that are.
fn normal(path: &[u8]) -> Option<String> {
    if path.starts_with(b"/") {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part => parts.push(
                std::str::from_utf8(part).map_or_else(|_| part.escape_ascii().to_string(), str::to_owned),
            ),
        }
    }
    Some(parts.join("/"))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads to the end.
pub(super) fn drain(reader: &mut impl Read) -> io::Result<u64> {
    io::copy(&mut BufReader::with_capacity(BUFFER, reader), &mut io::sink())
}

/// Hashes what is read through it.
pub(super) struct Hashing<R> {
    inner: R,
    hasher: Hasher,
    size: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::new(), size: 0 }
    }

    pub(super) fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.size)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }
}
