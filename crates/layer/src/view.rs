//! A stack of layers seen as one root filesystem, by their indexes alone.
//!
//! What counts is what overlayfs would show: an entry hides those of the same path below it, a whiteout or anything that is no
//! directory hides all below its path, an opaque directory hides what lower layers have in it. A directory that
//! only its children give away (*implicit*) exists, with mode 0755 and owner 0:0 unless a lower layer knows better.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use crate::handle::{ContentError, LayerHandle};
use crate::index::{Entry, Index, Kind, Mtime};
use crate::path::LayerPath;

/// Layers, lowest first.
#[derive(Clone, Debug, Default)]
pub struct View {
    layers: Vec<Arc<LayerHandle>>,
}

/// Something that the view shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Which layer's entry it is, counted from the lowest; for an implicit directory the uppermost that implies it.
    pub layer: usize,
    /// The entry: borrowed from the layer, or made up for an implicit directory.
    pub entry: Cow<'a, Entry>,
}

/// Where a path leads to when symbolic links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The real path. Components that do not exist are taken as they are.
    pub path: LayerPath,
    /// What is there, if anything.
    pub found: Option<Found<'a>>,
    /// Something on the way that is no directory, below which nothing can exist.
    pub obstacle: Option<LayerPath>,
}

/// Why a view cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Symbolic links lead in a circle.
    #[error("{path} leads through more than 40 symbolic links")]
    Loop {
        /// What was asked for.
        path: String,
    },
    /// A file is larger than the caller can use.
    #[error("{path} has {size} bytes, more than {limit}")]
    TooLarge {
        /// What was asked for.
        path: String,
        /// Its bytes.
        size: u64,
        /// The most that were allowed.
        limit: u64,
    },
    /// Its bytes cannot be had.
    #[error(transparent)]
    Content(#[from] ContentError),
}

const HOPS: usize = 40;

impl View {
    /// A view of `layers`, lowest first.
    pub fn new(layers: Vec<Arc<LayerHandle>>) -> Self {
        Self { layers }
    }

    /// The layers, lowest first.
    pub fn layers(&self) -> &[Arc<LayerHandle>] {
        &self.layers
    }

    /// This view with one more layer on top.
    #[must_use]
    pub fn with(&self, layer: Arc<LayerHandle>) -> Self {
        let mut layers = self.layers.clone();
        layers.push(layer);
        Self { layers }
    }

