//! Places among the entries of an index.

use std::cmp::Ordering;
use std::io;
use std::ops::Range;

use crate::bytes::Cursor;
use crate::encoded::{Encoded, common};
use crate::entry::Entry;
use crate::pages::{Page, Pages, nonsense};
use crate::path::LayerPath;

/// Entries of an index in order, made as they are asked for. After an error there are none.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    pages: &'a Pages,
    /// Which entry is next.
    number: usize,
    /// The page of that before, and where in it what follows that starts.
    block: usize,
    page: Page<'a>,
    at: usize,
    /// The path of that before.
    path: Vec<u8>,
}

impl<'a> Iter<'a> {
    pub(crate) fn new(pages: &'a Pages) -> Self {
        Self { pages, number: 0, block: 0, page: Page::Held(&[]), at: 0, path: Vec::new() }
    }

    /// Has a look at the next entry, as it is encoded behind its path; `None` at the end.
    pub(crate) fn see<T>(
        &mut self,
        look: impl FnOnce(&[u8], &Encoded<'_>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        if self.number >= self.pages.entries() {
            return Ok(None);
        }
        let is_in_page = self.number > 0 && self.number < self.pages.first(self.block + 1);
        if !is_in_page {
            self.block += usize::from(self.number > 0);
            (self.page, self.at) = (self.pages.page(self.block)?, 0);
            self.path.clear();
            self.path.extend_from_slice(self.pages.table().path(self.block));
        }
        let mut from = Cursor::new(&self.page, self.at);
        if is_in_page {
            let (shared, rest) = Encoded::take_path(&mut from).ok_or_else(nonsense)?;
            self.path.truncate(shared);
            self.path.extend_from_slice(rest);
        }
        let seen =
            Encoded::take(&mut from).and_then(|entry| look(&self.path, &entry)).ok_or_else(nonsense)?;
        self.at = from.position();
        self.number += 1;
        Ok(Some(seen))
    }
}

impl Iterator for Iter<'_> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        let entry = self.see(|path, entry| entry.entry(LayerPath::of_clean(path.to_vec())));
        if entry.is_err() {
            self.number = self.pages.entries();
        }
        entry.transpose()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.pages.entries() - self.number))
    }
}

/// A place among the entries of an index, that moves forward.
#[derive(Clone, Debug)]
pub(crate) struct Finger<'a> {
    pages: &'a Pages,
    /// Which entry it is; as many as there are at the end.
    number: usize,
    path: Vec<u8>,
    /// The page that it is in.
    block: usize,
    page: Page<'a>,
    /// Where in the page the rest of the entry is, behind its path.
    at: usize,
}

/// What was found in a page.
struct Hit {
    number: usize,
    /// How many bytes its path shares with what was looked for.
    common: usize,
    /// The rest of its path.
    rest: Range<usize>,
}

impl<'a> Finger<'a> {
    /// At the end.
    pub(crate) fn new(pages: &'a Pages) -> Self {
        let number = pages.entries();
        Self { pages, number, path: Vec::new(), block: 0, page: Page::Held(&[]), at: 0 }
    }

    /// At the first entry that is not before `path`.
    pub(crate) fn at(pages: &'a Pages, path: &[u8]) -> io::Result<Self> {
        let mut finger = Self::new(pages);
        finger.begin(pages.table().up_to(0, path).saturating_sub(1))?;
        finger.go_on(path)?;
        Ok(finger)
    }

    /// The number of the entry that is pointed at.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// The path of the entry that is pointed at; `None` at the end.
    pub(crate) fn path(&self) -> Option<&[u8]> {
        (self.number < self.pages.entries()).then_some(self.path.as_slice())
    }

    /// The entry that is pointed at; `None` at the end.
    pub(crate) fn entry(&self) -> io::Result<Option<Entry>> {
        let Some(path) = self.path() else { return Ok(None) };
        let entry = self.encoded()?.entry(LayerPath::of_clean(path.to_vec()));
        entry.map(Some).ok_or_else(nonsense)
    }

