//! A table of rows in the order of their paths, in a file that is read piece by piece.
//!
//! Rows stand in blocks. Where the blocks are, and with which path each begins, stands in further blocks, and so on up to a single one:
//! a look for a path reads one block of each level. A block's digest stands with its place, so that of the topmost answers for all,
//! and what is damaged is missing, never wrong. In memory are the topmost block and the latest few of the others.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError, RwLock};

use kiln_layer::bytes::{Cursor, put_number};
use kiln_layer::rows::Row;
use kiln_oci::digest::Digest;

use super::block::{Block, Builder};

/// How many blocks of rows are kept, and how many of those that say where they are. Who goes through a directory needs one
/// of each at a time; several steps may.
const LATEST: (usize, usize) = (8, 4);

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) sum: Digest,
}

impl Row for Place {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.offset);
        put_number(out, self.length.into());
        out.extend_from_slice(self.sum.as_bytes());
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        let (offset, length) = (from.number()?, from.small()?);
        Some(Self { offset, length, sum: Digest::from_bytes(from.take(32)?.try_into().ok()?) })
    }
}

/// Where a table begins: its topmost block, and how many levels are below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Top {
    pub(super) place: Place,
    pub(super) height: u8,
}

/// Writes a table, holding one unfinished block of each level.
pub(super) struct Writer<'a> {
    out: &'a mut dyn Write,
    at: u64,
    /// Rows of a block, at least two.
    limit: usize,
    levels: Vec<Builder>,
}

impl<'a> Writer<'a> {
    /// `out` is at byte `at` of the file.
    pub(super) fn new(out: &'a mut dyn Write, at: u64, limit: usize) -> Self {
        Self { out, at, limit, levels: vec![Builder::default()] }
    }

    /// Appends a row. Paths have to come in their order, none twice.
    pub(super) fn push<V: Row>(&mut self, path: &[u8], row: &V) -> io::Result<()> {
        self.add(0, path, row)
    }

    fn add<V: Row>(&mut self, level: usize, path: &[u8], row: &V) -> io::Result<()> {
        if level == self.levels.len() {
            self.levels.push(Builder::default());
        }
        self.levels[level].push(path, row);
        if self.levels[level].len() < self.limit { Ok(()) } else { self.end_block(level) }
    }

    fn end_block(&mut self, level: usize) -> io::Result<()> {
        let (first, place) = self.write(level)?;
        self.add(level + 1, &first, &place)
    }

    fn write(&mut self, level: usize) -> io::Result<(Vec<u8>, Place)> {
        let (bytes, first) = self.levels[level].take();
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let place = Place { offset: self.at, length, sum: Digest::of(&bytes) };
        self.out.write_all(&bytes)?;
        self.at += u64::from(length);
        Ok((first, place))
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<Top> {
        // Blocks that end here may begin further levels.
        let mut level = 0;
        while level + 1 < self.levels.len() {
            if self.levels[level].len() > 0 {
                self.end_block(level)?;
            }
            level += 1;
        }
        let (_, place) = self.write(level)?;
        Ok(Top { place, height: u8::try_from(level).map_err(io::Error::other)? })
    }
}

/// A block of rows.
struct Leaf<V> {
    block: Block<V>,
    /// The paths that are in this block or in none.
    from: Vec<u8>,
    until: Option<Vec<u8>>,
}

impl<V> Leaf<V> {
    fn covers(&self, path: &[u8]) -> bool {
        *self.from <= *path && self.until.as_deref().is_none_or(|until| path < until)
    }
}

type Latest<T> = RwLock<Vec<Arc<T>>>;

/// Reads a table.
pub(super) struct Table<V> {
    file: File,
    top: Top,
    /// The topmost block, if there are several.
    places: Option<Arc<Block<Place>>>,
    leaves: Latest<Leaf<V>>,
    between: Latest<(u64, Arc<Block<Place>>)>,
}

impl<V: Row + Copy> Table<V> {
    /// `None` if the topmost block is damaged.
    pub(super) fn open(file: File, top: Top) -> Option<Self> {
        let mut table =
            Self { file, top, places: None, leaves: Latest::default(), between: Latest::default() };
        if top.height == 0 {
            let only = table.leaf_of(b"").0?;
            remember(&table.leaves, only, LATEST.0);
        } else {
            table.places = Some(Arc::new(table.block(&top.place)?));
        }
        Some(table)
    }

