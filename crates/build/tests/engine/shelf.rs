//! A scripted source of images.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use kiln_oci::compose::config_bytes;
use kiln_oci::config::{History, ImageConfig};
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::manifest::{FetchedImage, Manifest};
use kiln_oci::media_type::{Flavour, LayerCompression};
use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;
use kiln_oci::source::{ImageSource, ResolvedImage, SourceError, SourceErrorKind};

/// Longer than any test takes.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(60);

/// Images by name, and what was asked of them.
#[derive(Default)]
pub(crate) struct Shelf {
    images: Mutex<BTreeMap<String, FetchedImage>>,
    blobs: Mutex<BTreeMap<Digest, Vec<u8>>>,
    pub(crate) resolved: AtomicUsize,
    pub(crate) opened: AtomicUsize,
    /// How often it was asked with no time to lose.
    pub(crate) hurried: AtomicUsize,
    /// The layer with this digest comes only when nobody wants it any more.
    pub(crate) stuck: Mutex<Option<Digest>>,
    /// The question for this image is answered only when nobody wants it any more.
    pub(crate) deaf: Mutex<Option<String>>,
    abandoned: (Mutex<bool>, Condvar),
    /// Whether nothing answers any more.
    pub(crate) gone: std::sync::atomic::AtomicBool,
}

/// A tar in the making: the layer of a base image, or an archive.
pub(crate) struct Tape(tar::Builder<Vec<u8>>);

