//! Layers in the store and stacks of them.
//!
//! A layer has up to three forms (index, tree, blob), each made when somebody needs it. `forms` makes one from another,
//! `pull` gets those of base images, [`Layer`] and [`Rootfs`] are what steps pass on.

pub(crate) mod forms;
pub(crate) mod pull;

use std::sync::{Arc, OnceLock};

use kiln_layer::handle::LayerHandle;
use kiln_layer::index::Index;
use kiln_layer::view::View;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};

use crate::error::BuildErrorKind;
use crate::key;
use crate::record::LayerRecord;
use crate::store::Store;

/// A layer that is in the store.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Names its forms.
    pub(crate) id: Digest,
    /// Identity of what it does to a root filesystem.
    pub(crate) content: Digest,
    /// If it came with a base image: its blob as it was pulled.
    pub(crate) pulled: Option<Pulled>,
    /// Whether times in it are those at which a command ran, here or in a stage that it was copied from.
    pub(crate) ran: bool,
    index: OnceLock<Arc<Index>>,
}

/// A base image's layer blob.
#[derive(Clone, Debug)]
pub(crate) struct Pulled {
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: DiffId,
}

impl Layer {
    /// A layer whose index is read when needed.
    pub(crate) fn new(id: Digest, content: Digest, pulled: Option<Pulled>) -> Self {
        Self { id, content, pulled, ran: false, index: OnceLock::new() }
    }

    /// A layer just made.
    pub(crate) fn with_index(id: Digest, index: Arc<Index>) -> Self {
        let content = index.content_id();
        Self { id, content, pulled: None, ran: false, index: OnceLock::from(index) }
    }

    /// The same, with word on where its times come from.
    pub(crate) fn times_of_run(self, ran: bool) -> Self {
        Self { ran, ..self }
    }

    /// What a build's record says of it.
    pub(crate) fn record(&self) -> LayerRecord {
        let pulled = self.pulled.as_ref().map(|pulled| (pulled.descriptor.clone(), pulled.diff_id));
        LayerRecord { id: self.id, content: self.content, ran: self.ran, pulled }
    }

    /// Its index.
    pub(crate) fn index(&self, store: &Store) -> Result<Arc<Index>, BuildErrorKind> {
        if let Some(index) = self.index.get() {
            return Ok(index.clone());
        }
        let index = Arc::new(forms::load_index(store, &self.id)?);
        Ok(self.index.get_or_init(|| index).clone())
    }
}

/// A root filesystem: layers, lowest first.
#[derive(Clone, Debug)]
pub(crate) struct Rootfs {
    pub(crate) layers: Vec<Arc<Layer>>,
    /// Identity of its content.
    pub(crate) chain: Digest,
}

impl Rootfs {
    /// Nothing at all.
    pub(crate) fn empty() -> Self {
        Self { layers: Vec::new(), chain: key::empty_chain() }
    }

    /// What a build's record says of its layers.
    pub(crate) fn records(&self) -> Vec<LayerRecord> {
        self.layers.iter().map(|layer| layer.record()).collect()
    }

    /// With one more layer on top.
    pub(crate) fn push(&mut self, layer: Arc<Layer>) {
        self.chain = key::chain(&self.chain, &layer.content);
        self.layers.push(layer);
    }

    /// Its metadata as one tree. Indexes are read now; trees and blobs are named if they exist.
    pub(crate) fn view(&self, store: &Store) -> Result<View, BuildErrorKind> {
        let handles: Result<Vec<Arc<LayerHandle>>, BuildErrorKind> =
            self.layers.iter().map(|layer| forms::handle(store, layer)).collect();
        Ok(View::new(handles?))
    }
}
