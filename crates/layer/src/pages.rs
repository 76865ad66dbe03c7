//! Where an index has its encoded entries: those of a small one in memory, those of a large one in a file.
//!
//! They are divided into pages. A table has of each page where it begins, and the full path of the entry that it begins with: pages are read
//! one by one, and to find a path is to search in the table and in one page. Of pages in a file the table has checksums as well. What comes
//! back is thus what was looked at when it was put there, or an error.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Crc;

/// Bytes of a page in memory, some eight entries: it costs nothing to get one, only to go over it.
const HELD_PAGE: usize = 512;

/// Bytes of a page in a file.
const FILE_PAGE: usize = 4 << 10;

/// Once there is a file, it is written in pieces of so many bytes.
const PIECE: usize = 64 << 10;

/// So many pages of a file are remembered.
const RECENT: usize = 8;

/// Encoded entries and their table. Places are bytes from the start of the file, or of what would be one.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    spots: Vec<Spot>,
    /// The paths of all spots, one after the other.
    paths: Vec<u8>,
    /// So far apart spots are at least.
    distance: usize,
    file: Option<Arc<Backing>>,
    /// What is not in the file.
    held: Vec<u8>,
    /// Where that starts; a page begins there.
    held_from: u64,
    /// Where the entries end, once all are there.
    end: u64,
    /// How many they are.
    entries: usize,
}

/// Where a page begins.
#[derive(Clone, Debug)]
struct Spot {
    /// Behind the path of its first entry.
    at: u64,
    /// Which entry that is.
    number: usize,
    /// Where the entry's path is in the table.
    path: usize,
    /// Checksum of the page, if it is in the file.
    sum: u32,
}

/// Where entries go that are not to be held.
#[derive(Clone, Debug)]
pub(crate) struct Spill {
    /// Gets the unnamed file.
    pub(crate) dir: Arc<Path>,
    /// So many bytes are held before there is one.
    pub(crate) held: usize,
}

impl Pages {
    /// Of entries that memory holds.
    pub(crate) fn in_memory() -> Self {
        let (spots, paths) = (Vec::new(), Vec::new());
        Self {
            spots,
            paths,
            distance: HELD_PAGE,
            file: None,
            held: Vec::new(),
            held_from: 0,
            end: 0,
            entries: 0,
        }
    }

    /// Of entries in `file`, which messages call `name`. Its pages are no longer than `most` if that can be.
    pub(crate) fn in_file(file: File, name: String, most: usize) -> Self {
        let file = Some(Arc::new(Backing::new(file, name)));
        Self { distance: FILE_PAGE.min(most), file, held_from: u64::MAX, ..Self::in_memory() }
    }

    /// Whether a page should begin at `at`.
    pub(crate) fn is_due(&self, at: u64) -> bool {
        self.spots.last().is_none_or(|last| at - last.at >= self.distance as u64)
    }

    /// Begins a page at `at`, behind `path`, the path of entry `number`.
    pub(crate) fn begin(&mut self, at: u64, number: usize, path: &[u8]) {
        self.spots.push(Spot { at, number, path: self.paths.len(), sum: 0 });
        self.paths.extend_from_slice(path);
    }

    /// Tells the checksum of the page that was begun last.
    pub(crate) fn sum(&mut self, sum: u32) {
        if let Some(last) = self.spots.last_mut() {
            last.sum = sum;
        }
    }

    /// There are so many entries, up to `end`.
    pub(crate) fn finish(&mut self, end: u64, entries: usize) {
        (self.end, self.entries) = (end, entries);
        self.spots.shrink_to_fit();
        self.paths.shrink_to_fit();
        self.held.shrink_to_fit();
    }

    /// How many entries there are, once all are.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// How many pages there are.
    pub(crate) fn count(&self) -> usize {
        self.spots.len()
    }

    /// Bytes of paths in the table.
    pub(crate) fn table_bytes(&self) -> usize {
        self.paths.len()
    }

    /// The path of the first entry of a page.
    pub(crate) fn path(&self, page: usize) -> &[u8] {
        let end = self.spots.get(page + 1).map_or(self.paths.len(), |next| next.path);
        self.spots.get(page).map_or(b"", |spot| &self.paths[spot.path..end])
    }

    /// The number of the first entry of a page; that of all if there is no such page.
    pub(crate) fn first(&self, page: usize) -> usize {
        self.spots.get(page).map_or(self.entries, |spot| spot.number)
    }

