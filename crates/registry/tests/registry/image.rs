//! Small images, and a double that serves one honestly except where a test interferes.

use std::collections::BTreeMap;

use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_registry::{PushBlob, RawManifest};

use crate::double::{Reply, Request, Server};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// An image with its blobs.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) manifest: RawManifest,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
}

/// A descriptor of some bytes.
pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        annotations: BTreeMap::new(),
        platform: None,
    }
}

/// Bytes that differ at every place and for every seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(step).collect()
}

/// An image for linux/ARCHITECTURE with layers of these sizes.
pub(crate) fn image(architecture: &str, sizes: &[usize]) -> Image {
    let contents: Vec<Vec<u8>> =
        sizes.iter().enumerate().map(|(i, size)| noise(i as u64 + 7, *size)).collect();
    let diffs: Vec<String> = contents.iter().map(|bytes| Digest::of(bytes).to_string()).collect();
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux",
        "config": {"Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    build(config.to_string().into_bytes(), contents, CONFIG)
}

/// An image of these parts, whatever they are.
pub(crate) fn build(config: Vec<u8>, contents: Vec<Vec<u8>>, config_type: &str) -> Image {
    let layers: Vec<Descriptor> = contents.iter().map(|bytes| descriptor(LAYER, bytes)).collect();
    let document = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor(config_type, &config), "layers": layers,
    });
    Image {
        manifest: RawManifest::new(OCI_MANIFEST, document.to_string().into_bytes()),
        config: descriptor(config_type, &config),
        layers,
        blobs: contents.into_iter().chain([config]).map(|bytes| (Digest::of(&bytes), bytes)).collect(),
    }
}

/// An index of images with their platforms (`linux/amd64`).
pub(crate) fn index(images: &[(&str, &Image)]) -> RawManifest {
    let entry = |(platform, image): &(&str, &Image)| {
        let mut entry = descriptor(&image.manifest.media_type, &image.manifest.bytes);
        entry.platform = Some(platform.parse().unwrap());
        entry
    };
    let entries: Vec<Descriptor> = images.iter().map(entry).collect();
    let document = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    RawManifest::new(OCI_INDEX, document.to_string().into_bytes())
}

impl Image {
    /// Its blobs for a push.
    pub(crate) fn push_blobs(&self, mount_from: &[&str]) -> Vec<PushBlob> {
        let from: Vec<String> = mount_from.iter().map(|from| (*from).to_owned()).collect();
        let all = self.layers.iter().chain([&self.config]);
        all.map(|d| PushBlob { descriptor: d.clone(), mount_from: from.clone() }).collect()
    }

    /// What an honest registry answers about it at `/v2/a/b/`, tag `t`.
    pub(crate) fn answer(&self, root: &RawManifest, request: &Request) -> Reply {
        let rest = request.path.strip_prefix("/v2/a/b/").unwrap_or_default();
        let document = |m: &RawManifest| {
            let reply = Reply::new(200, m.bytes.clone()).with("Content-Type", m.media_type.as_str());
            reply.with("Docker-Content-Digest", m.digest.to_string())
        };
        if let Some(name) = rest.strip_prefix("manifests/") {
            return match name {
                _ if name == "t" || name == root.digest.to_string() => document(root),
                _ if name == self.manifest.digest.to_string() => document(&self.manifest),
                _ => Reply::new(
                    404,
                    r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
                ),
            };
        }
        let digest = rest.strip_prefix("blobs/").and_then(|name| name.parse().ok());
        let Some(bytes) = digest.and_then(|digest: Digest| self.blobs.get(&digest)) else {
            return Reply::new(if request.path == "/v2/" { 200 } else { 404 }, "");
        };
        match request.header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')) {
            Some(from) => {
                let from: usize = from.parse().unwrap();
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::new(206, &bytes[from..]).with("Content-Range", range)
            }
            None => Reply::new(200, bytes.clone()),
        }
    }

    /// A double that serves it at `a/b:t`, except where `interfere` says otherwise.
    pub(crate) fn serve(
        &self,
        interfere: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let image = self.clone();
        Server::start(move |request| interfere(request, image.answer(&image.manifest, request)))
    }

    /// The path of a layer at the double.
    pub(crate) fn layer_path(&self, at: usize) -> String {
        format!("/v2/a/b/blobs/{}", self.layers[at].digest)
    }
}
