//! Makes one form of a layer from another: index, tree, blob.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_layer::compress::{Compression as Codec, Compressor, Format};
use kiln_layer::handle::{BlobForm, LayerHandle};
use kiln_layer::index::{Entry, Index, Kind};
use kiln_layer::pack::{AllOf, Entries, PackError, pack_telling, write_tree};
use kiln_layer::stop::Stop;
use kiln_layer::tar::scan::{Sink, scan};
use kiln_layer::unpack::{Form, Unpacker};
use kiln_layer::view::View;
use kiln_oci::crash::around;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::media_type::{Flavour, LayerCompression};
use kiln_oci::store::{BlobWriter, StoredBlob};

use crate::error::BuildErrorKind;
use crate::event::{SpanKind, TaskId};
use crate::layers::kept::{self, Blob, IndexWriter, add_blob, blobs, format_of, save_entries, save_index};
use crate::layers::relay::ahead;
use crate::layers::{Layer, Pulled, import, trees};
use crate::report::{Reporter, Transfer, short};
use crate::request::{Compression, LayerForm};
use crate::store::{Store, Temporary};

/// The name of a blob form: what is written into it, and how.
pub(crate) fn form_name(form: &LayerForm) -> String {
    let compression = match form.compression {
        Compression::Uncompressed => "tar".to_owned(),
        Compression::Gzip(level) => format!("gzip{level}"),
        Compression::Zstd(level) => format!("zstd{level}"),
    };
    form.clamp.map_or(compression.clone(), |at| format!("{compression}@{at}"))
}

fn codec_of(compression: Compression) -> (Codec, LayerCompression) {
    match compression {
        Compression::Uncompressed => (Codec::None, LayerCompression::None),
        Compression::Gzip(level) => (Codec::Gzip { level }, LayerCompression::Gzip),
        Compression::Zstd(level) => (Codec::Zstd { level }, LayerCompression::Zstd),
    }
}

/// Whether layer `id` can still give its files; those that a cache elsewhere has count.
pub(crate) fn is_there(store: &Store, id: &Digest) -> Result<bool, BuildErrorKind> {
    Ok(has_bytes(store, id)? || store.imports().offers(id))
}

/// Whether the files of layer `id` are in the store.
pub(crate) fn has_bytes(store: &Store, id: &Digest) -> Result<bool, BuildErrorKind> {
    Ok(store.index_path(id).exists() && (trees::of(store, id)?.is_some() || !blobs(store, id)?.0.is_empty()))
}

/// The index of layer `id`: the store's, or that of a cache elsewhere.
pub(crate) fn load_index(store: &Store, id: &Digest) -> Result<Index, BuildErrorKind> {
    if !store.index_path(id).exists() {
        if store.imports().offers(id) {
            return import::index(store, id);
        }
        if let Some(base) = store.imports().base_layer(id) {
            return import::base_index(store, id, &base);
        }
    }
    kept::load_index(store, id)
}

/// A layer with the forms that it has by now. A blob is not looked for again once there is a tree.
pub(crate) fn handle(store: &Store, layer: &Layer) -> Result<Arc<LayerHandle>, BuildErrorKind> {
    if let Some(handle) = layer.unpacked.get() {
        return Ok(handle.clone());
    }
    let trees = trees::of(store, &layer.id)?.unwrap_or_default();
    let form = |descriptor: &Descriptor| BlobForm {
        path: store.content().path_of(&descriptor.digest),
        format: format_of(&descriptor.media_type),
    };
    let blob = match &layer.pulled {
        Some(pulled) => Some(form(&pulled.descriptor)),
        None => {
            let blobs = blobs(store, &layer.id)?;
            // One that is not compressed gives any file at once.
            let plain = blobs.0.values().find(|b| format_of(&b.descriptor.media_type) == Format::None);
            plain.or(blobs.0.values().next()).map(|b| form(&b.descriptor))
        }
    };
    let absent = trees.is_empty() && blob.is_none();
    let later = if absent { import::later(store, &layer.id) } else { None };
    let handle = Arc::new(LayerHandle { index: layer.index(store)?, trees, blob, later });
    if !handle.trees.is_empty() {
        layer.unpacked.set(handle.clone()).ok();
    }
    Ok(handle)
}

