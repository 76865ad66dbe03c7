//! Image manifests and indexes (OCI image spec, manifest.md and image-index.md; Docker's schema 2 has the same shape).
//!
//! Documents of others are parsed and their bytes kept; only documents that kiln makes are serialised, always the same
//! way: fields in the order of the specification, maps sorted, no white space.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::ImageConfig;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::media_type::{self, Flavour};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::source::{ResolvedImage, SourceErrorKind};

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// OCI documents may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// For artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// Annotations (not in Docker's documents).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index or manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// OCI documents may leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Manifests and further indexes.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// Annotations (not in Docker's documents).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest or an index, told apart by its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// Why bytes are not an image document.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BadDocument {
    /// Not JSON, or without the fields that it needs.
    #[error("not a valid {what}: {detail}")]
    Invalid {
        /// What it should be.
        what: &'static str,
        /// What the parser says.
        detail: String,
    },
    /// Docker's oldest format, or one of the future.
    #[error("image manifest schema version {version} is not supported (only 2)")]
    Schema {
        /// Its `schemaVersion`.
        version: u64,
    },
    /// It is a manifest and an index at once, or says that it is the other (the confusion of CVE-2021-41190).
    #[error("ambiguous document: it calls itself {said}, and {has}")]
    Ambiguous {
        /// Its media type.
        said: String,
        /// What it has.
        has: &'static str,
    },
}

impl Manifest {
    /// A manifest in the given family of media types.
    pub fn new(flavour: Flavour, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(flavour.manifest().to_owned()),
            artifact_type: None,
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }

    /// The manifest of an artifact: `config` and `layers` are of types that only `artifact_type` knows.
    pub fn of_artifact(artifact_type: &str, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        let artifact_type = Some(artifact_type.to_owned());
        Self { artifact_type, ..Self::new(Flavour::Oci, config, layers) }
    }

    /// Parses a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadDocument> {
        match Document::parse(bytes)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(invalid("manifest")("it is an index")),
        }
    }

    /// Its bytes; the same for the same value, always.
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes_of(self)
    }
}

impl Index {
    /// An index in the given family of media types.
    pub fn new(flavour: Flavour, manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(flavour.index().to_owned()),
            manifests,
            annotations: BTreeMap::new(),
        }
    }

    /// Parses an index.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadDocument> {
        match Document::parse(bytes)? {
            Document::Index(index) => Ok(index),
            Document::Manifest(_) => Err(invalid("index")("it is a manifest")),
        }
    }

    /// Its bytes; the same for the same value, always.
    pub fn to_bytes(&self) -> Vec<u8> {
        bytes_of(self)
    }

    /// The entry for a platform: the first one of exactly this platform, then of its [fallbacks](Platform::fallbacks), then
    /// one that the platform [accepts](Platform::accepts). Attestations are never chosen. An entry without platform, or
    /// a nested index, is chosen only if it is the sole one.
    pub fn select(&self, wanted: &Platform) -> Result<&Descriptor, SourceErrorKind> {
        let images: Vec<&Descriptor> = self.manifests.iter().filter(|d| !d.is_attestation()).collect();
        let platform = |d: &Descriptor| d.platform.as_ref().map(Platform::normal);
        let exactly = |p: &Platform| images.iter().find(|d| platform(d).as_ref() == Some(p)).copied();
        let wanted = wanted.normal();
        let found = exactly(&wanted)
            .or_else(|| wanted.fallbacks().iter().find_map(exactly))
            .or_else(|| images.iter().find(|d| platform(d).is_some_and(|p| wanted.accepts(&p))).copied());
        match (found, images[..].as_ref()) {
            (Some(found), _) => Ok(found),
            (None, [only]) if only.platform.is_none() => Ok(only),
            _ => {
                let available = images.iter().filter_map(|d| platform(d)).map(|p| p.to_string()).collect();
                Err(SourceErrorKind::NoPlatform { wanted, available })
            }
        }
    }
}

