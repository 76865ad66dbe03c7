//! Writes an image out of the store: as a layout directory, as an OCI archive, as an archive for `docker load`.
//!
//! What is written depends only on the image and the names: archives are sorted, without times and owners. Blobs of
//! directories share their data with the store where the file system can; archives are copied inside the kernel where
//! the destination is a file or a pipe.

mod archive;
mod directory;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::graph::Graph;
use crate::layout::EntryName;
use crate::manifest::{Index, Manifest};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::source::SourceErrorKind;
use crate::store::ContentStore;

pub use archive::ArchiveSink;
pub use directory::Placement;

/// Bytes that are copied before somebody looks whether to go on.
const PIECE: u64 = 8 << 20;

/// An image that is to be written out.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// Where its blobs are.
    pub store: &'a ContentStore,
    /// Its index or manifest, with the annotations that its entry in `index.json` gets.
    pub root: &'a Descriptor,
    /// Its names; may be empty.
    pub names: &'a [Reference],
    /// Once it is set, writing ends with [`ExportError::Interrupted`].
    pub cancel: Option<&'a AtomicBool>,
}

/// Why an image could not be written out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The store cannot give something, or the destination cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory has something else in it.
    #[error("{}: the directory is not empty and not an OCI image layout", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// The archive would have no image that Docker can load.
    #[error("no image for a docker archive: {0}")]
    NoImage(SourceErrorKind),
    /// The archive could not be written.
    #[error("cannot write the archive: {0}")]
    Write(#[source] std::io::Error),
    /// See [`Export::cancel`].
    #[error("interrupted")]
    Interrupted,
}

/// What [`Export::copy`] fails with when it is told to.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

fn was_interrupted(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Interrupted>())
}

impl From<std::io::Error> for ExportError {
    fn from(error: std::io::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Export<'_> {
    /// Writes a layout directory. If `destination` does not exist or is empty, it appears at once and whole; if it is a
    /// layout, the image is added to it as buildx does (`type=oci,tar=false`): blobs first, then `index.json` in one
    /// step, where a name moves to the new image. Anything else is refused.
    pub fn oci_directory(
        &self,
        destination: &std::path::Path,
        placement: Placement,
    ) -> Result<(), ExportError> {
        directory::write(self, destination, placement)
    }

    /// Writes a layout as a tar (`type=oci`), front to back, so that the sink may be a pipe. After an error what was
    /// written so far is of no use.
    pub fn oci_archive(&self, sink: ArchiveSink<'_>) -> Result<(), ExportError> {
        archive::write(self, sink, None)
    }

    /// Writes a tar for `docker load` and `podman load` (`type=docker`): an OCI layout that also has Docker's
    /// `manifest.json`. Every Docker since 1.10 reads the one or the other; zstd layers need Docker 23. Of an index, the
    /// `manifest.json` lists the image for `platform` or else the first, since that format has no platforms.
    pub fn docker_archive(&self, sink: ArchiveSink<'_>, platform: &Platform) -> Result<(), ExportError> {
        archive::write(self, sink, Some(platform))
    }

    /// As [`io::copy`], in pieces: between two files each is still copied inside the kernel.
    fn copy<R, W>(&self, from: &mut R, to: &mut W) -> io::Result<u64>
    where
        R: Read + ?Sized,
        W: Write + ?Sized,
    {
        let mut copied = 0;
        loop {
            self.check()?;
            let piece = io::copy(&mut from.take(PIECE), to)?;
            copied += piece;
            if piece < PIECE {
                return Ok(copied);
            }
        }
    }

    /// Lets the kernel move a whole file into a pipe. What is in the pipe is the file's own memory until it is read, which
    /// [`io::copy`] therefore does not do; but a blob stays what it is.
    fn send(&self, from: &File, to: &File) -> io::Result<u64> {
        let mut sent = 0;
        loop {
            self.check()?;
            match rustix::fs::sendfile(to, from, None, PIECE as usize) {
                Ok(0) => return Ok(sent),
                Ok(piece) => sent += piece as u64,
                Err(Errno::INTR) => {}
                Err(Errno::INVAL | Errno::NOSYS) if sent == 0 => {
                    return self.copy(&mut &*from, &mut &*to);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn check(&self) -> io::Result<()> {
        let cancelled = self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
        if cancelled { Err(io::Error::other(Interrupted)) } else { Ok(()) }
    }

    fn graph(&self) -> Result<Graph, ExportError> {
        Ok(Graph::walk(self.store, self.root)?)
    }

    fn entry_names(&self) -> Vec<EntryName> {
        self.names.iter().map(EntryName::exported).collect()
    }
}

/// Docker's `manifest.json` for one image of `graph`: the one for `platform`, else the first.
fn docker_manifest(graph: &Graph, names: &[Reference], platform: &Platform) -> Result<Vec<u8>, ExportError> {
    let images: Vec<&(Descriptor, Manifest)> =
        graph.manifests.iter().filter(|(d, _)| !d.is_attestation()).collect();
    let index = Index::new(Default::default(), images.iter().map(|(d, _)| d.clone()).collect());
    let chosen = index.select(platform).ok().and_then(|d| images.iter().find(|(m, _)| m.digest == d.digest));
    let Some((_, manifest)) = chosen.or(images.first()) else {
        let (wanted, available) = (platform.clone(), Vec::new());
        return Err(ExportError::NoImage(SourceErrorKind::NoPlatform { wanted, available }));
    };
    let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
    let document = serde_json::json!([{
        "Config": blob_path(&manifest.config.digest),
        "RepoTags": if tags.is_empty() { None } else { Some(tags) },
        "Layers": manifest.layers.iter().map(|l| blob_path(&l.digest)).collect::<Vec<_>>(),
    }]);
    Ok(document.to_string().into_bytes())
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
