//! The index of a layer: all of its metadata, with a content hash for each file, without its bytes.
//!
//! Layers of hundreds of thousands of files exist, and a view has several at once. An index is therefore held as it is stored, some 70 bytes
//! for each file, of which the digest alone is 32. Beside the bytes there is a table with the place and the path of every eighth entry: to
//! look a path up is to search in that and to go over a few entries, none of which is made a value unless it is the one.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use kiln_oci::digest::Digest;

use crate::bytes::Cursor;
use crate::encoded::{Encoded, Paths, common, put_entry, put_path};
pub use crate::entry::{Entry, Kind, Mtime};
pub use crate::identity::{Identifier, Identity};
use crate::path::LayerPath;

/// How many entries there are to each in the table.
const BLOCK: usize = 8;

/// Paths that are held in full have no more than so many bytes, or so many times those that they were read from. No tree comes near, but who
/// means harm could have each path share almost all of a very long one.
const MOST: (usize, usize) = (64 << 20, 64);

/// A layer's entries, sorted by path, each path once; the root itself has none unless the tar named it. Beside them the directories that
/// hide everything that lower layers have in them.
#[derive(Clone, Default)]
pub struct Index {
    /// As they were read, or just the entries.
    bytes: Vec<u8>,
    /// The entries in `bytes`.
    body: Range<usize>,
    count: usize,
    table: Table,
    opaque: Vec<LayerPath>,
}

/// Where to find the first entry of each block.
#[derive(Clone, Debug, Default)]
struct Table {
    spots: Vec<Spot>,
    /// All their paths.
    paths: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Spot {
    /// What follows the path of the entry in the bytes.
    at: usize,
    /// Its path in the table.
    path: Range<usize>,
}

impl Table {
    /// Takes the next entry, number `count`, of which what follows its path starts `at`.
    fn note(&mut self, count: usize, path: &[u8], at: usize) {
        if count.is_multiple_of(BLOCK) {
            let start = self.paths.len();
            self.paths.extend_from_slice(path);
            self.spots.push(Spot { at, path: start..self.paths.len() });
        }
    }

    fn path(&self, spot: &Spot) -> &[u8] {
        &self.paths[spot.path.clone()]
    }

    /// How many of the table's entries from `from` on are not after `path`.
    fn up_to(&self, from: usize, path: &[u8]) -> usize {
        let spots = self.spots.get(from..).unwrap_or_default();
        spots.partition_point(|spot| self.path(spot) <= path)
    }

    fn shrink(&mut self) {
        self.spots.shrink_to_fit();
        self.paths.shrink_to_fit();
    }
}

/// Makes an index entry by entry; see [`Index::builder`].
#[derive(Debug, Default)]
pub struct Builder {
    bytes: Vec<u8>,
    count: usize,
    table: Table,
    /// The path of the last entry.
    last: Vec<u8>,
}

impl Builder {
    /// Adds an entry, whose path sorts after that of the last.
    pub fn push(&mut self, entry: &Entry) {
        let path = entry.path.as_bytes();
        debug_assert!(self.count == 0 || self.last.as_slice() < path, "{:?}", entry.path);
        put_path(&mut self.bytes, &self.last, path);
        self.table.note(self.count, path, self.bytes.len());
        self.last.clear();
        self.last.extend_from_slice(path);
        put_entry(&mut self.bytes, entry);
        self.count += 1;
    }

    /// The index, with its opaque directories, which are sorted.
    pub fn finish(mut self, opaque: Vec<LayerPath>) -> Index {
        debug_assert!(opaque.is_sorted_by(|a, b| a < b), "{opaque:?}");
        self.bytes.shrink_to_fit();
        self.table.shrink();
        Index { body: 0..self.bytes.len(), bytes: self.bytes, count: self.count, table: self.table, opaque }
    }
}

impl Index {
    /// An index to be made entry by entry.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An index of entries that are sorted by path, each path once, and of opaque directories, sorted as well.
    pub fn from_sorted(entries: impl IntoIterator<Item = Entry>, opaque: Vec<LayerPath>) -> Self {
        let mut builder = Self::builder();
        entries.into_iter().for_each(|entry| builder.push(&entry));
        builder.finish(opaque)
    }

