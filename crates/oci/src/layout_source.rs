//! Images from a layout on disk: `oci-layout://DIR[:tag][@digest]`, and kiln's own store.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::blobs::Blobs;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::layout::{Entry, Layout};
use crate::manifest::{Document, FetchedImage, Index};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::source::{ImageSource, ResolvedImage, SourceError, SourceErrorKind};

const DEEPEST: usize = 8;

/// A layout, as an [`ImageSource`]. Of blobs that it opens, only the size is verified.
#[derive(Clone, Debug)]
pub struct LayoutSource {
    layout: Layout,
    pick: Pick,
}

#[derive(Clone, Debug)]
enum Pick {
    /// Each reference is looked up.
    ByReference,
    /// Every reference means this one.
    Fixed { tag: Option<String>, digest: Option<Digest>, spec: String },
}

/// `DIR[:tag][@digest]`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutSpec {
    /// The directory.
    pub directory: PathBuf,
    /// The tag.
    pub tag: Option<String>,
    /// The digest.
    pub digest: Option<Digest>,
}

impl LayoutSpec {
    /// Parses `[oci-layout://]DIR[:tag][@digest]`. A colon that is followed by a slash belongs to the directory.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let rest = text.strip_prefix("oci-layout://").unwrap_or(text);
        let (rest, digest) = match rest.rsplit_once('@') {
            Some((rest, digest))
                if digest.starts_with("sha") && digest.contains(':') && !digest.contains('/') =>
            {
                (rest, Some(digest.parse()?))
            }
            _ => (rest, None),
        };
        let (directory, tag) = match rest.rsplit_once(':') {
            Some((directory, tag)) if !tag.is_empty() && !tag.contains(['/', '@']) => (directory, Some(tag)),
            _ => (rest, None),
        };
        Ok(Self { directory: directory.into(), tag: tag.map(str::to_owned), digest })
    }
}

impl LayoutSource {
    /// The image that `[oci-layout://]DIR[:tag][@digest]` names; [`ImageSource::resolve`] gives it for any reference.
    /// Without tag and digest it is the one called `latest`, or the only one.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let spec = LayoutSpec::parse(text)?;
        let layout = Layout::open(&spec.directory)?;
        Ok(Self { layout, pick: Pick::Fixed { tag: spec.tag, digest: spec.digest, spec: text.to_owned() } })
    }

    /// The images of a layout under their own names. This is how images in kiln's store are used as bases.
    pub fn by_reference(layout: Layout) -> Self {
        Self { layout, pick: Pick::ByReference }
    }

    /// The directory that it reads.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    fn find(&self, reference: &Reference) -> Result<Descriptor, SourceErrorKind> {
        let entries = self.layout.list().map_err(kind)?;
        let (tag, digest) = match &self.pick {
            Pick::ByReference => (None, reference.digest),
            Pick::Fixed { tag, digest, .. } => (tag.as_deref(), *digest),
        };
        if let Some(digest) = digest {
            let listed = entries.iter().map(|e| &e.descriptor).find(|d| d.digest == digest);
            return listed.cloned().map_or_else(|| self.unlisted(&digest), Ok);
        }
        let found = match (&self.pick, tag) {
            (Pick::ByReference, _) => by_name(&entries, &reference.to_string()),
            (_, Some(tag)) => by_name(&entries, tag).or_else(|| by_tag(&entries, tag)),
            (_, None) => match &entries[..] {
                [only] => Some(only),
                _ => by_tag(&entries, "latest"),
            },
        };
        match found {
            Some(entry) => Ok(entry.descriptor.clone()),
            None if entries.is_empty() || matches!(self.pick, Pick::ByReference) => {
                Err(SourceErrorKind::NotFound)
            }
            None => {
                let names = entries.iter().map(label).collect();
                Err(SourceErrorKind::NotInLayout {
                    wanted: tag.unwrap_or("latest").to_owned(),
                    available: names,
                })
            }
        }
    }

    /// A manifest that no entry names may still be among the blobs (part of an index).
    fn unlisted(&self, digest: &Digest) -> Result<Descriptor, SourceErrorKind> {
        let blobs = self.layout.blobs();
        let Some(size) = blobs.size_of(digest) else { return Err(SourceErrorKind::NotFound) };
        let bytes = blobs.read_blob(digest).map_err(kind)?;
        let media_type = match document(&bytes)? {
            Document::Index(index) => {
                index.media_type.unwrap_or_else(|| crate::media_type::OCI_INDEX.to_owned())
            }
            Document::Manifest(m) => {
                m.media_type.unwrap_or_else(|| crate::media_type::OCI_MANIFEST.to_owned())
            }
        };
        Ok(Descriptor::new(&media_type, *digest, size))
    }

    fn fetch(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, SourceErrorKind> {
        let root = self.find(reference)?;
        let blobs = self.layout.blobs();
        let (manifest, manifest_bytes, config) = descend(&blobs, &root, platform, 0)?;
        let config_bytes = blobs.read_blob(&config.digest).map_err(kind)?;
        let reference = reference.clone();
        FetchedImage { reference, root_digest: root.digest, manifest, manifest_bytes, config_bytes }.verify()
    }

    fn named(&self, reference: &Reference) -> impl FnOnce(SourceErrorKind) -> SourceError {
        let reference = match &self.pick {
            Pick::ByReference => reference.familiar(),
            Pick::Fixed { spec, .. } => spec.clone(),
        };
        move |kind| SourceError { reference, kind }
    }
}

