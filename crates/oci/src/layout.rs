//! The `index.json` of an image layout: which images it has and how they are called.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::blobs::Blobs;
use crate::crash;
use crate::descriptor::Descriptor;
use crate::error::{StoreError, at};
use crate::media_type::OCI_INDEX;
use crate::reference::Reference;

/// The annotation with an entry's name (image-layout.md, `index.json`).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with an entry's full name, as containerd and Docker read it.
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// An image layout directory. Cheap to clone; holds no file open.
///
/// Readers need no lock, since `index.json` is only ever replaced whole. Writers take the lock file `index.json.lock`
/// (flock; the one that BuildKit's clients use) around read, change and rename, so that no change of any process is lost.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    temporaries: PathBuf,
}

/// How an entry of `index.json` is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryName {
    /// For [`REF_NAME`].
    pub ref_name: String,
    /// For [`IMAGE_NAME`].
    pub image_name: Option<String>,
}

/// An entry of `index.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, if it has one.
    pub name: Option<EntryName>,
    /// What it points at, all annotations included.
    pub descriptor: Descriptor,
}

impl EntryName {
    /// The name of an image in kiln's store, where many repositories lie side by side: `debian:12` and
    /// `docker.io/library/debian:12`. A digest in the reference is left out.
    pub fn stored(reference: &Reference) -> Self {
        let plain = Self::undigested(reference);
        Self { ref_name: plain.familiar(), image_name: Some(plain.to_string()) }
    }

    /// The name of an image in a layout that is handed to other tools, as buildx writes it: `12` and
    /// `docker.io/library/debian:12`.
    pub fn exported(reference: &Reference) -> Self {
        let plain = Self::undigested(reference);
        let ref_name = plain.tag.clone().unwrap_or_default();
        Self { ref_name, image_name: Some(plain.to_string()) }
    }

    /// Any text, without a full name.
    pub fn plain(text: &str) -> Self {
        Self { ref_name: text.to_owned(), image_name: None }
    }

    fn undigested(reference: &Reference) -> Reference {
        let tag = reference.tag.clone().or_else(|| Some("latest".to_owned()));
        Reference { digest: None, tag, ..reference.clone() }
    }

    fn of(annotation: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let image_name = annotation(IMAGE_NAME);
        let ref_name = annotation(REF_NAME).or_else(|| image_name.clone())?;
        Some(Self { ref_name, image_name })
    }

    /// Whether `text`, as a user types it, means this name: the same text, or the same reference.
    pub fn answers_to(&self, text: &str) -> bool {
        self.ref_name == text
            || self.image_name.as_deref().is_some_and(|full| {
                full == text || text.parse::<Reference>().is_ok_and(|r| full == r.to_string())
            })
    }
}

