//! Blocks of a table: a few rows in the order of their paths, each path without what it shares with the one before.

use kiln_layer::bytes::{Cursor, put_bytes, put_number};
use kiln_layer::rows::Row;

/// A block as it is read.
pub(super) struct Block<V> {
    paths: Vec<u8>,
    rows: Vec<Slot<V>>,
}

struct Slot<V> {
    /// Where its path is in `paths`.
    start: usize,
    end: usize,
    row: V,
}

impl<V: Row> Block<V> {
    /// `None` for what no [`Builder`] has made.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes, 0);
        let mut paths: Vec<u8> = Vec::with_capacity(bytes.len());
        // About what a short name and what is known of a file take.
        let mut rows = Vec::with_capacity(bytes.len() / 64);
        let mut before = 0..0;
        while !cursor.is_at_end() {
            let shared = usize::try_from(cursor.number()?).ok().filter(|shared| *shared <= before.len())?;
            let rest = cursor.bytes()?;
            let start = paths.len();
            paths.extend_from_within(before.start..before.start + shared);
            paths.extend_from_slice(rest);
            before = start..paths.len();
            rows.push(Slot { start, end: paths.len(), row: V::take(&mut cursor)? });
        }
        Some(Self { paths, rows })
    }
}

impl<V> Block<V> {
    fn path_of(&self, slot: &Slot<V>) -> &[u8] {
        &self.paths[slot.start..slot.end]
    }

    /// The row number `i` with its path.
    pub(super) fn row(&self, i: usize) -> Option<(&[u8], &V)> {
        self.rows.get(i).map(|slot| (self.path_of(slot), &slot.row))
    }

    /// The number of the last row whose path does not come after `path`.
    pub(super) fn up_to(&self, path: &[u8]) -> Option<usize> {
        self.rows.partition_point(|slot| self.path_of(slot) <= path).checked_sub(1)
    }

    /// What stands for exactly `path`.
    pub(super) fn get(&self, path: &[u8]) -> Option<&V> {
        self.row(self.up_to(path)?).filter(|(found, _)| *found == path).map(|(_, row)| row)
    }
}

/// A block as it is written. Paths have to come in their order, none twice.
#[derive(Default)]
pub(super) struct Builder {
    bytes: Vec<u8>,
    first: Vec<u8>,
    last: Vec<u8>,
    count: usize,
}

impl Builder {
    pub(super) fn push<V: Row>(&mut self, path: &[u8], row: &V) {
        debug_assert!(self.count == 0 || *self.last < *path, "rows have to be in order");
        let shared = self.last.iter().zip(path).take_while(|(a, b)| a == b).count();
        put_number(&mut self.bytes, shared as u64);
        put_bytes(&mut self.bytes, &path[shared..]);
        row.put(&mut self.bytes);
        if self.count == 0 {
            self.first.extend_from_slice(path);
        }
        self.last.clear();
        self.last.extend_from_slice(path);
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The block, and the path of its first row; what comes next begins another.
    pub(super) fn take(&mut self) -> (Vec<u8>, Vec<u8>) {
        let done = std::mem::take(self);
        (done.bytes, done.first)
    }
}
