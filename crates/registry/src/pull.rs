//! From a reference to an image: index, manifest, configuration, each verified.

use std::sync::Arc;

use kiln_oci::config::ImageConfig;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;
use kiln_oci::source::{ResolvedImage, SourceErrorKind};
use ureq::http::Method;

use crate::error::Failure;
use crate::manifest::{self, Document, Manifest};
use crate::session::{Ask, Payload, Registry, Session, Whole};
use crate::token::Access;

/// The most that a manifest or index may have, in bytes; the limit of other tools, and of registries.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// The most that a configuration may have, in bytes.
const CONFIG_LIMIT: u64 = 8 << 20;
/// How deep indexes may lie in indexes.
const INDEX_DEPTH: usize = 4;

/// A manifest or index as it came from a registry, verified against the digest it was asked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// Its own media type if it has one, else the one it was served with.
    pub media_type: String,
    /// Digest of `bytes`.
    pub digest: Digest,
    /// The exact bytes.
    pub bytes: Vec<u8>,
}

impl RawManifest {
    /// A document to be sent.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        Self { media_type: media_type.to_owned(), digest: Digest::of(&bytes), bytes }
    }
}

/// A repository, and how to speak to its registry.
pub(crate) struct Repository<'a> {
    pub(crate) session: &'a Session,
    pub(crate) registry: Arc<Registry>,
    pub(crate) name: &'a str,
}

impl<'a> Repository<'a> {
    /// The repository of `reference`, and what `first` asked of it. Where a good guess is at hand of how its registry wants to
    /// be spoken to, that request is the test of it: a rebuild of which everything is cached then costs one round trip.
    fn asked<T>(
        session: &'a Session,
        reference: &'a Reference,
        first: impl Fn(&Self) -> Result<T, Failure>,
    ) -> Result<(Self, T), Failure> {
        let of = |registry| Self { session, registry, name: &reference.repository };
        if let Some(guessed) = session.guess(&reference.registry) {
            match first(&of(Arc::clone(&guessed))) {
                Ok(value) => return Ok((of(session.met(&guessed)), value)),
                Err(failure) if failure.is_final() => return Err(failure),
                Err(_) => {}
            }
        }
        let repository = of(session.registry(&reference.registry)?);
        let value = first(&repository)?;
        Ok((repository, value))
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.registry.base, self.name)
    }

    /// Fetches a manifest or index by what `name` says: a tag, or a digest, which it then must have.
    fn fetch(&self, name: &str, expected: Option<&Digest>) -> Result<RawManifest, Failure> {
        let ask = Ask {
            method: Method::GET,
            url: self.url(&format!("manifests/{name}")),
            headers: vec![("accept", manifest::accept())],
            access: &Access::pull(self.name),
            body: Payload::None,
            fine: &[200],
        };
        let what = format!("manifest {name}");
        let Whole { declared, named, bytes } =
            self.session.whole(&self.registry, &ask, &what, MANIFEST_LIMIT)?;
        let digest = Digest::of(&bytes);
        if let Some(expected) = expected.or(named.as_ref()).filter(|expected| **expected != digest) {
            return Err(mismatch(what, expected, &digest));
        }
        Ok(RawManifest { media_type: manifest::media_type(&declared, &bytes), digest, bytes })
    }

    /// The digest that a tag has now, from the headers alone where the registry names it there.
    pub(crate) fn head(&self, name: &str) -> Result<Digest, Failure> {
        let ask = Ask {
            method: Method::HEAD,
            url: self.url(&format!("manifests/{name}")),
            headers: vec![("accept", manifest::accept())],
            access: &Access::pull(self.name),
            body: Payload::None,
            fine: &[200],
        };
        match self.session.send(&self.registry, &ask)?.digest() {
            Some(digest) => Ok(digest),
            None => Ok(self.fetch(name, None)?.digest),
        }
    }

    /// Fetches a blob that is small enough to be held.
    fn small_blob(&self, blob: &Descriptor) -> Result<Vec<u8>, Failure> {
        let what = format!("configuration {}", blob.digest);
        if blob.size > CONFIG_LIMIT {
            let detail = format!("it is larger than {} MiB", CONFIG_LIMIT >> 20);
            return Err(Failure::Malformed { what, detail });
        }
        // Verified as it is read; one that is damaged is fetched instead.
        let known =
            self.session.options().known.as_ref().and_then(|known| known.read_blob(&blob.digest).ok());
        if let Some(bytes) = known {
            return Ok(bytes);
        }
        let ask = Ask {
            method: Method::GET,
            url: self.url(&format!("blobs/{}", blob.digest)),
            headers: vec![("accept", "*/*".to_owned())],
            access: &Access::pull(self.name),
            body: Payload::None,
            fine: &[200],
        };
        let bytes = self.session.whole(&self.registry, &ask, &what, CONFIG_LIMIT)?.bytes;
        check_size(&what, blob.size, bytes.len() as u64)?;
        let digest = Digest::of(&bytes);
        if digest == blob.digest { Ok(bytes) } else { Err(mismatch(what, &blob.digest, &digest)) }
    }

    /// Fetches the manifest or index of `reference` itself. A tag beside a digest is not looked at.
    fn root(&self, reference: &Reference) -> Result<RawManifest, Failure> {
        match &reference.digest {
            Some(digest) => self.fetch(&digest.to_string(), Some(digest)),
            None => self.fetch(tag(reference), None),
        }
    }
}

