//! Puts an image together: configuration and layers become a manifest, several platforms an index.

use std::collections::BTreeMap;

use crate::config::ImageConfig;
use crate::descriptor::Descriptor;
use crate::error::StoreError;
use crate::manifest::{Index, Manifest};
use crate::media_type::Flavour;
use crate::platform::Platform;
use crate::store::ContentStore;

/// One platform's image. Its layers are in the store (or will be, before it is exported).
#[derive(Clone, Debug)]
pub struct ImageParts {
    /// The platform it was built for.
    pub platform: Platform,
    /// The configuration's exact bytes (see [`config_bytes`]).
    pub config: Vec<u8>,
    /// The layers, lowest first, with media types of either family.
    pub layers: Vec<Descriptor>,
    /// `--annotation manifest:`
    pub manifest_annotations: BTreeMap<String, String>,
    /// `--annotation manifest-descriptor:`
    pub descriptor_annotations: BTreeMap<String, String>,
}

/// How images are put together.
#[derive(Clone, Debug, Default)]
pub struct ComposeOptions {
    /// The media types. Docker's documents have no annotations: with any, OCI's are used, as BuildKit does.
    pub flavour: Flavour,
    /// Make an index even for one platform.
    pub index: bool,
    /// `--annotation index:`
    pub index_annotations: BTreeMap<String, String>,
    /// `--annotation index-descriptor:`
    pub index_descriptor_annotations: BTreeMap<String, String>,
}

/// What was put together; all documents are in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposedImage {
    /// The index, or the manifest if there is one platform.
    pub root: Descriptor,
    /// The manifests, in the order of the parts.
    pub manifests: Vec<Descriptor>,
    /// The configurations, in the order of the parts. An image's id is its configuration's digest.
    pub configs: Vec<Descriptor>,
    /// The media types that were used.
    pub flavour: Flavour,
}

/// Writes configuration, manifest and, for several platforms, index into the store. Nothing is tagged. The same parts
/// give the same bytes. Without parts the result is an empty index.
pub fn compose(
    store: &ContentStore,
    images: &[ImageParts],
    options: &ComposeOptions,
) -> Result<ComposedImage, StoreError> {
    let flavour = flavour_of(images, options);
    let (mut manifests, mut configs) = (Vec::new(), Vec::new());
    for image in images {
        let config = store.put_document(flavour.config(), &image.config)?;
        let mut layers = image.layers.clone();
        for layer in &mut layers {
            layer.media_type = flavour.respell_layer(&layer.media_type).to_owned();
        }
        let mut manifest = Manifest::new(flavour, config.clone(), layers);
        manifest.annotations.clone_from(&image.manifest_annotations);
        let mut descriptor = store.put_document(flavour.manifest(), &manifest.to_bytes())?;
        descriptor.platform = Some(image.platform.clone());
        descriptor.annotations.clone_from(&image.descriptor_annotations);
        manifests.push(descriptor);
        configs.push(config);
    }
    let root = match &manifests[..] {
        [only] if !options.index => only.clone(),
        _ => {
            let mut index = Index::new(flavour, manifests.clone());
            index.annotations.clone_from(&options.index_annotations);
            let mut root = store.put_document(flavour.index(), &index.to_bytes())?;
            root.annotations.clone_from(&options.index_descriptor_annotations);
            root
        }
    };
    Ok(ComposedImage { root, manifests, configs, flavour })
}

/// The bytes of a configuration that kiln made; the same for the same value, always.
pub fn config_bytes(config: &ImageConfig) -> Vec<u8> {
    // Infallible: strings, numbers, lists and maps with string keys.
    serde_json::to_vec(config).unwrap_or_default()
}

fn flavour_of(images: &[ImageParts], options: &ComposeOptions) -> Flavour {
    let many = options.index || images.len() != 1;
    let annotated = images
        .iter()
        .any(|i| !i.manifest_annotations.is_empty() || !i.descriptor_annotations.is_empty())
        || many && !(options.index_annotations.is_empty() && options.index_descriptor_annotations.is_empty());
    if annotated { Flavour::Oci } else { options.flavour }
}
