//! Several layers made one: what they do together to whatever lies below them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::handle::LayerHandle;
use crate::index::{Entry, Kind};
use crate::pack::PackEntry;
use crate::path::LayerPath;
use crate::places::forget_below;
use crate::view::implicit_directory;

/// What [`crate::pack::write_tree`] takes to make one tree of several layers. It is held as a whole, so this is for small ones.
#[derive(Debug, Default)]
pub struct Squashed {
    /// Sorted by path, each path once, whiteouts among them.
    pub entries: Vec<PackEntry>,
    /// Directories that hide everything that lower layers have in them, sorted.
    pub opaque: Vec<LayerPath>,
}

/// The layer that stands for `layers`, lowest first: upon any others it shows what they show. None of them may have hard links, whose
/// first name may be gone.
///
/// # Errors
/// See [`crate::index::Index`].
pub fn squash(layers: &[Arc<LayerHandle>]) -> io::Result<Squashed> {
    let mut sum = Sum::default();
    for (number, layer) in layers.iter().enumerate() {
        for dir in layer.index.opaque() {
            sum.directory(dir);
            sum.clear(dir);
            sum.opaque.insert(dir.clone(), ());
        }
        for entry in &*layer.index {
            sum.add(number, entry?);
        }
    }
    let entries = sum.entries.into_values().map(|(number, entry)| PackEntry::of(&layers[number], &entry));
    Ok(Squashed { entries: entries.collect(), opaque: sum.opaque.into_keys().collect() })
}

#[derive(Default)]
struct Sum {
    /// Each with the number of its layer.
    entries: BTreeMap<LayerPath, (usize, Entry)>,
    opaque: BTreeMap<LayerPath, ()>,
}

impl Sum {
    fn add(&mut self, number: usize, entry: Entry) {
        if entry.kind == Kind::Directory {
            self.directory(&entry.path);
        } else {
            entry.path.parent().iter().for_each(|parent| self.directory(parent));
            self.clear(&entry.path);
        }
        self.entries.insert(entry.path.clone(), (number, entry));
    }

    /// Sees to it that `path` and what it is in are directories. What stood there hid all that lies below, so its successor does.
    fn directory(&mut self, path: &LayerPath) {
        let missing: Vec<LayerPath> = std::iter::successors(Some(path.clone()), LayerPath::parent)
            .filter(|dir| self.hides(dir))
            .collect();
        for dir in missing {
            self.entries.insert(dir.clone(), (0, implicit_directory(dir.clone())));
            self.opaque.insert(dir, ());
        }
    }

    fn hides(&self, path: &LayerPath) -> bool {
        self.entries.get(path).is_some_and(|(_, entry)| entry.kind != Kind::Directory)
    }

    /// Forgets what is below `path`, and that it hides anything.
    fn clear(&mut self, path: &LayerPath) {
        forget_below(&mut self.entries, path);
        forget_below(&mut self.opaque, path);
        self.opaque.remove(path);
    }
}
