//! A stack of layers seen as one root filesystem, by their indexes alone.
//!
//! What counts is what overlayfs would show: an entry hides those of the same path below it, a whiteout or anything that is no
//! directory hides all below its path, an opaque directory hides what lower layers have in it. A directory that
//! only its children give away (*implicit*) exists, with mode 0755 and owner 0:0 unless a lower layer knows better.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};

use crate::finger::Finger;
use crate::handle::{ContentError, LayerHandle};
use crate::index::{Entry, Index, Kind, Mtime, Said};
use crate::path::LayerPath;

/// Layers, lowest first.
#[derive(Clone, Debug, Default)]
pub struct View {
    layers: Vec<Arc<LayerHandle>>,
    descent: Arc<Mutex<Descent>>,
}

/// The way to the directory about which a view was asked last: the next is mostly there or near.
#[derive(Debug, Default)]
struct Descent {
    /// From the root on, and of each the lowest layer that may have something inside.
    way: Vec<(LayerPath, usize)>,
}

impl Descent {
    fn bottom(&mut self, layers: &[Arc<LayerHandle>], dir: &LayerPath) -> io::Result<usize> {
        while self.way.last().is_some_and(|(last, _)| !dir.is_within(last)) {
            self.way.pop();
        }
        let last = self.way.last().map(|(last, _)| last);
        let rest = std::iter::successors(Some(dir.clone()), LayerPath::parent);
        let mut rest: Vec<LayerPath> = rest.take_while(|dir| Some(dir) != last).collect();
        let mut bottom = self.way.last().map_or(0, |(_, bottom)| *bottom);
        while let Some(dir) = rest.pop() {
            for number in (bottom + 1..layers.len()).rev() {
                if closes(&layers[number].index, &dir)? {
                    bottom = number;
                    break;
                }
            }
            self.way.push((dir, bottom));
        }
        Ok(bottom)
    }
}

/// Something that the view shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which layer's entry it is, counted from the lowest; for an implicit directory the uppermost that implies it.
    pub layer: usize,
    /// The entry: the layer's, or made up for an implicit directory.
    pub entry: Entry,
}

/// Where a path leads to when symbolic links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The real path. Components that do not exist are taken as they are.
    pub path: LayerPath,
    /// What is there, if anything.
    pub found: Option<Found>,
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
    /// What a layer has cannot be read; see [`Index`].
    #[error(transparent)]
    Index(#[from] io::Error),
}

const HOPS: usize = 40;

impl View {
    /// A view of `layers`, lowest first.
    pub fn new(layers: Vec<Arc<LayerHandle>>) -> Self {
        Self { layers, descent: Arc::default() }
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
        Self::new(layers)
    }