impl Layout {
    /// The layout at `root`, which must be one.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let layout = Self { root: root.to_path_buf(), temporaries: root.to_path_buf() };
        layout.check_version()?;
        Ok(layout)
    }

    /// Makes `root` a layout, or takes it as it is if it is one. Temporary files go to `temporaries`, on the same file
    /// system. Several processes may do this at once.
    pub fn create(root: &Path, temporaries: &Path) -> Result<Self, StoreError> {
        let layout = Self { root: root.to_path_buf(), temporaries: temporaries.to_path_buf() };
        fs_err::create_dir_all(root.join("blobs/sha256"))?;
        fs_err::create_dir_all(temporaries)?;
        if !root.join("index.json").exists() {
            layout.change(|_| ())?;
        }
        if !root.join("oci-layout").exists() {
            layout.replace("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        layout.check_version()?;
        Ok(layout)
    }

    /// Whether `path` looks like a layout.
    pub fn is_layout(path: &Path) -> bool {
        path.join("oci-layout").is_file()
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its blobs.
    pub fn blobs(&self) -> Blobs {
        Blobs::of_layout(&self.root)
    }

    /// Every entry, in the order of the file. Entries that kiln cannot use (another digest algorithm) are left out.
    pub fn list(&self) -> Result<Vec<Entry>, StoreError> {
        Ok(IndexFile::read(&self.index_path())?.entries())
    }

    /// Finds the entry that `name` means: by [`REF_NAME`], by [`IMAGE_NAME`], or as the same reference.
    pub fn resolve(&self, name: &str) -> Result<Option<Descriptor>, StoreError> {
        let entries = self.list()?;
        let exact = entries.iter().find(|e| e.name.as_ref().is_some_and(|n| n.ref_name == name));
        let found = exact.or_else(|| entries.iter().find(|e| answers(e, name)));
        Ok(found.map(|e| e.descriptor.clone()))
    }

    /// Gives `name` to `descriptor`, and takes it from what had it before. Atomic against a kill and against other
    /// processes.
    pub fn tag(&self, name: &EntryName, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.change(|index| index.put(Some(name), descriptor))
    }

    /// Lists `descriptor` without a name, unless it is listed already.
    pub fn add_nameless(&self, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.change(|index| index.put(None, descriptor))
    }

    /// Does [`Layout::tag`] for each name (without names [`Layout::add_nameless`]) in one step.
    pub fn put(&self, names: &[EntryName], descriptor: &Descriptor) -> Result<(), StoreError> {
        self.change(|index| index.put_all(names, descriptor))
    }

    /// Removes each entry that [answers to](EntryName::answers_to) `name`; tells whether there was one.
    pub fn untag(&self, name: &str) -> Result<bool, StoreError> {
        self.change(|index| index.retain(|e| !answers(e, name)))
    }

    /// Removes the entries for which `keep` is false; tells whether there were any. Entries that kiln cannot use stay.
    pub fn retain(&self, keep: impl FnMut(&Entry) -> bool) -> Result<bool, StoreError> {
        self.change(|index| index.retain(keep))
    }

    fn change<T>(&self, change: impl FnOnce(&mut IndexFile) -> T) -> Result<T, StoreError> {
        let _lock = IndexLock::acquire(&self.root)?;
        let path = self.index_path();
        let mut index = if path.exists() { IndexFile::read(&path)? } else { IndexFile::empty() };
        let before = index.bytes();
        let value = change(&mut index);
        if index.bytes() != before || !path.exists() {
            self.replace("index.json", index.bytes().as_bytes())?;
        }
        Ok(value)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        let mut file =
            tempfile::Builder::new().prefix(".index-").permissions(mode).tempfile_in(&self.temporaries)?;
        file.write_all(bytes)?;
        let path = self.root.join(name);
        crash::around(|| file.persist(&path)).map_err(|e| at(&path)(e.error))?;
        Ok(())
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn check_version(&self) -> Result<(), StoreError> {
        let path = self.root.join("oci-layout");
        let not = |detail: String| StoreError::NotALayout { path: self.root.clone(), detail };
        let bytes = match fs_err::read(&path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(not("it has no file oci-layout".to_owned()));
            }
            other => other?,
        };
        check_version(&bytes).map_err(not)
    }
}

/// Checks the contents of an `oci-layout` file (image-layout.md): version 1.x.
pub fn check_version(bytes: &[u8]) -> Result<(), String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| format!("oci-layout: {e}"))?;
    match value.get("imageLayoutVersion").and_then(Value::as_str) {
        Some(version) if version.starts_with("1.") => Ok(()),
        Some(version) => Err(format!("oci-layout: version {version} is not known")),
        None => Err("oci-layout: no imageLayoutVersion".to_owned()),
    }
}

/// The entries of an `index.json`; those that kiln cannot use are left out.
pub fn entries_of(index: &[u8], path: &Path) -> Result<Vec<Entry>, StoreError> {
    Ok(IndexFile::parse(index, path)?.entries())
}

/// The bytes of a new `index.json` with these entries.
pub fn index_json(names: &[EntryName], descriptor: &Descriptor) -> Vec<u8> {
    let mut index = IndexFile::empty();
    index.put_all(names, descriptor);
    index.bytes().into_bytes()
}

fn answers(entry: &Entry, name: &str) -> bool {
    entry.name.as_ref().is_some_and(|n| n.answers_to(name))
}

/// `index.json` as it is on disk: fields and entries that kiln does not know survive a change.
struct IndexFile {
    document: Map<String, Value>,
    manifests: Vec<Value>,
}

