//! Artifacts: manifests whose configuration and layers are something else than an image's (OCI image spec, manifest.md,
//! "Guidelines for Artifact Usage"), and the places where they lie.
//!
//! kiln carries two kinds of them from machine to machine: the records and layers of a build's steps, and cache mounts. What
//! is in them is `kiln-build`'s business; this module knows how one gets into a place and out of it. A layout on disk is
//! [`LayoutPlace`]; `kiln-cli` makes one of a registry.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blobs::{Blobs, LARGEST_DOCUMENT};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::error::StoreError;
use crate::graph::Graph;
use crate::layout::{EntryName, Layout};
use crate::manifest::Manifest;
use crate::media_type::OCI_MANIFEST;
use crate::source::SourceErrorKind;
use crate::store::{ContentStore, SyncPolicy};

/// A blob that an artifact needs, and where its bytes are.
#[derive(Clone, Debug)]
pub struct ArtifactBlob {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: BlobBytes,
    /// What the place has under this digest may be damaged, and is to be replaced.
    pub anew: bool,
}

/// Where the bytes of an [`ArtifactBlob`] are.
#[derive(Clone)]
pub enum BlobBytes {
    /// In memory.
    Memory(Arc<[u8]>),
    /// In a file.
    File(PathBuf),
}

impl fmt::Debug for BlobBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::File(path) => path.fmt(f),
        }
    }
}

impl BlobBytes {
    /// Opens them at their start.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(io::Cursor::new(bytes.clone())),
            Self::File(path) => Box::new(fs_err::File::open(path)?),
        })
    }
}

/// Why an artifact could not be read or published.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {kind}")]
pub struct ArtifactError {
    /// What messages call the place.
    pub place: String,
    /// What happened.
    pub kind: SourceErrorKind,
}

/// Makes an artifact's manifest out of the one that the place has by now.
pub type Finish<'a> = dyn FnMut(Option<&Manifest>) -> Result<(Manifest, Vec<u8>), ArtifactError> + 'a;

/// A place for one artifact: a tag of a layout, or a reference of a registry.
pub trait ArtifactPlace: Send + Sync {
    /// What messages call it.
    fn name(&self) -> String;

    /// The manifest that is there, verified as far as the place can; `None` if there is none.
    fn manifest(&self) -> Result<Option<Manifest>, ArtifactError>;

    /// As [`ArtifactPlace::manifest`]; if what is there is an index, each manifest that it names.
    fn manifests(&self) -> Result<Vec<Manifest>, ArtifactError> {
        Ok(self.manifest()?.into_iter().collect())
    }

    /// Whether the place surely has the blob, so that it need not be brought there.
    fn has(&self, blob: &Descriptor) -> bool;

    /// Opens a blob. The stream is *not* verified; see [`read_small`] for one that is.
    fn open_blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, ArtifactError>;

    /// Brings `blobs` to the place, then the manifest and configuration that `finish` makes; nothing is visible before all of it
    /// is there. `finish` may be called again if somebody else was faster. Where the place allows it, what other processes publish
    /// at the same time is not lost, and blobs that nothing there refers to any more are removed.
    fn publish(&self, blobs: &[ArtifactBlob], finish: &mut Finish<'_>) -> Result<Digest, ArtifactError>;
}

/// Reads a blob of at most [`LARGEST_DOCUMENT`] bytes whole and verifies it.
pub fn read_small(place: &dyn ArtifactPlace, blob: &Descriptor) -> Result<Vec<u8>, ArtifactError> {
    let failed = |kind| ArtifactError { place: place.name(), kind };
    if blob.size > LARGEST_DOCUMENT {
        let detail = format!("{} bytes are more than kiln reads of such a part", blob.size);
        return Err(failed(SourceErrorKind::Malformed { what: blob.digest.to_string(), detail }));
    }
    let mut bytes = Vec::new();
    let read = place.open_blob(blob)?.take(blob.size + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed(source_kind(error)))?;
    crate::manifest::check(blob, &bytes, &format!("blob {}", blob.digest)).map_err(failed)?;
    Ok(bytes)
}

/// What a place's stream failed with: its own word where it is one.
pub fn source_kind(error: io::Error) -> SourceErrorKind {
    match error.downcast::<crate::source::SourceError>() {
        Ok(error) => error.kind,
        Err(error) => SourceErrorKind::Io(error),
    }
}

/// A tag of an OCI image layout, which other artifacts and images may share.
///
/// Writers hold a lock on the folder of the blobs (`flock`, shared) from before their first blob until their manifest is named;
/// only who gets that lock alone removes blobs that nothing names. So any number of processes publish at once, and none
/// loses a blob that it has just brought.
#[derive(Clone, Debug)]
pub struct LayoutPlace {
    root: PathBuf,
    tag: String,
}

impl LayoutPlace {
    /// The artifact called `tag` in the layout at `root`, neither of which need exist yet.
    pub fn new(root: &Path, tag: &str) -> Self {
        Self { root: root.to_owned(), tag: tag.to_owned() }
    }

    fn failed(&self, error: impl Into<SourceErrorKind>) -> ArtifactError {
        ArtifactError { place: self.name(), kind: error.into() }
    }

    fn store(&self) -> Result<ContentStore, StoreError> {
        // A folder that holds something else is nothing to write blobs into.
        let empty = match fs_err::read_dir(&self.root) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        let begun = self.root.join("blobs").is_dir();
        if !empty && !begun && !Layout::is_layout(&self.root) {
            let detail = "it is not empty, and not a layout".to_owned();
            return Err(StoreError::NotALayout { path: self.root.clone(), detail });
        }
        ContentStore::open_with(&self.root, &self.root.join("blobs"), SyncPolicy::default())
    }