impl Tape {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// A directory if `path` ends in a slash, else a file; mode and owner as given.
    pub(crate) fn with(mut self, path: &str, content: &[u8], (mode, owner): (u32, u64)) -> Self {
        let mut header = header(mode, owner);
        let kind = if path.ends_with('/') { tar::EntryType::Directory } else { tar::EntryType::Regular };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content).unwrap();
        self
    }

    /// A link.
    pub(crate) fn link(mut self, path: &str, target: &str, kind: tar::EntryType) -> Self {
        let mut header = header(0o777, 0);
        header.set_entry_type(kind);
        header.set_size(0);
        self.0.append_link(&mut header, path, target).unwrap();
        self
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A layer with busybox, two users, `/d` with two files.
pub(crate) fn busybox() -> Vec<u8> {
    let program = fs_err::read("/bin/busybox").unwrap();
    let mut tape = Tape::new()
        .with("bin/", b"", (0o755, 0))
        .with("bin/busybox", &program, (0o755, 0))
        .with("etc/", b"", (0o755, 0))
        .with("etc/passwd", b"root:x:0:0::/root:/bin/sh\napp:x:0:0::/home/app:/bin/sh\n", (0o644, 0))
        .with("d/", b"", (0o755, 0))
        .with("d/a", b"a", (0o644, 0))
        .with("d/b", b"b", (0o644, 0))
        .with("tmp/", b"", (0o1777, 0));
    for name in [
        "sh", "cat", "echo", "rm", "mkdir", "mv", "ln", "chmod", "touch", "true", "sleep", "ls", "cp",
        "test", "id", "pwd",
    ] {
        tape = tape.link(&format!("bin/{name}"), "busybox", tar::EntryType::Symlink);
    }
    tape.bytes()
}

fn header(mode: u32, owner: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(crate::ground::MTIME);
    header
}

impl Shelf {
    /// Puts an image with these layers (tars) on the shelf; `change` edits its configuration.
    pub(crate) fn put(&self, name: &str, layers: &[Vec<u8>], change: impl FnOnce(&mut ImageConfig)) {
        let media_type = Flavour::Oci.layer(LayerCompression::None);
        let descriptors: Vec<_> = layers.iter().map(|bytes| Descriptor::of(media_type, bytes)).collect();
        let mut config = ImageConfig::scratch(&Platform::host());
        config.rootfs.diff_ids = layers.iter().map(|bytes| DiffId(Digest::of(bytes))).collect();
        let line = History { created_by: Some("base".to_owned()), ..History::default() };
        config.history = layers.iter().map(|_| line.clone()).collect();
        change(&mut config);
        let config_bytes = config_bytes(&config);
        let config = Descriptor::of(Flavour::Oci.config(), &config_bytes);
        let manifest_bytes = Manifest::new(Flavour::Oci, config, descriptors).to_bytes();
        let manifest = Descriptor::of(Flavour::Oci.manifest(), &manifest_bytes);
        let reference: Reference = name.parse().unwrap();
        let mut blobs = self.blobs.lock().unwrap();
        blobs.extend(layers.iter().map(|bytes| (Digest::of(bytes), bytes.clone())));
        let (reference, name) = (reference.clone(), reference.familiar());
        let root_digest = manifest.digest;
        let image = FetchedImage { reference, root_digest, manifest, manifest_bytes, config_bytes };
        self.images.lock().unwrap().insert(name, image);
    }

    /// From now on the blob with these bytes comes with others.
    pub(crate) fn forge(&self, bytes: &[u8], others: &[u8]) {
        self.blobs.lock().unwrap().insert(Digest::of(bytes), others.to_vec());
    }

    /// How often an image was resolved and a layer opened so far.
    pub(crate) fn asked(&self) -> (usize, usize) {
        (self.resolved.load(Ordering::Relaxed), self.opened.load(Ordering::Relaxed))
    }

    /// Whether nobody wants anything from it.
    pub(crate) fn is_abandoned(&self) -> bool {
        *self.abandoned.0.lock().unwrap()
    }

    /// Waits until nobody wants anything from it.
    fn until_abandoned(&self, reference: &Reference) -> SourceError {
        let (abandoned, changed) = &self.abandoned;
        let waited = changed.wait_timeout_while(abandoned.lock().unwrap(), FOR_EVER, |over| !*over);
        assert!(!waited.unwrap().1.timed_out(), "nobody said that the build had failed");
        SourceError { reference: reference.familiar(), kind: SourceErrorKind::Cancelled }
    }

    fn answer<T>(&self, reference: &Reference, found: Option<T>) -> Result<T, SourceError> {
        let (host, detail) = (reference.registry.clone(), "no route".to_owned());
        let kind = match found {
            _ if self.is_abandoned() => SourceErrorKind::Cancelled,
            _ if self.gone.load(Ordering::Relaxed) => SourceErrorKind::Unreachable { host, detail },
            Some(found) => return Ok(found),
            None => SourceErrorKind::NotFound,
        };
        Err(SourceError { reference: reference.familiar(), kind })
    }
}

impl ImageSource for Shelf {
    fn resolve(&self, reference: &Reference, _: &Platform) -> Result<ResolvedImage, SourceError> {
        self.resolved.fetch_add(1, Ordering::Relaxed);
        if self.deaf.lock().unwrap().as_ref() == Some(&reference.familiar()) {
            return Err(self.until_abandoned(reference));
        }
        let image = self.images.lock().unwrap().get(&reference.familiar()).cloned();
        let image = self.answer(reference, image)?;
        image.verify().map_err(|kind| SourceError { reference: reference.familiar(), kind })
    }

    fn resolve_at_once(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        self.hurried.fetch_add(1, Ordering::Relaxed);
        self.resolve(reference, platform)
    }

    fn open_blob(
        &self,
        image: &ResolvedImage,
        blob: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, SourceError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        if *self.stuck.lock().unwrap() == Some(blob.digest) {
            return Err(self.until_abandoned(&image.reference));
        }
        let bytes = self.blobs.lock().unwrap().get(&blob.digest).cloned();
        Ok(Box::new(Cursor::new(self.answer(&image.reference, bytes)?)))
    }

    fn abandon(&self) {
        *self.abandoned.0.lock().unwrap() = true;
        self.abandoned.1.notify_all();
    }

    fn resume(&self) {
        *self.abandoned.0.lock().unwrap() = false;
    }
}