    /// What stands at exactly `path`; no symbolic link is followed. The root is always there.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn lookup(&self, path: &LayerPath) -> io::Result<Option<Found>> {
        let mut implied = path.is_root().then_some(0);
        let bottom = path.parent().map_or(Ok(0), |parent| self.bottom(&parent))?;
        for (number, layer) in self.layers.iter().enumerate().skip(bottom).rev() {
            match layer.index.said_of(path)? {
                Said::Entry(entry) if entry.kind == Kind::Directory => return Ok(Some(found(number, entry))),
                Said::Entry(entry) => {
                    let shown = entry.kind != Kind::Whiteout && implied.is_none();
                    return Ok(if shown { Some(found(number, entry)) } else { implied_at(implied, path) });
                }
                Said::Below => implied = implied.or(Some(number)),
                Said::Nothing => {}
            }
        }
        Ok(implied_at(implied, path))
    }

    /// Follows symbolic links, those of `path`'s last component only if `follow_last`, within the root and up to 40 of them.
    /// Whatever does not exist is taken as it is.
    ///
    /// # Errors
    /// [`ViewError::Loop`] and [`ViewError::Index`].
    pub fn resolve(&self, path: &LayerPath, follow_last: bool) -> Result<Resolved, ViewError> {
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        todo.reverse();
        let mut at = LayerPath::root();
        let mut found = self.lookup(&at)?;
        let (mut hops, mut obstacle) = (0, None);
        while let Some(name) = todo.pop() {
            if name == b".." {
                at = at.parent().unwrap_or_default();
                found = self.lookup(&at)?;
                continue;
            }
            if found.as_ref().is_some_and(|found| found.entry.kind != Kind::Directory) {
                obstacle.get_or_insert_with(|| at.clone());
            }
            let next = at.join(&name);
            let there = self.lookup(&next)?;
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
            found = self.lookup(&at)?;
        }
        Ok(Resolved { path: at, found, obstacle })
    }

    /// The names of what stands directly in `dir`, sorted. No directory there: none.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn names(&self, dir: &LayerPath) -> io::Result<impl Iterator<Item = Vec<u8>>> {
        let children = self.merge(dir, &self.open_layers(dir)?)?.into_iter();
        Ok(children.filter_map(|(name, child)| child.shown.map(|_| name)))
    }

    /// What is `shown` at `path`.
    fn found(&self, path: LayerPath, shown: Shown) -> io::Result<Found> {
        let Shown { layer, described } = shown;
        if !described {
            return Ok(Found { layer, entry: implicit_directory(path) });
        }
        let entry = self.layers[layer].index.get(&path)?;
        Ok(found(layer, entry.ok_or(io::ErrorKind::InvalidData)?))
    }

    /// All that stands below `dir`, sorted by path; `dir` itself is not part of it. After an error there is nothing.
    pub fn walk(&self, dir: &LayerPath) -> Walk<'_> {
        Walk { view: self, start: Some(dir.clone()), ahead: BTreeMap::new() }
    }

    /// The entry that carries the content of a file that was found: itself, or the first name of a hard link.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn carrier(&self, found: &Found) -> io::Result<Option<Entry>> {
        self.layers.get(found.layer).map_or(Ok(None), |layer| layer.carrier_of(&found.entry))
    }

    /// The bytes of the file at `path`, symbolic links followed; `None` if no regular file is there.
    ///
    /// # Errors
    /// See [`ViewError`].
    pub fn read_small(&self, path: &LayerPath, limit: u64) -> Result<Option<Vec<u8>>, ViewError> {
        let resolved = self.resolve(path, true)?;
        let Some(found) = resolved.found else { return Ok(None) };
        let Some(Kind::File { size, .. }) = self.carrier(&found)?.map(|entry| entry.kind) else {
            return Ok(None);
        };
        if size > limit {
            return Err(ViewError::TooLarge { path: path.display(), size, limit });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        self.layers[found.layer].contents(std::slice::from_ref(&found.entry.path), &mut |_, reader| {
            reader.take(limit).read_to_end(&mut bytes).map(|_| ())
        })?;
        Ok(Some(bytes))
    }

    /// The layers that may have something to say about what is in `dir`, uppermost first.
    fn open_layers(&self, dir: &LayerPath) -> io::Result<Vec<usize>> {
        Ok((self.bottom(dir)?..self.layers.len()).rev().collect())
    }

    /// The lowest layer that may have something to say about what is in `dir`: it or something above closes it to all that are lower.
    fn bottom(&self, dir: &LayerPath) -> io::Result<usize> {
        match self.descent.try_lock() {
            Ok(mut descent) => descent.bottom(&self.layers, dir),
            // Another thread is asking.
            Err(_) => Descent::default().bottom(&self.layers, dir),
        }
    }

    fn merge(&self, dir: &LayerPath, layers: &[usize]) -> io::Result<BTreeMap<Vec<u8>, Child>> {
        let mut children: BTreeMap<Vec<u8>, Child> = BTreeMap::new();
        for number in layers {
            let index: &Index = &self.layers[*number].index;
            direct_children(index, dir, |name, entry| {
                let path = || dir.join(name);
                match children.get_mut(name) {
                    Some(child) => child.add(*number, entry, index, path),
                    None => children.entry(name.to_vec()).or_default().add(*number, entry, index, path),
                }
            })?;
        }
        Ok(children)
    }
}

/// All that stands below a directory, sorted by path: [`View::walk`]. Memory holds the names of what is in the directories on the way to where it
/// is.
#[derive(Debug)]
pub struct Walk<'a> {
    view: &'a View,
    /// Where to begin.
    start: Option<LayerPath>,
    /// What was found in directories that were looked into, with the layers that may have something inside.
    ahead: BTreeMap<LayerPath, (Shown, Vec<usize>)>,
}

impl Walk<'_> {
    fn look_into(&mut self, dir: &LayerPath, layers: &[usize]) -> io::Result<()> {
        let children = self.view.merge(dir, layers)?.into_iter();
        let shown = children.filter_map(|(name, child)| Some((name, (child.shown?, child.layers))));
        self.ahead.extend(shown.map(|(name, child)| (dir.join(name), child)));
        Ok(())
    }

    fn advance(&mut self) -> io::Result<Option<Found>> {
        if let Some(dir) = self.start.take() {
            self.look_into(&dir, &self.view.open_layers(&dir)?)?;
        }
        // Whatever is in a directory sorts after it.
        let Some((path, (shown, layers))) = self.ahead.pop_first() else { return Ok(None) };
        let found = self.view.found(path, shown)?;
        if found.entry.kind == Kind::Directory {
            self.look_into(&found.entry.path, &layers)?;
        }
        Ok(Some(found))
    }
}

