//! What the store keeps of a layer: its index, and the record of the blobs that were made of it.

use std::collections::BTreeMap;

use kiln_layer::codec;
use kiln_layer::compress::Format;
use kiln_layer::index::Index;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::media_type::{LayerCompression, compression_of};
use serde::{Deserialize, Serialize};

use crate::error::BuildErrorKind;
use crate::store::{Store, note_use, read_json, write_bytes, write_json};

/// The blobs that were made of a layer, by form.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Blobs(pub(crate) BTreeMap<String, Blob>);

/// A layer's blob in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Blob {
    /// With the OCI media type.
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: DiffId,
}

/// Reads the index of layer `id`.
pub(crate) fn load_index(store: &Store, id: &Digest) -> Result<Index, BuildErrorKind> {
    let path = store.index_path(id);
    let bytes = fs_err::read(&path)?;
    codec::decode(&bytes).map_err(|error| BuildErrorKind::Store {
        problem: format!("{error}; remove the file, and the next build makes it again"),
        path,
    })
}

/// Writes an index; its layer's id is the result. Idempotent.
pub(crate) fn save_index(store: &Store, index: &Index) -> Result<Digest, BuildErrorKind> {
    let id = index.layer_id();
    save_index_as(store, &id, index)?;
    Ok(id)
}

/// Writes the index of layer `id`. Idempotent.
pub(crate) fn save_index_as(store: &Store, id: &Digest, index: &Index) -> Result<(), BuildErrorKind> {
    let (path, bytes) = (store.index_path(id), codec::encode(index));
    // Many steps leave what another left. To write it again would cost more: a file system brings to the disk what replaces something.
    if fs_err::read(&path).is_ok_and(|known| known == bytes) {
        note_use(&path);
        return Ok(());
    }
    Ok(write_bytes(&store.tmp(), &path, &bytes)?)
}

/// The format of a blob of this media type.
pub(crate) fn format_of(media_type: &str) -> Format {
    match compression_of(media_type) {
        Some(LayerCompression::Gzip) => Format::Gzip,
        Some(LayerCompression::Zstd) => Format::Zstd,
        _ => Format::None,
    }
}

/// The blobs of layer `id` that are in the store.
pub(crate) fn blobs(store: &Store, id: &Digest) -> Result<Blobs, BuildErrorKind> {
    let mut blobs: Blobs = read_json(&store.blob_record(id))?.unwrap_or_default();
    blobs.0.retain(|_, b| store.content().size_of(&b.descriptor.digest) == Some(b.descriptor.size));
    Ok(blobs)
}

/// Digests of all blobs that were made of layer `id`, whether they are there or not.
pub(crate) fn blob_digests(store: &Store, id: &Digest) -> Result<Vec<Digest>, BuildErrorKind> {
    let blobs: Blobs = read_json(&store.blob_record(id))?.unwrap_or_default();
    Ok(blobs.0.values().map(|blob| blob.descriptor.digest).collect())
}

/// Records a blob of layer `id`.
pub(crate) fn add_blob(store: &Store, id: &Digest, form: &str, blob: &Blob) -> Result<(), BuildErrorKind> {
    let _turn = store.lock(&format!("layer-{}", id.hex())).map_err(|e| e.kind)?;
    let mut all = blobs(store, id)?;
    all.0.insert(form.to_owned(), blob.clone());
    Ok(write_json(&store.tmp(), &store.blob_record(id), &all)?)
}
