//! Small images in a temporary store.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use kiln_oci::compose::{ComposeOptions, ComposedImage, ImageParts, compose, config_bytes};
use kiln_oci::config::{History, ImageConfig};
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::media_type::{Flavour, LayerCompression};
use kiln_oci::reference::Reference;
use kiln_oci::store::ContentStore;

/// A directory with a store in it.
pub(crate) struct Scratch {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) store: ContentStore,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ContentStore::open(&directory.path().join("oci")).unwrap();
        Self { directory, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Stores a layer and gives its descriptor and diff id.
    pub(crate) fn layer(&self, tar: &[u8], compression: LayerCompression) -> (Descriptor, DiffId) {
        let stored = compress(tar, compression);
        let descriptor = self.store.put_document(Flavour::Oci.layer(compression), &stored).unwrap();
        (descriptor, DiffId(Digest::of(tar)))
    }

    /// An image of these layers for a platform.
    pub(crate) fn parts(&self, platform: &str, layers: &[(Descriptor, DiffId)]) -> ImageParts {
        let platform = platform.parse().unwrap();
        let mut config = ImageConfig::scratch(&platform);
        config.created = created();
        config.config.cmd = Some(vec!["/hello".to_owned()]);
        config.rootfs.diff_ids = layers.iter().map(|(_, id)| *id).collect();
        for (number, _) in layers.iter().enumerate() {
            let created_by = Some(format!("COPY {number}"));
            config.history.push(History { created: created(), created_by, ..History::default() });
        }
        config.history.push(History {
            created: created(),
            created_by: Some("CMD [\"/hello\"]".to_owned()),
            empty_layer: true,
            ..History::default()
        });
        ImageParts {
            platform,
            config: config_bytes(&config),
            layers: layers.iter().map(|(d, _)| d.clone()).collect(),
            manifest_annotations: BTreeMap::new(),
            descriptor_annotations: BTreeMap::new(),
        }
    }

    /// Three layers, one in each compression.
    pub(crate) fn three_layers(&self) -> Vec<(Descriptor, DiffId)> {
        let kinds = [LayerCompression::None, LayerCompression::Gzip, LayerCompression::Zstd];
        let tar = |n: usize| tar_of(&[("etc/", b'5', ""), (&format!("etc/file{n}"), b'0', "hello")]);
        kinds.iter().enumerate().map(|(n, kind)| self.layer(&tar(n), *kind)).collect()
    }

    /// A one-platform image of three layers.
    pub(crate) fn image(&self) -> ComposedImage {
        self.composed(&["linux/amd64"], Flavour::Oci)
    }

    /// An image that Docker 20.10 can load (no zstd).
    pub(crate) fn plain_image(&self, flavour: Flavour) -> ComposedImage {
        let layers = self.three_layers();
        let options = ComposeOptions { flavour, ..ComposeOptions::default() };
        compose(&self.store, &[self.parts("linux/amd64", &layers[..2])], &options).unwrap()
    }

    pub(crate) fn composed(&self, platforms: &[&str], flavour: Flavour) -> ComposedImage {
        let layers = self.three_layers();
        let parts: Vec<ImageParts> = platforms.iter().map(|p| self.parts(p, &layers)).collect();
        let options = ComposeOptions { flavour, ..ComposeOptions::default() };
        compose(&self.store, &parts, &options).unwrap()
    }
}

fn created() -> Option<String> {
    // In each history entry too: umoci 0.4 crashes without.
    Some("1970-01-01T00:00:00Z".to_owned())
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

pub(crate) fn compress(tar: &[u8], compression: LayerCompression) -> Vec<u8> {
    match compression {
        LayerCompression::None => tar.to_vec(),
        LayerCompression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            encoder.finish().unwrap()
        }
        LayerCompression::Zstd => zstd::encode_all(tar, 1).unwrap(),
    }
}

/// A tar of entries: path, type flag, and contents or link target.
pub(crate) fn tar_of(entries: &[(&str, u8, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, text) in entries {
        let mut header = tar::Header::new_ustar();
        // Not `set_path`, which refuses what hostile tars have.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(if *kind == b'5' { 0o755 } else { 0o644 });
        header.set_entry_type(tar::EntryType::new(*kind));
        let data = if matches!(kind, b'1' | b'2') {
            header.as_mut_bytes()[157..157 + text.len()].copy_from_slice(text.as_bytes());
            ""
        } else {
            text
        };
        header.set_size(data.len() as u64);
        header.set_cksum();
        tar.append(&header, data.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Runs a program; its output, or `None` if it is not installed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Option<Result<String, String>> {
    let output = match std::process::Command::new(program).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{program}: {error}"),
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let all = text(output.stdout) + &text(output.stderr);
    Some(if output.status.success() { Ok(all) } else { Err(all) })
}

/// Runs a program that has to succeed if it is installed.
pub(crate) fn must(program: &str, arguments: &[&str]) -> String {
    match run(program, arguments) {
        Some(result) => result.unwrap_or_else(|e| panic!("{program} {arguments:?}: {e}")),
        None => String::new(),
    }
}