impl ImageSource for LayoutSource {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, SourceError> {
        self.fetch(reference, platform).map_err(self.named(reference))
    }

    fn open_blob(
        &self,
        image: &ResolvedImage,
        blob: &Descriptor,
    ) -> Result<Box<dyn Read + Send>, SourceError> {
        let opened = self.layout.blobs().open_sized(blob).map_err(kind);
        Ok(Box::new(opened.map_err(self.named(&image.reference))?.into_file()))
    }
}

type Found = (Descriptor, Vec<u8>, Descriptor);

/// From an index, through nested ones, to the platform's manifest, its bytes and its configuration's descriptor.
fn descend(
    blobs: &Blobs,
    at: &Descriptor,
    platform: &Platform,
    depth: usize,
) -> Result<Found, SourceErrorKind> {
    let bytes = blobs.read_blob(&at.digest).map_err(kind)?;
    match document(&bytes)? {
        Document::Manifest(manifest) => Ok((at.clone(), bytes, manifest.config)),
        Document::Index(index) if depth < DEEPEST => {
            descend(blobs, choose(blobs, &index, platform)?, platform, depth + 1)
        }
        Document::Index(_) => Err(SourceErrorKind::Malformed {
            what: "image index".to_owned(),
            detail: format!("indexes are nested more than {DEEPEST} deep"),
        }),
    }
}

/// The entry for the platform; failing that, the first nested index without platform that has one.
fn choose<'a>(
    blobs: &Blobs,
    index: &'a Index,
    platform: &Platform,
) -> Result<&'a Descriptor, SourceErrorKind> {
    index.select(platform).or_else(|error| {
        let nested = index.manifests.iter().filter(|d| crate::media_type::is_index(&d.media_type));
        nested
            .into_iter()
            .find(|d| {
                let bytes = blobs.read_blob(&d.digest).ok();
                bytes.and_then(|b| Index::parse(&b).ok()).is_some_and(|i| i.select(platform).is_ok())
            })
            .ok_or(error)
    })
}

fn document(bytes: &[u8]) -> Result<Document, SourceErrorKind> {
    Document::parse(bytes)
        .map_err(|e| SourceErrorKind::Malformed { what: "manifest".to_owned(), detail: e.to_string() })
}

fn by_name<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    entries.iter().find(|e| e.name.as_ref().is_some_and(|n| n.answers_to(name)))
}

/// The only entry whose name ends in this tag.
fn by_tag<'a>(entries: &'a [Entry], tag: &str) -> Option<&'a Entry> {
    let tagged = |e: &&Entry| {
        let full = e.name.as_ref().map(|n| n.image_name.as_ref().unwrap_or(&n.ref_name));
        full.is_some_and(|n| n == tag || n.rsplit_once(':').is_some_and(|(_, t)| t == tag))
    };
    let mut found = entries.iter().filter(tagged);
    found.next().filter(|_| found.next().is_none())
}

fn label(entry: &Entry) -> String {
    entry.name.as_ref().map_or_else(|| entry.descriptor.digest.to_string(), |n| n.ref_name.clone())
}

fn kind(error: StoreError) -> SourceErrorKind {
    match error {
        StoreError::Io(error) => SourceErrorKind::Io(error),
        StoreError::Damaged { path, expected, got } => {
            SourceErrorKind::Mismatch { what: path.display().to_string(), expected, got }
        }
        other => {
            SourceErrorKind::Malformed { what: "the image layout".to_owned(), detail: other.to_string() }
        }
    }
}
