//! A layer's tree as changes to the tree of another layer.
//!
//! Who edits one file of twenty thousand and builds again gets a layer that is all but the last one. Overlayfs stacks directories anyway,
//! so what differs is written to a directory of its own, to lie upon the tree that is there: a build after an edit
//! costs what was edited.

use std::collections::BTreeSet;

use crate::index::{Entry, Index, Kind};
use crate::pack::{Content, PackEntry};
use crate::path::LayerPath;
use crate::view::{View, implicit_directory};

/// Amended is what stays the same for the most part: of one in so many entries and bytes at most may change.
const PART: u64 = 4;

/// What has to be written, to lie upon the tree of `old`, for both together to be the tree of the layer of `entries` above
/// `below`: changed entries, the directories on the way to them, whiteouts for what is gone. Sorted, like `entries`, by path. `None` if that
/// cannot be had, or is not worth it: when more than a quarter changes, when a whiteout would hide what `below` has, and with hard
/// links, whiteouts and opaque directories in either layer.
pub fn amendment(entries: &[PackEntry], old: &Index, below: &View) -> Option<Vec<PackEntry>> {
    let plain = |entry: &Entry| !matches!(entry.kind, Kind::Hardlink { .. } | Kind::Whiteout);
    if !old.opaque.is_empty() || !old.entries.iter().chain(entries.iter().map(|e| &e.entry)).all(plain) {
        return None;
    }
    let mut amendment = Amendment { entries, below, changed: BTreeSet::new(), gone: BTreeSet::new() };
    let mut before = old.entries.iter().peekable();
    for (i, item) in entries.iter().enumerate() {
        while let Some(entry) = before.next_if(|entry| entry.path < item.entry.path) {
            amendment.remove(&entry.path)?;
        }
        match before.next_if(|entry| entry.path == item.entry.path) {
            Some(entry) if is_same(entry, &item.entry) => {}
            // What is no directory hides what lies below it, and a directory upon it would not bring that back.
            Some(entry) if is_directory(&item.entry) && !is_directory(entry) => return None,
            _ => amendment.change(i),
        }
    }
    before.try_for_each(|entry| amendment.remove(&entry.path))?;
    amendment.is_worthwhile().then(|| amendment.finish())
}

fn is_directory(entry: &Entry) -> bool {
    entry.kind == Kind::Directory
}

fn is_same(a: &Entry, b: &Entry) -> bool {
    a.kind == b.kind
        && (a.mode, a.uid, a.gid, a.mtime) == (b.mode, b.uid, b.gid, b.mtime)
        && a.xattrs == b.xattrs
}

struct Amendment<'a> {
    entries: &'a [PackEntry],
    below: &'a View,
    /// Of `entries`, those to be written.
    changed: BTreeSet<usize>,
    /// Paths that get a whiteout.
    gone: BTreeSet<LayerPath>,
}

impl Amendment<'_> {
    fn find(&self, path: &LayerPath) -> Option<usize> {
        self.entries.binary_search_by(|item| item.entry.path.cmp(path)).ok()
    }

    fn change(&mut self, i: usize) {
        self.changed.insert(i);
        self.describe_above(&self.entries[i].entry.path.clone());
    }

    /// A directory shows the metadata of the uppermost: it must be what the layer says of it.
    fn describe_above(&mut self, path: &LayerPath) {
        let above = std::iter::successors(path.parent(), LayerPath::parent);
        let found: Vec<usize> = above.filter_map(|dir| self.find(&dir)).collect();
        self.changed.extend(found);
    }

    /// `None` if it cannot be hidden.
    fn remove(&mut self, path: &LayerPath) -> Option<()> {
        let above = std::iter::successors(path.parent(), LayerPath::parent);
        for dir in above {
            let is_file = |i: usize| !is_directory(&self.entries[i].entry);
            if self.gone.contains(&dir) || self.find(&dir).is_some_and(is_file) {
                return Some(());
            }
        }
        let parent = path.parent()?;
        let inside = path.join([0]);
        let at = self.entries.partition_point(|item| item.entry.path < inside);
        // Something is still in it, which makes it a directory that nobody describes.
        if self.entries.get(at).is_some_and(|item| item.entry.path.is_within(path)) {
            return None;
        }
        let is_there = self.find(&parent).is_some() || self.is_directory_below(&parent);
        if !is_there || self.below.lookup(path).is_some() {
            return None;
        }
        self.gone.insert(path.clone());
        self.describe_above(path);
        Some(())
    }

    fn is_directory_below(&self, path: &LayerPath) -> bool {
        path.is_root() || self.below.lookup(path).is_some_and(|found| is_directory(&found.entry))
    }

    fn is_worthwhile(&self) -> bool {
        let size = |item: &PackEntry| match item.entry.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        };
        let count = (self.changed.len() + self.gone.len()) as u64;
        let changed: u64 = self.changed.iter().map(|i| size(&self.entries[*i])).sum();
        let all: u64 = self.entries.iter().map(size).sum();
        count * PART <= self.entries.len() as u64 && changed * PART <= all
    }

    fn finish(self) -> Vec<PackEntry> {
        let whiteout = |path| Entry { kind: Kind::Whiteout, mode: 0, ..implicit_directory(path) };
        let gone =
            self.gone.into_iter().map(|path| PackEntry { entry: whiteout(path), content: Content::None });
        let mut all: Vec<PackEntry> =
            self.changed.iter().map(|i| self.entries[*i].clone()).chain(gone).collect();
        all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        all
    }
}