/// The unpacked layer, made if it is not there. `below` tells how directories look that the layer does not describe.
pub(crate) fn ensure_tree(
    store: &Store,
    layer: &Layer,
    below: &View,
    stop: Stop<'_>,
) -> Result<(), BuildErrorKind> {
    if trees::of(store, &layer.id)?.is_some() {
        return Ok(());
    }
    let go_on = || Ok(stop.check().map_err(io::Error::from)?);
    let _turn = store.lock_while(&format!("tree-{}", layer.id.hex()), go_on)?;
    if trees::of(store, &layer.id)?.is_some() {
        return Ok(());
    }
    let path = store.tree_path(&layer.id);
    let handle = handle(store, layer)?;
    let Some(blob) = handle.any_blob()? else {
        return Err(BuildErrorKind::Store {
            path,
            problem: "the layer has neither a tree nor a blob".to_owned(),
        });
    };
    let mut tree = UnfinishedTree::new(store)?;
    let scanned = ahead(stop.over(blob.reader()?), |reader| scan(reader, &store.tmp(), tree.sink()))?;
    if scanned.index.content_id()? != layer.content {
        return Err(BuildErrorKind::Store {
            path: blob.path.clone(),
            problem: "the blob is damaged; remove it, and the next build makes or fetches it again"
                .to_owned(),
        });
    }
    let finished = tree.finish(below)?;
    Ok(around(|| fs_err::rename(finished, &path))?)
}

/// A layer that is being unpacked into a temporary directory; dropped, nothing of it stays.
pub(crate) struct UnfinishedTree {
    dir: Temporary,
    unpacker: Unpacker<'static>,
}

impl UnfinishedTree {
    pub(crate) fn new(store: &Store) -> Result<Self, BuildErrorKind> {
        let dir = store.temporary("tree-")?;
        let unpacker = Unpacker::new(dir.path(), Form::Overlay, store.owners())?;
        Ok(Self { dir, unpacker })
    }

    /// Takes the layer's members.
    pub(crate) fn sink(&mut self) -> &mut dyn Sink {
        &mut self.unpacker
    }

    /// Makes it the tree of `layer`, of which it holds everything. `below` tells how directories look that the layer does not describe.
    pub(crate) fn keep(self, store: &Store, layer: &Layer, below: &View) -> Result<(), BuildErrorKind> {
        let path = store.tree_path(&layer.id);
        let _turn = store.lock(&format!("tree-{}", layer.id.hex())).map_err(|e| e.kind)?;
        if path.exists() {
            return Ok(());
        }
        let finished = self.finish(below)?;
        Ok(around(|| fs_err::rename(finished, path))?)
    }

    fn finish(self, below: &View) -> Result<PathBuf, BuildErrorKind> {
        self.unpacker.finish_above(below)?;
        Ok(self.dir.keep())
    }
}

/// Takes the directory `dir`, which holds exactly what `index` tells, as the tree of a new layer: a rename, no copy. If there is that layer
/// already, the directory stays where it is.
pub(crate) fn keep_tree(store: &Store, index: Index, dir: &Path) -> Result<Layer, BuildErrorKind> {
    let identity = save_index(store, &index)?;
    place_tree(store, &identity.layer, dir)?;
    Ok(Layer::with_index(identity, Arc::new(index)))
}

fn place_tree(store: &Store, id: &Digest, dir: &Path) -> Result<(), BuildErrorKind> {
    let path = store.tree_path(id);
    let _turn = store.lock(&format!("tree-{}", id.hex())).map_err(|e| e.kind)?;
    if path.exists() {
        return Ok(());
    }
    Ok(around(|| fs_err::rename(dir, &path))?)
}

/// Makes a layer of `entries` as a tree: as changes to what the instruction called `name` made last, where that is possible.
pub(crate) fn new_tree(
    store: &Store,
    entries: &dyn Entries,
    below: &View,
    (name, stop): (Option<&Digest>, Stop<'_>),
) -> Result<Layer, BuildErrorKind> {
    let model = name.map(|name| trees::latest(store, name)).transpose()?.flatten();
    let amended = match &model {
        Some(model) => trees::amend(store, entries, (model, below), stop)?,
        None => None,
    };
    let layer = match amended {
        Some(layer) => layer,
        None => whole_tree(store, entries, below, stop)?,
    };
    name.map(|name| trees::note_latest(store, name, &layer)).transpose()?;
    Ok(layer)
}

/// The directories that `layer` is, uppermost first, to lie upon `below`. Of changes that would hide some of that a whole tree is made.
pub(crate) fn directories<'h>(
    store: &Store,
    (layer, handle): (&Layer, &'h Arc<LayerHandle>),
    below: impl Fn() -> View,
    stop: Stop<'_>,
) -> Result<Cow<'h, [PathBuf]>, BuildErrorKind> {
    if handle.trees.len() < 2 || !trees::hides(store, &layer.id, &below)? {
        return Ok(Cow::Borrowed(&handle.trees));
    }
    let whole = store.tree_path(&layer.id);
    if !whole.exists() {
        whole_tree(store, &AllOf(handle.clone()), &below(), stop)?;
    }
    Ok(Cow::Owned(vec![whole]))
}

