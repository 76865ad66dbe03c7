//! A layer's tree as changes to the tree of another layer.
//!
//! Who edits one file of twenty thousand and builds again gets a layer that is all but the last one. Overlayfs stacks directories anyway,
//! so what differs is written to a directory of its own, to lie upon the tree that is there: a build after an edit
//! costs what was edited.

use std::collections::{BTreeSet, HashSet};
use std::io;

use crate::index::{Entry, Index, Iter, Kind};
use crate::pack::{Content, Entries, PackEntry, PackError, Take};
use crate::path::LayerPath;
use crate::view::{View, implicit_directory};

/// Amended is what stays the same for the most part: of one in so many entries and bytes at most may change.
const PART: u64 = 4;

/// What has to be written, to lie upon the tree of another layer: changed entries, the directories on the way to them, whiteouts for
/// what is gone. Of the layer's entries it holds no more than which they are.
#[derive(Debug)]
pub struct Amendment<'e, E: ?Sized> {
    entries: &'e E,
    /// Which of `entries` are to be written, ascending.
    written: Vec<usize>,
    /// Paths that get a whiteout.
    gone: BTreeSet<LayerPath>,
}

/// Finds what makes the tree of `old` that of the layer of `entries` above `below`. `None` if that cannot be had, or is not worth it: when
/// more than a quarter changes, when a whiteout would hide what `below` has, and with hard links, whiteouts and opaque directories
/// in either layer.
///
/// # Errors
/// If the entries cannot be had.
pub fn amendment<'e, E: Entries + ?Sized>(
    entries: &'e E,
    old: &Index,
    below: &View,
) -> Result<Option<Amendment<'e, E>>, PackError> {
    let listed = |source| PackError::List { source };
    if !old.opaque().is_empty() || !is_plain(old).map_err(listed)? {
        return Ok(None);
    }
    let mut compared = Compared::new(below, entries.count()?);
    let mut before = Before { entries: old.iter(), next: None };
    before.advance().map_err(listed)?;
    let (mut possible, mut number) = (true, 0);
    entries.each(&mut |item| {
        possible = possible
            && can_be_amended(&item.entry)
            && compared.next(number, &item.entry, &mut before).map_err(listed)?;
        number += 1;
        Ok(())
    })?;
    possible = possible && compared.remove_up_to(None, &mut before).map_err(listed)?;
    if !possible || !compared.is_worthwhile() {
        return Ok(None);
    }
    let Some(written) = compared.complete(entries)? else { return Ok(None) };
    let amendment = Amendment { entries, written, gone: compared.gone };
    // With the directories on the way.
    Ok(Some(amendment).filter(|found| found.len() as u64 * PART <= number as u64))
}

fn can_be_amended(entry: &Entry) -> bool {
    !matches!(entry.kind, Kind::Hardlink { .. } | Kind::Whiteout)
}

fn is_plain(index: &Index) -> io::Result<bool> {
    for entry in index {
        if !can_be_amended(&entry?) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_directory(entry: &Entry) -> bool {
    entry.kind == Kind::Directory
}

fn is_same(a: &Entry, b: &Entry) -> bool {
    a.kind == b.kind
        && (a.mode, a.uid, a.gid, a.mtime) == (b.mode, b.uid, b.gid, b.mtime)
        && a.xattrs == b.xattrs
}

/// The entries of the old layer, and the next of them.
struct Before<'a> {
    entries: Iter<'a>,
    next: Option<Entry>,
}

impl Before<'_> {
    /// Goes on; what was next is the result.
    fn advance(&mut self) -> io::Result<Option<Entry>> {
        let next = self.entries.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, next))
    }
}

/// Two layers, entry by entry.
struct Compared<'a> {
    below: &'a View,
    /// How many entries the new layer has.
    all: usize,
    /// Which entries differ.
    changed: Vec<usize>,
    /// Of these, what is no directory.
    obstacles: HashSet<LayerPath>,
    gone: BTreeSet<LayerPath>,
    /// The directories above what differs: a directory shows the metadata of the uppermost, which must be what the layer says of it.
    above: HashSet<LayerPath>,
    /// Bytes of the files that differ, and of all.
    bytes: (u64, u64),
}

impl<'a> Compared<'a> {
    fn new(below: &'a View, all: usize) -> Self {
        Self {
            below,
            all,
            changed: Vec::new(),
            obstacles: HashSet::new(),
            gone: BTreeSet::new(),
            above: HashSet::new(),
            bytes: (0, 0),
        }
    }

