//! From a view to entries that can be packed or written: what an export of a whole root filesystem takes.
//!
//! The hard part is hard links. In a stack, a file's first name may be hidden while its second still shows. So each name becomes a file
//! of its own first, and those that still belong together are joined again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use crate::index::{Entry, Kind, Mtime};
use crate::pack::{Content, Entries, PackEntry, PackError, Take};
use crate::path::LayerPath;
use crate::view::{Found, View};

/// All of a view but its root as one layer: what [`crate::pack::pack`] and [`crate::pack::write_tree`] take. It holds none of the entries.
#[derive(Debug)]
pub struct Flattened {
    view: View,
    /// The files of each layer that have several names, by the first.
    several: Vec<HashSet<LayerPath>>,
    below: LayerPath,
    time: Option<Mtime>,
}

/// All of `view` but its root, sorted, as one layer.
///
/// # Errors
/// See [`crate::index::Index`].
pub fn flatten(view: &View) -> io::Result<Flattened> {
    let several = view.layers().iter().map(|layer| layer.index.hard_linked()).collect::<Result<_, _>>()?;
    Ok(Flattened { view: view.clone(), several, below: LayerPath::root(), time: None })
}

impl Flattened {
    /// The same, everything with this time.
    #[must_use]
    pub fn at(self, time: Option<Mtime>) -> Self {
        Self { time, ..self }
    }

    /// The same in the directory `dir`, which is not part of it.
    #[must_use]
    pub fn in_directory(self, dir: LayerPath) -> Self {
        Self { below: dir, ..self }
    }

    /// What was found, to be packed, a hard link as a file of its own; if it has several names, also which file it is.
    fn entry_of(&self, found: &Found) -> io::Result<(PackEntry, Option<(usize, LayerPath)>)> {
        let source = &found.entry.path;
        let path = self.below.join(source.as_bytes());
        let mtime = self.time.unwrap_or(found.entry.mtime);
        let mut entry = Entry { path, mtime, offset: None, ..found.entry.clone() };
        let (Some(carrier), Some(layer)) = (self.view.carrier(found)?, self.view.layers().get(found.layer))
        else {
            return Ok((PackEntry { entry, content: Content::None }, None));
        };
        entry.kind = carrier.kind;
        let content = match entry.kind {
            Kind::File { size: 1.., .. } => Content::Layer { layer: Arc::clone(layer), path: source.clone() },
            _ => Content::None,
        };
        let has_several =
            self.several.get(found.layer).is_some_and(|several| several.contains(&carrier.path));
        Ok((PackEntry { entry, content }, has_several.then_some((found.layer, carrier.path))))
    }
}

impl Entries for Flattened {
    fn count(&self) -> Result<usize, PackError> {
        let walk = self.view.walk(&LayerPath::root());
        walk.map(|found| found.map(|_| 1)).sum::<io::Result<_>>().map_err(|source| PackError::List { source })
    }

    fn each(&self, take: &mut Take<'_>) -> Result<(), PackError> {
        // Of the names of one file that show, the first keeps the content.
        let mut first: HashMap<(usize, LayerPath), LayerPath> = HashMap::new();
        let failed = |source| PackError::List { source };
        for found in self.view.walk(&LayerPath::root()) {
            let (mut item, file) = found.and_then(|found| self.entry_of(&found)).map_err(failed)?;
            if let Some(file) = file {
                let target = first.entry(file).or_insert_with(|| item.entry.path.clone());
                if *target != item.entry.path {
                    item.entry.kind = Kind::Hardlink { target: target.clone() };
                    item.content = Content::None;
                }
            }
            take(&item)?;
        }
        Ok(())
    }
}
