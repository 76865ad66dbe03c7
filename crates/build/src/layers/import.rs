//! Forms of layers out of caches elsewhere, fetched when somebody needs them and not before.
//!
//! A cache is trusted in what it says of keys: that a step with this key gave a layer with this content. What it says of a layer is
//! proved: an index hashes to the layer's id, a blob to its digest, its tar to its diff id and its files to the content.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use kiln_layer::codec::{self, CodecError, Encoder};
use kiln_layer::handle::{BlobForm, Later};
use kiln_layer::index::{Entry, Index};
use kiln_layer::rows::HELD;
use kiln_layer::tar::TarError;
use kiln_layer::tar::scan::{NullSink, scan};
use kiln_oci::artifact::{ArtifactError, BlobBytes, copy_verified, read_small};
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest, Hasher};
use kiln_oci::source::SourceErrorKind;

use crate::error::BuildErrorKind;
use crate::key;
use crate::layers::kept::{Blob, FEW, add_blob, blobs, format_of, save_index_as};
use crate::store::{Offer, OfferedBlob, Store, ToldBase};

/// The most that an index may have, in bytes: some ten million files.
const LARGEST_INDEX: u64 = 1 << 30;

/// An index as it lies in a cache. The same index gives the same bytes: where files are in a tar that somebody may have is left out.
pub(crate) fn index_blob(index: &Index) -> io::Result<Vec<u8>> {
    pack_index(index, Vec::new())
}

/// The same as a blob, that of a large index in a new file in `dir`.
pub(crate) fn stored_index(
    index: &Index,
    media_type: &str,
    dir: &Path,
) -> io::Result<(Descriptor, BlobBytes)> {
    if index.len() <= FEW {
        let bytes = index_blob(index)?;
        return Ok((Descriptor::of(media_type, &bytes), BlobBytes::Memory(bytes.into())));
    }
    let (file, path) = tempfile::NamedTempFile::new_in(dir)?.keep()?;
    let Hashed { hasher, size, .. } = pack_index(index, Hashed { file, hasher: Hasher::new(), size: 0 })?;
    Ok((Descriptor::new(media_type, hasher.finish(), size), BlobBytes::File(path)))
}

fn pack_index<W: Write>(index: &Index, to: W) -> io::Result<W> {
    let mut packed = zstd::stream::write::Encoder::new(to, 3)?;
    let mut encoder = Encoder::new(index.len());
    for entry in index {
        encoder.push(&Entry { offset: None, ..entry? });
        encoder.write(&mut packed)?;
    }
    packed.write_all(&encoder.finish(index.opaque()))?;
    packed.finish()
}

