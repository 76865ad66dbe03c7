//! Records that an image carries in its own configuration (`--cache-to type=inline`): wherever the image goes, its steps go with it.
//!
//! The layers of the image are the cache's layers. Lists of files are in the configuration as long as they are small: that of a layer
//! of another stage has to be, or its step is left out, that of a layer of the image saves whoever looks for steps from fetching it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::io::{Cursor, Read};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kiln_oci::artifact::{ArtifactBlob, ArtifactError, ArtifactPlace, Finish};
use kiln_oci::config::ImageConfig;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::manifest::Manifest;
use kiln_oci::media_type::{Flavour, compression_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::records::{CarriedStep, INDEX};
use crate::error::BuildErrorKind;
use crate::layers::{Layer, import};
use crate::store::{OfferedBlob, Store};

/// The field of the configuration.
pub(crate) const FIELD: &str = "kiln.cache.v1";

/// What others put there for the same purpose; an image built on top has nothing of it.
const OTHERS: &str = "moby.buildkit.cache.v0";

/// The most bytes of lists of files that an image carries: readers of images refuse configurations of more than 4 MiB.
const MOST: usize = 512 << 10;

#[derive(Default, Serialize, Deserialize)]
struct Inline {
    steps: BTreeMap<Digest, CarriedStep>,
    layers: BTreeMap<Digest, InlineLayer>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct InlineLayer {
    /// Which layer of the image it is, and in which form, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<(usize, String)>,
    /// Its list of files: base64 of what [`import::index_blob`] gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<String>,
}

impl Inline {
    /// Takes in a step, if there is enough of its layer. One without its list has the name at once that whoever reads it will give it, so
    /// that an image which is built from its own cache is the same image.
    fn take(&mut self, (key, mut step): (Digest, CarriedStep), layer: &Layer, diff_ids: &[DiffId]) {
        let there = self.layers.get(&layer.id).filter(|there| there.at.is_some() || there.index.is_some());
        let Some(there) = there.cloned() else { return };
        let diff_id = there.at.as_ref().and_then(|(place, _)| diff_ids.get(*place));
        if let (None, Some(diff_id)) = (&there.index, diff_id) {
            let name = import::id_without_index(diff_id, &layer.content);
            step.rename(&layer.id, &name);
            self.layers.insert(name, there);
        }
        self.steps.insert(key, step);
    }
}

/// What an image is made of, as far as its records ask.
pub(crate) struct Parts<'a> {
    /// The image's layers in order; those of the base are `None`.
    pub(crate) layers: Vec<Option<&'a Layer>>,
    /// All steps of the build, and the layers that they made.
    pub(crate) steps: Vec<(Digest, CarriedStep, &'a Layer)>,
    /// Names the form that a layer has in the image.
    pub(crate) form: &'a dyn Fn(&Layer) -> String,
}

/// Removes what the base image carried.
pub(crate) fn forget(config: &mut ImageConfig) {
    config.other.remove(FIELD);
    config.other.remove(OTHERS);
}

/// Writes the records into `config`. The same steps with the same layers give the same bytes.
pub(crate) fn write(
    store: &Store,
    parts: &Parts<'_>,
    config: &mut ImageConfig,
) -> Result<(), BuildErrorKind> {
    let mut lists = BTreeMap::new();
    let mut inline = Inline::default();
    for (_, _, layer) in &parts.steps {
        let place = parts.layers.iter().position(|there| there.is_some_and(|l| l.id == layer.id));
        let at = place.map(|place| (place, (parts.form)(layer)));
        if let Entry::Vacant(entry) = inline.layers.entry(layer.id) {
            let bytes = import::index_blob(&*layer.index(store)?)?;
            lists.insert((at.is_some(), bytes.len(), layer.id), bytes);
            entry.insert(InlineLayer { at, index: None });
        }
    }
    let mut room = MOST;
    for ((_, size, id), bytes) in lists {
        if size <= room
            && let Some(layer) = inline.layers.get_mut(&id)
        {
            room -= size;
            layer.index = Some(BASE64.encode(bytes));
        }
    }
    for (key, step, layer) in &parts.steps {
        inline.take((*key, step.clone()), layer, &config.rootfs.diff_ids);
    }
    let named: BTreeSet<Digest> =
        inline.steps.values().filter_map(|step| Some(step.named()?.layer)).collect();
    inline.layers.retain(|id, _| named.contains(id));
    // Infallible: numbers, strings and maps with string keys.
    config.other.insert(FIELD.to_owned(), serde_json::to_value(&inline).unwrap_or_default());
    Ok(())
}

/// What an image tells of, and the place that gives it.
pub(crate) type Told = (Arc<dyn ArtifactPlace>, Vec<Found>);

/// A step that an image tells of.
pub(crate) struct Found {
    pub(crate) key: Digest,
    pub(crate) step: CarriedStep,
    pub(crate) index: Option<Descriptor>,
    pub(crate) blob: Option<OfferedBlob>,
}

/// What the image with this manifest and configuration carries, and the place that gives it; `None` if it carries nothing.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn read(
    place: &Arc<dyn ArtifactPlace>,
    manifest: &Manifest,
    config: &[u8],
) -> Result<Option<Told>, String> {
    let config: ImageConfig = serde_json::from_slice(config).map_err(|error| error.to_string())?;
    let Some(field) = config.other.get(FIELD) else { return Ok(None) };
    let inline = Inline::deserialize(field).map_err(|error| error.to_string())?;
    let mut lists = HashMap::new();
    let mut steps = Vec::new();
    for (key, mut step) in inline.steps {
        let Some(named) = step.named() else { continue };
        let Some(layer) = inline.layers.get(&named.layer) else { continue };
        let blob = layer.at.as_ref().and_then(|at| blob_at(at, manifest, &config));
        let index = layer.index.as_ref().and_then(|text| BASE64.decode(text).ok()).map(|bytes| {
            let descriptor = Descriptor::of(INDEX, &bytes);
            lists.insert(descriptor.digest, bytes);
            descriptor
        });
        if let (None, Some(blob)) = (&index, &blob) {
            step.rename(&named.layer, &import::id_without_index(&blob.diff_id, &named.content));
        }
        steps.push(Found { key, step, index, blob });
    }
    Ok(Some((Arc::new(InImage { image: place.clone(), lists }), steps)))
}

fn blob_at((at, form): &(usize, String), manifest: &Manifest, config: &ImageConfig) -> Option<OfferedBlob> {
    let (there, diff_id) = (manifest.layers.get(*at)?, config.rootfs.diff_ids.get(*at)?);
    let media_type = Flavour::Oci.layer(compression_of(&there.media_type)?);
    let descriptor = Descriptor::new(media_type, there.digest, there.size);
    Some(OfferedBlob { descriptor, diff_id: *diff_id, form: form.clone() })
}

impl CarriedStep {
    /// Gives its layer another name.
    fn rename(&mut self, old: &Digest, new: &Digest) {
        let records = [Some(&mut self.record), self.chain.as_mut().map(|(_, record)| record)];
        for name in records.into_iter().flatten().filter_map(|record| record.get_mut("layer")) {
            if name.as_str() == Some(&old.to_string()) {
                *name = Value::String(new.to_string());
            }
        }
    }
}

/// An image in a place: lists of files come out of its configuration, which is read already.
struct InImage {
    image: Arc<dyn ArtifactPlace>,
    lists: HashMap<Digest, Vec<u8>>,
}

impl fmt::Debug for InImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lists in {}", self.lists.len(), self.image.name())
    }
}

impl ArtifactPlace for InImage {
    fn name(&self) -> String {
        self.image.name()
    }

    fn manifest(&self) -> Result<Option<Manifest>, ArtifactError> {
        self.image.manifest()
    }

    fn has(&self, blob: &Descriptor) -> bool {
        self.image.has(blob)
    }

    fn open_blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, ArtifactError> {
        match self.lists.get(&blob.digest) {
            Some(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            None => self.image.open_blob(blob),
        }
    }

    fn publish(&self, blobs: &[ArtifactBlob], finish: &mut Finish<'_>) -> Result<Digest, ArtifactError> {
        self.image.publish(blobs, finish)
    }
}
