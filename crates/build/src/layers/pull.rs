//! Getting a base image's layers: one pass over what comes from the registry verifies, stores, decompresses and indexes each, and
//! unpacks it if a command will run on it. Nothing is read or written twice.
//!
//! Three threads do that for each layer, several layers at once: one waits for the network, stores and hashes what came; one
//! decompresses; one hashes the tar and its files, and writes them. A layer's directories get their last face only when all below it are
//! indexed, since that of one which the layer does not describe is the lower layers'.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use kiln_layer::compress::decompressor;
use kiln_layer::index::Identity;
use kiln_layer::tar::TarError;
use kiln_layer::tar::scan::{NullSink, Scanned, Sink, scan};
use kiln_layer::unpack::UnpackError;
use kiln_layer::view::View;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::source::{ImageSource, ResolvedImage, SourceError, SourceErrorKind};
use kiln_oci::store::BlobWriter;
use serde::{Deserialize, Serialize};

use crate::error::BuildErrorKind;
use crate::event::{SpanKind, TaskId, TaskKind, TaskOutcome};
use crate::key;
use crate::layers::forms::{UnfinishedTree, handle};
use crate::layers::kept::save_index_as;
use crate::layers::relay::{Inlet, Outlet, relay};
use crate::layers::{Layer, Pulled};
use crate::report::{Reporter, Transfer, short};
use crate::schedule::side_by_side;
use crate::store::{Store, note_use, read_json, write_json};

/// What is known of a layer blob that was pulled.
#[derive(Serialize, Deserialize)]
struct BlobRecord {
    layer: Digest,
    content: Digest,
    diff_id: DiffId,
}

/// How many blobs are fetched at once.
const AT_ONCE: usize = 4;

/// Where layers are pulled to and who is told.
#[derive(Clone, Copy)]
pub(crate) struct Puller<'a> {
    pub(crate) store: &'a Store,
    pub(crate) reporter: &'a Reporter<'a>,
    /// Nothing may be fetched: the build only foresees what it would do.
    pub(crate) frozen: bool,
}

/// A layer that has come, and its tree if that was wanted.
struct Fetched {
    layer: Arc<Layer>,
    tree: Option<UnfinishedTree>,
}

impl<'a> Puller<'a> {
    /// One that fetches what is missing.
    pub(crate) fn new(store: &'a Store, reporter: &'a Reporter<'a>) -> Self {
        Self { store, reporter, frozen: false }
    }

    /// The layers of `image`, lowest first; those that are in the store already are not fetched. With `trees`, those that are fetched are
    /// unpacked on the way.
    pub(crate) fn pull(
        &self,
        source: &dyn ImageSource,
        image: &ResolvedImage,
        trees: bool,
    ) -> Result<Vec<Arc<Layer>>, BuildErrorKind> {
        let mut layers = self.stored(image)?;
        let missing: Vec<usize> = (0..layers.len()).filter(|i| layers[*i].is_none()).collect();
        if missing.is_empty() {
            return Ok(layers.into_iter().flatten().collect());
        }
        if self.frozen {
            return Err(BuildErrorKind::Unforeseen { depends: false });
        }
        let name = format!("pull {}", image.reference.familiar());
        self.reporter.during(TaskKind::Pull, name, None, |task| {
            let pull = Pull { puller: self, source, image, task, trees };
            let fetched = side_by_side(AT_ONCE, missing.len(), |i| pull.fetch(missing[i]))?;
            let mut unfinished = Vec::new();
            for (i, fetched) in missing.into_iter().zip(fetched) {
                layers[i] = Some(fetched.layer);
                unfinished.extend(fetched.tree.map(|tree| (i, tree)));
            }
            let layers: Vec<Arc<Layer>> = layers.into_iter().flatten().collect();
            self.settle(&layers, unfinished)?;
            Ok((layers, TaskOutcome::Done))
        })
    }

    /// Finishes the trees of some of `layers`, by their numbers.
    fn settle(
        &self,
        layers: &[Arc<Layer>],
        unfinished: Vec<(usize, UnfinishedTree)>,
    ) -> Result<(), BuildErrorKind> {
        if unfinished.is_empty() {
            return Ok(());
        }
        let handles: Result<Vec<_>, _> = layers.iter().map(|layer| handle(self.store, layer)).collect();
        let handles = handles?;
        for (i, tree) in unfinished {
            tree.keep(self.store, &layers[i], &View::new(handles[..i].to_vec()))?;
        }
        Ok(())
    }