/// A file, and what was written to it.
struct Hashed {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The name of a layer of which only its blob is known: what is in it can be proved, the exact times of its files not.
pub(crate) fn id_without_index(diff_id: &DiffId, content: &Digest) -> Digest {
    key::chain(&diff_id.0, content)
}

/// Gets the index of layer `id`, into the store as well.
pub(crate) fn index(store: &Store, id: &Digest) -> Result<Index, BuildErrorKind> {
    let get = |offer: &Offer| match &offer.index {
        Some(blob) => {
            let index = read_index(store, id, offer, blob)?;
            save_index_as(store, id, &index)?;
            Ok(index)
        }
        None => {
            fetch_blob(store, id)?;
            super::kept::load_index(store, id)
        }
    };
    first(store, id, get)
}

/// Gets the index of layer `id` of a base image, of which a cache tells. It is kept in memory only: what a store has of bases it has
/// seen itself.
pub(crate) fn base_index(
    store: &Store,
    id: &Digest,
    ToldBase { place, base }: &ToldBase,
) -> Result<Index, BuildErrorKind> {
    let read = || {
        let bytes = read_small(place.as_ref(), &base.index).map_err(|e| e.to_string())?;
        let index = unpack_index(store, &bytes).map_err(|e| e.to_string())?;
        let identity = index.identity().map_err(|e| e.to_string())?;
        let name = key::chain(&base.diff_id.0, &identity.layer);
        let same = name == *id && identity.content == base.content;
        if same { Ok(index) } else { Err(format!("{} tells of another layer", place.name())) }
    };
    read().map_err(|reason: String| {
        store.imports().lose_base(id, reason.clone());
        BuildErrorKind::Lost { reason }
    })
}

/// Gets a blob of layer `id` into the store; one that is there already is as good.
pub(crate) fn fetch_blob(store: &Store, id: &Digest) -> Result<Blob, BuildErrorKind> {
    let _turn = store.lock(&format!("import-{}", id.hex())).map_err(|e| e.kind)?;
    if let Some(blob) = blobs(store, id)?.0.into_values().next() {
        return Ok(blob);
    }
    first(store, id, |offer| match &offer.blob {
        Some(blob) => bring(store, id, (offer, blob)),
        None => {
            Err(BuildErrorKind::Lost { reason: format!("{} has only its list of files", offer.place.name()) })
        }
    })
}

/// What will give the bytes of layer `id` when they are needed, if a cache may have them.
pub(crate) fn later(store: &Store, id: &Digest) -> Option<Arc<dyn Later>> {
    store.imports().offers(id).then(|| Arc::new(FromCache { store: store.clone(), id: *id }) as _)
}

#[derive(Debug)]
struct FromCache {
    store: Store,
    id: Digest,
}

impl Later for FromCache {
    fn blob(&self) -> io::Result<BlobForm> {
        let blob = fetch_blob(&self.store, &self.id).map_err(io::Error::other)?;
        Ok(form_of(&self.store, &blob.descriptor))
    }
}

fn form_of(store: &Store, descriptor: &Descriptor) -> BlobForm {
    BlobForm { path: store.content().path_of(&descriptor.digest), format: format_of(&descriptor.media_type) }
}

/// Tries the places that offer layer `id`; if none of them keeps its word, the layer is lost and the build goes on without it.
fn first<T>(
    store: &Store,
    id: &Digest,
    get: impl Fn(&Offer) -> Result<T, BuildErrorKind>,
) -> Result<T, BuildErrorKind> {
    let mut reason = "no cache has the layer any more".to_owned();
    for offer in store.imports().of_layer(id) {
        match get(&offer) {
            Err(BuildErrorKind::Lost { reason: why }) => reason = why,
            Err(BuildErrorKind::Artifact(error)) => reason = error.to_string(),
            other => return other,
        }
    }
    store.imports().lose(id, reason.clone());
    Err(BuildErrorKind::Lost { reason })
}

fn read_index(store: &Store, id: &Digest, offer: &Offer, blob: &Descriptor) -> Result<Index, BuildErrorKind> {
    let bytes = read_small(offer.place.as_ref(), blob)?;
    let index = unpack_index(store, &bytes).map_err(|e| wrong(offer, blob, &e.to_string()))?;
    let identity = index.identity()?;
    if identity.layer != *id {
        return Err(wrong(offer, blob, "it is the index of another layer"));
    }
    if identity.content != offer.content {
        return Err(wrong(offer, blob, "its files are not those that the record tells of"));
    }
    Ok(index)
}

/// The index that was packed by [`index_blob`].
pub(crate) fn unpack_index(store: &Store, bytes: &[u8]) -> Result<Index, CodecError> {
    let mut plain = zstd::stream::read::Decoder::with_buffer(bytes)?;
    codec::receive(&mut plain, LARGEST_INDEX, (&store.tmp(), HELD))
}

/// Decompresses at most `limit` bytes.
pub(crate) fn unpack(bytes: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
    io::Read::read_to_end(&mut io::Read::take(decoder, limit as u64 + 1), &mut plain)?;
    if plain.len() > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than it may be"));
    }
    Ok(plain)
}

fn wrong(offer: &Offer, blob: &Descriptor, detail: &str) -> BuildErrorKind {
    let kind =
        SourceErrorKind::Malformed { what: format!("blob {}", blob.digest), detail: detail.to_owned() };
    BuildErrorKind::Artifact(ArtifactError { place: offer.place.name(), kind })
}

/// Fetches, proves and records a blob.
fn bring(store: &Store, id: &Digest, (offer, blob): (&Offer, &OfferedBlob)) -> Result<Blob, BuildErrorKind> {
    let failed = |kind| BuildErrorKind::Artifact(ArtifactError { place: offer.place.name(), kind });
    if store.content().size_of(&blob.descriptor.digest) != Some(blob.descriptor.size) {
        let mut writer = store.content().writer()?;
        let stream = offer.place.open_blob(&blob.descriptor)?;
        copy_verified(stream, &blob.descriptor, &mut writer).map_err(failed)?;
        writer.finish()?;
    }
    let form = form_of(store, &blob.descriptor);
    let scanned = scan(form.reader()?, &store.tmp(), &mut NullSink).map_err(|error| match error {
        TarError::List { .. } => error.into(),
        error => wrong(offer, &blob.descriptor, &error.to_string()),
    })?;
    if scanned.diff_id != blob.diff_id {
        return Err(wrong(offer, &blob.descriptor, "its archive is not the one that the record tells of"));
    }
    if scanned.index.content_id()? != offer.content {
        return Err(wrong(offer, &blob.descriptor, "its files are not those that the record tells of"));
    }
    // The times in an archive are whole seconds, perhaps clamped; those of the step are in its own index.
    let index = match &offer.index {
        None if id_without_index(&blob.diff_id, &offer.content) != *id => {
            return Err(wrong(offer, &blob.descriptor, "it is of another layer"));
        }
        None => scanned.index,
        Some(listed) => {
            let index = read_index(store, id, offer, listed)?;
            let mut placed = Index::builder_in(store.tmp(), HELD);
            for (entry, found) in index.iter().zip(&scanned.index) {
                placed.push(&Entry { offset: found?.offset, ..entry? });
            }
            placed.finish(index.opaque().to_vec())
        }
    };
    save_index_as(store, id, &index)?;
    let brought = Blob { descriptor: blob.descriptor.clone(), diff_id: blob.diff_id };
    add_blob(store, id, &blob.form, &brought)?;
    Ok(brought)
}
