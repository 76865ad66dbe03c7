//! Why something on disk could not be read or written.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::{BadDigest, Digest};

/// Why a store, a layout or an archive could not be read or written. Each variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused; the message names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no such blob.
    #[error("{}: there is no such blob", path.display())]
    Missing {
        /// Which blob.
        digest: Digest,
        /// Where it would be.
        path: PathBuf,
    },
    /// A blob's bytes are not what its name says: the disk, a power loss or somebody else damaged it.
    #[error(
        "{}: the blob is damaged: expected {expected}, got {got} (`kiln verify` lists what is damaged; \
         remove the file or run `kiln prune`, and the next build makes or fetches it again)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Digest or size that it should have.
        expected: String,
        /// Digest or size that it has.
        got: String,
    },
    /// What was written is not what its descriptor promised; nothing was kept.
    #[error("{what} does not match its descriptor: expected {expected}, got {got}")]
    Mismatch {
        /// What was written.
        what: String,
        /// Digest or size promised.
        expected: String,
        /// Digest or size that came.
        got: String,
    },
    /// A document cannot be understood.
    #[error("{}: {detail}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        detail: String,
    },
    /// A directory is no OCI image layout.
    #[error("{}: not an OCI image layout: {detail}", path.display())]
    NotALayout {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A document names a digest that kiln cannot use.
    #[error(transparent)]
    Digest(#[from] BadDigest),
}

/// Adds the path to an error of a call that does not do so itself.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
