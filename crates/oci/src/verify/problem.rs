//! What verification finds.

use crate::media_type::LayerCompression;

use super::tar_scan::TarDefect;

/// One claim that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {kind}")]
pub struct Problem {
    /// Where: the image and its part, or the file.
    pub place: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

/// The ways in which an image can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Something that is named is not there.
    #[error("{path} is missing")]
    Missing {
        /// Its path in the layout or archive.
        path: String,
    },
    /// It could not be read.
    #[error("cannot be read: {detail}")]
    Unreadable {
        /// What the system says.
        detail: String,
    },
    /// Its bytes have another digest.
    #[error("digest is {got}, expected {expected}")]
    Digest {
        /// The digest claimed.
        expected: String,
        /// The digest computed.
        got: String,
    },
    /// It has another size.
    #[error("size is {got} bytes, expected {expected}")]
    Size {
        /// The size claimed.
        expected: u64,
        /// The size found.
        got: u64,
    },
    /// The uncompressed layer has another digest than the configuration says.
    #[error("diff id is {got}, expected {expected}")]
    DiffId {
        /// The diff id claimed.
        expected: String,
        /// The diff id computed.
        got: String,
    },
    /// A document cannot be understood.
    #[error("not valid: {detail}")]
    Malformed {
        /// Why.
        detail: String,
    },
    /// A document says that it is of another type than its descriptor says.
    #[error("media type is {got:?}, its descriptor says {expected:?}")]
    MediaType {
        /// The descriptor's.
        expected: String,
        /// The document's.
        got: String,
    },
    /// The layers are as many as the diff ids, or should be.
    #[error("{layers} layers, but {diff_ids} diff ids")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// The history does not line up with the layers.
    #[error("{history} history entries with a layer, but {layers} layers")]
    History {
        /// Entries that are not `empty_layer`.
        history: usize,
        /// In the manifest.
        layers: usize,
    },
    /// The image is for another platform than the index says.
    #[error("platform is {got}, the index says {expected}")]
    Platform {
        /// The index's.
        expected: String,
        /// The configuration's.
        got: String,
    },
    /// A layer is compressed otherwise than its media type says.
    #[error("compression is {got:?}, the media type says {expected:?}")]
    Compression {
        /// By the media type.
        expected: LayerCompression,
        /// By the first bytes.
        got: LayerCompression,
    },
    /// A layer cannot be decompressed.
    #[error("cannot be decompressed: {detail}")]
    Decompress {
        /// What the decoder says.
        detail: String,
    },
    /// A layer is not a well-formed tar.
    #[error("tar: {0}")]
    Tar(#[from] TarDefect),
    /// A path in a layer is absolute or has a `..`.
    #[error("tar: path {path:?} leads out of the layer")]
    Escape {
        /// The path.
        path: String,
    },
    /// A path is in a layer twice.
    #[error("tar: path {path:?} occurs twice")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A hard link's target is neither before it in its layer nor in a layer below.
    #[error("tar: hard link {path:?} has no target {target:?}")]
    Hardlink {
        /// The link.
        path: String,
        /// What it points at.
        target: String,
    },
    /// The same in one place more often than is worth telling.
    #[error("tar: more problems of this kind are not listed")]
    More,
    /// A file that has no business where it is.
    #[error("not a blob: its name is no digest")]
    Stray,
}
