//! What stands where, while an archive is read: a sorted map of which memory has only what was put last.
//!
//! From a megabyte on that becomes a run: an [`Index`] of its own. A run covers older ones as a layer does those below it: of each path
//! the newest counts, and where that is no directory, nothing older below it does. So what is no directory is put without a look at what was
//! there. Runs are merged when some of a size have gathered; in the end all of them are read side by side.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::index::{Builder, Entry, Index, Kind, Mtime};
use crate::path::LayerPath;

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In memory, in bytes.
    pub(crate) held: usize,
    /// Runs of about one size.
    pub(crate) runs: usize,
    /// Of a run in memory, in bytes.
    pub(crate) tail: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { held: 1 << 20, runs: 8, tail: 16 << 10 }
    }
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing, whatever lower layers have.
    Whiteout,
    /// A directory of which is known only that it holds something.
    Implied,
    /// This, whose own path does not matter.
    Inode(Entry),
    /// One of several names of the file with this number.
    Shared(u64),
}

impl Place {
    /// Whether nothing can be below.
    pub(crate) fn is_leaf(&self) -> bool {
        match self {
            Self::Whiteout | Self::Implied => false,
            Self::Inode(entry) => entry.kind != Kind::Directory,
            Self::Shared(_) => true,
        }
    }

    /// As runs have it. Only files have an offset and only their other names a target, so that these are free to tell the rest.
    fn into_entry(self, path: LayerPath) -> Entry {
        let (kind, offset) = match self {
            Self::Inode(entry) => return Entry { path, ..entry },
            Self::Whiteout => (Kind::Whiteout, None),
            Self::Implied => (Kind::Whiteout, Some(0)),
            Self::Shared(number) => (Kind::Hardlink { target: LayerPath::root() }, Some(number)),
        };
        let (mtime, xattrs) = (Mtime::default(), BTreeMap::new());
        Entry { path, kind, mode: 0, uid: 0, gid: 0, mtime, xattrs, offset }
    }

    fn of(entry: Entry) -> Self {
        match (&entry.kind, entry.offset) {
            (Kind::Whiteout, None) => Self::Whiteout,
            (Kind::Whiteout, Some(_)) => Self::Implied,
            (Kind::Hardlink { .. }, Some(number)) => Self::Shared(number),
            _ => Self::Inode(entry),
        }
    }

    /// About how many bytes of memory it takes.
    fn weight(&self) -> usize {
        let more = match self {
            Self::Inode(Entry { kind: Kind::Symlink { target }, xattrs, .. }) => {
                target.len() + weight_of(xattrs)
            }
            Self::Inode(entry) => weight_of(&entry.xattrs),
            _ => 0,
        };
        size_of::<(LayerPath, Self)>() + more
    }
}

