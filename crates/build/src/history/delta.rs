//! What is different between two root filesystems, told from the indexes of their layers alone.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use kiln_layer::handle::LayerHandle;
use kiln_layer::index::{Entry, Kind as EntryKind};
use kiln_layer::path::LayerPath;
use kiln_layer::view::View;
use serde::Serialize;

use super::folder::{History, HistoryError};
use crate::error::BuildErrorKind;
use crate::layers::forms::load_index;
use crate::record::LayerRecord;

/// All differences between two root filesystems.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Delta {
    /// The one that moves the most bytes first; of equal ones by path.
    pub differences: Vec<Difference>,
    /// Bytes of files that are new, and of changed ones as they are now.
    pub written: u64,
    /// Bytes of files that are gone, and of changed ones as they were.
    pub dropped: u64,
}

/// One path that is not as it was. Times do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Inside the root filesystem, with a slash in front.
    pub path: String,
    /// What became of it.
    pub kind: Kind,
    /// What it is now, or was if it is gone: `file`, `directory`, `symlink`, `char`, `block`, `fifo`.
    pub what: &'static str,
    /// Bytes that the file had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_size: Option<u64>,
    /// Bytes that the file has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_size: Option<u64>,
    /// Of something changed, what about it: `content`, `mode`, `owner`, `kind`, `attributes`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aspects: Vec<&'static str>,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is not as it was.
    Changed,
    /// It is gone.
    Removed,
}

impl History<'_> {
    /// What is different between the root filesystem of the layers `before` and that of `after`, lowest first. Only what layers say that
    /// are not below both is looked at.
    ///
    /// # Errors
    /// If the index of a layer is gone or damaged.
    pub fn delta(&self, before: &[LayerRecord], after: &[LayerRecord]) -> Result<Delta, HistoryError> {
        let common = before.iter().zip(after).take_while(|(a, b)| a.id == b.id).count();
        let (old, new) = (self.view(before)?, self.view(after)?);
        let mut paths = BTreeSet::new();
        for layer in old.layers()[common..].iter().chain(&new.layers()[common..]) {
            for entry in &*layer.index {
                paths.insert(entry?.path);
            }
            for dir in layer.index.opaque() {
                add_below(&mut paths, &old, dir)?;
                add_below(&mut paths, &new, dir)?;
            }
        }
        // Where a directory comes or goes, so does all that is in it.
        let mut more = BTreeSet::new();
        for path in &paths {
            match (is_directory(&old, path)?, is_directory(&new, path)?) {
                (true, false) => add_below(&mut more, &old, path)?,
                (false, true) => add_below(&mut more, &new, path)?,
                _ => {}
            }
        }
        paths.extend(more);
        let mut delta = Delta::default();
        for path in &paths {
            if let Some(difference) = difference(path, &old, &new)? {
                delta.written += difference.new_size.unwrap_or(0);
                delta.dropped += difference.old_size.unwrap_or(0);
                delta.differences.push(difference);
            }
        }
        let moved = |d: &Difference| d.new_size.unwrap_or(0).max(d.old_size.unwrap_or(0));
        delta.differences.sort_by(|a, b| moved(b).cmp(&moved(a)).then_with(|| a.path.cmp(&b.path)));
        Ok(delta)
    }

    fn view(&self, layers: &[LayerRecord]) -> Result<View, HistoryError> {
        let handle = |layer: &LayerRecord| {
            let index = load_index(self.store(), &layer.id).map_err(|error| match error {
                BuildErrorKind::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                    HistoryError::LayerGone { layer: layer.id }
                }
                other => HistoryError::Layer { layer: layer.id, source: Box::new(other) },
            })?;
            Ok(Arc::new(LayerHandle { index: Arc::new(index), trees: Vec::new(), blob: None, later: None }))
        };
        Ok(View::new(layers.iter().map(handle).collect::<Result<_, HistoryError>>()?))
    }
}

/// Adds all that `view` has below `dir` to `paths`.
fn add_below(paths: &mut BTreeSet<LayerPath>, view: &View, dir: &LayerPath) -> io::Result<()> {
    for found in view.walk(dir) {
        paths.insert(found?.entry.path);
    }
    Ok(())
}

fn is_directory(view: &View, path: &LayerPath) -> io::Result<bool> {
    Ok(view.lookup(path)?.is_some_and(|found| found.entry.kind == EntryKind::Directory))
}

/// What stands at a path, links to the same file resolved.
struct Standing {
    entry: Entry,
    /// Another name of a file whose bytes are counted elsewhere.
    is_link: bool,
}

fn standing(view: &View, path: &LayerPath) -> io::Result<Option<Standing>> {
    let Some(found) = view.lookup(path)? else { return Ok(None) };
    Ok(match &found.entry.kind {
        EntryKind::Whiteout => None,
        EntryKind::Hardlink { .. } => view.carrier(&found)?.map(|entry| Standing { entry, is_link: true }),
        _ => Some(Standing { entry: found.entry, is_link: false }),
    })
}

impl Standing {
    fn what(&self) -> &'static str {
        match self.entry.kind {
            EntryKind::File { .. } | EntryKind::Hardlink { .. } => "file",
            EntryKind::Directory => "directory",
            EntryKind::Symlink { .. } => "symlink",
            EntryKind::CharDevice { .. } => "char",
            EntryKind::BlockDevice { .. } => "block",
            EntryKind::Fifo => "fifo",
            EntryKind::Whiteout => "nothing",
        }
    }

    fn size(&self) -> Option<u64> {
        match self.entry.kind {
            EntryKind::File { size, .. } if !self.is_link => Some(size),
            _ => None,
        }
    }
}

fn difference(path: &LayerPath, old: &View, new: &View) -> io::Result<Option<Difference>> {
    let (a, b) = (standing(old, path)?, standing(new, path)?);
    let (kind, shown, aspects) = match (&a, &b) {
        (None, None) => return Ok(None),
        (None, Some(b)) => (Kind::Added, b, Vec::new()),
        (Some(a), None) => (Kind::Removed, a, Vec::new()),
        (Some(a), Some(b)) => {
            let aspects = aspects(a, b);
            if aspects.is_empty() {
                return Ok(None);
            }
            (Kind::Changed, b, aspects)
        }
    };
    let what = shown.what();
    let size = |one: &Option<Standing>| one.as_ref().and_then(Standing::size);
    let (old_size, new_size) = (size(&a), size(&b));
    Ok(Some(Difference { path: path.display(), kind, what, old_size, new_size, aspects }))
}

fn aspects(a: &Standing, b: &Standing) -> Vec<&'static str> {
    let mut all = Vec::new();
    if a.what() != b.what() {
        all.push("kind");
    } else if a.entry.kind != b.entry.kind {
        all.push("content");
    }
    let (a, b) = (&a.entry, &b.entry);
    for (differs, name) in [
        (a.mode != b.mode, "mode"),
        ((a.uid, a.gid) != (b.uid, b.gid), "owner"),
        (a.xattrs != b.xattrs, "attributes"),
    ] {
        if differs {
            all.push(name);
        }
    }
    all
}
