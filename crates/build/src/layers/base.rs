//! Base images: what a registry said of them, and their layers once somebody needs these.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::source::{ImageSource, ResolvedImage};

use crate::error::BuildErrorKind;
use crate::layers::pull::Puller;
use crate::layers::{Layer, Pulled};

/// An image that a build starts from or copies from. Its layers are fetched when they are first asked for.
pub(crate) struct Base {
    source: Arc<dyn ImageSource>,
    image: ResolvedImage,
    /// Whether a command will run on it.
    trees: AtomicBool,
    layers: Mutex<Option<Vec<Arc<Layer>>>>,
}

impl Base {
    pub(crate) fn new(source: Arc<dyn ImageSource>, image: ResolvedImage) -> Self {
        Self { source, image, trees: AtomicBool::new(false), layers: Mutex::new(None) }
    }

    /// What the registry said.
    pub(crate) fn image(&self) -> &ResolvedImage {
        &self.image
    }

    /// From now on layers that have to be fetched are unpacked as they come.
    pub(crate) fn want_trees(&self) {
        self.trees.store(true, Ordering::Relaxed);
    }

    /// Its layers, lowest first. What is not in the store yet is pulled, by the first who asks while others wait.
    pub(crate) fn layers(&self, puller: &Puller<'_>) -> Result<Vec<Arc<Layer>>, BuildErrorKind> {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layers) = &*layers {
            return Ok(layers.clone());
        }
        let trees = self.trees.load(Ordering::Relaxed);
        Ok(layers.insert(puller.pull(self.source.as_ref(), &self.image, trees)?).clone())
    }

    /// Its layers, if somebody has asked for them.
    pub(crate) fn fetched(&self) -> Option<Vec<Arc<Layer>>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known of its layers without one of them.
    pub(crate) fn promised(&self) -> impl Iterator<Item = Pulled> {
        let diff_ids = self.image.config.rootfs.diff_ids.iter();
        let pairs = self.image.layers.iter().zip(diff_ids);
        pairs.map(|(descriptor, diff_id)| Pulled { descriptor: descriptor.clone(), diff_id: *diff_id })
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base").field("reference", &self.image.reference).finish_non_exhaustive()
    }
}
