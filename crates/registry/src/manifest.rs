//! Manifests and indexes as far as a client must read them: telling them apart, and picking a platform.
//!
//! The bytes are kept and hashed as they came; these types only look into them.

use kiln_oci::descriptor::Descriptor;
use kiln_oci::platform::Platform;
use kiln_oci::source::SourceErrorKind;
use serde::Deserialize;

use crate::error::Failure;

/// OCI image manifest.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, version 2, schema 2.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Configurations of images; old Docker versions pushed them as plain octets.
const CONFIGS: [&str; 3] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/octet-stream",
];

/// What an `Accept` header says.
pub(crate) fn accept() -> String {
    [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST].join(", ")
}

/// A document, looked into.
#[derive(Debug)]
pub(crate) enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Vec<Descriptor>),
}

/// An image manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<serde_json::Value>,
    #[serde(default)]
    layers: Option<serde_json::Value>,
    #[serde(default)]
    manifests: Option<serde_json::Value>,
}

/// The media type that a document calls itself, else the `declared` one. Nothing else about it is looked at.
pub(crate) fn media_type(declared: &str, bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        media_type: String,
    }
    serde_json::from_slice(bytes).map_or_else(|_| declared.to_owned(), |named: Named| named.media_type)
}

/// Reads a manifest or index. `declared` is the media type that came with it (`Content-Type` or a descriptor's); the
/// result's media type is the document's own, where it has one. A document that is both is refused, since clients
/// would disagree on what it is (OCI image spec, manifest.md and CVE-2021-41190).
pub(crate) fn read(what: &str, declared: &str, bytes: &[u8]) -> Result<(String, Document), Failure> {
    let malformed = |detail: String| Failure::Malformed { what: what.to_owned(), detail };
    if declared.starts_with("application/vnd.docker.distribution.manifest.v1+") {
        return Err(malformed(SCHEMA1.to_owned()));
    }
    let raw: Raw = serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
    if raw.schema_version == 1 {
        return Err(malformed(SCHEMA1.to_owned()));
    }
    if raw.manifests.is_some() && (raw.config.is_some() || raw.layers.is_some()) {
        return Err(malformed("it is an index and a manifest at once".to_owned()));
    }
    let known = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];
    let named = raw.media_type.as_deref().unwrap_or(declared);
    if let Some(manifests) = raw.manifests {
        let media_type = if known[..2].contains(&named) { named } else { OCI_INDEX };
        if known[2..].contains(&named) {
            return Err(malformed(format!("it is an index but calls itself {named}")));
        }
        return Ok((media_type.to_owned(), Document::Index(part(what, "manifests", manifests)?)));
    }
    let (Some(config), Some(layers)) = (raw.config, raw.layers) else {
        return Err(malformed("it has neither manifests nor config and layers".to_owned()));
    };
    if known[..2].contains(&named) {
        return Err(malformed(format!("it is a manifest but calls itself {named}")));
    }
    let media_type = if known[2..].contains(&named) { named } else { OCI_MANIFEST };
    let config: Descriptor = part(what, "config", config)?;
    if !CONFIGS.contains(&config.media_type.as_str()) {
        let kind = crate::error::tame(&config.media_type);
        return Err(malformed(format!("not a container image, its configuration is {kind:?}")));
    }
    let layers = part(what, "layers", layers)?;
    Ok((media_type.to_owned(), Document::Manifest(Manifest { config, layers })))
}

const SCHEMA1: &str = "it is in Docker's schema 1, which has been out of use since 2017; push the image again with a \
                       current tool, or convert it (skopeo copy --format v2s2)";

fn part<T: serde::de::DeserializeOwned>(
    what: &str,
    name: &str,
    value: serde_json::Value,
) -> Result<T, Failure> {
    let detail = |e: serde_json::Error| format!("{name}: {e}");
    serde_json::from_value(value).map_err(|e| Failure::Malformed { what: what.to_owned(), detail: detail(e) })
}