    /// What stands at exactly `path`; no symbolic link is followed. The root is always there.
    pub fn lookup(&self, path: &LayerPath) -> Option<Found<'_>> {
        let mut implied = path.is_root().then_some(0);
        for (number, layer) in self.layers.iter().enumerate().rev() {
            let index = &layer.index;
            match index.get(path) {
                Some(entry) if entry.kind == Kind::Directory => return Some(found(number, entry)),
                Some(entry) => {
                    let shown = entry.kind != Kind::Whiteout && implied.is_none();
                    return if shown { Some(found(number, entry)) } else { implied_at(implied, path) };
                }
                None if implied.is_none() && implies(index, path) => implied = Some(number),
                None => {}
            }
            if path.parent().is_some_and(|parent| closes(index, &parent)) {
                break;
            }
        }
        implied_at(implied, path)
    }

    /// Follows symbolic links, those of `path`'s last component only if `follow_last`, within the root and up to 40 of them.
    /// Whatever does not exist is taken as it is.
    ///
    /// # Errors
    /// [`ViewError::Loop`].
    pub fn resolve(&self, path: &LayerPath, follow_last: bool) -> Result<Resolved<'_>, ViewError> {
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        todo.reverse();
        let mut at = LayerPath::root();
        let mut found = self.lookup(&at);
        let (mut hops, mut obstacle) = (0, None);
        while let Some(name) = todo.pop() {
            if name == b".." {
                at = at.parent().unwrap_or_default();
                found = self.lookup(&at);
                continue;
            }
            if found.as_ref().is_some_and(|found| found.entry.kind != Kind::Directory) {
                obstacle.get_or_insert_with(|| at.clone());
            }
            let next = at.join(&name);
            let there = self.lookup(&next);
            let target = match there.as_ref().map(|found| &found.entry.kind) {
                Some(Kind::Symlink { target }) if follow_last || !todo.is_empty() => target,
                _ => {
                    (at, found) = (next, there);
                    continue;
                }
            };
            hops += 1;
            if hops > HOPS {
                return Err(ViewError::Loop { path: path.display() });
            }
            if target.starts_with(b"/") {
                at = LayerPath::root();
            }
            let parts = target.split(|b| *b == b'/').rev();
            todo.extend(parts.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec));
            found = self.lookup(&at);
        }
        Ok(Resolved { path: at, found, obstacle })
    }

    /// What stands directly in `dir`, sorted by name. No directory there: nothing.
    pub fn children(&self, dir: &LayerPath) -> Vec<Found<'_>> {
        let children = self.merge(dir, &self.open_layers(dir));
        children.into_values().filter_map(|child| child.found).collect()
    }

    /// All that stands below `dir`, sorted by path; `dir` itself is not part of it.
    pub fn walk(&self, dir: &LayerPath) -> Vec<Found<'_>> {
        let mut all = Vec::new();
        let mut todo = vec![(dir.clone(), self.open_layers(dir))];
        while let Some((dir, layers)) = todo.pop() {
            for child in self.merge(&dir, &layers).into_values() {
                let Some(found) = child.found else { continue };
                if found.entry.kind == Kind::Directory {
                    todo.push((found.entry.path.clone(), child.layers));
                }
                all.push(found);
            }
        }
        all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        all
    }

    /// The entry that carries the content of a file that was found: itself, or the first name of a hard link.
    pub fn carrier<'a>(&'a self, found: &Found<'_>) -> Option<&'a Entry> {
        self.layers.get(found.layer)?.carrier(&found.entry.path)
    }

    /// The bytes of the file at `path`, symbolic links followed; `None` if no regular file is there.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub fn read_small(&self, path: &LayerPath, limit: u64) -> Result<Option<Vec<u8>>, ViewError> {
        let resolved = self.resolve(path, true)?;
        let Some(found) = resolved.found else { return Ok(None) };
        let Some(Kind::File { size, .. }) = self.carrier(&found).map(|entry| &entry.kind) else {
            return Ok(None);
        };
        if *size > limit {
            return Err(ViewError::TooLarge { path: path.display(), size: *size, limit });
        }
        let mut bytes = Vec::with_capacity(*size as usize);
        self.layers[found.layer].contents(std::slice::from_ref(&found.entry.path), &mut |_, reader| {
            reader.take(limit).read_to_end(&mut bytes).map(|_| ())
        })?;
        Ok(Some(bytes))
    }

    /// The layers that may have something to say about what is in `dir`, uppermost first.
    fn open_layers(&self, dir: &LayerPath) -> Vec<usize> {
        let mut open = Vec::new();
        for (number, layer) in self.layers.iter().enumerate().rev() {
            // What stands at `dir` in this layer is no directory: neither it nor lower layers have anything inside.
            open.push(number);
            if closes(&layer.index, dir) {
                break;
            }
        }
        open
    }

    fn merge(&self, dir: &LayerPath, layers: &[usize]) -> BTreeMap<&[u8], Child<'_>> {
        let mut children: BTreeMap<&[u8], Child<'_>> = BTreeMap::new();
        for number in layers {
            let index: &Index = &self.layers[*number].index;
            for (name, entry) in direct_children(index, dir) {
                let path = || dir.join(name);
                children.entry(name).or_default().add(*number, entry, index, path);
            }
        }
        children
    }
}

/// What the layers from the top down to some point make of one name.
#[derive(Default)]
struct Child<'a> {
    found: Option<Found<'a>>,
    /// The entry shown is a directory's own, not implied.
    described: bool,
    /// An opaque mark: what lower layers have inside no longer counts, though they may still describe the directory.
    opaque: bool,
    /// Lower layers no longer count at all.
    sealed: bool,
    /// The layers that may have something inside, uppermost first.
    layers: Vec<usize>,
}

