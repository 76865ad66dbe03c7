//! What caches from elsewhere (`--cache-from`) offer: which step made which layer, and where a layer's forms are to be had. A
//! plain table in memory; [`crate::layers::import`] fetches.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_oci::artifact::ArtifactPlace;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use serde::{Deserialize, Serialize};

/// A layer's blob in a cache elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfferedBlob {
    /// With the OCI media type.
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: DiffId,
    /// Which form of the layer it is.
    pub(crate) form: String,
}

/// What a cache tells of a layer of a base image: enough to know what is in it without having it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OfferedBase {
    /// The name that a store gives it.
    pub(crate) layer: Digest,
    /// Identity of what it does to a root filesystem.
    pub(crate) content: Digest,
    pub(crate) diff_id: DiffId,
    /// Its index, compressed.
    pub(crate) index: Descriptor,
}

/// Who tells of a base image's layer, and what.
#[derive(Clone)]
pub(crate) struct ToldBase {
    pub(crate) place: Arc<dyn ArtifactPlace>,
    pub(crate) base: OfferedBase,
}

impl fmt::Debug for ToldBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.base.layer, self.place.name())
    }
}

/// Where a layer is to be had.
#[derive(Clone)]
pub(crate) struct Offer {
    pub(crate) place: Arc<dyn ArtifactPlace>,
    /// Identity of what the layer does.
    pub(crate) content: Digest,
    /// Its index, compressed; without one the blob tells.
    pub(crate) index: Option<Descriptor>,
    /// Its blob; none where only the layers of the result were kept.
    pub(crate) blob: Option<OfferedBlob>,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.index.is_some(), self.place.name())
    }
}

/// All that the caches of one build offer.
#[derive(Debug, Default)]
pub(crate) struct Imports(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Step records as they are in a store, by key.
    steps: HashMap<Digest, serde_json::Value>,
    /// Records of what first led to a content, by chain.
    chains: HashMap<Digest, serde_json::Value>,
    layers: HashMap<Digest, Vec<Offer>>,
    /// Layers of base images by the digests of their blobs, and who tells of them.
    bases: HashMap<Digest, ToldBase>,
    /// Layers that turned out not to be had, and why.
    lost: Vec<(Digest, String)>,
    /// Layers whose loss was taken note of.
    shunned: HashSet<Digest>,
    /// Blobs of lost layers: at least one of them is not what it should be.
    suspects: HashSet<Digest>,
    /// Whether layers count that have no bytes.
    bytes_only: bool,
}

impl Imports {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything: another build begins.
    pub(crate) fn clear(&self) {
        *self.table() = Table::default();
    }

    /// Adds what one cache offers. What earlier ones said of the same key stays.
    pub(crate) fn add_step(&self, key: Digest, record: serde_json::Value) {
        self.table().steps.entry(key).or_insert(record);
    }

    /// The same for a chain.
    pub(crate) fn add_chain(&self, chain: Digest, record: serde_json::Value) {
        self.table().chains.entry(chain).or_insert(record);
    }

    /// Adds a place that a layer can be had from; those added first are tried first.
    pub(crate) fn add_layer(&self, id: Digest, offer: Offer) {
        self.table().layers.entry(id).or_default().push(offer);
    }

    /// Adds what one cache tells of the base image's layer whose blob is `blob`.
    pub(crate) fn add_base(&self, blob: Digest, place: &Arc<dyn ArtifactPlace>, base: OfferedBase) {
        self.table().bases.entry(blob).or_insert_with(|| ToldBase { place: place.clone(), base });
    }

    /// What is told of the base image's layer whose blob is `blob`, and by whom.
    pub(crate) fn base(&self, blob: &Digest) -> Option<ToldBase> {
        self.table().bases.get(blob).cloned()
    }

    /// The same by the name of the layer.
    pub(crate) fn base_layer(&self, id: &Digest) -> Option<ToldBase> {
        self.table().bases.values().find(|told| told.base.layer == *id).cloned()
    }

    /// Layer `id` of a base image is not what it was told to be, or the list of its files cannot be had.
    pub(crate) fn lose_base(&self, id: &Digest, why: String) {
        let mut table = self.table();
        let index =
            table.bases.values().find(|told| told.base.layer == *id).map(|told| told.base.index.digest);
        table.suspects.extend(index);
        table.bases.retain(|_, told| told.base.layer != *id);
        table.lost.push((*id, why));
    }

    /// The record of the step with key `key`.
    pub(crate) fn step(&self, key: &Digest) -> Option<serde_json::Value> {
        self.table().steps.get(key).cloned()
    }

    /// The record of `chain`.
    pub(crate) fn chain(&self, chain: &Digest) -> Option<serde_json::Value> {
        self.table().chains.get(chain).cloned()
    }

    /// Whether layer `id` can be had from somewhere; see [`Imports::settle`] for those that have no bytes.
    pub(crate) fn offers(&self, id: &Digest) -> bool {
        let table = self.table();
        !table.shunned.contains(id)
            && table
                .layers
                .get(id)
                .is_some_and(|all| all.iter().any(|o| o.blob.is_some() || !table.bytes_only))
    }

    /// Where layer `id` is to be had, the likeliest first.
    pub(crate) fn of_layer(&self, id: &Digest) -> Vec<Offer> {
        let table = self.table();
        if table.shunned.contains(id) {
            return Vec::new();
        }
        table.layers.get(id).cloned().unwrap_or_default()
    }

    /// Layer `id` turned out not to be had.
    pub(crate) fn lose(&self, id: &Digest, why: String) {
        let mut table = self.table();
        let offers = table.layers.get(id).cloned().unwrap_or_default();
        for offer in offers {
            table.suspects.extend(offer.index.map(|index| index.digest));
            table.suspects.extend(offer.blob.map(|blob| blob.descriptor.digest));
        }
        table.lost.push((*id, why));
    }

    /// Whether a blob that a cache has may be damaged there.
    pub(crate) fn is_suspect(&self, blob: &Digest) -> bool {
        self.table().suspects.contains(blob)
    }

    /// Takes note of what was lost since the last time: those layers are not offered any more. Where bytes were needed that no cache
    /// has, nothing without bytes is offered either. The reasons are the result; if there are any, a build that failed is worth
    /// another try.
    pub(crate) fn settle(&self) -> Vec<String> {
        let mut table = self.table();
        let lost = std::mem::take(&mut table.lost);
        let mut reasons = Vec::new();
        for (id, why) in lost {
            let hollow = table.layers.get(&id).is_some_and(|all| all.iter().all(|o| o.blob.is_none()));
            table.bytes_only |= hollow;
            if table.shunned.insert(id) && !reasons.contains(&why) {
                reasons.push(why);
            }
        }
        reasons
    }
}