impl Document {
    /// Parses a manifest or an index. A document that could be read as both is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadDocument> {
        let head: Head = serde_json::from_slice(bytes).map_err(invalid("manifest or index"))?;
        if head.schema_version != 2 {
            return Err(BadDocument::Schema { version: head.schema_version });
        }
        let said = head.media_type.unwrap_or_default();
        let manifest = head.layers.is_some() || head.config.is_some();
        let ambiguous = |has| Err(BadDocument::Ambiguous { said: said.clone(), has });
        match (manifest, head.manifests.is_some()) {
            (true, true) => ambiguous("has manifests as well as layers"),
            (true, false) if media_type::is_index(&said) => ambiguous("has layers"),
            (false, true) if media_type::is_manifest(&said) => ambiguous("has manifests"),
            (true, false) => {
                serde_json::from_slice(bytes).map(Self::Manifest).map_err(invalid("image manifest"))
            }
            (false, _) if media_type::is_manifest(&said) => {
                Err(invalid("image manifest")("it has neither config nor layers"))
            }
            (false, _) => serde_json::from_slice(bytes).map(Self::Index).map_err(invalid("image index")),
        }
    }
}

/// What was fetched to make a [`ResolvedImage`].
#[derive(Clone, Debug)]
pub struct FetchedImage {
    /// What was asked for.
    pub reference: Reference,
    /// What the reference resolved to (an index, or the manifest itself).
    pub root_digest: Digest,
    /// The manifest's descriptor: by the index that names it, or as the registry announced it.
    pub manifest: Descriptor,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// The configuration's bytes.
    pub config_bytes: Vec<u8>,
}

impl FetchedImage {
    /// Verifies digests and sizes, parses both documents, and checks that there are as many diff ids as layers.
    pub fn verify(self) -> Result<ResolvedImage, SourceErrorKind> {
        check(&self.manifest, &self.manifest_bytes, "manifest")?;
        let manifest = Manifest::parse(&self.manifest_bytes).map_err(|e| malformed("manifest", e))?;
        check(&manifest.config, &self.config_bytes, "image configuration")?;
        if !media_type::is_config(&manifest.config.media_type) {
            let detail = format!("it is an artifact ({}), not an image", manifest.config.media_type);
            return Err(malformed("manifest", detail));
        }
        let config: ImageConfig = serde_json::from_slice(&self.config_bytes)
            .map_err(|e| malformed("image configuration", e.to_string()))?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let (ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
            let detail = format!("it has {ids} diff ids, and the manifest {layers} layers");
            return Err(malformed("image configuration", detail));
        }
        Ok(ResolvedImage {
            reference: self.reference,
            manifest_digest: self.manifest.digest,
            root_digest: self.root_digest,
            manifest_bytes: self.manifest_bytes,
            manifest_media_type: manifest.media_type.unwrap_or(self.manifest.media_type),
            config_descriptor: manifest.config,
            config_bytes: self.config_bytes,
            config,
            layers: manifest.layers,
        })
    }
}