impl IndexFile {
    fn empty() -> Self {
        let mut document = Map::new();
        document.insert("schemaVersion".to_owned(), json!(2));
        document.insert("mediaType".to_owned(), json!(OCI_INDEX));
        Self { document, manifests: Vec::new() }
    }

    fn read(path: &Path) -> Result<Self, StoreError> {
        Self::parse(&fs_err::read(path)?, path)
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, StoreError> {
        let malformed = |detail: String| StoreError::Malformed {
            path: path.to_path_buf(),
            detail: format!(
                "{detail} (the list of images is damaged, the blobs are not: remove the file, then build or tag again)"
            ),
        };
        let mut document: Map<String, Value> =
            serde_json::from_slice(bytes).map_err(|e| malformed(e.to_string()))?;
        let manifests = match document.remove("manifests") {
            Some(Value::Array(manifests)) => manifests,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err(malformed("manifests is not a list".to_owned())),
        };
        Ok(Self { document, manifests })
    }

    fn bytes(&self) -> String {
        let mut document = self.document.clone();
        document.insert("manifests".to_owned(), Value::Array(self.manifests.clone()));
        Value::Object(document).to_string()
    }

    fn entries(&self) -> Vec<Entry> {
        self.manifests.iter().filter_map(entry).collect()
    }

    fn put_all(&mut self, names: &[EntryName], descriptor: &Descriptor) {
        names.iter().for_each(|name| self.put(Some(name), descriptor));
        if names.is_empty() {
            self.put(None, descriptor);
        }
    }

    fn put(&mut self, name: Option<&EntryName>, descriptor: &Descriptor) {
        let mut descriptor = descriptor.clone();
        descriptor.annotations.remove(REF_NAME);
        descriptor.annotations.remove(IMAGE_NAME);
        let Some(name) = name else {
            if !self.entries().iter().any(|e| e.descriptor.digest == descriptor.digest) {
                self.push(&descriptor);
            }
            return;
        };
        // A name moves, and a nameless entry of the same image gets it.
        self.retain(|e| match &e.name {
            Some(other) => !other.collides_with(name),
            None => e.descriptor.digest != descriptor.digest,
        });
        descriptor.annotations.insert(REF_NAME.to_owned(), name.ref_name.clone());
        if let Some(full) = &name.image_name {
            descriptor.annotations.insert(IMAGE_NAME.to_owned(), full.clone());
        }
        self.push(&descriptor);
    }

    fn push(&mut self, descriptor: &Descriptor) {
        // Infallible: a descriptor is strings, numbers and string maps.
        if let Ok(value) = serde_json::to_value(descriptor) {
            self.manifests.push(value);
        }
    }

    fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) -> bool {
        let before = self.manifests.len();
        self.manifests.retain(|value| entry(value).is_none_or(|e| keep(&e)));
        self.manifests.len() != before
    }
}

impl EntryName {
    /// Whether both cannot stand in one index: the same full name, or the same reference name where one of them has no
    /// full name (`latest` of two different repositories may).
    fn collides_with(&self, other: &Self) -> bool {
        match (&self.image_name, &other.image_name) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => self.ref_name == other.ref_name,
        }
    }
}

fn entry(value: &Value) -> Option<Entry> {
    let descriptor: Descriptor = serde_json::from_value(value.clone()).ok()?;
    let name = EntryName::of(|key| descriptor.annotations.get(key).cloned());
    Some(Entry { name, descriptor })
}

/// Holds `index.json.lock` until it is dropped, which also removes the file.
struct IndexLock {
    file: fs_err::File,
}

impl IndexLock {
    fn acquire(root: &Path) -> Result<Self, StoreError> {
        let path = root.join("index.json.lock");
        loop {
            let file = fs_err::OpenOptions::new().create(true).append(true).open(&path)?;
            file.lock()?;
            // The holder before may have removed the file that this handle is of; then the lock guards nothing.
            let mine = file.metadata()?;
            match fs_err::metadata(&path) {
                Ok(now) if now.ino() == mine.ino() && now.dev() == mine.dev() => return Ok(Self { file }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        // Still locked here: nobody else can have replaced it. A file left behind does no harm.
        let _ = fs_err::remove_file(self.file.path());
    }
}