    /// Sorts what was gathered in any order; of two entries with one path the later wins.
    pub fn from_unsorted(mut entries: Vec<Entry>, mut opaque: Vec<LayerPath>) -> Self {
        entries.reverse();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|b, a| a.path == b.path);
        opaque.sort();
        opaque.dedup();
        Self::from_sorted(entries, opaque)
    }

    /// Reads the `body` of `bytes`: how many entries there are, the entries, how many opaque directories, those. All is checked here, so that
    /// nothing need be later. Of bytes that are no index, where that shows.
    pub(crate) fn read(bytes: Vec<u8>, body: Range<usize>) -> Result<Self, usize> {
        let mut from = Cursor::new(&bytes[..body.end], body.start);
        let Some((count, table, body)) = read_entries(&mut from) else { return Err(from.position()) };
        let Some(opaque) = read_opaque(&mut from) else { return Err(from.position()) };
        Ok(Self { bytes, body, count, table, opaque })
    }

    /// The entries as bytes.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.bytes[self.body.clone()]
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none. There may be opaque directories still.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entries in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { finger: Finger::at(self, b"") }
    }

    /// A place at the first entry whose path is `path` or sorts after it.
    pub(crate) fn finger(&self, path: &[u8]) -> Finger<'_> {
        Finger::at(self, path)
    }

    /// The entry at exactly `path`.
    pub fn get(&self, path: &LayerPath) -> Option<Entry> {
        self.find(path.as_bytes())?.1.entry(path.clone())
    }

    /// How many entries come before that at exactly `path`; `None` if there is none.
    pub fn position(&self, path: &LayerPath) -> Option<usize> {
        Some(self.find(path.as_bytes())?.0)
    }

    /// Whether what is at exactly `path` is a directory; `None` if there is nothing.
    pub fn is_directory(&self, path: &LayerPath) -> Option<bool> {
        Some(self.find(path.as_bytes())?.1.is_directory())
    }

    /// What the layer says of `path`.
    pub(crate) fn said_of(&self, path: &LayerPath) -> Said {
        let bytes = path.as_bytes();
        let hit = self.search(0, bytes).filter(|hit| hit.common == bytes.len());
        let is_below = match hit.as_ref().map(|hit| hit.rest.first()) {
            Some(None) => {
                let entry = hit.and_then(|hit| hit.entry()?.entry(path.clone()));
                return entry.map_or(Said::Nothing, Said::Entry);
            }
            Some(Some(b'/')) => true,
            // Siblings such as `path-x` come before `path/x`.
            Some(Some(_)) => {
                let inside = [bytes, b"/"].concat();
                self.search(0, &inside).is_some_and(|hit| hit.common == inside.len())
            }
            None => false,
        };
        if is_below || self.has_mark(path) { Said::Below } else { Said::Nothing }
    }

    /// Whether an opaque directory is at or below `path`.
    fn has_mark(&self, path: &LayerPath) -> bool {
        let from = self.opaque.partition_point(|dir| dir < path);
        let mut near =
            self.opaque[from..].iter().take_while(|dir| dir.as_bytes().starts_with(path.as_bytes()));
        near.any(|dir| dir.is_within(path))
    }

    /// The entry at `path` and its number.
    fn find(&self, path: &[u8]) -> Option<(usize, Encoded<'_>)> {
        let hit = self.search(0, path).filter(|hit| hit.common == path.len() && hit.rest.is_empty())?;
        Some((hit.number, hit.entry()?))
    }

    /// The first entry that is not before `path`, looked for from number `block` of the table on, which is not behind it or is the first.
    fn search<'a>(&'a self, block: usize, path: &[u8]) -> Option<Hit<'a>> {
        let next = block + self.table.up_to(block, path);
        if let Some(hit) = next.checked_sub(1).and_then(|block| self.search_block(block, path)) {
            return Some(hit);
        }
        let spot = self.table.spots.get(next)?;
        let found = self.table.path(spot);
        let common = common(found, path);
        Some(Hit { number: next * BLOCK, common, rest: &found[common..], from: self.cursor(spot.at) })
    }

    /// The first entry that is not before `path`, up to the next entry of the table. No path is put together for that: of each entry it
    /// is known how much it shares with the one before, of that how much it shares with `path`.
    fn search_block<'a>(&'a self, block: usize, path: &[u8]) -> Option<Hit<'a>> {
        let spot = self.table.spots.get(block)?;
        let found = self.table.path(spot);
        let mut from = self.cursor(spot.at);
        let mut same = common(found, path);
        if same == path.len() {
            return Some(Hit { number: block * BLOCK, common: same, rest: &found[same..], from });
        }
        for number in block * BLOCK + 1..self.count.min((block + 1) * BLOCK) {
            Encoded::skip(&mut from)?;
            let shared = usize::try_from(from.number()?).ok()?;
            let (rest, left) = (from.bytes()?, path.get(same..)?);
            match shared.cmp(&same) {
                // It differs from `path` where the one before does.
                Ordering::Greater => {}
                Ordering::Less => return Some(Hit { number, common: shared, rest, from }),
                Ordering::Equal => {
                    let more = common(rest, left);
                    if left.get(more).is_none_or(|byte| rest.get(more).is_some_and(|found| found > byte)) {
                        return Some(Hit { number, common: same + more, rest: &rest[more..], from });
                    }
                    same += more;
                }
            }
        }
        None
    }

    fn cursor(&self, at: usize) -> Cursor<'_> {
        Cursor::new(&self.bytes[..self.body.end], at)
    }

    /// Directories that hide everything that lower layers have in them; sorted.
    pub fn opaque(&self) -> &[LayerPath] {
        &self.opaque
    }

    /// Whether `dir` is one of [`Index::opaque`].
    pub fn is_opaque(&self, dir: &LayerPath) -> bool {
        self.opaque.binary_search(dir).is_ok()
    }

    /// The files that have further names, by the first of them.
    pub fn hard_linked(&self) -> HashSet<LayerPath> {
        let mut from = Cursor::new(&self.bytes[..self.body.end], self.body.start);
        let mut found = HashSet::new();
        for _ in 0..self.count {
            let Some(entry) = from.number().and_then(|_| from.bytes()).and_then(|_| Encoded::take(&mut from))
            else {
                break;
            };
            if let Some(target) = entry.hard_link() {
                found.insert(LayerPath::of_clean(target.to_vec()));
            }
        }
        found
    }

    /// Identity of what the layer *does* to a root filesystem: everything but times and tar offsets. Two layers with one
    /// content id are interchangeable for whatever is built on top of them.
    pub fn content_id(&self) -> Digest {
        self.identity().content
    }

    /// Identity of the layer itself, times included: names its stored forms.
    pub fn layer_id(&self) -> Digest {
        self.identity().layer
    }

    /// Both of these.
    pub fn identity(&self) -> Identity {
        let mut identifier = Identifier::default();
        let mut finger = Finger::at(self, b"");
        while let Some(entry) = &finger.entry {
            identifier.add_encoded(&finger.path, entry);
            finger.step();
        }
        identifier.finish(&self.opaque)
    }
}