impl Iterator for Walk<'_> {
    type Item = io::Result<Found>;

    fn next(&mut self) -> Option<io::Result<Found>> {
        let found = self.advance();
        if found.is_err() {
            self.ahead.clear();
        }
        found.transpose()
    }
}

/// Where what is shown at a path comes from.
#[derive(Clone, Copy, Debug)]
struct Shown {
    layer: usize,
    /// The layer has an entry for it, and does not only imply that there is a directory.
    described: bool,
}

/// What the layers from the top down to some point make of one name.
#[derive(Default)]
struct Child {
    shown: Option<Shown>,
    /// An opaque mark: what lower layers have inside no longer counts, though they may still describe the directory.
    opaque: bool,
    /// Lower layers no longer count at all.
    sealed: bool,
    /// The layers that may have something inside, uppermost first.
    layers: Vec<usize>,
}

impl Child {
    fn add(
        &mut self,
        number: usize,
        at: Option<&Finger<'_>>,
        index: &Index,
        path: impl Fn() -> LayerPath,
    ) -> io::Result<()> {
        // A directory shows up a second time, for what is in it.
        if self.sealed || (at.is_none() && self.layers.last() == Some(&number)) {
            return Ok(());
        }
        let described = self.shown.is_some_and(|shown| shown.described);
        match at.map(Finger::encoded).transpose()? {
            Some(entry) if !entry.is_directory() => {
                if self.shown.is_none() && !entry.is_whiteout() {
                    self.shown = Some(Shown { layer: number, described: true });
                }
                self.sealed = true;
                return Ok(());
            }
            Some(_) if !described => self.shown = Some(Shown { layer: number, described: true }),
            None if self.shown.is_none() => self.shown = Some(Shown { layer: number, described: false }),
            _ => {}
        }
        if !self.opaque {
            self.layers.push(number);
            self.opaque = index.is_opaque(&path());
        }
        Ok(())
    }
}

fn found(layer: usize, entry: Entry) -> Found {
    Found { layer, entry }
}

fn implied_at(layer: Option<usize>, path: &LayerPath) -> Option<Found> {
    layer.map(|layer| Found { layer, entry: implicit_directory(path.clone()) })
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

/// Whether `index` by what it has at `dir` hides all that lower layers have inside.
fn closes(index: &Index, dir: &LayerPath) -> io::Result<bool> {
    Ok(index.is_opaque(dir) || index.is_directory(dir)? == Some(false))
}

/// Whether `path` stands below the directory of which `first` is the first path that could be inside.
fn is_below(path: &[u8], first: &LayerPath) -> bool {
    let first = first.as_bytes();
    path.starts_with(&first[..first.len() - 1])
}

/// Tells `each` of the names directly in `dir`, with the place of their entries, `None` for what is only implied; a name may come twice.
/// Costs a search for each directory in it, however much is below those.
fn direct_children(
    index: &Index,
    dir: &LayerPath,
    mut each: impl FnMut(&[u8], Option<&Finger<'_>>) -> io::Result<()>,
) -> io::Result<()> {
    // No name is a single NUL, so that one stands before all names.
    let start = dir.join([0]);
    let prefix = start.as_bytes().len() - 1;
    let mut at = index.finger(start.as_bytes())?;
    let mut end = Vec::new();
    while let Some(path) = at.path().filter(|path| is_below(path, &start)) {
        let rest = &path[prefix..];
        let Some(slash) = rest.iter().position(|b| *b == b'/') else {
            each(rest, Some(&at))?;
            at.step()?;
            continue;
        };
        each(&rest[..slash], None)?;
        // The first path that is not below it has a byte after the slash's in its place.
        end.clear();
        end.extend_from_slice(&path[..prefix + slash]);
        end.push(b'0');
        at.seek(&end)?;
    }
    let first = index.opaque().partition_point(|path| *path < start);
    for path in index.opaque()[first..].iter().take_while(|path| is_below(path.as_bytes(), &start)) {
        let rest = &path.as_bytes()[prefix..];
        each(rest.split(|b| *b == b'/').next().unwrap_or(rest), None)?;
    }
    Ok(())
}
