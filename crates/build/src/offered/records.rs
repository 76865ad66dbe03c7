//! The records of a cache as they are written: one JSON document, the same for the same records.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::OfferedBlob;

/// What kind of artifact a cache is.
pub(crate) const ARTIFACT: &str = "application/vnd.kiln.cache.steps.v1";
/// The media type of its configuration, [`Records`].
pub(crate) const CONFIG: &str = "application/vnd.kiln.cache.steps.config.v1+json";
/// The media type of an index, as `layers::import` reads it.
pub(crate) const INDEX: &str = "application/vnd.kiln.layer.index.v1+zstd";

const VERSION: u32 = 1;

/// Builds whose records stay beside those of the one that writes: a cache that many Dockerfiles share does not grow for ever.
const OTHERS: u32 = 16;

/// Everything that a cache tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Records {
    version: u32,
    /// What was built, and from which steps. The same thing built again takes its place.
    builds: BTreeMap<String, OneBuild>,
    /// Steps by key.
    pub(crate) steps: BTreeMap<Digest, CarriedStep>,
    /// Layers by id.
    pub(crate) layers: BTreeMap<Digest, CarriedLayer>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OneBuild {
    /// How many others have written since.
    since: u32,
    steps: BTreeSet<Digest>,
}

/// A step's records as a store has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CarriedStep {
    pub(crate) record: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chain: Option<(Digest, Value)>,
}

/// A layer's forms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CarriedLayer {
    pub(crate) index: Descriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blob: Option<OfferedBlob>,
}

/// What every record of a step names.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) layer: Digest,
    pub(crate) content: Digest,
}

impl CarriedStep {
    /// The layer, if the record makes sense.
    pub(crate) fn named(&self) -> Option<Named> {
        Named::deserialize(&self.record).ok()
    }
}

impl Records {
    /// The records of one build, called `build`.
    pub(crate) fn of(
        build: &str,
        steps: BTreeMap<Digest, CarriedStep>,
        layers: BTreeMap<Digest, CarriedLayer>,
    ) -> Self {
        let one = OneBuild { since: 0, steps: steps.keys().copied().collect() };
        Self { version: VERSION, builds: BTreeMap::from([(build.to_owned(), one)]), steps, layers }
    }

    /// Reads them; what a newer kiln wrote is refused.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let records: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if records.version == VERSION {
            Ok(records)
        } else {
            Err(format!("it is of version {}, and this kiln knows {VERSION}", records.version))
        }
    }

    /// The bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Infallible: numbers, strings and maps with string keys.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Takes in what was there before, but for what was recorded of the same builds, and lets go of what nobody refers to.
    pub(crate) fn over(mut self, earlier: Self) -> Self {
        for (name, build) in earlier.builds {
            let since = build.since + 1;
            if since <= OTHERS {
                self.builds.entry(name).or_insert(OneBuild { since, ..build });
            }
        }
        for (key, step) in earlier.steps {
            if self.builds.values().any(|build| build.steps.contains(&key)) {
                self.steps.entry(key).or_insert(step);
            }
        }
        let wanted: BTreeSet<Digest> = self.steps.values().filter_map(|s| Some(s.named()?.layer)).collect();
        for (id, layer) in earlier.layers.into_iter().filter(|(id, _)| wanted.contains(id)) {
            let mine = self.layers.entry(id).or_insert_with(|| layer.clone());
            if mine.blob.is_none() {
                mine.blob = layer.blob;
            }
        }
        self
    }

    /// Every blob that belongs to it, each once.
    pub(crate) fn blobs(&self) -> Vec<Descriptor> {
        let mut all = BTreeMap::new();
        for layer in self.layers.values() {
            all.insert(layer.index.digest, &layer.index);
            if let Some(blob) = &layer.blob {
                all.insert(blob.descriptor.digest, &blob.descriptor);
            }
        }
        all.into_values().cloned().collect()
    }
}
