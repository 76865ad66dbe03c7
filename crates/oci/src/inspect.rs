//! What `kiln inspect` shows of an image.

use serde::Serialize;

use crate::blobs::Blobs;
use crate::config::{History, ImageConfig};
use crate::descriptor::Descriptor;
use crate::digest::{DiffId, Digest};
use crate::error::StoreError;
use crate::graph::Graph;
use crate::manifest::{FetchedImage, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;

/// One platform's image.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Digest of the configuration: the image's id.
    pub id: Digest,
    /// The platform.
    pub platform: Platform,
    /// Annotations of the manifest.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// Bytes of all layers as stored.
    pub size: u64,
    /// The layers, lowest first.
    pub layers: Vec<LayerLine>,
    /// The history, oldest first.
    pub history: Vec<HistoryLine>,
    /// The configuration.
    pub config: ImageConfig,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerLine {
    /// Digest as stored.
    pub digest: Digest,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// Media type.
    pub media_type: String,
    /// Bytes as stored.
    pub size: u64,
}

/// One entry of the history with the layer that it made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryLine {
    /// The entry.
    #[serde(flatten)]
    pub entry: History,
    /// Index in `layers`; `None` if it made none.
    pub layer: Option<usize>,
    /// Bytes of that layer, or 0.
    pub size: u64,
}

/// Reads the image at `root`: one inspection for each platform, in the order of the index; attestations are left out.
/// Documents are verified, layers not opened.
pub fn inspect(blobs: &Blobs, root: &Descriptor) -> Result<Vec<Inspection>, StoreError> {
    let graph = Graph::walk(blobs, root)?;
    let images = graph.manifests.iter().filter(|(d, _)| !d.is_attestation());
    images.map(|(descriptor, manifest)| one(blobs, root, descriptor, manifest)).collect()
}

fn one(
    blobs: &Blobs,
    root: &Descriptor,
    descriptor: &Descriptor,
    manifest: &Manifest,
) -> Result<Inspection, StoreError> {
    let path = blobs.path_of(&descriptor.digest);
    let nobody = Reference {
        registry: String::new(),
        repository: String::new(),
        tag: None,
        digest: Some(descriptor.digest),
    };
    let fetched = FetchedImage {
        reference: nobody,
        root_digest: root.digest,
        manifest: descriptor.clone(),
        manifest_bytes: blobs.read_blob(&descriptor.digest)?,
        config_bytes: blobs.read_blob(&manifest.config.digest)?,
    };
    let image = fetched.verify().map_err(|e| StoreError::Malformed { path, detail: e.to_string() })?;
    let layers: Vec<LayerLine> = (image.layers.iter().zip(&image.config.rootfs.diff_ids))
        .map(|(layer, diff_id)| LayerLine {
            digest: layer.digest,
            diff_id: *diff_id,
            media_type: layer.media_type.clone(),
            size: layer.size,
        })
        .collect();
    Ok(Inspection {
        manifest: image.manifest_digest,
        media_type: image.manifest_media_type,
        id: image.config_descriptor.digest,
        platform: image.config.platform(),
        annotations: manifest.annotations.clone(),
        size: layers.iter().map(|l| l.size).sum(),
        history: line_up(&image.config.history, &layers),
        layers,
        config: image.config,
    })
}

/// Gives each entry that is not `empty_layer` the next layer. Entries beyond the last layer have none.
fn line_up(history: &[History], layers: &[LayerLine]) -> Vec<HistoryLine> {
    let mut next = 0..layers.len();
    history
        .iter()
        .map(|entry| {
            let layer = if entry.empty_layer { None } else { next.next() };
            HistoryLine { entry: entry.clone(), layer, size: layer.map_or(0, |i| layers[i].size) }
        })
        .collect()
}