fn weight_of(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> usize {
    xattrs.iter().map(|(name, value)| size_of::<(Vec<u8>, Vec<u8>)>() + name.len() + value.len()).sum()
}

/// The map. All that is above something is in it, too, and no leaf.
#[derive(Debug)]
pub(crate) struct Places {
    /// Where runs may have their files.
    dir: Arc<Path>,
    limits: Limits,
    held: BTreeMap<LayerPath, Place>,
    /// Bytes of memory that is held, or was until it was replaced.
    weight: usize,
    /// The oldest first.
    runs: Vec<Run>,
    /// How often memory was emptied.
    generation: u64,
    /// Directories that came where something else had been, and when: what is older does not count below them.
    renewed: BTreeMap<LayerPath, u64>,
}

#[derive(Debug)]
struct Run {
    index: Index,
    /// The last path in it.
    last: LayerPath,
    /// Of what is newest in it.
    generation: u64,
    /// How often what is in it was merged.
    merged: u32,
}

impl Places {
    /// Nothing yet; runs are put into unnamed files in `dir`, or memory holds them if there cannot be any.
    pub(crate) fn new(dir: &Path) -> Self {
        Self::with_limits(dir, Limits::default())
    }

    pub(crate) fn with_limits(dir: &Path, limits: Limits) -> Self {
        Self {
            dir: dir.into(),
            limits,
            held: BTreeMap::new(),
            weight: 0,
            runs: Vec::new(),
            generation: 0,
            renewed: BTreeMap::new(),
        }
    }

    /// Where there is place for what memory need not hold.
    pub(crate) fn dir(&self) -> Arc<Path> {
        self.dir.clone()
    }

    /// What is at `path`, whose parents are directories. A directory is in memory from then on: it is asked for again and again.
    pub(crate) fn get(&mut self, path: &LayerPath) -> io::Result<Option<Place>> {
        if let Some(place) = self.held.get(path) {
            return Ok(Some(place.clone()));
        }
        for run in self.runs.iter().rev().filter(|run| *path <= run.last) {
            if let Some(entry) = run.index.get(path)? {
                if is_past(&self.renewed, path, run.generation) {
                    return Ok(None);
                }
                let place = Place::of(entry);
                if !place.is_leaf() {
                    self.hold(path.clone(), place.clone())?;
                }
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Puts something at `path`. What is no directory leaves nothing below.
    pub(crate) fn put(&mut self, path: LayerPath, place: Place) -> io::Result<()> {
        if place.is_leaf() {
            forget_below(&mut self.held, &path);
            forget_below(&mut self.renewed, &path);
            self.renewed.remove(&path);
        }
        self.hold(path, place)
    }

    /// Puts something into memory, and moves what is there to a run if it becomes much.
    fn hold(&mut self, path: LayerPath, place: Place) -> io::Result<()> {
        self.weight += path.as_bytes().len() + place.weight();
        self.held.insert(path, place);
        if self.weight < self.limits.held {
            return Ok(());
        }
        self.spill()?;
        self.shorten()
    }

    /// Takes note that a directory is about to come to `path`, where something else is.
    pub(crate) fn renew(&mut self, path: &LayerPath) {
        if !self.runs.is_empty() {
            self.renewed.insert(path.clone(), self.generation);
        }
    }

    /// Hands everything to `take`, sorted.
    pub(crate) fn drain(
        mut self,
        take: &mut dyn FnMut(LayerPath, Place) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.runs.is_empty() {
            return self.held.into_iter().try_for_each(|(path, place)| take(path, place));
        }
        self.spill()?;
        merge(&self.runs, &self.renewed, &mut |mut entry| {
            take(std::mem::take(&mut entry.path), Place::of(entry))
        })
    }

    fn spill(&mut self) -> io::Result<()> {
        let Some(last) = self.held.last_key_value().map(|(path, _)| path.clone()) else { return Ok(()) };
        let mut index = self.run();
        for (path, place) in std::mem::take(&mut self.held) {
            index.push(&place.into_entry(path));
        }
        let index = index.finish(Vec::new());
        self.runs.push(Run { index, last, generation: self.generation, merged: 0 });
        self.generation += 1;
        self.weight = 0;
        Ok(())
    }

    fn run(&self) -> Builder {
        Index::builder_in(self.dir.clone(), self.limits.tail)
    }

    /// Merges the newest runs if there are as many as may be that were merged equally often. Older ones never were less often.
    fn shorten(&mut self) -> io::Result<()> {
        while let [.., newest] = self.runs.as_slice()
            && let Some(from) = self.runs.len().checked_sub(self.limits.runs)
            && self.runs[from].merged == newest.merged
        {
            let runs = &self.runs[from..];
            let last = runs.iter().map(|run| &run.last).max().unwrap_or(&newest.last).clone();
            let (generation, merged) = (newest.generation, newest.merged + 1);
            let mut index = self.run();
            merge(runs, &self.renewed, &mut |entry| {
                index.push(&entry);
                Ok(())
            })?;
            self.runs.truncate(from);
            self.runs.push(Run { index: index.finish(Vec::new()), last, generation, merged });
        }
        Ok(())
    }
}

/// Forgets what is below `dir`, not itself.
pub(crate) fn forget_below<T>(map: &mut BTreeMap<LayerPath, T>, dir: &LayerPath) {
    // No name is a single NUL, so that one stands before all names.
    let first = dir.join([0]);
    while let Some(found) =
        map.range(&first..).next().map(|(path, _)| path).filter(|path| path.is_within(dir))
    {
        let found = found.clone();
        map.remove(&found);
    }
}

/// Whether a directory above `path` was renewed after `generation`.
fn is_past(renewed: &BTreeMap<LayerPath, u64>, path: &LayerPath, generation: u64) -> bool {
    let is_renewed = |dir: &LayerPath| renewed.get(dir).is_some_and(|since| *since > generation);
    !renewed.is_empty() && std::iter::successors(path.parent(), LayerPath::parent).any(|dir| is_renewed(&dir))
}

/// What comes next of a run. Sorted by path, of one path the newest first.
struct Next {
    entry: Entry,
    run: usize,
}

impl Next {
    fn order(&self) -> (&LayerPath, Reverse<usize>) {
        (&self.entry.path, Reverse(self.run))
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

/// Hands what counts in `runs`, which follow each other, to `take`, sorted.
fn merge(
    runs: &[Run],
    renewed: &BTreeMap<LayerPath, u64>,
    take: &mut dyn FnMut(Entry) -> io::Result<()>,
) -> io::Result<()> {
    let mut left: Vec<_> = runs.iter().map(|run| run.index.iter()).collect();
    let mut heap = BinaryHeap::new();
    for (run, entries) in left.iter_mut().enumerate() {
        let next = entries.next().transpose()?;
        heap.extend(next.map(|entry| Reverse(Next { entry, run })));
    }
    let mut before: Option<LayerPath> = None;
    let mut leaves = Leaves::default();
    while let Some(mut top) = heap.peek_mut() {
        let run = top.0.run;
        let entry = match left[run].next().transpose()? {
            Some(next) => std::mem::replace(&mut top.0.entry, next),
            None => PeekMut::pop(top).0.entry,
        };
        let path = &entry.path;
        if before.as_ref() == Some(path)
            || leaves.cover(path, run)
            || is_past(renewed, path, runs[run].generation)
        {
            continue;
        }
        before = Some(path.clone());
        if run > 0 && !matches!(entry.kind, Kind::Directory | Kind::Whiteout) {
            leaves.0.push((path.clone(), run));
        }
        take(entry)?;
    }
    Ok(())
}

/// What is no directory of what was just read, and which run has it: older runs may have something below still.
#[derive(Default)]
struct Leaves(Vec<(LayerPath, usize)>);

impl Leaves {
    /// Whether a run newer than `run` has one above `path`, which comes after all others.
    fn cover(&mut self, path: &LayerPath, run: usize) -> bool {
        while self.0.pop_if(|(dir, _)| !path.may_lead_into(dir)).is_some() {}
        self.0.iter().any(|(dir, newer)| *newer > run && path.is_within(dir))
    }
}
