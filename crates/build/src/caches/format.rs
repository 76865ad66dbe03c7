//! The artifact's configuration, and how the bytes of files are cut.

use std::collections::BTreeMap;

use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use serde::{Deserialize, Serialize};

/// What kind of artifact it is.
pub(super) const ARTIFACT: &str = "application/vnd.kiln.caches.v1";
/// The media type of its configuration, [`Caches`].
pub(super) const CONFIG: &str = "application/vnd.kiln.caches.config.v1+json";
/// A cache's index, as `layers::import` packs one.
pub(super) const INDEX: &str = "application/vnd.kiln.cache.index.v1+zstd";
/// A piece of the files' bytes.
pub(super) const CHUNK: &str = "application/vnd.kiln.cache.chunk.v1+zstd";

/// Bytes of a chunk before compression: at least, on average, at most. Smaller ones would find a little more that is equal, and cost
/// a request each in a registry.
pub(super) const SIZES: (u32, u32, u32) = (256 << 10, 1 << 20, 4 << 20);

const VERSION: u32 = 1;

/// The caches of an artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Caches {
    version: u32,
    /// By id.
    pub(super) caches: BTreeMap<String, Cache>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cache {
    /// What files there are.
    pub(super) index: Descriptor,
    /// Their bytes, in the order of the index.
    pub(super) chunks: Vec<Chunk>,
}

/// A piece.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Chunk {
    /// Digest of the piece itself.
    pub(super) raw: Digest,
    /// Its bytes.
    pub(super) size: u64,
    /// How it is stored.
    pub(super) blob: Descriptor,
}

impl Default for Caches {
    fn default() -> Self {
        Self { version: VERSION, caches: BTreeMap::new() }
    }
}

impl Caches {
    /// Reads it; what a newer kiln wrote is refused.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let read: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if read.version == VERSION {
            Ok(read)
        } else {
            Err(format!("it is of version {}, and this kiln knows {VERSION}", read.version))
        }
    }

    /// The bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Infallible: numbers, strings and maps with string keys.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// All chunks of all caches.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.caches.values().flat_map(|cache| &cache.chunks)
    }

    /// Every blob that belongs to it, each once.
    pub(super) fn blobs(&self) -> Vec<Descriptor> {
        let mut all: BTreeMap<Digest, &Descriptor> = BTreeMap::new();
        all.extend(self.caches.values().map(|cache| (cache.index.digest, &cache.index)));
        all.extend(self.chunks().map(|chunk| (chunk.blob.digest, &chunk.blob)));
        all.into_values().cloned().collect()
    }
}
