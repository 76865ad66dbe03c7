//! Finding what is damaged in a store, and letting go of it, so that the next build makes it again.
//!
//! Nothing is checked that is not in question: a build that fails over something it read from the store has the layers checked that it
//! used, and no others. Whatever is not what its name says goes. What is left is whole, and a record whose layer is not there
//! any more is no record.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use kiln_layer::codec::{self, CodecError};
use kiln_layer::handle::open_in;
use kiln_layer::index::{Index, Kind};
use kiln_layer::rows::HELD;
use kiln_layer::tree::Root;
use kiln_oci::digest::{Digest, Hasher};
use kiln_oci::error::StoreError;

use crate::engine::Engine;
use crate::error::{BuildError, BuildErrorKind};
use crate::key;
use crate::layers::{kept, trees};
use crate::record::{BaseRecord, BuildRecord, LayerRecord};
use crate::remove::remove_tree;

impl BuildErrorKind {
    /// Whether it may come from something in the store that is not what it should be.
    pub fn may_be_damage(&self) -> bool {
        match self {
            Self::Store { .. } | Self::Tar(_) | Self::Pack(_) | Self::Unpack(_) | Self::View(_) => true,
            Self::Content(error) => may_be_damage(error),
            _ => false,
        }
    }
}

/// Whether a content store's error may come from something that is not what it should be.
pub fn may_be_damage(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { .. } | StoreError::Missing { .. } | StoreError::Malformed { .. })
}

impl Engine {
    /// Checks every layer that `record` names in all its forms, and the blob in the file `suspect` if there is one. What is damaged is
    /// removed; that is the result. Idempotent.
    ///
    /// # Errors
    /// If something cannot be read at all, or not be removed.
    pub fn mend(&self, record: &BuildRecord, suspect: Option<&Path>) -> Result<Vec<PathBuf>, BuildError> {
        let _lease = self.store().lease()?;
        let mut removed = Vec::new();
        if let Some(digest) = suspect.and_then(|path| self.blob_in(path)) {
            self.check_blob(&digest, &mut removed)?;
        }
        let mut seen = BTreeSet::new();
        for layer in layers_of(record).filter(|layer| seen.insert(layer.id)) {
            self.check_layer(layer, &mut removed)?;
        }
        Ok(removed)
    }

    /// The digest whose blob `path` is, if it is one of this store.
    fn blob_in(&self, path: &Path) -> Option<Digest> {
        let digest: Digest = format!("sha256:{}", path.file_name()?.to_str()?).parse().ok()?;
        (self.store().content().path_of(&digest) == path).then_some(digest)
    }

    fn check_layer(&self, layer: &LayerRecord, removed: &mut Vec<PathBuf>) -> Result<(), BuildErrorKind> {
        let store = self.store();
        let pulled = layer.pulled.iter().map(|(descriptor, _)| descriptor.digest);
        for digest in kept::blob_digests(store, &layer.id)?.into_iter().chain(pulled) {
            self.check_blob(&digest, removed)?;
        }
        let path = store.index_path(&layer.id);
        let index = match codec::load(&path, HELD) {
            Ok(index) => is_of(&index, layer)?.then_some(index),
            Err(CodecError::Read(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(CodecError::Read(error)) => return Err(error.into()),
            Err(CodecError::Magic | CodecError::Checksum | CodecError::Invalid { .. }) => None,
        };
        let Some(index) = index else {
            fs_err::remove_file(&path)?;
            removed.push(path);
            return Ok(());
        };
        if let Some(trees) = trees::of(store, &layer.id)?
            && !is_whole(&trees, &index)?
        {
            // Whether the changes are damaged or what they lie upon: the next edit would be upon it again.
            let base = trees::base_of(store, &layer.id)?.filter(|_| trees.len() > 1);
            let whole = store.tree_path(base.as_ref().unwrap_or(&layer.id));
            self.remove_damaged(whole, removed)?;
            if base.is_some() {
                self.remove_damaged(store.amended_path(&layer.id), removed)?;
            }
        }
        Ok(())
    }

    fn remove_damaged(&self, tree: PathBuf, removed: &mut Vec<PathBuf>) -> Result<(), BuildErrorKind> {
        // Under its name it might be mounted before it is gone.
        let aside = tempfile::Builder::new().prefix("damaged-").tempdir_in(self.store().tmp())?.keep();
        fs_err::rename(&tree, aside.join("tree"))?;
        remove_tree(&aside)?;
        removed.push(tree);
        Ok(())
    }

    fn check_blob(&self, digest: &Digest, removed: &mut Vec<PathBuf>) -> Result<(), BuildErrorKind> {
        let path = self.store().content().path_of(digest);
        let file = match fs_err::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        // Bytes that the disk does not give are damage, too.
        if hash(file).is_ok_and(|(got, _)| got == *digest) {
            return Ok(());
        }
        self.store().content().remove(digest)?;
        removed.push(path);
        Ok(())
    }
}

fn layers_of(record: &BuildRecord) -> impl Iterator<Item = &LayerRecord> {
    record.plans.iter().flat_map(|plan| {
        let bases = plan.stages.iter().flat_map(|stage| match &stage.base {
            BaseRecord::Image { layers, .. } => layers.as_slice(),
            _ => &[],
        });
        let steps = plan.stages.iter().flat_map(|s| &s.steps).filter_map(|step| step.layer.as_ref());
        bases.chain(steps).chain(plan.images.iter().flat_map(|(_, layers)| layers))
    })
}

/// Whether an index is that of this layer; that of a pulled one is named after its tar, too.
fn is_of(index: &Index, layer: &LayerRecord) -> io::Result<bool> {
    let id = index.layer_id()?;
    let pulled = layer.pulled.as_ref().map(|(_, diff_id)| key::chain(&diff_id.0, &id));
    Ok(layer.id == pulled.unwrap_or(id) || layer.id == id)
}

/// Whether every file of the layer is in its tree, which is all of `trees` together, with the right bytes.
fn is_whole(trees: &[PathBuf], index: &Index) -> io::Result<bool> {
    let roots: io::Result<Vec<Root>> = trees.iter().map(|tree| Root::open(tree)).collect();
    let Ok(roots) = roots else { return Ok(false) };
    for entry in index {
        let entry = entry?;
        if let Kind::File { size, digest } = entry.kind
            && !open_in(&roots, &entry.path).and_then(hash).is_ok_and(|found| found == (digest, size))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn hash(mut file: impl Read) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), size)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