fn whole_tree(
    store: &Store,
    entries: &dyn Entries,
    below: &View,
    stop: Stop<'_>,
) -> Result<Layer, BuildErrorKind> {
    let unfinished = store.temporary("tree-")?;
    let unpacker = Unpacker::new(unfinished.path(), Form::Overlay, store.owners())?;
    write_tree(entries, &[], unpacker.above(below).until(stop))?;
    let layer = save_entries(store, entries)?;
    place_tree(store, &layer.id, unfinished.path())?;
    Ok(layer)
}

/// Makes a layer of `entries` as a blob in `form`: every byte is read once. `ran` says whether times in it are a command's.
pub(crate) fn new_blob(
    store: &Store,
    (entries, ran): (&dyn Entries, bool),
    form: &LayerForm,
    packing: &Packing<'_>,
) -> Result<Layer, BuildErrorKind> {
    let form = &for_times(ran, form);
    let mut size = 1024;
    entries.each(&mut |item| {
        size += member_size(&item.entry);
        Ok(())
    })?;
    // The times of the entries themselves name the layer; what the tar says may be clamped.
    let mut index = IndexWriter::new(store, entries.count()?)?;
    let mut written = |entry: &Entry, offset| {
        index.add(&Entry { offset, ..entry.clone() }).map_err(|source| PackError::List { source })
    };
    let (packed, stored) = packing.write(store, form, ("layer".to_owned(), size), |out| {
        Ok(pack_telling(entries, &[], (out, form.clamp), &mut written)?)
    })?;
    let layer = index.finish()?.times_of_run(ran);
    add_blob(store, &layer.id, &form_name(form), &blob_of(form, packed, stored))?;
    Ok(layer)
}

/// The layer's blob in `form`, if it is in the store.
pub(crate) fn known_blob(
    store: &Store,
    layer: &Layer,
    form: &LayerForm,
) -> Result<Option<Blob>, BuildErrorKind> {
    if let Some(blob) = layer.pulled.as_ref().and_then(|pulled| as_pulled(pulled, form)) {
        return Ok(Some(blob));
    }
    Ok(blobs(store, &layer.id)?.0.remove(&form_name(&for_layer(layer, form))))
}

/// A base image's layer as it was pulled, unless `form` forces another compression upon it.
pub(crate) fn as_pulled(pulled: &Pulled, form: &LayerForm) -> Option<Blob> {
    let same = format_of(&pulled.descriptor.media_type) == format_of(media_type(form));
    let blob = || Blob { descriptor: pulled.descriptor.clone(), diff_id: pulled.diff_id };
    (!form.force || same).then(blob)
}

/// Times in a base image are its own business: its layers are never rewritten, only recompressed.
pub(crate) fn for_layer(layer: &Layer, form: &LayerForm) -> LayerForm {
    let form = for_times(layer.ran, form);
    LayerForm { clamp: form.clamp.filter(|_| layer.pulled.is_none()), ..form }
}

/// Times in the context are input and stay, unless the form says otherwise; those of a command's run are those of a clock.
fn for_times(ran: bool, form: &LayerForm) -> LayerForm {
    LayerForm { clamp: form.clamp.filter(|_| ran || form.rewrite), ..*form }
}

