//! Getting a base image's layers: one pass verifies, decompresses, indexes and stores each.

use std::io::{self, Read, Write};
use std::sync::Arc;

use kiln_layer::compress::decompressor;
use kiln_layer::tar::TarError;
use kiln_layer::tar::scan::{NullSink, Scanned, scan};
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::source::{ImageSource, ResolvedImage, SourceError, SourceErrorKind};
use kiln_oci::store::BlobWriter;
use serde::{Deserialize, Serialize};

use crate::error::BuildErrorKind;
use crate::event::{TaskId, TaskKind, TaskOutcome};
use crate::key;
use crate::layers::forms::save_index_as;
use crate::layers::{Layer, Pulled};
use crate::report::{Reporter, Transfer, short};
use crate::schedule::side_by_side;
use crate::store::{Store, read_json, write_json};

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
}

impl Puller<'_> {
    /// The layers of `image`, lowest first; those that are in the store already are not fetched.
    pub(crate) fn pull(
        &self,
        source: &dyn ImageSource,
        image: &ResolvedImage,
    ) -> Result<Vec<Arc<Layer>>, BuildErrorKind> {
        let diff_ids = &image.config.rootfs.diff_ids;
        let mut layers: Vec<Option<Arc<Layer>>> = Vec::new();
        for (descriptor, diff_id) in image.layers.iter().zip(diff_ids) {
            layers.push(self.known(descriptor, *diff_id)?);
        }
        let missing: Vec<usize> = (0..layers.len()).filter(|i| layers[*i].is_none()).collect();
        if missing.is_empty() {
            return Ok(layers.into_iter().flatten().collect());
        }
        let name = format!("pull {}", image.reference.familiar());
        let fetched = self.reporter.during(TaskKind::Pull, name, None, |task| {
            self.fetch_all(source, image, &missing, task).map(|l| (l, TaskOutcome::Done))
        })?;
        for (i, layer) in fetched {
            layers[i] = Some(layer);
        }
        Ok(layers.into_iter().flatten().collect())
    }

    /// The layer of a blob that was pulled before, if all that was kept of it is there.
    fn known(&self, descriptor: &Descriptor, diff_id: DiffId) -> Result<Option<Arc<Layer>>, BuildErrorKind> {
        let Some(record) = read_json::<BlobRecord>(&self.store.base_path(&descriptor.digest))? else {
            return Ok(None);
        };
        let whole = self.store.content().size_of(&descriptor.digest) == Some(descriptor.size)
            && self.store.index_path(&record.layer).exists()
            && record.diff_id == diff_id;
        let pulled = Pulled { descriptor: descriptor.clone(), diff_id };
        Ok(whole.then(|| Arc::new(Layer::new(record.layer, record.content, Some(pulled)))))
    }

    fn fetch_all(
        &self,
        source: &dyn ImageSource,
        image: &ResolvedImage,
        missing: &[usize],
        task: TaskId,
    ) -> Result<Vec<(usize, Arc<Layer>)>, BuildErrorKind> {
        side_by_side(AT_ONCE, missing.len(), |i| {
            Ok((missing[i], self.fetch(source, image, missing[i], task)?))
        })
    }

    fn fetch(
        &self,
        source: &dyn ImageSource,
        image: &ResolvedImage,
        i: usize,
        task: TaskId,
    ) -> Result<Arc<Layer>, BuildErrorKind> {
        let (descriptor, diff_id) = (&image.layers[i], image.config.rootfs.diff_ids[i]);
        let turn = format!("blob-{}", descriptor.digest.hex());
        let _turn = self.store.lock_while(&turn, || self.reporter.check())?;
        // Another build may have fetched it meanwhile.
        if let Some(layer) = self.known(descriptor, diff_id)? {
            return Ok(layer);
        }
        let as_base = |source| BuildErrorKind::base(&image.reference.familiar(), source);
        let reader = source.open_blob(image, descriptor).map_err(as_base)?;
        let mut tee = Tee {
            reader,
            writer: self.store.content().writer()?,
            progress: Transfer::new(self.reporter, task, short(&descriptor.digest), descriptor.size),
            trouble: None,
        };
        let trouble = |kind| as_base(SourceError { reference: image.reference.to_string(), kind });
        let scanned = read_layer(&mut tee);
        if tee.progress.was_stopped() {
            return self.reporter.check().and(Err(BuildErrorKind::Cancelled));
        }
        // The digest of what came is judged before its content: a lying registry explains a broken archive.
        if scanned.is_err() && tee.trouble.is_none() {
            // What fails here is in `trouble`.
            let _ = io::copy(&mut tee, &mut io::sink());
        }
        match tee.trouble {
            Some(Trouble::Source(error)) => return Err(trouble(source_kind(error))),
            Some(Trouble::Disk(error)) => return Err(error.into()),
            None => {}
        }
        tee.writer.finish_verified(descriptor).map_err(|e| trouble(mismatch(descriptor, &e)))?;
        let scanned = scanned.map_err(|e| {
            let what = format!("layer {}", descriptor.digest);
            trouble(SourceErrorKind::Malformed { what, detail: e.to_string() })
        })?;
        if scanned.diff_id != diff_id {
            let what = format!("the uncompressed layer {}", descriptor.digest);
            let (expected, got) = (diff_id.to_string(), scanned.diff_id.to_string());
            return Err(trouble(SourceErrorKind::Mismatch { what, expected, got }));
        }
        self.keep(descriptor, scanned)
    }

    fn keep(&self, descriptor: &Descriptor, scanned: Scanned) -> Result<Arc<Layer>, BuildErrorKind> {
        // A layer that kiln made of the same files has another tar, and so other offsets in its index.
        let id = key::chain(&scanned.diff_id.0, &scanned.index.layer_id());
        save_index_as(self.store, &id, &scanned.index)?;
        let content = scanned.index.content_id();
        let record = BlobRecord { layer: id, content, diff_id: scanned.diff_id };
        write_json(&self.store.tmp(), &self.store.base_path(&descriptor.digest), &record)?;
        let pulled = Pulled { descriptor: descriptor.clone(), diff_id: scanned.diff_id };
        Ok(Arc::new(Layer::new(id, content, Some(pulled))))
    }
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

/// Scans the layer in `tee` and reads what follows it, so that every byte was seen.
fn read_layer(tee: &mut Tee<'_>) -> Result<Scanned, TarError> {
    let scanned = {
        let decompressed = decompressor(&mut *tee, None).map_err(unreadable)?;
        scan(decompressed, &mut NullSink)?
    };
    io::copy(tee, &mut io::sink()).map_err(unreadable)?;
    Ok(scanned)
}

fn unreadable(source: io::Error) -> TarError {
    TarError::Read { position: 0, source }
}

/// Keeps what is read from it.
struct Tee<'a> {
    reader: Box<dyn Read + Send>,
    writer: BlobWriter,
    progress: Transfer<'a>,
    /// Why reading stopped: what reads from here wraps errors, and the two sides are different failures.
    trouble: Option<Trouble>,
}

/// Which side of a [`Tee`] failed.
enum Trouble {
    Source(io::Error),
    Disk(io::Error),
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.reader.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                let kind = error.kind();
                self.trouble = Some(Trouble::Source(error));
                return Err(kind.into());
            }
        };
        if let Err(error) = self.writer.write_all(&buffer[..count]) {
            let kind = error.kind();
            self.trouble = Some(Trouble::Disk(error));
            return Err(kind.into());
        }
        self.progress.advance(count as u64)?;
        Ok(count)
    }
}
