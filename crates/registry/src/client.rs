//! The client: one per program, shared by all threads.

use std::io::Read;
use std::sync::Arc;

use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;
use kiln_oci::source::{ImageSource, ResolvedImage, SourceError};

use crate::blob::BlobReader;
use crate::error::{Failure, PushError};
use crate::options::Options;
use crate::pull::{self, RawManifest};
use crate::push::{self, BlobProvider, Push, PushSink};
use crate::session::Session;

/// Speaks to registries. Clones share connections, tokens and the cancel flag. It is cheap to make: nothing is read
/// and nobody is asked before the first request.
#[derive(Clone)]
pub struct Client {
    session: Arc<Session>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("options", self.session.options()).finish()
    }
}

impl Client {
    /// A client that behaves as `options` say.
    pub fn new(options: Options) -> Self {
        Self { session: Arc::new(Session::new(options)) }
    }

    /// Ends everything that the client and its clones do, blocked reads and writes included, and fails what comes after.
    /// Only name look-ups and connects run on to their time-out.
    pub fn cancel(&self) {
        self.session.cancel();
    }

    /// Takes [`Client::cancel`] back. Nothing may be under way.
    pub fn resume(&self) {
        self.session.resume();
    }

    /// Fetches the manifest or index that `reference` names, verified against the reference's digest, or else against
    /// the one that the registry names. No platform is picked.
    pub fn manifest(&self, reference: &Reference) -> Result<RawManifest, SourceError> {
        pull::raw(&self.session, reference).map_err(|failure| failure.into_source(reference))
    }

    /// The digest that `reference` resolves to now, by a HEAD request where the registry answers it fully. Nothing is
    /// verified; a reference with a digest is not asked about at all.
    pub fn digest(&self, reference: &Reference) -> Result<Digest, SourceError> {
        pull::digest(&self.session, reference).map_err(|failure| failure.into_source(reference))
    }

    /// Opens a blob of `reference`'s repository. The stream resumes by itself after a broken connection and has exactly
    /// the descriptor's size, but its digest is not verified. An error while reading holds a [`SourceError`].
    pub fn blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, SourceError> {
        let open = || -> Result<BlobReader, Failure> {
            let registry = self.session.registry(&reference.registry)?;
            let session = Arc::clone(&self.session);
            BlobReader::open(session, registry, reference, blob)
        };
        open().map(|reader| Box::new(reader) as _).map_err(|failure| failure.into_source(reference))
    }

    /// Pushes an image or an index and returns the root's digest. Blobs that the registry has are not sent, those that it
    /// can mount from another repository neither; nothing is tagged before everything below it is there. It is
    /// idempotent, so a failed push can simply be repeated.
    pub fn push(
        &self,
        push: &Push<'_>,
        blobs: &dyn BlobProvider,
        events: &PushSink<'_>,
    ) -> Result<Digest, PushError> {
        push::run(&self.session, push, blobs, events)
    }
}

impl ImageSource for Client {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, SourceError> {
        pull::resolve(&self.session, reference, platform)
            .map_err(|kind| SourceError { reference: reference.familiar(), kind })
    }

    fn resolve_at_once(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        pull::resolve(&self.session.hasty(), reference, platform)
            .map_err(|kind| SourceError { reference: reference.familiar(), kind })
    }

    fn open_blob(
        &self,
        image: &ResolvedImage,
        blob: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, SourceError> {
        self.blob(&image.reference, blob)
    }

    fn abandon(&self) {
        self.cancel();
    }

    fn resume(&self) {
        Self::resume(self);
    }
}
