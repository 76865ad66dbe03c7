//! What can go wrong while unpacking.

use std::io;

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The directory to unpack into cannot be opened.
    #[error("cannot unpack")]
    Open {
        /// Why, with the path.
        source: io::Error,
    },
    /// One member cannot be put in its place.
    #[error("cannot unpack {path}")]
    Place {
        /// Which one, as a path inside the image.
        path: String,
        /// Why.
        source: io::Error,
    },
}