/// Picks the entry for a platform: the same variant before one that merely does, the first of equals; a lone entry
/// without platform is taken for any.
pub(crate) fn pick<'a>(
    entries: &'a [Descriptor],
    wanted: &Platform,
) -> Result<&'a Descriptor, SourceErrorKind> {
    let platform = |entry: &Descriptor| {
        let p = entry.platform.as_ref()?;
        Some(Platform::normalised(&p.os, &p.architecture, p.variant.as_deref()))
    };
    let find = |fits: &dyn Fn(&Platform) -> bool| {
        entries.iter().find(|entry| platform(entry).is_some_and(|p| fits(&p)))
    };
    let lone = || entries.first().filter(|entry| entries.len() == 1 && entry.platform.is_none());
    find(&|p| p == wanted).or_else(|| find(&|p| wanted.accepts(p))).or_else(lone).ok_or_else(|| {
        let mut available: Vec<String> = Vec::new();
        for entry in entries {
            let name = platform(entry).map_or_else(|| "no platform given".to_owned(), |p| p.to_string());
            // Attestations are filed under an unknown platform.
            if name != "unknown/unknown" && !available.contains(&name) {
                available.push(crate::error::tame(&name));
            }
        }
        SourceErrorKind::NoPlatform { wanted: wanted.clone(), available }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::digest::Digest;

    fn entry(platform: &str) -> Descriptor {
        let parse = |text: &str| {
            let parts: Vec<&str> = text.split('/').collect();
            Platform {
                os: parts[0].to_owned(),
                architecture: parts[1].to_owned(),
                variant: parts.get(2).map(|v| (*v).to_owned()),
            }
        };
        Descriptor {
            media_type: OCI_MANIFEST.to_owned(),
            digest: Digest::of(platform.as_bytes()),
            size: 1,
            annotations: Default::default(),
            platform: (!platform.is_empty()).then(|| parse(platform)),
        }
    }

    #[test]
    fn a_platform_is_picked() {
        for (wanted, entries, want) in [
            ("linux/amd64", &["linux/arm64/v8", "linux/amd64", "unknown/unknown"][..], Some(1)),
            ("linux/arm64", &["linux/amd64", "linux/arm64/v8"], Some(1)),
            ("linux/arm/v6", &["linux/arm/v7", "linux/arm/v6"], Some(1)),
            ("linux/arm/v5", &["linux/arm/v7", "linux/arm/v6"], None),
            ("linux/amd64", &["linux/amd64/v3", "linux/amd64"], Some(1)),
            ("linux/amd64", &["windows/amd64"], None),
            ("linux/amd64", &[""], Some(0)),
            ("linux/amd64", &["", ""], None),
            ("linux/amd64", &[], None),
        ] {
            let all: Vec<Descriptor> = entries.iter().map(|e| entry(e)).collect();
            let got = pick(&all, &wanted.parse().unwrap()).ok();
            assert_eq!(got, want.map(|i: usize| &all[i]), "{wanted} in {entries:?}");
        }
        let all = [entry("linux/arm64/v8"), entry("unknown/unknown"), entry("linux/arm64")];
        let error = pick(&all, &"linux/amd64".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "no manifest for platform linux/amd64 (it has linux/arm64)");
    }

    #[test]
    fn documents_are_told_apart_by_content() {
        let digest = Digest::of(b"");
        let item = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":0}}"#);
        let config = item(CONFIGS[1]);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        let index = r#"{"schemaVersion":2,"manifests":[]}"#.to_owned();
        let check = |declared: &str, text: &str, want: &str| {
            let got = match read("x", declared, text.as_bytes()) {
                Ok((media_type, Document::Manifest(_))) => format!("manifest {media_type}"),
                Ok((media_type, Document::Index(_))) => format!("index {media_type}"),
                Err(e) => e.to_string(),
            };
            assert!(got.contains(want), "{declared} {text}: {got}");
        };
        check(DOCKER_MANIFEST, &manifest, &format!("manifest {DOCKER_MANIFEST}"));
        check("text/plain", &manifest, &format!("manifest {OCI_MANIFEST}"));
        check(DOCKER_LIST, &index, &format!("index {DOCKER_LIST}"));
        check("", &index, &format!("index {OCI_INDEX}"));
        check(OCI_INDEX, &manifest, "is a manifest but calls itself");
        check(OCI_MANIFEST, &index, "is an index but calls itself");
        check("", &manifest.replace("\"layers\"", "\"manifests\":[],\"layers\""), "at once");
        check("", r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema 1");
        check("application/vnd.docker.distribution.manifest.v1+prettyjws", "{}", "schema 1");
        check("", r#"{"schemaVersion":2}"#, "neither");
        check("", "<html>", "not valid");
        check("", &manifest.replace("sha256", "sha512"), "sha256");
        check("", &manifest.replace(CONFIGS[1], "application/vnd.cncf.helm.config.v1+json"), "helm");
    }
}
