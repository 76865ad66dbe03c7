//! The sources of a COPY, and all below them.

use std::io;
use std::path::Path;

use kiln_layer::bytes::{Cursor, put_bytes, put_number};
use kiln_layer::path::LayerPath;
use kiln_layer::rows::{Row, Rows};
use kiln_layer::stop::Stop;
use kiln_oci::digest::Digest;

use crate::copy::select::Match;
use crate::error::BuildErrorKind;
use crate::files::{Files, Node, NodeKind};
use crate::schedule::side_by_side;

/// A file, directory or anything else to be copied.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Of a source itself: its own name, for when it goes *into* the destination. Not of what is below one.
    pub(crate) name: Option<Vec<u8>>,
    /// Where it stands below its source; the root for the source itself.
    pub(crate) below: LayerPath,
    /// Where it is in the file system that is read.
    pub(crate) real: LayerPath,
    pub(crate) node: Node,
    /// Of a regular file.
    pub(crate) digest: Option<Digest>,
}

/// All that the path or pattern of a COPY names, each source followed by what is below it in order.
#[derive(Debug)]
pub(crate) struct Gathered {
    items: Rows<Item>,
    /// How many sources there are, and how many of these are directories.
    pub(crate) sources: usize,
    pub(crate) directories: usize,
}

/// What looks for sources needs to know.
#[derive(Clone, Copy)]
pub(crate) struct Looking<'a> {
    /// Where a long list is kept.
    pub(crate) tmp: &'a Path,
    pub(crate) stop: Stop<'a>,
}

impl Item {
    /// What `found` names itself. Of a directory only the contents are copied: it gives its place nothing but its time, as with BuildKit, where
    /// the place is made before the source is looked at.
    pub(crate) fn top(found: &Match, name: &[u8]) -> Self {
        let mut node = found.node.clone();
        if node.is_dir() {
            (node.mode, node.uid, node.gid) = (0o755, 0, 0);
            node.xattrs.clear();
        }
        let real = found.real.clone();
        Self { name: Some(name.to_vec()), below: LayerPath::root(), real, node, digest: None }
    }
}

impl Gathered {
    /// Nothing yet.
    pub(crate) fn new(tmp: &Path) -> Self {
        Self { items: Rows::new(tmp), sources: 0, directories: 0 }
    }

    /// Adds a source, or what comes next below the last one.
    pub(crate) fn push(&mut self, item: &Item) -> Result<(), BuildErrorKind> {
        if item.name.is_some() {
            self.sources += 1;
            self.directories += usize::from(item.node.is_dir());
        }
        Ok(self.items.push(item)?)
    }

    /// All of it in order.
    pub(crate) fn items(&self) -> impl Iterator<Item = io::Result<Item>> {
        self.items.iter()
    }

    /// Whether no source is anything but a directory.
    pub(crate) fn only_directories(&self) -> bool {
        self.directories == self.sources
    }
}

/// So many items are hashed at a time.
const WINDOW: usize = 4096;

/// Gathers what comes, and hashes it.
pub(crate) struct Gathering<'a> {
    files: &'a dyn Files,
    looking: Looking<'a>,
    window: Vec<Item>,
    gathered: Gathered,
}

impl<'a> Gathering<'a> {
    pub(crate) fn new(files: &'a dyn Files, looking: Looking<'a>) -> Self {
        Self { files, looking, window: Vec::new(), gathered: Gathered::new(looking.tmp) }
    }

    pub(crate) fn push(&mut self, item: Item) -> Result<(), BuildErrorKind> {
        // Where all is known there is nothing to wait for.
        if self.window.is_empty() && !is_unknown(&item) {
            return self.gathered.push(&item);
        }
        self.window.push(item);
        if self.window.len() < WINDOW { Ok(()) } else { self.settle() }
    }

    fn settle(&mut self) -> Result<(), BuildErrorKind> {
        hash(self.files, &mut self.window, self.looking.stop)?;
        self.window.drain(..).try_for_each(|item| self.gathered.push(&item))
    }

    pub(crate) fn finish(mut self) -> Result<Gathered, BuildErrorKind> {
        self.settle()?;
        Ok(self.gathered)
    }
}

/// Whether it is a file whose digest is not known.
fn is_unknown(item: &Item) -> bool {
    matches!(item.node.kind, NodeKind::File { .. }) && item.digest.is_none()
}

/// Hashes the files among `items` whose digest is not known.
fn hash(files: &dyn Files, items: &mut [Item], stop: Stop<'_>) -> Result<(), BuildErrorKind> {
    let mut unknown: Vec<&mut Item> = items.iter_mut().filter(|item| is_unknown(item)).collect();
    let contents = in_parts(unknown.len(), FILES, |i| files.read(&unknown[i].real, &unknown[i].node, stop))?;
    for (item, content) in unknown.iter_mut().zip(contents) {
        item.digest = Some(content.digest);
        if let Some(xattrs) = content.xattrs {
            item.node.xattrs = xattrs;
        }
    }
    Ok(())
}

/// From so many of them on files are hashed on two threads: below, starting one costs more than it gives.
const FILES: usize = 256;

/// `work` for 0 to `count`, in order; in two halves side by side if there are at least `worthwhile`.
pub(crate) fn in_parts<T: Send>(
    count: usize,
    worthwhile: usize,
    work: impl Fn(usize) -> Result<T, BuildErrorKind> + Sync,
) -> Result<Vec<T>, BuildErrorKind> {
    if count < worthwhile {
        return (0..count).map(work).collect();
    }
    // More parts than threads, so that one slow half does not hold up the other.
    let size = count.div_ceil(16);
    let parts = side_by_side(2, count.div_ceil(size), |part| {
        (part * size..count.min((part + 1) * size)).map(&work).collect::<Result<Vec<T>, _>>()
    })?;
    Ok(parts.into_iter().flatten().collect())
}

impl Row for Item {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(out, u64::from(self.name.is_some()));
        put_bytes(out, self.name.as_deref().unwrap_or_default());
        put_bytes(out, self.below.as_bytes());
        put_bytes(out, self.real.as_bytes());
        self.node.put(out);
        put_number(out, u64::from(self.digest.is_some()));
        out.extend_from_slice(self.digest.as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()));
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        let named = from.number()? > 0;
        let name = from.bytes()?;
        Some(Self {
            name: named.then(|| name.to_vec()),
            below: LayerPath::exact(from.bytes()?)?,
            real: LayerPath::exact(from.bytes()?)?,
            node: Node::take(from)?,
            digest: match from.number()? {
                0 => None,
                _ => Some(Digest::from_bytes(from.take(32)?.try_into().ok()?)),
            },
        })
    }
}
