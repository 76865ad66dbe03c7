//! Where caches are kept: directories and registries, as the engine knows them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use kiln_build::carry::CacheOptions;
use kiln_build::engine::{Built, Engine};
use kiln_build::event::{Event, Sink, TaskKind};
use kiln_oci::artifact::{ArtifactBlob, ArtifactError, ArtifactPlace, Finish, LayoutPlace};
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_oci::manifest::{BadDocument, Document, Manifest};
use kiln_oci::media_type::OCI_MANIFEST;
use kiln_oci::reference::Reference;
use kiln_oci::source::{SourceError, SourceErrorKind};
use kiln_registry::{Client, Push, PushBlob, RawManifest};

use crate::args::build::BuildArgs;
use crate::args::cache::{CachePlace, CacheTo};
use crate::args::output::ImageSpec;
use crate::errors::CliError;
use crate::render::Screen;
use crate::request::layer_form;

/// The most images of an index that are asked for records.
const PLATFORMS: usize = 32;

/// A reference of a registry.
pub(crate) struct RegistryPlace {
    client: Client,
    reference: Reference,
    /// What the manifest named when it was looked at.
    there: OnceLock<Vec<Descriptor>>,
}

impl RegistryPlace {
    /// The artifact that `text` names.
    pub(crate) fn new(client: Client, text: &str) -> Result<Self, CliError> {
        Ok(Self { client, reference: text.parse()?, there: OnceLock::new() })
    }

    fn failed(&self, kind: SourceErrorKind) -> ArtifactError {
        ArtifactError { place: self.name(), kind }
    }

    fn malformed(&self, digest: Digest, error: &BadDocument) -> ArtifactError {
        let (what, detail) = (format!("manifest {digest}"), error.to_string());
        self.failed(SourceErrorKind::Malformed { what, detail })
    }

    /// The manifest of one platform.
    fn one(&self, digest: Digest) -> Result<Manifest, ArtifactError> {
        let reference = Reference { digest: Some(digest), ..self.reference.clone() };
        let raw = self.client.manifest(&reference).map_err(|error| self.failed(error.kind))?;
        Manifest::parse(&raw.bytes).map_err(|e| self.malformed(digest, &e))
    }
}

impl ArtifactPlace for RegistryPlace {
    fn name(&self) -> String {
        self.reference.familiar()
    }

    fn manifest(&self) -> Result<Option<Manifest>, ArtifactError> {
        let raw = match self.client.manifest(&self.reference) {
            Ok(raw) => raw,
            Err(SourceError { kind: SourceErrorKind::NotFound, .. }) => return Ok(None),
            Err(error) => return Err(self.failed(error.kind)),
        };
        let manifest = Manifest::parse(&raw.bytes).map_err(|e| self.malformed(raw.digest, &e))?;
        self.there.get_or_init(|| manifest.layers.clone());
        Ok(Some(manifest))
    }

    fn manifests(&self) -> Result<Vec<Manifest>, ArtifactError> {
        let raw = match self.client.manifest(&self.reference) {
            Ok(raw) => raw,
            Err(SourceError { kind: SourceErrorKind::NotFound, .. }) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(error.kind)),
        };
        match Document::parse(&raw.bytes).map_err(|e| self.malformed(raw.digest, &e))? {
            Document::Manifest(manifest) => Ok(vec![manifest]),
            Document::Index(index) => {
                let images = index.manifests.iter().filter(|d| !d.is_attestation()).take(PLATFORMS);
                images.map(|image| self.one(image.digest)).collect()
            }
        }
    }

    fn has(&self, blob: &Descriptor) -> bool {
        if self.there.get().is_none() {
            // One that cannot be asked has nothing that could be relied on.
            let _ = self.manifest();
        }
        self.there.get().is_some_and(|all| all.iter().any(|there| there.digest == blob.digest))
    }

    fn open_blob(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, ArtifactError> {
        self.client.blob(&self.reference, blob).map_err(|error| self.failed(error.kind))
    }

    fn publish(&self, blobs: &[ArtifactBlob], finish: &mut Finish<'_>) -> Result<Digest, ArtifactError> {
        // What cannot be read is replaced.
        let earlier = self.manifest().unwrap_or_default();
        let (manifest, config) = finish(earlier.as_ref())?;
        let root = RawManifest::new(OCI_MANIFEST, manifest.to_bytes());
        let listed = |descriptor: Descriptor| PushBlob { descriptor, mount_from: Vec::new() };
        let sent = blobs.iter().map(|blob| listed(blob.descriptor.clone()));
        let sent: Vec<PushBlob> = sent.chain([listed(manifest.config.clone())]).collect();
        let open = |wanted: &Descriptor| -> io::Result<Box<dyn Read>> {
            match blobs.iter().find(|blob| blob.descriptor.digest == wanted.digest) {
                Some(blob) => Ok(blob.bytes.open()?),
                None => Ok(Box::new(io::Cursor::new(config.clone()))),
            }
        };
        let tag = self.reference.tag.clone().unwrap_or_else(|| "latest".to_owned());
        let push = Push { target: &self.reference, tags: &[tag], blobs: &sent, manifests: &[], root: &root };
        self.client.push(&push, &open, &|_| ()).map_err(|error| self.failed(error.failure.into_kind()))
    }
}

