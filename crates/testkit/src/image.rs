//! Reading what came out, without any of kiln's own code: JSON and tar as the specifications have them.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

/// An OCI layout in a folder, and the one image of it.
#[derive(Debug)]
pub struct Layout {
    /// The folder.
    pub path: PathBuf,
    /// The digest of the image's manifest.
    pub digest: String,
    /// The manifest.
    pub manifest: Value,
    /// The config.
    pub config: Value,
}

/// One file of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Kind, as tar names it.
    pub kind: tar::EntryType,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Where a link leads.
    pub link: Option<PathBuf>,
    /// A regular file's bytes.
    pub content: Vec<u8>,
}

impl Layout {
    /// Reads the layout's first image.
    ///
    /// # Panics
    /// When it is not one.
    pub fn open(path: &Path) -> Self {
        let index = json(&path.join("index.json"));
        let digest = text(&index["manifests"][0]["digest"]);
        let manifest = json(&blob(path, &digest));
        let config = json(&blob(path, &text(&manifest["config"]["digest"])));
        Self { path: path.to_owned(), digest, manifest, config }
    }

    /// The layers' digests, the lowest first.
    pub fn layers(&self) -> Vec<String> {
        let layers = self.manifest["layers"].as_array().expect("a manifest has layers");
        layers.iter().map(|l| text(&l["digest"])).collect()
    }

    /// The entries of one layer by path, whiteouts and all. Paths have no slash in front or behind.
    pub fn layer(&self, digest: &str) -> BTreeMap<String, Entry> {
        let mut archive = tar::Archive::new(self.uncompressed(digest));
        let entries = archive.entries().expect("a layer is a tar archive");
        entries.map(|entry| read_entry(entry.expect("a layer is a whole tar archive"))).collect()
    }

    /// A layer's uncompressed bytes.
    pub fn uncompressed(&self, digest: &str) -> Box<dyn Read> {
        let path = blob(&self.path, digest);
        let mut file = BufReader::new(fs_err::File::open(&path).expect("a manifest's blobs are there"));
        let magic = std::io::BufRead::fill_buf(&mut file).expect("a blob can be read");
        if magic.starts_with(&[0x1f, 0x8b]) {
            Box::new(flate2::bufread::MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        }
    }

    /// The image's files: all layers, one over the other.
    pub fn files(&self) -> BTreeMap<String, Entry> {
        let mut files = BTreeMap::new();
        for digest in self.layers() {
            apply(&mut files, self.layer(&digest));
        }
        files
    }

    /// A regular file's text.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn file(&self, path: &str) -> String {
        let entry = self.files().remove(path).unwrap_or_else(|| panic!("no {path} in the image"));
        String::from_utf8(entry.content).expect("text")
    }
}

/// Puts a layer over what lies below it.
fn apply(files: &mut BTreeMap<String, Entry>, layer: BTreeMap<String, Entry>) {
    for path in layer.keys() {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(hidden) = name.strip_prefix(".wh.") else { continue };
        if hidden == ".wh..opq" {
            remove_below(files, parent);
        } else {
            let gone = if parent.is_empty() { hidden.to_owned() } else { format!("{parent}/{hidden}") };
            remove_below(files, &gone);
            files.remove(&gone);
        }
    }
    for (path, entry) in layer {
        if path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh.")) {
            continue;
        }
        if entry.kind != tar::EntryType::Directory {
            remove_below(files, &path);
        }
        files.insert(path, entry);
    }
}

fn remove_below(files: &mut BTreeMap<String, Entry>, parent: &str) {
    let prefix = format!("{parent}/");
    files.retain(|path, _| !(parent.is_empty() || path.starts_with(&prefix)));
}

fn read_entry(mut entry: tar::Entry<'_, Box<dyn Read>>) -> (String, Entry) {
    let path =
        entry.path().expect("a path").to_string_lossy().trim_start_matches("./").trim_matches('/').to_owned();
    let mut content = Vec::new();
    entry.read_to_end(&mut content).expect("a whole entry");
    let header = entry.header();
    let number = "a number";
    let read = Entry {
        kind: header.entry_type(),
        mode: header.mode().expect(number) & 0o7777,
        uid: header.uid().expect(number),
        gid: header.gid().expect(number),
        mtime: header.mtime().expect(number),
        link: entry.link_name().expect("a path").map(|l| l.into_owned()),
        content,
    };
    (path, read)
}

/// `sha256:` and the hexadecimal digest of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"))
}

/// The path of a blob in a layout.
pub fn blob(layout: &Path, digest: &str) -> PathBuf {
    layout.join("blobs").join(digest.replacen(':', "/", 1))
}

fn json(path: &Path) -> Value {
    let bytes = fs_err::read(path).expect("a layout's documents are there");
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