fn tag(reference: &Reference) -> &str {
    reference.tag.as_deref().unwrap_or("latest")
}

/// Fetches the manifest or index that `reference` names, as it is.
pub(crate) fn raw(session: &Session, reference: &Reference) -> Result<RawManifest, Failure> {
    let (_, raw) = Repository::asked(session, reference, |repository| repository.root(reference))?;
    Ok(raw)
}

/// The digest that `reference` resolves to.
pub(crate) fn digest(session: &Session, reference: &Reference) -> Result<Digest, Failure> {
    if let Some(digest) = reference.digest {
        return Ok(digest);
    }
    let (_, digest) = Repository::asked(session, reference, |repository| repository.head(tag(reference)))?;
    Ok(digest)
}

/// As [`kiln_oci::source::ImageSource::resolve`] says.
pub(crate) fn resolve(
    session: &Session,
    reference: &Reference,
    platform: &Platform,
) -> Result<ResolvedImage, SourceErrorKind> {
    let asked = Repository::asked(session, reference, |repository| repository.root(reference));
    let (repository, mut raw) = asked.map_err(Failure::into_kind)?;
    let root_digest = raw.digest;
    let mut what =
        format!("manifest {}", reference.digest.map_or_else(|| tag(reference).to_owned(), |d| d.to_string()));
    let mut depth = 0;
    let manifest = loop {
        let entries = match manifest::read(&what, &raw.media_type, &raw.bytes).map_err(Failure::into_kind)? {
            (media_type, Document::Manifest(manifest)) => {
                raw.media_type = media_type;
                break manifest;
            }
            (_, Document::Index(entries)) => entries,
        };
        depth += 1;
        if depth > INDEX_DEPTH {
            let detail = format!("more than {INDEX_DEPTH} indexes within each other");
            return Err(SourceErrorKind::Malformed { what: format!("index {root_digest}"), detail });
        }
        let entry = manifest::pick(&entries, platform)?;
        let fetched = repository.fetch(&entry.digest.to_string(), Some(&entry.digest));
        raw = fetched.map_err(|failure| missing(failure, &entry.digest))?;
        what = format!("manifest {}", entry.digest);
        check_size(&what, entry.size, raw.bytes.len() as u64).map_err(Failure::into_kind)?;
    };
    complete(&repository, reference, Root { raw, manifest, root_digest })
}

struct Root {
    raw: RawManifest,
    manifest: Manifest,
    root_digest: Digest,
}

fn complete(
    repository: &Repository<'_>,
    reference: &Reference,
    root: Root,
) -> Result<ResolvedImage, SourceErrorKind> {
    let Root { raw, manifest, root_digest } = root;
    let blob = repository.small_blob(&manifest.config);
    let config_bytes = blob.map_err(|failure| missing(failure, &manifest.config.digest))?;
    let malformed = |detail: String| SourceErrorKind::Malformed {
        what: format!("configuration {}", manifest.config.digest),
        detail,
    };
    let config: ImageConfig = serde_json::from_slice(&config_bytes).map_err(|e| malformed(e.to_string()))?;
    let (diffs, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
    if diffs != layers {
        return Err(malformed(format!("it lists {diffs} layers, the manifest {layers}")));
    }
    Ok(ResolvedImage {
        reference: reference.clone(),
        manifest_digest: raw.digest,
        root_digest,
        manifest_bytes: raw.bytes,
        manifest_media_type: raw.media_type,
        config_descriptor: manifest.config,
        config_bytes,
        config,
        layers: manifest.layers,
    })
}

/// A part of an image that is not there is not the same as an image that is not there.
fn missing(failure: Failure, digest: &Digest) -> SourceErrorKind {
    match failure.into_kind() {
        SourceErrorKind::NotFound => SourceErrorKind::Malformed {
            what: "image".to_owned(),
            detail: format!("the registry does not have its part {digest}"),
        },
        other => other,
    }
}

fn mismatch(what: String, expected: &Digest, got: &Digest) -> Failure {
    Failure::Mismatch { what, expected: expected.to_string(), got: got.to_string() }
}

fn check_size(what: &str, expected: u64, got: u64) -> Result<(), Failure> {
    if expected == got {
        return Ok(());
    }
    let bytes = |n: u64| format!("{n} bytes");
    Err(Failure::Mismatch { what: what.to_owned(), expected: bytes(expected), got: bytes(got) })
}
