//! Base images: what a registry said of them, and their layers once somebody needs these.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// What is known of its layers as long as they are not here.
    outline: Mutex<Option<Vec<Arc<Layer>>>>,
}

impl Base {
    pub(crate) fn new(source: Arc<dyn ImageSource>, image: ResolvedImage) -> Self {
        Self {
            source,
            image,
            trees: AtomicBool::new(false),
            layers: Mutex::new(None),
            outline: Mutex::new(None),
        }
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
        let mut layers = lock(&self.layers);
        if let Some(layers) = &*layers {
            return Ok(layers.clone());
        }
        let trees = self.trees.load(Ordering::Relaxed);
        let pulled = puller.pull(self.source.as_ref(), &self.image, trees)?;
        self.compare(&pulled, puller)?;
        Ok(layers.insert(pulled).clone())
    }

    /// Whether keys that rest on the outline rest on what is there.
    fn compare(&self, pulled: &[Arc<Layer>], puller: &Puller<'_>) -> Result<(), BuildErrorKind> {
        let mut outline = lock(&self.outline);
        let told = outline.iter().flatten().zip(pulled);
        let wrong =
            told.filter(|(told, there)| told.content != there.content).map(|(told, _)| told.id).next();
        let Some(wrong) = wrong else { return Ok(()) };
        *outline = None;
        let reason = format!("a cache tells of another {}", self.image.reference.familiar());
        puller.store.imports().lose_base(&wrong, reason.clone());
        Err(BuildErrorKind::Lost { reason })
    }

    /// Its layers, lowest first, for who only wants to know what is in them: they are not pulled if a cache elsewhere tells.
    pub(crate) fn outline(&self, puller: &Puller<'_>) -> Result<Vec<Arc<Layer>>, BuildErrorKind> {
        if let Some(layers) = self.fetched() {
            return Ok(layers);
        }
        let mut outline = lock(&self.outline);
        if outline.is_none() {
            *outline = puller.outline(&self.image)?;
        }
        let told = outline.clone();
        drop(outline);
        told.map_or_else(|| self.layers(puller), Ok)
    }

    /// Another attempt begins, and whoever told of its layers may have been wrong.
    pub(crate) fn forget_outline(&self) {
        *lock(&self.outline) = None;
    }

    /// What is known of its layers, pulled or not; nothing unless somebody has asked.
    pub(crate) fn told(&self) -> Vec<Arc<Layer>> {
        self.fetched().or_else(|| lock(&self.outline).clone()).unwrap_or_default()
    }

    /// Its layers, if somebody has asked for them.
    pub(crate) fn fetched(&self) -> Option<Vec<Arc<Layer>>> {
        lock(&self.layers).clone()
    }

    /// What is known of its layers without one of them.
    pub(crate) fn promised(&self) -> impl Iterator<Item = Pulled> {
        let diff_ids = self.image.config.rootfs.diff_ids.iter();
        let pairs = self.image.layers.iter().zip(diff_ids);
        pairs.map(|(descriptor, diff_id)| Pulled { descriptor: descriptor.clone(), diff_id: *diff_id })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base").field("reference", &self.image.reference).finish_non_exhaustive()
    }
}
