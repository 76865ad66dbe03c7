//! Where base images come from: the one seam between the engine and the network.
//!
//! `kiln-build` asks for images through [`ImageSource`]; the registry client, an OCI layout on disk and test doubles
//! implement it; `kiln-cli` does the wiring.

use std::io::Read;

use crate::config::ImageConfig;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::reference::Reference;

/// An image whose manifest and configuration were fetched and verified; its layers were not.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// What was asked for.
    pub reference: Reference,
    /// Digest of the platform's manifest.
    pub manifest_digest: Digest,
    /// Digest that the reference itself resolved to (that of the index, if it is one).
    pub root_digest: Digest,
    /// The manifest's exact bytes.
    pub manifest_bytes: Vec<u8>,
    /// Its media type.
    pub manifest_media_type: String,
    /// The configuration's descriptor.
    pub config_descriptor: Descriptor,
    /// The configuration's exact bytes.
    pub config_bytes: Vec<u8>,
    /// The configuration, parsed. `rootfs.diff_ids` has as many entries as `layers`.
    pub config: ImageConfig,
    /// The layers' descriptors, lowest first.
    pub layers: Vec<Descriptor>,
}

/// Something that has images.
pub trait ImageSource: Send + Sync {
    /// Finds `reference` for `platform`: picks the manifest from an index, fetches the configuration, verifies the
    /// digest and size of each. No layer is fetched. Without an index, an image of another platform is returned as it is
    /// (the caller warns).
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, SourceError>;

    /// [`ImageSource::resolve`] for who can do without an answer: what fails is not tried again, so that it fails soon.
    fn resolve_at_once(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        self.resolve(reference, platform)
    }

    /// Opens a blob of `image` as stored (compressed). The stream is *not* verified: the caller hashes it while it
    /// writes. It may be called from several threads at once.
    fn open_blob(
        &self,
        image: &ResolvedImage,
        blob: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, SourceError>;

    /// Nobody wants anything from it any more: what is under way may end with [`SourceErrorKind::Cancelled`], and what waits for a
    /// network should, at once. For sources that never wait there is nothing to do.
    fn abandon(&self) {}

    /// It is wanted again after [`ImageSource::abandon`], and nothing is under way.
    fn resume(&self) {}
}

/// Why an image could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{reference}: {kind}")]
pub struct SourceError {
    /// The image, as the user would write it.
    pub reference: String,
    /// What happened.
    pub kind: SourceErrorKind,
}

/// The ways in which a source fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// There is no such image (404, or no such tag in a layout).
    #[error("not found")]
    NotFound,
    /// A layout has images, but not this one, or several that could be meant.
    #[error("no image {wanted:?} in the layout (it has {})", available.join(", "))]
    NotInLayout {
        /// The tag that was looked for.
        wanted: String,
        /// What there is.
        available: Vec<String>,
    },
    /// The index has no manifest for the platform.
    #[error("no manifest for platform {wanted} (it has {})", available.join(", "))]
    NoPlatform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        available: Vec<String>,
    },
    /// 401 or 403 with the credentials at hand.
    #[error("access denied: {detail}")]
    Denied {
        /// What the server said, and which credentials were tried.
        detail: String,
    },
    /// 429 even after waiting.
    #[error("rate limited: {detail}")]
    RateLimited {
        /// What the server said.
        detail: String,
    },
    /// No connection (name, route, TLS, time-out).
    #[error("cannot reach {host}: {detail}")]
    Unreachable {
        /// `host:port`.
        host: String,
        /// The cause.
        detail: String,
    },
    /// The server answered with an error that retries did not mend.
    #[error("{url} answered {status}: {detail}")]
    Server {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// What came is not what its descriptor promised.
    #[error("{what} does not match its descriptor: expected {expected}, got {got}")]
    Mismatch {
        /// Which object.
        what: String,
        /// Digest or size promised.
        expected: String,
        /// Digest or size received.
        got: String,
    },
    /// A document that cannot be understood.
    #[error("{what} is not valid: {detail}")]
    Malformed {
        /// Which object.
        what: String,
        /// Why.
        detail: String,
    },
    /// The caller asked the source to stop.
    #[error("cancelled")]
    Cancelled,
    /// Local I/O failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