impl<'a> Child<'a> {
    fn add(&mut self, number: usize, entry: Option<&'a Entry>, index: &Index, path: impl Fn() -> LayerPath) {
        // A directory shows up a second time, for what is in it.
        if self.sealed || (entry.is_none() && self.layers.last() == Some(&number)) {
            return;
        }
        match entry {
            Some(entry) if entry.kind != Kind::Directory => {
                if self.found.is_none() && entry.kind != Kind::Whiteout {
                    self.found = Some(found(number, entry));
                }
                self.sealed = true;
                return;
            }
            Some(entry) if !self.described => {
                self.found = Some(found(number, entry));
                self.described = true;
            }
            None if self.found.is_none() => self.found = implied_at(Some(number), &path()),
            _ => {}
        }
        if !self.opaque {
            self.layers.push(number);
            self.opaque = index.opaque.binary_search(&path()).is_ok();
        }
    }
}

fn found(layer: usize, entry: &Entry) -> Found<'_> {
    Found { layer, entry: Cow::Borrowed(entry) }
}

fn implied_at(layer: Option<usize>, path: &LayerPath) -> Option<Found<'static>> {
    layer.map(|layer| Found { layer, entry: Cow::Owned(implicit_directory(path.clone())) })
}

/// The entry of a directory that nobody described.
pub fn implicit_directory(path: LayerPath) -> Entry {
    Entry {
        path,
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: BTreeMap::new(),
        offset: None,
    }
}

/// Whether `index` has something below `path`, or marks it.
fn implies(index: &Index, path: &LayerPath) -> bool {
    let start = path.join([0]);
    let at = index.entries.partition_point(|entry| entry.path < start);
    if index.entries.get(at).is_some_and(|entry| entry.path.is_within(path)) {
        return true;
    }
    let at = index.opaque.partition_point(|dir| dir < path);
    let opaque = index.opaque.get(at).is_some_and(|dir| dir == path);
    let at = index.opaque.partition_point(|dir| *dir < start);
    opaque || index.opaque.get(at).is_some_and(|dir| dir.is_within(path))
}

/// Whether `index` hides all that lower layers have inside of `dir`.
fn closes(index: &Index, dir: &LayerPath) -> bool {
    let mut at = Some(dir.clone());
    while let Some(path) = at {
        if index.opaque.binary_search(&path).is_ok()
            || index.get(&path).is_some_and(|entry| entry.kind != Kind::Directory)
        {
            return true;
        }
        at = path.parent();
    }
    false
}

/// The names directly in `dir` with their entries, `None` for what is only implied; a name may come twice. Costs a search
/// for each directory in it, however much is below those.
fn direct_children<'a>(index: &'a Index, dir: &LayerPath) -> Vec<(&'a [u8], Option<&'a Entry>)> {
    let entries = &index.entries;
    let start = dir.join([0]);
    let prefix = start.as_bytes().len() - 1;
    let mut names = Vec::new();
    let mut at = entries.partition_point(|entry| entry.path < start);
    while let Some(entry) = entries.get(at).filter(|entry| entry.path.is_within(dir)) {
        let rest = &entry.path.as_bytes()[prefix..];
        let Some(slash) = rest.iter().position(|b| *b == b'/') else {
            names.push((rest, Some(entry)));
            at += 1;
            continue;
        };
        names.push((&rest[..slash], None));
        // The first path that is not below it has a byte after the slash's in its place.
        let end = [&entry.path.as_bytes()[..prefix + slash], b"0"].concat();
        at += entries[at..].partition_point(|entry| entry.path.as_bytes() < end.as_slice());
    }
    let first = index.opaque.partition_point(|path| *path < start);
    for path in index.opaque[first..].iter().take_while(|path| path.is_within(dir)) {
        let rest = &path.as_bytes()[prefix..];
        names.push((rest.split(|b| *b == b'/').next().unwrap_or(rest), None));
    }
    names
}
