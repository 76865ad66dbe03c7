//! The index of a layer: all of its metadata, with a content hash for each file, without its bytes.
//!
//! Layers of hundreds of thousands of files exist, and a view has several at once. An index is therefore held as it is stored, some 70 bytes
//! for each file, of which the digest alone is 32; and a large one is not held at all, but read from a file page by page, with a
//! table of a byte or two for each file to say which page. To look a path up is to search in that table and to go over one page, of which no entry
//! is made a value unless it is the one.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use kiln_oci::digest::Digest;

use crate::encoded::{Encoded, put_entry, put_path};
pub use crate::entry::{Entry, Kind, Mtime};
use crate::finger::Finger;
pub use crate::finger::Iter;
use crate::identity::{Content, LayerHasher};
pub use crate::identity::{Identifier, Identity};
use crate::pages::{Pages, Spill};
use crate::path::LayerPath;

/// A layer's entries, sorted by path, each path once; the root itself has none unless the tar named it. Beside them the directories that
/// hide everything that lower layers have in them.
///
/// Whatever looks at an entry fails if the entries are in a file that cannot be read or is not what it was: with an
/// [`io::ErrorKind::InvalidData`] then, and the file's name in the message.
#[derive(Clone)]
pub struct Index {
    pages: Pages,
    opaque: Vec<LayerPath>,
}

/// Makes an index entry by entry; see [`Index::builder`].
#[derive(Debug)]
pub struct Builder {
    pages: Pages,
    count: usize,
    /// The path of the last entry.
    last: Vec<u8>,
    /// `None`: memory holds what comes.
    spill: Option<Spill>,
}

impl Builder {
    /// Adds an entry, whose path sorts after that of the last.
    pub fn push(&mut self, entry: &Entry) {
        let path = entry.path.as_bytes();
        debug_assert!(self.count == 0 || self.last.as_slice() < path, "{:?}", entry.path);
        put_path(self.pages.held_mut(), &self.last, path);
        let at = self.pages.position();
        if self.pages.table().wants(at) {
            self.pages.begin(at, self.count, path);
            // A full disk is no reason to fail what writes nothing else: memory has the rest then.
            self.spill = self.spill.take().filter(|spill| self.pages.spill(spill).is_ok());
        }
        self.last.clear();
        self.last.extend_from_slice(path);
        put_entry(self.pages.held_mut(), entry);
        self.count += 1;
    }

    /// The index, with its opaque directories, which are sorted.
    pub fn finish(mut self, opaque: Vec<LayerPath>) -> Index {
        let end = self.pages.position();
        self.pages.finish(end, self.count);
        Index::of(self.pages, opaque)
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::builder().finish(Vec::new())
    }
}

impl Index {
    /// An index to be made entry by entry, in memory.
    pub fn builder() -> Builder {
        Builder { pages: Pages::in_memory(), count: 0, last: Vec::new(), spill: None }
    }

    /// As [`Index::builder`], for an index of any size: of its entries `held` bytes stay in memory, mostly [`crate::rows::HELD`]; from there on
    /// they are in an unnamed file in `dir`, unless that cannot be had.
    pub fn builder_in(dir: impl Into<Arc<Path>>, held: usize) -> Builder {
        Builder { spill: Some(Spill { dir: dir.into(), held }), ..Self::builder() }
    }

    pub(crate) fn of(pages: Pages, opaque: Vec<LayerPath>) -> Self {
        debug_assert!(opaque.is_sorted_by(|a, b| a < b), "{opaque:?}");
        Self { pages, opaque }
    }

    /// An index in memory of entries that are sorted by path, each path once, and of opaque directories, sorted as well.
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

    /// The same, its bytes in memory being all those that it was read from.
    pub(crate) fn holding(mut self, bytes: Vec<u8>) -> Self {
        *self.pages.held_mut() = bytes;
        self
    }