    /// What stands for `path`; `None` also where the file is damaged.
    pub(super) fn get(&self, path: &[u8]) -> Option<V> {
        let leaves = self.leaves.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.iter().find(|leaf| leaf.covers(path)) {
            return leaf.block.get(path).copied();
        }
        drop(leaves);
        let leaf = self.leaf_of(path).0?;
        let found = leaf.block.get(path).copied();
        remember(&self.leaves, leaf, LATEST.0);
        found
    }

    /// All rows in order.
    pub(super) fn rows(&self) -> Rows<'_, V> {
        Rows { table: self, leaf: None, at: 0, next: Some(Vec::new()), damaged: false }
    }

    fn block<T: Row>(&self, place: &Place) -> Option<Block<T>> {
        let mut bytes = vec![0; place.length as usize];
        self.file.read_exact_at(&mut bytes, place.offset).ok()?;
        if Digest::of(&bytes) == place.sum { Block::decode(&bytes) } else { None }
    }

    fn between(&self, place: &Place) -> Option<Arc<Block<Place>>> {
        let known = self.between.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.iter().find(|known| known.0 == place.offset) {
            return Some(found.1.clone());
        }
        drop(known);
        let block = Arc::new(self.block(place)?);
        remember(&self.between, Arc::new((place.offset, block.clone())), LATEST.1);
        Some(block)
    }

    /// The block in which `path` is if anywhere, and the path with which the next begins; of a damaged one only that.
    fn leaf_of(&self, path: &[u8]) -> (Option<Arc<Leaf<V>>>, Option<Vec<u8>>) {
        let (mut from, mut until) = (Vec::new(), None);
        let mut place = self.top.place;
        for level in (1..=self.top.height).rev() {
            let is_top = level == self.top.height;
            let Some(places) = (if is_top { self.places.clone() } else { self.between(&place) }) else {
                return (None, until);
            };
            // What comes before all others would be in the first.
            let i = places.up_to(path).unwrap_or(0);
            let Some((first, below)) = places.row(i) else { return (None, until) };
            if i > 0 {
                from = first.to_vec();
            }
            until = places.row(i + 1).map(|(next, _)| next.to_vec()).or(until);
            place = *below;
        }
        let leaf = self.block(&place).map(|block| Arc::new(Leaf { block, from, until: until.clone() }));
        (leaf, until)
    }
}

fn remember<T>(latest: &Latest<T>, fresh: Arc<T>, count: usize) {
    let mut latest = latest.write().unwrap_or_else(PoisonError::into_inner);
    latest.truncate(count - 1);
    latest.insert(0, fresh);
}

/// Reads a [`Table`] from its first row on. What is damaged is left out.
pub(super) struct Rows<'a, V> {
    table: &'a Table<V>,
    leaf: Option<Arc<Leaf<V>>>,
    /// The row of that block which comes next.
    at: usize,
    /// With which path the block after it begins.
    next: Option<Vec<u8>>,
    damaged: bool,
}

impl<V> Rows<'_, V> {
    /// Whether something was left out so far.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged
    }
}

impl<V: Row + Copy> Iterator for Rows<'_, V> {
    type Item = (Vec<u8>, V);

    fn next(&mut self) -> Option<(Vec<u8>, V)> {
        loop {
            if let Some((path, row)) = self.leaf.as_ref().and_then(|leaf| leaf.block.row(self.at)) {
                self.at += 1;
                return Some((path.to_vec(), *row));
            }
            let from = self.next.take()?;
            let (leaf, until) = self.table.leaf_of(&from);
            self.damaged |= leaf.is_none();
            (self.leaf, self.at, self.next) = (leaf, 0, until);
        }
    }
}

#[cfg(test)]
impl<V> Table<V> {
    /// How many blocks are in memory.
    pub(super) fn held(&self) -> usize {
        let count = self.leaves.read().unwrap().len() + self.between.read().unwrap().len();
        count + usize::from(self.places.is_some())
    }
}
