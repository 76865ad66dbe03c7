//! The records of a cache as they are written: one JSON document, the same for the same records.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{OfferedBase, OfferedBlob};

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
    /// Layers of base images by the digests of their blobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) bases: BTreeMap<Digest, OfferedBase>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct OneBuild {
    /// How many others have written since.
    since: u32,
    steps: BTreeSet<Digest>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    bases: BTreeSet<Digest>,
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
        bases: BTreeMap<Digest, OfferedBase>,
    ) -> Self {
        let (of_steps, of_bases) = (steps.keys().copied().collect(), bases.keys().copied().collect());
        let one = OneBuild { since: 0, steps: of_steps, bases: of_bases };
        Self { version: VERSION, builds: BTreeMap::from([(build.to_owned(), one)]), steps, layers, bases }
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
        for (blob, base) in earlier.bases {
            if self.builds.values().any(|build| build.bases.contains(&blob)) {
                self.bases.entry(blob).or_insert(base);
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
        all.extend(self.bases.values().map(|base| (base.index.digest, &base.index)));
        all.into_values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(name: &str) -> (Digest, OfferedBase) {
        let of = |what: &str| Digest::of(format!("{name} {what}").as_bytes());
        let index = Descriptor::of(INDEX, name.as_bytes());
        let (layer, content, diff_id) = (of("layer"), of("content"), kiln_oci::digest::DiffId(of("tar")));
        (of("blob"), OfferedBase { layer, content, diff_id, index })
    }

    fn of(build: &str, bases: &[&str]) -> Records {
        let bases = bases.iter().map(|name| base(name)).collect();
        Records::of(build, BTreeMap::new(), BTreeMap::new(), bases)
    }

    #[test]
    fn bases_stay_as_long_as_a_build_has_them() {
        let first = of("a", &["debian", "golang"]).over(of("b", &["busybox"]));
        let known = |records: &Records| records.bases.keys().copied().collect::<BTreeSet<_>>();
        let named = |names: &[&str]| names.iter().map(|name| base(name).0).collect::<BTreeSet<_>>();
        assert_eq!(known(&first), named(&["debian", "golang", "busybox"]));
        assert_eq!(first.blobs().len(), 3);
        let second = of("a", &["alpine", "golang"]).over(Records::parse(&first.to_bytes()).unwrap());
        assert_eq!(known(&second), named(&["alpine", "golang", "busybox"]), "debian was a's alone");
    }

    #[test]
    fn caches_without_bases_are_read() {
        let old = of("a", &[]).to_bytes();
        assert!(!String::from_utf8_lossy(&old).contains("bases"));
        assert_eq!(Records::parse(&old), Ok(of("a", &[])));
    }
}
