//! Where an index has its encoded entries: those of a small one in memory, those of a large one in a file.
//!
//! They are divided into pages. A table has of each page where it begins, and the full path of the entry that it begins with: pages are read
//! one by one, and to find a path is to search in the table and in one page. Of pages in a file there are checksums as well. What comes
//! back is thus what was looked at when it was put there, or an error.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libdeflater::Crc;

use crate::bytes::Cursor;
use crate::encoded::Encoded;
use crate::table::{Spot, Table};

/// Bytes between what is in a table in memory, some eight entries: little to be gone over.
const STEP: usize = 512;

/// Bytes of a page in a file.
const PAGE: usize = 4 << 10;

/// Once there is a file, it is written in pieces of so many bytes.
const PIECE: usize = 64 << 10;

/// So many pages of a file are remembered.
const RECENT: usize = 8;

/// Encoded entries and their table. Places are bytes from the start of the file, or of what would be one.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    /// The first entry of each page.
    table: Table,
    /// Checksums of the pages in the file.
    sums: Vec<u32>,
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
        let (table, sums, held) = (Table::new(STEP), Vec::new(), Vec::new());
        Self { table, sums, file: None, held, held_from: 0, end: 0, entries: 0 }
    }

    /// Of entries in `file`, which messages call `name`. Its pages are no longer than `most` if that can be.
    pub(crate) fn in_file(file: File, name: String, most: usize) -> Self {
        let (table, file) = (Table::new(PAGE.min(most)), Some(Arc::new(Backing::new(file, name))));
        Self { table, file, held_from: u64::MAX, ..Self::in_memory() }
    }

    /// The table.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Begins a page at `at`, behind `path`, the path of entry `number`.
    pub(crate) fn begin(&mut self, at: u64, number: usize, path: &[u8]) {
        self.table.add(at, number, path);
    }

    /// Whether the pages are to have checksums.
    pub(crate) fn needs_sums(&self) -> bool {
        self.file.is_some()
    }

    /// Ends the page that was begun last, with its checksum if it needs one.
    pub(crate) fn end_page(&mut self, sum: Option<u32>) {
        self.sums.extend(sum);
    }

    /// There are so many entries, up to `end`.
    pub(crate) fn finish(&mut self, end: u64, entries: usize) {
        (self.end, self.entries) = (end, entries);
        self.table.shrink();
        self.sums.shrink_to_fit();
        self.held.shrink_to_fit();
    }

    /// How many entries there are, once all are.
    pub(crate) fn entries(&self) -> usize {
        self.entries
    }

    /// The number of the first entry of a page; that of all if there is no such page.
    pub(crate) fn first(&self, page: usize) -> usize {
        self.table.get(page).map_or(self.entries, |spot| spot.number)
    }

    /// What follows the path of a page's first entry, up to what does so in the next page. Nothing if there is no such page.
    ///
    /// # Errors
    /// If it is in the file and cannot be read, or is not what it was.
    pub(crate) fn page(&self, page: usize) -> io::Result<Page<'_>> {
        let Some(bytes) = self.range(page) else { return Ok(Page::Held(&[])) };
        match (&self.file, self.sums.get(page)) {
            (Some(file), Some(sum)) if bytes.start < self.held_from => {
                file.page(page, bytes, *sum).map(Page::Read)
            }
            _ => Ok(Page::Held(self.held(bytes))),
        }
    }

    fn range(&self, page: usize) -> Option<Range<u64>> {
        let start = self.table.get(page)?.at;
        Some(start..self.table.get(page + 1).map_or(self.end, |next| next.at))
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
                self.table.space_out(PAGE.min(spill.held));
                self.file = Some(file.clone());
                file
            }
        };
        let Some((last, spot)) =
            self.table.len().checked_sub(1).and_then(|last| Some((last, self.table.get(last)?)))
        else {
            return Ok(());
        };
        let count = (spot.at - self.held_from) as usize;
        file.file.write_all_at(&self.held[..count], self.held_from)?;
        let pages = self.sums.len()..last;
        let sums = pages.filter_map(|page| self.range(page)).map(|bytes| sum_of(self.held(bytes)));
        let sums: Vec<u32> = sums.collect();
        self.held_from = spot.at;
        self.sums.extend(sums);
        self.held.drain(..count);
        Ok(())
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
    Read(Arc<Leaf>),
}

impl Page<'_> {
    /// The last entry in the table of the page, whose first entry is at `first`, that is not after `path`; entries are counted from there.
    pub(crate) fn nearest(&self, first: &[u8], path: &[u8]) -> Option<(Spot, &[u8])> {
        let Self::Read(leaf) = self else { return None };
        let table = leaf.table.get_or_init(|| table_of(&leaf.bytes, first));
        let spot = table.up_to(0, path).checked_sub(1)?;
        Some((*table.get(spot)?, table.path(spot)))
    }
}

impl Deref for Page<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Held(bytes) => bytes,
            Self::Read(leaf) => &leaf.bytes,
        }
    }
}

/// A page of a file.
#[derive(Debug)]
pub(crate) struct Leaf {
    bytes: Vec<u8>,
    /// Once something is looked for in it.
    table: OnceLock<Table>,
}

/// The table of a page that begins behind the path `first`. What makes no sense is for who reads it to notice.
fn table_of(bytes: &[u8], first: &[u8]) -> Table {
    let (mut table, mut path) = (Table::new(STEP), first.to_vec());
    let (mut from, mut number) = (Cursor::new(bytes, 0), 1);
    while let Some((shared, rest)) = Encoded::next_path(&mut from) {
        path.truncate(shared);
        path.extend_from_slice(rest);
        let at = from.position() as u64;
        if at >= STEP as u64 && table.wants(at) {
            table.add(at, number, &path);
        }
        number += 1;
    }
    table
}

/// A page and its number.
type Known = Mutex<Option<(usize, Arc<Leaf>)>>;

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

    fn page(&self, page: usize, at: Range<u64>, sum: u32) -> io::Result<Arc<Leaf>> {
        let place = || self.recent[page % RECENT].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, leaf)) = place().as_ref().filter(|(known, _)| *known == page) {
            return Ok(leaf.clone());
        }
        let mut bytes = vec![0; (at.end - at.start) as usize];
        self.file
            .read_exact_at(&mut bytes, at.start)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot read {}: {error}", self.name)))?;
        if sum_of(&bytes) != sum {
            return Err(damaged(&self.name));
        }
        let leaf = Arc::new(Leaf { bytes, table: OnceLock::new() });
        *place() = Some((page, leaf.clone()));
        Ok(leaf)
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