    /// The layers of `image` that are in the store, each in its place.
    pub(crate) fn stored(&self, image: &ResolvedImage) -> Result<Vec<Option<Arc<Layer>>>, BuildErrorKind> {
        let pairs = image.layers.iter().zip(&image.config.rootfs.diff_ids);
        pairs.map(|(descriptor, diff_id)| self.known(descriptor, *diff_id)).collect()
    }

    /// The layer of a blob that was pulled before, if all that was kept of it is there.
    fn known(&self, descriptor: &Descriptor, diff_id: DiffId) -> Result<Option<Arc<Layer>>, BuildErrorKind> {
        let Some(record) = read_json::<BlobRecord>(&self.store.base_path(&descriptor.digest))? else {
            return Ok(None);
        };
        let whole = self.store.content().size_of(&descriptor.digest) == Some(descriptor.size)
            && self.store.index_path(&record.layer).exists()
            && record.diff_id == diff_id;
        if whole {
            note_use(&self.store.base_path(&descriptor.digest));
        }
        let pulled = Pulled { descriptor: descriptor.clone(), diff_id };
        Ok(whole.then(|| Arc::new(Layer::new(record.layer, record.content, Some(pulled)))))
    }

    /// The layers of `image` where a cache elsewhere tells what is in those that are not in the store; `None` if one is unknown, or
    /// if all are there.
    pub(crate) fn outline(&self, image: &ResolvedImage) -> Result<Option<Vec<Arc<Layer>>>, BuildErrorKind> {
        let stored = self.stored(image)?;
        if stored.iter().all(Option::is_some) {
            return Ok(None);
        }
        let pairs = image.layers.iter().zip(&image.config.rootfs.diff_ids);
        let told = pairs.zip(stored).map(|((descriptor, diff_id), stored)| {
            stored.or_else(|| {
                let base = self.store.imports().base(&descriptor.digest)?.base;
                let pulled = Pulled { descriptor: descriptor.clone(), diff_id: *diff_id };
                (base.diff_id == *diff_id)
                    .then(|| Arc::new(Layer::new(base.layer, base.content, Some(pulled)).only_told()))
            })
        });
        Ok(told.collect())
    }

    fn keep(&self, descriptor: &Descriptor, scanned: Scanned) -> Result<Arc<Layer>, BuildErrorKind> {
        // A layer that kiln made of the same files has another tar, and so other offsets in its index.
        let Identity { content, layer } = scanned.index.identity()?;
        let layer = key::chain(&scanned.diff_id.0, &layer);
        save_index_as(self.store, &layer, &scanned.index)?;
        let record = BlobRecord { layer, content, diff_id: scanned.diff_id };
        write_json(&self.store.tmp(), &self.store.base_path(&descriptor.digest), &record)?;
        let pulled = Pulled { descriptor: descriptor.clone(), diff_id: scanned.diff_id };
        Ok(Arc::new(Layer::pulled(Identity { content, layer }, pulled, Arc::new(scanned.index))))
    }
}

/// One image being pulled.
struct Pull<'a> {
    puller: &'a Puller<'a>,
    source: &'a dyn ImageSource,
    image: &'a ResolvedImage,
    task: TaskId,
    trees: bool,
}

impl Pull<'_> {
    fn fetch(&self, i: usize) -> Result<Fetched, BuildErrorKind> {
        let Puller { store, reporter, .. } = *self.puller;
        let (descriptor, diff_id) = (&self.image.layers[i], self.image.config.rootfs.diff_ids[i]);
        let turn = format!("blob-{}", descriptor.digest.hex());
        let _turn = store.lock_while(&turn, || reporter.check())?;
        // Another build may have fetched it meanwhile.
        if let Some(layer) = self.puller.known(descriptor, diff_id)? {
            return Ok(Fetched { layer, tree: None });
        }
        let reader = self.source.open_blob(self.image, descriptor).map_err(|e| self.failed(e.kind))?;
        let tee = Tee {
            reader,
            writer: store.content().writer()?,
            progress: Transfer::new(reporter, self.task, short(&descriptor.digest), descriptor.size),
        };
        let mut tree = if self.trees { Some(UnfinishedTree::new(store)?) } else { None };
        let mut nothing = NullSink;
        let sink: &mut dyn Sink = tree.as_mut().map_or(&mut nothing, UnfinishedTree::sink);
        let (stored, scanned) = stream(reporter, tee, &store.tmp(), sink);
        // The digest of what came is judged before its content: a lying registry explains a broken archive.
        match stored {
            Err(Trouble::Stopped) => return reporter.check().and(Err(BuildErrorKind::Cancelled)),
            Err(Trouble::Source(error)) => return Err(self.failed(source_kind(error))),
            Err(Trouble::Disk(error)) => return Err(error.into()),
            Ok(writer) => {
                writer.finish_verified(descriptor).map_err(|e| self.failed(mismatch(descriptor, &e)))?;
            }
        }
        let scanned = scanned.map_err(|e| self.unreadable(descriptor, e))?;
        if scanned.diff_id != diff_id {
            let what = format!("the uncompressed layer {}", descriptor.digest);
            let (expected, got) = (diff_id.to_string(), scanned.diff_id.to_string());
            return Err(self.failed(SourceErrorKind::Mismatch { what, expected, got }));
        }
        Ok(Fetched { layer: self.puller.keep(descriptor, scanned)?, tree })
    }

    fn failed(&self, kind: SourceErrorKind) -> BuildErrorKind {
        if matches!(kind, SourceErrorKind::Cancelled) {
            return self.puller.reporter.check().err().unwrap_or(BuildErrorKind::Cancelled);
        }
        let reference = self.image.reference.to_string();
        BuildErrorKind::base(&self.image.reference.familiar(), SourceError { reference, kind })
    }

    fn unreadable(&self, descriptor: &Descriptor, error: TarError) -> BuildErrorKind {
        match error {
            TarError::Sink { path, source } => UnpackError::Place { path, source }.into(),
            TarError::List { .. } => error.into(),
            error => {
                let what = format!("layer {}", descriptor.digest);
                self.failed(SourceErrorKind::Malformed { what, detail: error.to_string() })
            }
        }
    }
}