/// Whether `bytes` are what `descriptor` promises; `what` is for the error.
pub fn check(descriptor: &Descriptor, bytes: &[u8], what: &str) -> Result<(), SourceErrorKind> {
    let mismatch = |expected: String, got: String| {
        Err(SourceErrorKind::Mismatch { what: what.to_owned(), expected, got })
    };
    if bytes.len() as u64 != descriptor.size {
        return mismatch(format!("{} bytes", descriptor.size), format!("{} bytes", bytes.len()));
    }
    let got = Digest::of(bytes);
    if got != descriptor.digest {
        return mismatch(descriptor.digest.to_string(), got.to_string());
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

fn bytes_of(document: &impl Serialize) -> Vec<u8> {
    // Infallible: the documents are strings, numbers, lists and string maps.
    serde_json::to_vec(document).unwrap_or_default()
}

fn invalid<E: ToString>(what: &'static str) -> impl Fn(E) -> BadDocument {
    move |error| BadDocument::Invalid { what, detail: error.to_string() }
}

fn malformed(what: &str, detail: impl ToString) -> SourceErrorKind {
    SourceErrorKind::Malformed { what: what.to_owned(), detail: detail.to_string() }
}

fn null_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(platform: &str) -> Descriptor {
        let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, platform.as_bytes());
        let mut parts = platform.split('/').map(str::to_owned);
        descriptor.platform = (!platform.is_empty()).then(|| Platform {
            os: parts.next().unwrap(),
            architecture: parts.next().unwrap(),
            variant: parts.next(),
        });
        descriptor
    }

    #[test]
    fn selection() {
        let table: &[(&[&str], &str, Option<usize>)] = &[
            (&["linux/arm64", "linux/amd64"], "linux/amd64", Some(1)),
            (&["linux/arm64/v8"], "linux/arm64", Some(0)),
            (&["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3", Some(1)),
            (&["linux/amd64", "linux/amd64/v2"], "linux/amd64/v3", Some(1)),
            (&["linux/amd64"], "linux/amd64/v3", Some(0)),
            (&["linux/amd64/v3", "linux/amd64"], "linux/amd64", Some(1)),
            (&["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", Some(1)),
            (&["linux/arm/v7"], "linux/arm/v6", None),
            (&["linux/arm"], "linux/arm/v7", Some(0)),
            (&["windows/amd64"], "linux/amd64", None),
            (&["unknown/unknown"], "linux/amd64", None),
            (&[""], "linux/amd64", Some(0)),
            (&["", "linux/arm64"], "linux/amd64", None),
            (&["", "unknown/unknown"], "linux/amd64", Some(0)),
            (&[], "linux/amd64", None),
        ];
        for (entries, wanted, expected) in table {
            let index = Index::new(Flavour::Oci, entries.iter().map(|p| entry(p)).collect());
            let got = index.select(&wanted.parse().unwrap());
            let expected = expected.map(|i| &index.manifests[i]);
            assert_eq!(got.as_ref().ok(), expected.as_ref(), "{wanted} of {entries:?}");
        }
    }

    #[test]
    fn an_attestation_is_never_chosen_even_with_a_platform() {
        let mut attestation = entry("linux/amd64");
        attestation.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
        let index = Index::new(Flavour::Oci, vec![attestation, entry("linux/amd64")]);
        let wanted = "linux/amd64".parse().unwrap();
        assert_eq!(index.select(&wanted).unwrap(), &index.manifests[1]);
    }

    #[test]
    fn documents_are_told_apart_and_ambiguous_ones_refused() {
        let sha = Digest::of(b"");
        let config = format!(r#""config":{{"mediaType":"x","digest":"{sha}","size":0}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,{config},"layers":null}}"#);
        assert!(matches!(Document::parse(manifest.as_bytes()), Ok(Document::Manifest(_))));
        let index = br#"{"schemaVersion":2,"manifests":[],"annotations":null}"#;
        assert!(matches!(Document::parse(index), Ok(Document::Index(_))));
        let refused = [
            (r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#.to_owned(), "as well as"),
            (
                format!(r#"{{"schemaVersion":2,"mediaType":"{}",{config}}}"#, media_type::OCI_INDEX),
                "has layers",
            ),
            (
                format!(
                    r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
                    media_type::DOCKER_MANIFEST
                ),
                "has manifests",
            ),
            (
                format!(r#"{{"schemaVersion":2,"mediaType":"{}"}}"#, media_type::OCI_MANIFEST),
                "neither config",
            ),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "schema version 1"),
            (r#"{"schemaVersion":2,"layers":[]}"#.to_owned(), "config"),
            ("not json".to_owned(), "not a valid"),
        ];
        for (text, reason) in refused {
            let error = Document::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn bytes_are_stable() {
        let mut manifest =
            Manifest::new(Flavour::Docker, Descriptor::of("c", b"c"), vec![Descriptor::of("l", b"l")]);
        for key in ["z", "a", "m"] {
            manifest.annotations.insert(key.to_owned(), String::new());
        }
        let text = String::from_utf8(manifest.to_bytes()).unwrap();
        assert!(text.starts_with(r#"{"schemaVersion":2,"mediaType":"application/vnd.docker"#), "{text}");
        assert!(text.ends_with(r#""annotations":{"a":"","m":"","z":""}}"#), "{text}");
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), manifest);
    }
}
