//! Directories in which the trees of many thin layers lie together.
//!
//! Each directory of an overlay costs the kernel time at every mount, and at every lookup of a name that none of them has. A long row
//! of RUN steps that write little would thus grow slower from step to step, and end where overlayfs takes no more. So sixteen thin layers that follow each other are
//! copied into one directory, for the time of a build and while a command is at work. The store's own trees stay as they are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_layer::handle::LayerHandle;
use kiln_layer::index::{Index, Kind};
use kiln_layer::pack::write_tree;
use kiln_layer::squash::squash;
use kiln_layer::unpack::{Form, Unpacker};
use kiln_layer::view::View;
use kiln_oci::digest::Digest;

use crate::error::BuildErrorKind;
use crate::layers::Layer;
use crate::store::{Store, Temporary};

/// So many thin layers share a directory.
const TOGETHER: usize = 16;

/// The most entries of a thin layer, and the most bytes that its files have in all.
const THIN: (usize, u64) = (64, 256 << 10);

/// The directories that a build has made so far.
#[derive(Default)]
pub(crate) struct Squashes {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By id, whether a layer is thin.
    thin: HashMap<Digest, bool>,
    made: Vec<Squash>,
    /// What would serve next.
    wanted: Option<Wanted>,
}

struct Squash {
    /// The layers in it and all below them, whose directories may show through.
    layers: Vec<Digest>,
    dir: Temporary,
}

struct Wanted {
    layers: Vec<Digest>,
    /// Those and nothing above.
    view: View,
    /// How many of them are only below.
    below: usize,
}

impl Squashes {
    /// Which of the layers have a directory together, lowest first. What has none yet is noted for [`Squashes::prepare`].
    pub(crate) fn of(&self, layers: &[Arc<Layer>], view: &View) -> io::Result<Vec<(Range<usize>, PathBuf)>> {
        let mut known = self.known();
        let mut found = Vec::new();
        known.wanted = None;
        for together in known.thin_rows(layers, view)? {
            let ids = || layers[..together.end].iter().map(|layer| layer.id);
            match known.made.iter().find(|squash| squash.layers.iter().copied().eq(ids())) {
                Some(squash) => found.push((together, squash.dir.path().to_owned())),
                None if known.wanted.is_none() => {
                    let view = View::new(view.layers()[..together.end].to_vec());
                    known.wanted = Some(Wanted { layers: ids().collect(), view, below: together.start });
                }
                None => {}
            }
        }
        Ok(found)
    }

    /// Makes the directory that would serve next; `false` if there is none.
    pub(crate) fn prepare(&self, store: &Store) -> Result<bool, BuildErrorKind> {
        let Some(Wanted { layers, view, below }) = self.known().wanted.take() else { return Ok(false) };
        let dir = store.temporary("thin-")?;
        let squash = Squash { layers, dir };
        write(store, squash.dir.path(), &view, below)?;
        self.known().made.push(squash);
        Ok(true)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The rows of thin layers, each as long as it takes; layers without content do not count.
    fn thin_rows(&mut self, layers: &[Arc<Layer>], view: &View) -> io::Result<Vec<Range<usize>>> {
        let nothing = Index::default().content_id()?;
        let mut rows = Vec::new();
        let (mut start, mut count) = (0, 0);
        for (number, (layer, handle)) in layers.iter().zip(view.layers()).enumerate() {
            if layer.content == nothing {
                continue;
            }
            let is_thin = match self.thin.entry(layer.id) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => *unknown.insert(is_thin(handle)?),
            };
            if !is_thin {
                count = 0;
                continue;
            }
            if count == 0 {
                start = number;
            }
            count += 1;
            if count == TOGETHER {
                rows.push(start..number + 1);
                count = 0;
            }
        }
        Ok(rows)
    }
}

/// Whether copying the layer costs next to nothing. Devices need rights that not everybody has, and a hard link's first name may be gone.
fn is_thin(handle: &LayerHandle) -> io::Result<bool> {
    let mut left = THIN.1;
    let mut is_small = |kind: &Kind| match kind {
        Kind::File { size, .. } => left.checked_sub(*size).map(|rest| left = rest).is_some(),
        Kind::Hardlink { .. } | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => false,
        _ => true,
    };
    if handle.trees.len() != 1 || handle.index.len() > THIN.0 {
        return Ok(false);
    }
    for entry in &*handle.index {
        if !is_small(&entry?.kind) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the layers of `view` but the first `below` into `dir`.
fn write(store: &Store, dir: &Path, view: &View, below: usize) -> Result<(), BuildErrorKind> {
    let (below, layers) = view.layers().split_at(below);
    let squashed = squash(layers)?;
    let below = View::new(below.to_vec());
    let unpacker = Unpacker::new(dir, Form::Overlay, store.owners())?.above(&below);
    write_tree(&squashed.entries, &squashed.opaque, unpacker)?;
    Ok(())
}