/// The layer's blob in `form`, made if it is not there. A base image's layer stays as it was pulled unless `form` forces another
/// compression.
pub(crate) fn ensure_blob(
    store: &Store,
    layer: &Layer,
    form: &LayerForm,
    packing: &Packing<'_>,
) -> Result<Blob, BuildErrorKind> {
    let form = for_layer(layer, form);
    if let Some(blob) = known_blob(store, layer, &form)? {
        return Ok(blob);
    }
    let name = form_name(&form);
    let turn = format!("blob-{}-{name}", layer.id.hex());
    let _turn = store.lock_while(&turn, || packing.reporter.check())?;
    if let Some(blob) = known_blob(store, layer, &form)? {
        return Ok(blob);
    }
    if wants_import(store, layer)? {
        import::fetch_blob(store, &layer.id)?;
        if let Some(blob) = known_blob(store, layer, &form)? {
            return Ok(blob);
        }
    }
    let blob = match &layer.pulled {
        Some(pulled) => rewrap(store, (layer, pulled), &form, packing)?,
        None => {
            let handle = handle(store, layer)?;
            let what = (short(&layer.id), tar_size(&handle.index)?);
            let (diff_id, stored) = packing.write(store, &form, what, |out| {
                let (all, opaque) = (AllOf(handle.clone()), handle.index.opaque());
                Ok(pack_telling(&all, opaque, (out, form.clamp), &mut |_, _| Ok(()))?)
            })?;
            blob_of(&form, diff_id, stored)
        }
    };
    add_blob(store, &layer.id, &name, &blob)?;
    Ok(blob)
}

/// Whether the layer's bytes are in a cache elsewhere and not here.
fn wants_import(store: &Store, layer: &Layer) -> Result<bool, BuildErrorKind> {
    Ok(layer.pulled.is_none() && !has_bytes(store, &layer.id)? && store.imports().offers(&layer.id))
}

/// Sees to it that the store itself can give the layer's files.
pub(crate) fn ensure_bytes(store: &Store, layer: &Layer) -> Result<(), BuildErrorKind> {
    if wants_import(store, layer)? {
        import::fetch_blob(store, &layer.id)?;
    }
    Ok(())
}

/// The very same tar in another compression: its diff id stays.
fn rewrap(
    store: &Store,
    (layer, pulled): (&Layer, &Pulled),
    form: &LayerForm,
    packing: &Packing<'_>,
) -> Result<Blob, BuildErrorKind> {
    let source = BlobForm {
        path: store.content().path_of(&pulled.descriptor.digest),
        format: format_of(&pulled.descriptor.media_type),
    };
    let what = (short(&pulled.descriptor.digest), tar_size(&*layer.index(store)?)?);
    let (_, stored) = packing.write(store, form, what, |out| Ok(io::copy(&mut source.reader()?, out)?))?;
    let descriptor = Descriptor::new(media_type(form), stored.digest, stored.size);
    Ok(Blob { descriptor, diff_id: pulled.diff_id })
}

fn media_type(form: &LayerForm) -> &'static str {
    Flavour::Oci.layer(codec_of(form.compression).1)
}

fn blob_of(form: &LayerForm, diff_id: DiffId, stored: StoredBlob) -> Blob {
    let descriptor = Descriptor::new(media_type(form), stored.digest, stored.size);
    Blob { descriptor, diff_id }
}

/// Who makes blobs: with how many threads, and who is told of each byte that goes in.
pub(crate) struct Packing<'a> {
    pub(crate) threads: usize,
    pub(crate) reporter: &'a Reporter<'a>,
    pub(crate) task: TaskId,
}

impl Packing<'_> {
    fn write<T>(
        &self,
        store: &Store,
        form: &LayerForm,
        (item, size): (String, u64),
        fill: impl FnOnce(&mut dyn Write) -> Result<T, BuildErrorKind>,
    ) -> Result<(T, StoredBlob), BuildErrorKind> {
        let _span = self.reporter.span(SpanKind::Pack, || item.clone());
        let out = Compressor::new(store.content().writer()?, codec_of(form.compression).0, self.threads)?;
        let out = out.until(self.reporter.stop());
        let mut out = Told { out, transfer: Transfer::new(self.reporter, self.task, item, size) };
        let filled = fill(&mut out);
        let done = filled.and_then(|value| Ok((value, out.out.finish()?.finish()?)));
        // Not only between two writes: a stop may find it at the last block, too.
        done.map_err(|error| self.reporter.judged(error))
    }
}

/// A compressor that says how far it is.
struct Told<'a> {
    out: Compressor<'a, BlobWriter>,
    transfer: Transfer<'a>,
}

impl Write for Told<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.transfer.advance(count as u64)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Bytes of the tar of these entries, but for extended headers.
pub(crate) fn tar_size(index: &Index) -> io::Result<u64> {
    index.iter().try_fold(1024, |size, entry| Ok(size + member_size(&entry?)))
}

fn member_size(entry: &Entry) -> u64 {
    match entry.kind {
        Kind::File { size, .. } => 512 + size.next_multiple_of(512),
        _ => 512,
    }
}