    fn bring(&self, store: &ContentStore, blob: &ArtifactBlob) -> Result<(), SourceErrorKind> {
        if !blob.anew && store.size_of(&blob.descriptor.digest) == Some(blob.descriptor.size) {
            return Ok(());
        }
        let mut writer = store.writer().map_err(kind)?;
        io::copy(&mut blob.bytes.open()?, &mut writer)?;
        if blob.anew {
            store.remove(&blob.descriptor.digest).map_err(kind)?;
        }
        writer.finish_verified(&blob.descriptor).map_err(kind)?;
        Ok(())
    }

    fn name_it(&self, store: &ContentStore, finish: &mut Finish<'_>) -> Result<Digest, ArtifactError> {
        let failed = |error: StoreError| self.failed(kind(error));
        // One that cannot be read is as good as none: it is replaced.
        let earlier = self.manifest().unwrap_or_default();
        let (manifest, config) = finish(earlier.as_ref())?;
        store.put(&config).map_err(failed)?;
        let descriptor = store.put_document(OCI_MANIFEST, &manifest.to_bytes()).map_err(failed)?;
        store.layout().tag(&EntryName::plain(&self.tag), &descriptor).map_err(failed)?;
        Ok(descriptor.digest)
    }
}

impl ArtifactPlace for LayoutPlace {
    fn name(&self) -> String {
        self.root.display().to_string()
    }

    fn manifest(&self) -> Result<Option<Manifest>, ArtifactError> {
        let failed = |error: StoreError| self.failed(kind(error));
        if !self.root.join("oci-layout").exists() {
            return Ok(None);
        }
        let layout = Layout::open(&self.root).map_err(failed)?;
        let Some(descriptor) = layout.resolve(&self.tag).map_err(failed)? else { return Ok(None) };
        let bytes = layout.blobs().read_blob(&descriptor.digest).map_err(failed)?;
        let malformed = |detail: String| {
            self.failed(SourceErrorKind::Malformed {
                what: format!("manifest {}", descriptor.digest),
                detail,
            })
        };
        Manifest::parse(&bytes).map(Some).map_err(|e| malformed(e.to_string()))
    }

    fn has(&self, blob: &Descriptor) -> bool {
        Blobs::of_layout(&self.root).size_of(&blob.digest) == Some(blob.size)
    }

    fn open_blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, ArtifactError> {
        let file = Blobs::of_layout(&self.root).open_sized(blob).map_err(|e| self.failed(kind(e)))?;
        Ok(Box::new(file))
    }

    fn publish(&self, blobs: &[ArtifactBlob], finish: &mut Finish<'_>) -> Result<Digest, ArtifactError> {
        let store = self.store().map_err(|e| self.failed(kind(e)))?;
        let io = |error: io::Error| self.failed(error);
        let folder = self.root.join("blobs");
        let writing = fs_err::File::open(folder.join("sha256")).map_err(io)?;
        writing.lock_shared().map_err(io)?;
        for blob in blobs {
            self.bring(&store, blob).map_err(|e| self.failed(e))?;
        }
        // One after the other from here: what is there is read, added to, and named.
        let turn = fs_err::File::open(&folder).map_err(io)?;
        turn.lock().map_err(io)?;
        let digest = self.name_it(&store, finish)?;
        writing.unlock().map_err(io)?;
        if writing.try_lock().is_ok() {
            drop_unnamed(&store).map_err(|e| self.failed(kind(e)))?;
        }
        Ok(digest)
    }
}

/// Removes the blobs that no entry of the index leads to, and what killed writers left. If anything there cannot be understood, all
/// of it stays.
fn drop_unnamed(store: &ContentStore) -> Result<(), StoreError> {
    let mut named = HashSet::new();
    for entry in store.layout().list()? {
        let Ok(graph) = Graph::walk(store, &entry.descriptor) else { return Ok(()) };
        named.extend(graph.digests());
    }
    for (digest, _) in store.list()? {
        if !named.contains(&digest) {
            store.remove(&digest)?;
        }
    }
    store.sweep(std::time::Duration::ZERO)?;
    Ok(())
}

fn kind(error: StoreError) -> SourceErrorKind {
    match error {
        StoreError::Io(error) => SourceErrorKind::Io(error),
        StoreError::Mismatch { what, expected, got } => SourceErrorKind::Mismatch { what, expected, got },
        StoreError::Missing { digest, .. } => SourceErrorKind::Malformed {
            what: format!("blob {digest}"),
            detail: "it is not there".to_owned(),
        },
        StoreError::Damaged { path, expected, got } => {
            SourceErrorKind::Mismatch { what: path.display().to_string(), expected, got }
        }
        other => SourceErrorKind::Malformed { what: "the layout".to_owned(), detail: other.to_string() },
    }
}

/// Copies a stream and fails unless it is what `blob` promises; nothing more than its size is read.
pub fn copy_verified(from: impl Read, blob: &Descriptor, to: &mut dyn Write) -> Result<(), SourceErrorKind> {
    let mut from = from.take(blob.size + 1);
    let (mut hasher, mut size) = (Hasher::new(), 0);
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(source_kind(error)),
        };
        hasher.update(&buffer[..n]);
        size += n as u64;
        to.write_all(&buffer[..n])?;
    }
    let what = format!("blob {}", blob.digest);
    let (expected, got) = (blob.digest, hasher.finish());
    if size != blob.size {
        let (expected, got) = (format!("{} bytes", blob.size), format!("{size} bytes or more"));
        return Err(SourceErrorKind::Mismatch { what, expected, got });
    }
    if expected != got {
        let (expected, got) = (expected.to_string(), got.to_string());
        return Err(SourceErrorKind::Mismatch { what, expected, got });
    }
    Ok(())
}