/// What an index says of a path.
pub(crate) enum Said {
    /// There is this.
    Entry(Entry),
    /// There is no entry, but one below, or an opaque mark here or below.
    Below,
    /// Nothing at all.
    Nothing,
}

/// An entry that a path was compared with.
struct Hit<'a> {
    number: usize,
    /// How many bytes they share.
    common: usize,
    /// The rest of the entry's path.
    rest: &'a [u8],
    /// Behind the path.
    from: Cursor<'a>,
}

impl<'a> Hit<'a> {
    fn entry(&self) -> Option<Encoded<'a>> {
        Encoded::take(&mut self.from.clone())
    }
}

/// The entries: how many, where those of the table are, and from where to where they go.
fn read_entries(from: &mut Cursor<'_>) -> Option<(usize, Table, Range<usize>)> {
    let count = from.count()?;
    let start = from.position();
    let (mut paths, mut table) = (Paths::default(), Table::default());
    for number in 0..count {
        let path = paths.take(from)?;
        table.note(number, path, from.position());
        if is_too_much(table.paths.len(), from) {
            return None;
        }
        Encoded::take(from).filter(Encoded::is_valid)?;
    }
    table.shrink();
    Some((count, table, start..from.position()))
}

fn is_too_much(held: usize, from: &Cursor<'_>) -> bool {
    held > MOST.0.max(MOST.1.saturating_mul(from.position()))
}