/// The place that `spec` names.
fn place(spec: &CachePlace, client: &Client) -> Result<Arc<dyn ArtifactPlace>, CliError> {
    Ok(match spec {
        CachePlace::Directory { path, tag } => {
            let path: PathBuf = std::path::absolute(path)?;
            Arc::new(LayoutPlace::new(&path, tag))
        }
        CachePlace::Registry { reference, .. } => Arc::new(RegistryPlace::new(client.clone(), reference)?),
    })
}

/// `--cache-from`
pub(crate) fn sources(args: &BuildArgs, client: &Client) -> Result<Vec<Arc<dyn ArtifactPlace>>, CliError> {
    args.cache_from.iter().map(|from| place(&from.0, client)).collect()
}

/// Whether images carry the records of their steps: `--cache-to type=inline`, or `BUILDKIT_INLINE_CACHE`.
pub(crate) fn inline(args: &BuildArgs, build_args: &BTreeMap<String, String>) -> bool {
    args.cache_to.iter().any(|to| to.place.is_none())
        || build_args.get("BUILDKIT_INLINE_CACHE").is_some_and(|v| is_true(v))
}

/// The truth of a build argument that BuildKit itself reads, as Go does.
pub(crate) fn is_true(value: &str) -> bool {
    matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Registries of caches that may be spoken to in plain HTTP.
pub(crate) fn insecure(args: &BuildArgs) -> Result<Vec<String>, CliError> {
    let places = args
        .cache_from
        .iter()
        .map(|from| &from.0)
        .chain(args.cache_to.iter().filter_map(|to| to.place.as_ref()));
    let mut hosts = Vec::new();
    for place in places {
        if let CachePlace::Registry { reference, insecure: true } = place {
            hosts.push(reference.parse::<Reference>()?.registry);
        }
    }
    Ok(hosts)
}

/// What a build leaves in caches.
pub(crate) struct Keeping<'a> {
    /// The arguments of the build.
    pub(crate) args: &'a BuildArgs,
    /// The client for registries.
    pub(crate) client: &'a Client,
    /// What the Dockerfile is called.
    pub(crate) dockerfile: &'a str,
    /// The image that goes out first, whose layers' form is the caches', too.
    pub(crate) image: Option<&'a ImageSpec>,
    /// Blocks that are compressed at once.
    pub(crate) threads: usize,
}

impl Keeping<'_> {
    /// `--cache-to`, each of them.
    pub(crate) fn write(
        &self,
        (engine, built): (&Engine, &[Built]),
        screen: &Screen,
        cancel: &AtomicBool,
    ) -> Result<(), CliError> {
        for to in &self.args.cache_to {
            // The image has it by now.
            let Some(spec) = &to.place else { continue };
            let place = place(spec, self.client)?;
            let name = format!("write the cache to {}", place.name());
            let written = screen.during(TaskKind::Export, name, |_| {
                engine.export_cache(built, place.as_ref(), &self.options(to), (screen, cancel))
            });
            match written {
                Ok(_) => {}
                Err(error) if to.ignore_error => {
                    let message = format!("the cache was not written: {error}");
                    screen.event(Event::Notice { task: None, message });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn options(&self, to: &CacheTo) -> CacheOptions {
        let mut spec = self.image.cloned().unwrap_or_default();
        if to.compression.is_some() {
            (spec.compression, spec.level) = (to.compression, to.level);
        }
        // Times are the image's business: the same layer serves builds with and without a clock.
        spec.rewrite_timestamp = false;
        let mut build = vec![self.dockerfile.to_owned()];
        build.extend(self.args.target.iter().map(|target| format!("target {target}")));
        build.extend(self.args.platforms.iter().cloned());
        build.extend(
            self.args.tags.iter().map(|tag| tag.rsplit_once(':').map_or(&**tag, |(n, _)| n).to_owned()),
        );
        CacheOptions { build: build.join(" "), all: to.all, form: layer_form(&spec), threads: self.threads }
    }
}
