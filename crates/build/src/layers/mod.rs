//! Layers in the store and stacks of them.
//!
//! A layer has up to three forms (index, tree, blob), each made when somebody needs it. `forms` makes one from another,
//! `pull` gets those of base images, [`Layer`] and [`Rootfs`] are what steps pass on. The layers of a base image are no exception: until
//! somebody asks what is in them, a root filesystem knows only which image it stands on.

pub(crate) mod base;
pub(crate) mod forms;
pub(crate) mod import;
pub(crate) mod kept;
pub(crate) mod pull;
mod relay;
pub(crate) mod thin;
pub(crate) mod trees;

use std::sync::{Arc, OnceLock};

use kiln_layer::handle::LayerHandle;
use kiln_layer::index::{Identity, Index};
use kiln_layer::view::View;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};

use crate::error::BuildErrorKind;
use crate::key;
use crate::layers::base::Base;
use crate::layers::pull::Puller;
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
    /// Whether it is not in the store, but what is in it was told by a cache.
    pub(crate) told: bool,
    index: OnceLock<Arc<Index>>,
    /// Once it has a tree: nothing that a build asks of it changes any more, and many steps ask.
    unpacked: OnceLock<Arc<LayerHandle>>,
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
        Self {
            id,
            content,
            pulled,
            ran: false,
            told: false,
            index: OnceLock::new(),
            unpacked: OnceLock::new(),
        }
    }

    /// A layer just made.
    pub(crate) fn with_index(identity: Identity, index: Arc<Index>) -> Self {
        Self { index: OnceLock::from(index), ..Self::new(identity.layer, identity.content, None) }
    }

    /// The same, with word on where its times come from.
    pub(crate) fn times_of_run(self, ran: bool) -> Self {
        Self { ran, ..self }
    }

    /// The same, not in the store.
    pub(crate) fn only_told(self) -> Self {
        Self { told: true, ..self }
    }

    /// What a build's record says of it.
    pub(crate) fn record(&self) -> LayerRecord {
        let pulled = self.pulled.as_ref().map(|pulled| (pulled.descriptor.clone(), pulled.diff_id));
        LayerRecord { id: self.id, content: self.content, ran: self.ran, pulled }
    }

    /// A base image's layer that just came.
    pub(crate) fn pulled(identity: Identity, pulled: Pulled, index: Arc<Index>) -> Self {
        Self { pulled: Some(pulled), ..Self::with_index(identity, index) }
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

/// A root filesystem: the layers of a base image, perhaps, and more on top.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rootfs {
    base: Option<Arc<Base>>,
    above: Vec<Arc<Layer>>,
    /// Identity of its content, once somebody has asked.
    chain: OnceLock<Digest>,
}

impl Rootfs {
    /// Nothing at all.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// Just what `base` has.
    pub(crate) fn on(base: Arc<Base>) -> Self {
        Self { base: Some(base), ..Self::default() }
    }

    /// What a build's record says of its layers; `None` if those of the base stayed where they are.
    pub(crate) fn records(&self) -> Option<Vec<LayerRecord>> {
        let base = match &self.base {
            Some(base) => base.fetched()?,
            None => Vec::new(),
        };
        Some(base.iter().chain(&self.above).map(|layer| layer.record()).collect())
    }

    /// With one more layer on top.
    pub(crate) fn push(&mut self, layer: Arc<Layer>) {
        // A chain that is known stays known, so that a step costs the same however many are below it.
        let chain = self.chain.get().map(|chain| key::chain(chain, &layer.content));
        self.chain = chain.map_or_else(OnceLock::new, OnceLock::from);
        self.above.push(layer);
    }

    /// Its layers, lowest first; those of the base are pulled if they are not in the store.
    pub(crate) fn layers(&self, puller: &Puller<'_>) -> Result<Vec<Arc<Layer>>, BuildErrorKind> {
        let mut layers = match &self.base {
            Some(base) => base.layers(puller)?,
            None => Vec::new(),
        };
        layers.extend(self.above.iter().cloned());
        Ok(layers)
    }

    /// Its layers, lowest first, for who only wants to know what is in them; see [`Base::outline`].
    pub(crate) fn outline(&self, puller: &Puller<'_>) -> Result<Vec<Arc<Layer>>, BuildErrorKind> {
        let mut layers = match &self.base {
            Some(base) => base.outline(puller)?,
            None => Vec::new(),
        };
        layers.extend(self.above.iter().cloned());
        Ok(layers)
    }

    /// Identity of its content; see [`Rootfs::outline`].
    pub(crate) fn chain(&self, puller: &Puller<'_>) -> Result<Digest, BuildErrorKind> {
        if let Some(chain) = self.chain.get() {
            return Ok(*chain);
        }
        let layers = self.outline(puller)?;
        let chain = layers.iter().fold(key::empty_chain(), |chain, layer| key::chain(&chain, &layer.content));
        Ok(*self.chain.get_or_init(|| chain))
    }

    /// Its metadata as one tree; see [`Rootfs::layers`]. Indexes are read now; trees and blobs are named if they exist.
    pub(crate) fn view(&self, puller: &Puller<'_>) -> Result<View, BuildErrorKind> {
        view_of(puller.store, &self.layers(puller)?)
    }

    /// Its metadata as one tree, for who reads no file (see [`Rootfs::outline`]), and whether its files could be read as well.
    pub(crate) fn sketch(&self, puller: &Puller<'_>) -> Result<(View, bool), BuildErrorKind> {
        let layers = self.outline(puller)?;
        Ok((view_of(puller.store, &layers)?, layers.iter().all(|layer| !layer.told)))
    }

    /// What is known of the base's layers without having them, and the layers above.
    pub(crate) fn parts(&self) -> (Vec<Pulled>, &[Arc<Layer>]) {
        (self.base.iter().flat_map(|base| base.promised()).collect(), &self.above)
    }
}

/// The metadata of `layers`, lowest first, as one tree. Indexes are read now; trees and blobs are named if they exist.
pub(crate) fn view_of(store: &Store, layers: &[Arc<Layer>]) -> Result<View, BuildErrorKind> {
    let handles: Result<Vec<Arc<LayerHandle>>, BuildErrorKind> =
        layers.iter().map(|layer| forms::handle(store, layer)).collect();
    Ok(View::new(handles?))
}