fn read_opaque(from: &mut Cursor<'_>) -> Option<Vec<LayerPath>> {
    let (mut paths, mut opaque, mut size) = (Paths::default(), Vec::new(), 0);
    for _ in 0..from.count()? {
        let path = paths.take(from)?;
        size += path.len();
        if is_too_much(size, from) {
            return None;
        }
        opaque.push(LayerPath::of_clean(path.to_vec()));
    }
    from.is_at_end().then_some(opaque)
}

impl PartialEq for Index {
    fn eq(&self, other: &Self) -> bool {
        self.encoded() == other.encoded() && self.opaque == other.opaque
    }
}

impl Eq for Index {}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<Entry> = self.iter().collect();
        f.debug_struct("Index").field("entries", &entries).field("opaque", &self.opaque).finish()
    }
}

impl<'a> IntoIterator for &'a Index {
    type Item = Entry;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Entries of an index in order, made as they are asked for.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    finger: Finger<'a>,
}

impl Iterator for Iter<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let entry = self.finger.entry();
        self.finger.step();
        entry
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.finger.index.count.saturating_sub(self.finger.number);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// A place among the entries of an index, that moves forward.
#[derive(Clone, Debug)]
pub(crate) struct Finger<'a> {
    index: &'a Index,
    /// Which entry it is.
    number: usize,
    path: Vec<u8>,
    /// `None` at the end.
    entry: Option<Encoded<'a>>,
    /// Behind it.
    from: Cursor<'a>,
}

impl<'a> Finger<'a> {
    /// At the first entry that is not before `path`.
    fn at(index: &'a Index, path: &[u8]) -> Self {
        let from = index.cursor(index.body.end);
        let mut finger = Self { index, number: index.count, path: Vec::new(), entry: None, from };
        if let Some(hit) = index.search(0, path) {
            finger.go_to(path, hit);
        }
        finger
    }

    /// The path of the entry that is pointed at; `None` at the end.
    pub(crate) fn path(&self) -> Option<&[u8]> {
        self.entry.as_ref().map(|_| self.path.as_slice())
    }

    /// The entry that is pointed at; `None` at the end.
    pub(crate) fn entry(&self) -> Option<Entry> {
        self.entry.as_ref()?.entry(LayerPath::of_clean(self.path.clone()))
    }

    /// Goes to the next.
    pub(crate) fn step(&mut self) {
        self.number += 1;
        self.entry = if self.number < self.index.count { self.take() } else { None };
    }

    fn take(&mut self) -> Option<Encoded<'a>> {
        let shared = usize::try_from(self.from.number()?).ok()?;
        self.path.truncate(shared);
        self.path.extend_from_slice(self.from.bytes()?);
        Encoded::take(&mut self.from)
    }

    /// Goes to the first entry that is not before `path`; stays if that is behind.
    pub(crate) fn seek(&mut self, path: &[u8]) {
        if self.path().is_none_or(|found| found >= path) {
            return;
        }
        match self.index.search(self.number / BLOCK, path) {
            Some(hit) => self.go_to(path, hit),
            None => (self.number, self.entry) = (self.index.count, None),
        }
    }

    fn go_to(&mut self, path: &[u8], hit: Hit<'a>) {
        self.number = hit.number;
        self.path.clear();
        self.path.extend_from_slice(&path[..hit.common]);
        self.path.extend_from_slice(hit.rest);
        self.from = hit.from;
        self.entry = Encoded::take(&mut self.from);
    }
}