    /// How many of the pages from `from` on begin with `path` or before it.
    pub(crate) fn up_to(&self, from: usize, path: &[u8]) -> usize {
        let (mut low, mut high) = (from, self.spots.len().max(from));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.path(middle) <= path { low = middle + 1 } else { high = middle }
        }
        low - from
    }

    /// What follows the path of a page's first entry, up to what does so in the next page. Nothing if there is no such page.
    ///
    /// # Errors
    /// If it is in the file and cannot be read, or is not what it was.
    pub(crate) fn page(&self, page: usize) -> io::Result<Page<'_>> {
        let Some(spot) = self.spots.get(page) else { return Ok(Page::Held(&[])) };
        let bytes = self.range(page);
        match &self.file {
            Some(file) if bytes.start < self.held_from => file.page(page, bytes, spot.sum).map(Page::Read),
            _ => Ok(Page::Held(self.held(bytes))),
        }
    }

    fn range(&self, page: usize) -> Range<u64> {
        let start = self.spots[page].at;
        start..self.spots.get(page + 1).map_or(self.end, |next| next.at)
    }

    fn held(&self, bytes: Range<u64>) -> &[u8] {
        &self.held[(bytes.start - self.held_from) as usize..(bytes.end - self.held_from) as usize]
    }

    /// What is held: entries are appended to it, or all of it is what they were read from.
    pub(crate) fn held_mut(&mut self) -> &mut Vec<u8> {
        &mut self.held
    }

    /// Where the next byte is appended.
    pub(crate) fn position(&self) -> u64 {
        self.held_from + self.held.len() as u64
    }

    /// Moves what is held to a file, but for the last page, if it is more than `spill` wants to be held.
    ///
    /// # Errors
    /// If the file cannot be made or written. Nothing is lost then, and more can be appended.
    pub(crate) fn spill(&mut self, spill: &Spill) -> io::Result<()> {
        let most = if self.file.is_some() { PIECE.min(spill.held) } else { spill.held };
        if self.held.len() <= most {
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let file = tempfile::tempfile_in(&spill.dir)?;
                let name = format!("an unnamed file in {}", spill.dir.display());
                let file = Arc::new(Backing::new(file, name));
                self.space_out(FILE_PAGE.min(spill.held));
                self.file = Some(file.clone());
                file
            }
        };
        let Some(last) = self.spots.last().map(|last| last.at) else { return Ok(()) };
        let count = (last - self.held_from) as usize;
        file.file.write_all_at(&self.held[..count], self.held_from)?;
        let first = self.spots.partition_point(|spot| spot.at < self.held_from);
        for page in first..self.spots.len() - 1 {
            self.spots[page].sum = sum_of(self.held(self.range(page)));
        }
        self.held.drain(..count);
        self.held_from = last;
        Ok(())
    }

    /// Makes pages longer.
    fn space_out(&mut self, distance: usize) {
        let (spots, paths) = (std::mem::take(&mut self.spots), std::mem::take(&mut self.paths));
        let ends = spots.iter().skip(1).map(|next| next.path).chain([paths.len()]);
        self.distance = distance;
        for (spot, end) in spots.iter().zip(ends) {
            if self.is_due(spot.at) {
                self.begin(spot.at, spot.number, &paths[spot.path..end]);
            }
        }
    }
}

/// The checksum of a page.
fn sum_of(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The bytes of a page.
#[derive(Clone, Debug)]
pub(crate) enum Page<'a> {
    Held(&'a [u8]),
    Read(Arc<Vec<u8>>),
}

impl Deref for Page<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Held(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

/// A page and its number.
type Known = Mutex<Option<(usize, Arc<Vec<u8>>)>>;

/// A file with pages.
#[derive(Debug)]
struct Backing {
    file: File,
    name: String,
    /// Each page has one place where it may be.
    recent: [Known; RECENT],
}

impl Backing {
    fn new(file: File, name: String) -> Self {
        Self { file, name, recent: Default::default() }
    }

    fn page(&self, page: usize, at: Range<u64>, sum: u32) -> io::Result<Arc<Vec<u8>>> {
        let place = || self.recent[page % RECENT].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = place().as_ref().filter(|(known, _)| *known == page) {
            return Ok(bytes.clone());
        }
        let mut bytes = vec![0; (at.end - at.start) as usize];
        self.file
            .read_exact_at(&mut bytes, at.start)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", self.name)))?;
        if sum_of(&bytes) != sum {
            return Err(damaged(&self.name));
        }
        let bytes = Arc::new(bytes);
        *place() = Some((page, bytes.clone()));
        Ok(bytes)
    }
}

/// Files of a store are replaced and never changed, unnamed ones are nobody else's.
fn damaged(name: &str) -> io::Error {
    let problem = format!("{name} is not any more what it was when it was read first");
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Bytes in memory that make no sense, though they were looked at.
pub(crate) fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a layer index makes no sense any more")
}
