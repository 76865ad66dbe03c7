//! One source of a COPY, and all below it.

use kiln_layer::path::LayerPath;
use kiln_layer::stop::Stop;
use kiln_oci::digest::Digest;

use crate::copy::select::Match;
use crate::error::BuildErrorKind;
use crate::files::{Files, Node, NodeKind};
use crate::schedule::side_by_side;

/// A file, directory or anything else to be copied.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Where it stands below its source; the root for the source itself.
    pub(crate) below: LayerPath,
    /// Where it is in the file system that is read.
    pub(crate) real: LayerPath,
    pub(crate) node: Node,
    /// Of a regular file.
    pub(crate) digest: Option<Digest>,
}

/// One source and all below it.
#[derive(Clone, Debug)]
pub(crate) struct Gathered {
    /// Its own name, for when it goes *into* the destination.
    pub(crate) name: Vec<u8>,
    /// The source itself first, then what is below it in order.
    pub(crate) items: Vec<Item>,
}

impl Item {
    /// What `found` names itself. Of a directory only the contents are copied: it gives its place nothing but its time, as with BuildKit, where
    /// the place is made before the source is looked at.
    pub(crate) fn top(found: &Match) -> Self {
        let mut node = found.node.clone();
        if node.is_dir() {
            (node.mode, node.uid, node.gid) = (0o755, 0, 0);
            node.xattrs.clear();
        }
        Self { below: LayerPath::root(), real: found.real.clone(), node, digest: None }
    }
}

impl Gathered {
    pub(crate) fn is_dir(&self) -> bool {
        self.items.first().is_some_and(|i| i.node.is_dir())
    }
}

/// Hashes the files among `items` whose digest is not known.
pub(crate) fn hash(files: &dyn Files, items: &mut [Item], stop: Stop<'_>) -> Result<(), BuildErrorKind> {
    let is_unknown =
        |item: &&mut Item| matches!(item.node.kind, NodeKind::File { .. }) && item.digest.is_none();
    let mut unknown: Vec<&mut Item> = items.iter_mut().filter(is_unknown).collect();
    let contents = in_parts(unknown.len(), FILES, |i| files.read(&unknown[i].real, &unknown[i].node, stop))?;
    for (item, content) in unknown.iter_mut().zip(contents) {
        item.digest = Some(content.digest);
        if let Some(xattrs) = content.xattrs {
            item.node.xattrs = xattrs;
        }
    }
    Ok(())
}

/// From so many of them on, directories are listed and files hashed on two threads: below, starting one costs more than it gives.
pub(crate) const DIRECTORIES: usize = 8;
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