    /// A place at the first entry whose path is `path` or sorts after it.
    pub(crate) fn finger(&self, path: &[u8]) -> io::Result<Finger<'_>> {
        Finger::at(&self.pages, path)
    }

    /// Hands over the entries as bytes, in pieces.
    pub(crate) fn encoded(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut first = Vec::new();
        if !self.is_empty() {
            put_path(&mut first, b"", self.pages.table().path(0));
        }
        take(&first)?;
        (0..self.pages.table().len()).try_for_each(|page| take(&self.pages.page(page)?))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.pages.entries()
    }

    /// Whether there are none. There may be opaque directories still.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter::new(&self.pages)
    }

    /// The entry at exactly `path`.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn get(&self, path: &LayerPath) -> io::Result<Option<Entry>> {
        self.find(path)?.map_or(Ok(None), |found| found.entry())
    }

    /// How many entries come before that at exactly `path`; `None` if there is none.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn position(&self, path: &LayerPath) -> io::Result<Option<usize>> {
        Ok(self.find(path)?.map(|found| found.number()))
    }

    /// Whether what is at exactly `path` is a directory; `None` if there is nothing.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn is_directory(&self, path: &LayerPath) -> io::Result<Option<bool>> {
        self.find(path)?.map(|found| Ok(found.encoded()?.is_directory())).transpose()
    }

    /// What the layer says of `path`.
    pub(crate) fn said_of(&self, path: &LayerPath) -> io::Result<Said> {
        let bytes = path.as_bytes();
        let mut at = self.finger(bytes)?;
        let is_below = match at.path().and_then(|found| found.strip_prefix(bytes)).map(<[u8]>::first) {
            Some(None) => return Ok(at.entry()?.map_or(Said::Nothing, Said::Entry)),
            Some(Some(b'/')) => true,
            // Siblings such as `path-x` come before `path/x`.
            Some(Some(_)) => {
                let inside = [bytes, b"/"].concat();
                at.seek(&inside)?;
                at.path().is_some_and(|found| found.starts_with(&inside))
            }
            None => false,
        };
        Ok(if is_below || self.has_mark(path) { Said::Below } else { Said::Nothing })
    }

    /// Whether an opaque directory is at or below `path`.
    fn has_mark(&self, path: &LayerPath) -> bool {
        let from = self.opaque.partition_point(|dir| dir < path);
        let mut near =
            self.opaque[from..].iter().take_while(|dir| dir.as_bytes().starts_with(path.as_bytes()));
        near.any(|dir| dir.is_within(path))
    }

    /// The place of the entry at `path`.
    fn find(&self, path: &LayerPath) -> io::Result<Option<Finger<'_>>> {
        let finger = self.finger(path.as_bytes())?;
        Ok(Some(finger).filter(|finger| finger.path() == Some(path.as_bytes())))
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
    ///
    /// # Errors
    /// See [`Index`].
    pub fn hard_linked(&self) -> io::Result<HashSet<LayerPath>> {
        let mut found = HashSet::new();
        self.each(|_, entry| {
            if let Some(target) = entry.hard_link() {
                found.insert(LayerPath::of_clean(target.to_vec()));
            }
        })?;
        Ok(found)
    }

    fn each(&self, mut take: impl FnMut(&[u8], &Encoded<'_>)) -> io::Result<()> {
        let mut entries = self.iter();
        let mut look = |path: &[u8], entry: &Encoded<'_>| {
            take(path, entry);
            Some(())
        };
        while entries.see(&mut look)?.is_some() {}
        Ok(())
    }

    /// Identity of what the layer *does* to a root filesystem: everything but times and tar offsets. Two layers with one
    /// content id are interchangeable for whatever is built on top of them.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn content_id(&self) -> io::Result<Digest> {
        Ok(self.identity()?.content)
    }

    /// Identity of the layer itself, times included: names its stored forms.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn layer_id(&self) -> io::Result<Digest> {
        Ok(self.identity()?.layer)
    }

    /// Both of these.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn identity(&self) -> io::Result<Identity> {
        let mut content = Content::new();
        self.each(|path, entry| content.add_encoded(path, entry))?;
        let content = content.finish(&self.opaque);
        // Not gathered on the way, though: there may be as many times as entries.
        let mut layer = LayerHasher::new(&content);
        self.each(|_, entry| layer.add(entry.mtime))?;
        Ok(Identity { content, layer: layer.finish() })
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

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("count", &self.len())
            .field("opaque", &self.opaque)
            .finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a Index {
    type Item = io::Result<Entry>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}
