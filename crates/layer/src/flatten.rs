//! From a view to entries that can be packed or written: what `COPY --from` and an export of a whole root filesystem take.
//!
//! The hard part is hard links. In a stack, a file's first name may be hidden while its second still shows, and a selection may
//! take one name and leave the other. So each name becomes a file of its own first ([`entry_of`]), and those that still
//! belong together are joined again ([`join_names`]).

use std::collections::HashMap;
use std::sync::Arc;

use crate::handle::LayerHandle;
use crate::index::{Entry, Kind};
use crate::pack::{Content, PackEntry};
use crate::path::LayerPath;
use crate::view::{Found, View};

/// What was found in `view`, to be packed as `dest`; a hard link as a file of its own.
pub fn entry_of(view: &View, found: &Found, dest: LayerPath) -> PackEntry {
    let source = found.entry.path.clone();
    let mut entry = Entry { path: dest, offset: None, ..found.entry.clone() };
    let Some(carrier) = view.carrier(found) else { return PackEntry { entry, content: Content::None } };
    entry.kind = carrier.kind;
    let content = match (&entry.kind, view.layers().get(found.layer)) {
        // An empty file needs no layer to be read, but keeps its source: it may have other names.
        (Kind::File { .. }, Some(layer)) => Content::Layer { layer: Arc::clone(layer), path: source },
        _ => Content::None,
    };
    PackEntry { entry, content }
}

/// Makes hard links of files that are different names of one file of one layer; of each group the first keeps the content.
pub fn join_names(entries: &mut [PackEntry]) {
    let mut first: HashMap<(*const LayerHandle, LayerPath), (LayerPath, LayerPath)> = HashMap::new();
    for item in entries {
        let (Content::Layer { layer, path }, Kind::File { .. }) = (&item.content, &item.entry.kind) else {
            continue;
        };
        let Some(carrier) = layer.carrier(path) else { continue };
        let key = (Arc::as_ptr(layer), carrier.path);
        let (source, target) = first.entry(key).or_insert_with(|| (path.clone(), item.entry.path.clone()));
        // The same name taken twice gives two files.
        if source != path {
            item.entry.kind = Kind::Hardlink { target: target.clone() };
            item.content = Content::None;
        }
    }
}

/// All of `view` but its root, sorted, as one layer: what [`crate::pack::pack`] and [`crate::pack::write_tree`] take.
pub fn flatten(view: &View) -> Vec<PackEntry> {
    let walked = view.walk(&LayerPath::root());
    let mut entries: Vec<PackEntry> =
        walked.map(|found| entry_of(view, &found, found.entry.path.clone())).collect();
    join_names(&mut entries);
    entries
}