    /// Takes entry `number` of the new layer, and of the old one all up to its path. `false` if the old tree cannot serve.
    fn next(&mut self, number: usize, entry: &Entry, old: &mut Before<'_>) -> io::Result<bool> {
        if !self.remove_up_to(Some(&entry.path), old)? || !self.is_little() {
            return Ok(false);
        }
        let size = match entry.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        };
        self.bytes.1 += size;
        if old.next.as_ref().is_some_and(|old| old.path == entry.path)
            && let Some(old) = old.advance()?
        {
            if is_same(&old, entry) {
                return Ok(true);
            }
            // What is no directory hides what lies below it, and a directory upon it would not bring that back.
            if is_directory(entry) && !is_directory(&old) {
                return Ok(false);
            }
        }
        self.changed.push(number);
        self.bytes.0 += size;
        if !is_directory(entry) {
            self.obstacles.insert(entry.path.clone());
        }
        self.describe_above(&entry.path);
        Ok(true)
    }

    /// Removes what the old layer has before `path`, or all that is left. `false` if it cannot be hidden.
    fn remove_up_to(&mut self, path: Option<&LayerPath>, old: &mut Before<'_>) -> io::Result<bool> {
        while old.next.as_ref().is_some_and(|old| path.is_none_or(|path| old.path < *path)) {
            let Some(entry) = old.advance()? else { break };
            if !self.remove(&entry.path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn describe_above(&mut self, path: &LayerPath) {
        let mut at = path.parent();
        while let Some(dir) = at {
            at = dir.parent();
            if !self.above.insert(dir) {
                return;
            }
        }
    }

    /// `false` if it cannot be hidden.
    fn remove(&mut self, path: &LayerPath) -> io::Result<bool> {
        let mut above = std::iter::successors(path.parent(), LayerPath::parent);
        if above.any(|dir| self.gone.contains(&dir) || self.obstacles.contains(&dir)) {
            return Ok(true);
        }
        if path.is_root() || self.below.lookup(path)?.is_some() {
            return Ok(false);
        }
        self.gone.insert(path.clone());
        self.describe_above(path);
        Ok(self.is_little())
    }

    /// Whether few entries differ. What is known of those that do is held.
    fn is_little(&self) -> bool {
        (self.changed.len() + self.gone.len()) as u64 * PART <= self.all as u64
    }

    fn is_worthwhile(&self) -> bool {
        self.is_little() && self.bytes.0 * PART <= self.bytes.1
    }

    /// Which entries have to be written: those that differ, and what stands above them. `None` if something is left below what is gone, which
    /// makes that a directory that nobody describes, or if it stood in no directory.
    fn complete(&self, entries: &(impl Entries + ?Sized)) -> Result<Option<Vec<usize>>, PackError> {
        let parents: BTreeSet<LayerPath> = self.gone.iter().filter_map(LayerPath::parent).collect();
        let (mut written, mut found) = (Vec::new(), HashSet::new());
        let mut changed = self.changed.iter().copied().peekable();
        let (mut number, mut hidden) = (0, false);
        // The directory of the last entry: its neighbours are in it, too.
        let mut dir = LayerPath::root();
        entries.each(&mut |item| {
            let path = &item.entry.path;
            if changed.next_if_eq(&number).is_some() || self.above.contains(path) {
                written.push(number);
            }
            if parents.contains(path) {
                found.insert(path.clone());
            }
            if !self.gone.is_empty() && !dir.is_parent_of(path) {
                dir = path.parent().unwrap_or_default();
                hidden |= std::iter::successors(Some(dir.clone()), LayerPath::parent)
                    .any(|dir| self.gone.contains(&dir));
            }
            number += 1;
            Ok(())
        })?;
        for dir in parents.iter().filter(|dir| !dir.is_root() && !found.contains(*dir)) {
            let below = self.below.lookup(dir).map_err(|source| PackError::List { source })?;
            hidden |= !below.is_some_and(|found| is_directory(&found.entry));
        }
        Ok((!hidden).then_some(written))
    }
}

impl<E: ?Sized> Amendment<'_, E> {
    /// The paths that get a whiteout, in order.
    pub fn gone(&self) -> impl Iterator<Item = &LayerPath> {
        self.gone.iter()
    }

    fn len(&self) -> usize {
        self.written.len() + self.gone.len()
    }
}

impl<E: Entries + ?Sized> Entries for Amendment<'_, E> {
    fn count(&self) -> Result<usize, PackError> {
        Ok(self.len())
    }

    fn each(&self, take: &mut Take<'_>) -> Result<(), PackError> {
        let whiteout = |path: &LayerPath| {
            let entry = Entry { kind: Kind::Whiteout, mode: 0, ..implicit_directory(path.clone()) };
            PackEntry { entry, content: Content::None }
        };
        let mut gone = self.gone.iter().peekable();
        let mut written = self.written.iter().copied().peekable();
        let mut number = 0;
        self.entries.each(&mut |item| {
            if written.next_if_eq(&number).is_some() {
                while let Some(path) = gone.next_if(|path| **path < item.entry.path) {
                    take(&whiteout(path))?;
                }
                take(item)?;
            }
            number += 1;
            Ok(())
        })?;
        gone.try_for_each(|path| take(&whiteout(path)))
    }
}
