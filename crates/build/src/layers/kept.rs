//! What the store keeps of a layer: its index, and the record of the blobs that were made of it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use kiln_layer::codec::{self, CodecError, Encoder};
use kiln_layer::compress::Format;
use kiln_layer::index::{Entry, Identifier, Identity, Index};
use kiln_layer::pack::{Entries, PackError};
use kiln_layer::rows::HELD;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::media_type::{LayerCompression, compression_of};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::error::BuildErrorKind;
use crate::layers::Layer;
use crate::store::{Store, keep_same, read_json, write_json, write_same};

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
    codec::load(&path, HELD).map_err(|error| match error {
        CodecError::Read(error) => error.into(),
        error => BuildErrorKind::Store {
            problem: format!("{error}; remove the file, and the next build makes it again"),
            path,
        },
    })
}

/// Writes an index; what its layer is called is the result. Idempotent.
pub(crate) fn save_index(store: &Store, index: &Index) -> Result<Identity, BuildErrorKind> {
    let identity = index.identity()?;
    save_index_as(store, &identity.layer, index)?;
    Ok(identity)
}

/// Writes the index of layer `id`. Idempotent.
pub(crate) fn save_index_as(store: &Store, id: &Digest, index: &Index) -> Result<(), BuildErrorKind> {
    let (tmp, path) = (store.tmp(), store.index_path(id));
    if index.len() <= FEW {
        return Ok(write_same(&tmp, &path, &codec::encode(index)?)?);
    }
    let mut file = NamedTempFile::new_in(tmp)?;
    codec::write(index, &mut file)?;
    Ok(keep_same(file, &path)?)
}

/// An index whose entries come one by one and are not held: those of a large layer are in a file of their own from the start.
pub(crate) struct IndexWriter<'a> {
    store: &'a Store,
    encoder: Encoder,
    identifier: Identifier,
    file: Option<NamedTempFile>,
}

/// Up to so many entries an index stays in memory until it is whole.
pub(crate) const FEW: usize = 4096;

impl<'a> IndexWriter<'a> {
    /// For a layer of `count` entries.
    pub(crate) fn new(store: &'a Store, count: usize) -> io::Result<Self> {
        let file = (count > FEW).then(|| NamedTempFile::new_in(store.tmp())).transpose()?;
        Ok(Self { store, encoder: Encoder::new(count), identifier: Identifier::new(store.tmp()), file })
    }

    /// Adds the next entry.
    pub(crate) fn add(&mut self, entry: &Entry) -> io::Result<()> {
        self.identifier.add(entry)?;
        self.encoder.push(entry);
        self.file.as_mut().map_or(Ok(()), |file| self.encoder.write(file))
    }

    /// The layer that these are, without opaque directories. Its index is in the store then.
    pub(crate) fn finish(self) -> Result<Layer, BuildErrorKind> {
        let id = self.identifier.finish(&[])?;
        let (tmp, path) = (self.store.tmp(), self.store.index_path(&id.layer));
        let rest = self.encoder.finish(&[]);
        match self.file {
            None => write_same(&tmp, &path, &rest)?,
            Some(mut file) => {
                file.write_all(&rest)?;
                keep_same(file, &path)?;
            }
        }
        Ok(Layer::new(id.layer, id.content, None))
    }
}

/// Writes the index of a layer of `entries`.
pub(crate) fn save_entries(store: &Store, entries: &dyn Entries) -> Result<Layer, BuildErrorKind> {
    let mut index = IndexWriter::new(store, entries.count()?)?;
    entries.each(&mut |item| index.add(&item.entry).map_err(|source| PackError::List { source }))?;
    index.finish()
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