/// Moves a layer through `tee`, decompression and `sink`, each on a thread of its own. Every byte is read, whatever becomes of it.
fn stream(
    reporter: &Reporter<'_>,
    tee: Tee<'_>,
    tmp: &Path,
    sink: &mut dyn Sink,
) -> (Result<BlobWriter, Trouble>, Result<Scanned, TarError>) {
    let (stored, packed) = relay();
    let (unpacked, plain) = relay();
    let name = &tee.progress.item().to_owned();
    std::thread::scope(|scope| {
        let network = scope.spawn(move || {
            let _span = reporter.span(SpanKind::Download, || name.clone());
            tee.run(stored)
        });
        scope.spawn(move || {
            let _span = reporter.span(SpanKind::Decompress, || name.clone());
            decompress(packed, unpacked);
        });
        let span = reporter.span(SpanKind::Unpack, || name.clone());
        let scanned = scan(plain, tmp, sink);
        drop(span);
        let stored = network.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (stored, scanned)
    })
}

fn decompress(mut packed: Outlet, mut unpacked: Inlet) {
    let done = decompressor(&mut packed, None).and_then(|mut plain| unpacked.pour(&mut plain, |_| Ok(())));
    unpacked.finish(done);
    // What follows the archive, or comes after its reader has given up, still counts for the digest. Errors are the other side's to tell.
    let _ = io::copy(&mut packed, &mut io::sink());
}

fn mismatch(descriptor: &Descriptor, error: &kiln_oci::error::StoreError) -> SourceErrorKind {
    match error {
        kiln_oci::error::StoreError::Mismatch { expected, got, .. } => SourceErrorKind::Mismatch {
            what: format!("layer {}", descriptor.digest),
            expected: expected.clone(),
            got: got.clone(),
        },
        other => SourceErrorKind::Io(io::Error::other(other.to_string())),
    }
}

/// What a source's stream failed with: its own word where it is one.
fn source_kind(error: io::Error) -> SourceErrorKind {
    match error.downcast::<SourceError>() {
        Ok(error) => error.kind,
        Err(error) => SourceErrorKind::Io(error),
    }
}

/// Keeps what is read from the network.
struct Tee<'a> {
    reader: Box<dyn Read + Send>,
    writer: BlobWriter,
    progress: Transfer<'a>,
}

/// Why reading stopped: the sides of a [`Tee`] are different failures.
enum Trouble {
    Source(io::Error),
    Disk(io::Error),
    /// The build is being stopped.
    Stopped,
}

impl Tee<'_> {
    /// Reads to the end. Whoever reads from `out` learns that something failed, but only the result says what.
    fn run(mut self, mut out: Inlet) -> Result<BlobWriter, Trouble> {
        let mut trouble = None;
        let poured = out.pour(&mut self.reader, |piece| {
            if let Err(error) = self.writer.write_all(piece) {
                trouble = Some(Trouble::Disk(error));
                return Err(io::ErrorKind::Other.into());
            }
            self.progress.advance(piece.len() as u64)
        });
        let Err(error) = poured else {
            out.finish(Ok(()));
            return Ok(self.writer);
        };
        out.finish(Err(error.kind().into()));
        if self.progress.was_stopped() {
            return Err(Trouble::Stopped);
        }
        Err(trouble.unwrap_or(Trouble::Source(error)))
    }
}