    /// All of the entry that is pointed at but its path. An error at the end.
    pub(crate) fn encoded(&self) -> io::Result<Encoded<'_>> {
        Encoded::take(&mut Cursor::new(&self.page, self.at)).ok_or_else(nonsense)
    }

    /// Goes to the first entry of a page; to the end if there is no such page.
    pub(crate) fn begin(&mut self, block: usize) -> io::Result<()> {
        let pages = self.pages;
        self.page = pages.page(block)?;
        (self.number, self.block, self.at) = (pages.first(block), block, 0);
        self.path.clear();
        self.path.extend_from_slice(pages.table().path(block));
        Ok(())
    }

    /// Goes to the next.
    pub(crate) fn step(&mut self) -> io::Result<()> {
        if self.number + 1 >= self.block_end() {
            return if self.number < self.pages.entries() { self.begin(self.block + 1) } else { Ok(()) };
        }
        self.step_inside().ok_or_else(nonsense)
    }

    fn step_inside(&mut self) -> Option<()> {
        let mut from = Cursor::new(&self.page, self.at);
        let (shared, rest) = Encoded::next_path(&mut from)?;
        self.path.truncate(shared);
        self.path.extend_from_slice(rest);
        self.at = from.position();
        self.number += 1;
        Some(())
    }

    /// The number of the first entry that is not in this page.
    fn block_end(&self) -> usize {
        self.pages.first(self.block + 1)
    }

    /// Goes to the first entry that is not before `path`; stays if that is behind.
    pub(crate) fn seek(&mut self, path: &[u8]) -> io::Result<()> {
        if self.path().is_none_or(|found| found >= path) {
            return Ok(());
        }
        let further = self.pages.table().up_to(self.block + 1, path);
        if further > 0 {
            self.begin(self.block + further)?;
        }
        self.go_on(path)
    }

    /// Goes to the first entry that is not before `path`, which is in this page or the first of the next, from where it is.
    fn go_on(&mut self, path: &[u8]) -> io::Result<()> {
        if self.path().is_none_or(|found| found >= path) {
            return Ok(());
        }
        let first = self.pages.table().path(self.block);
        if let Some((spot, start)) = self.page.nearest(first, path)
            && self.pages.first(self.block) + spot.number > self.number
        {
            self.path.clear();
            self.path.extend_from_slice(start);
            (self.number, self.at) = (self.pages.first(self.block) + spot.number, spot.at as usize);
        }
        if self.path == path {
            return Ok(());
        }
        let Some(hit) = self.search(path)? else { return self.begin(self.block + 1) };
        self.path.clear();
        self.path.extend_from_slice(&path[..hit.common]);
        self.path.extend_from_slice(&self.page[hit.rest.clone()]);
        (self.number, self.at) = (hit.number, hit.rest.end);
        Ok(())
    }

    /// The first entry after this one that is not before `path`, up to the end of the page. No path is put together for that: of each entry it
    /// is known how much it shares with the one before, of that how much it shares with `path`.
    fn search(&self, path: &[u8]) -> io::Result<Option<Hit>> {
        let mut from = Cursor::new(&self.page, self.at);
        let mut same = common(&self.path, path);
        for number in self.number + 1..self.block_end() {
            let (shared, rest) = Encoded::next_path(&mut from).ok_or_else(nonsense)?;
            let span = |skipped| from.position() - rest.len() + skipped..from.position();
            match shared.cmp(&same) {
                // It differs from `path` where the one before does.
                Ordering::Greater => {}
                Ordering::Less => return Ok(Some(Hit { number, common: shared, rest: span(0) })),
                Ordering::Equal => {
                    let left = path.get(same..).unwrap_or_default();
                    let more = common(rest, left);
                    if left.get(more).is_none_or(|byte| rest.get(more).is_some_and(|found| found > byte)) {
                        return Ok(Some(Hit { number, common: same + more, rest: span(more) }));
                    }
                    same += more;
                }
            }
        }
        Ok(None)
    }
}
