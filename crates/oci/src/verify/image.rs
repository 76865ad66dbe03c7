//! Indexes, manifests and configurations against what they name.

use std::io::Read;
use std::rc::Rc;

use oci_spec::image::{ImageIndex, ImageManifest};

use super::layer::{LayerFacts, find_paths};
use super::place::Place;
use super::problem::ProblemKind;
use super::{Run, VerifiedImage, unreadable};
use crate::blobs::LARGEST_DOCUMENT;
use crate::config::ImageConfig;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::layout::{self, IMAGE_NAME, REF_NAME};
use crate::manifest::{Document, Index, Manifest};
use crate::media_type::{compression_of, is_nondistributable};
use crate::platform::Platform;

const DEEPEST: usize = 8;

/// Where in the graph a document is: names for messages, and how deep.
#[derive(Clone)]
struct Trail {
    name: String,
    depth: usize,
}

/// Checks `index.json` and everything under it.
pub(super) fn check_index_file(run: &mut Run<'_>) {
    let Some(bytes) = run.document("index.json", "index.json") else { return };
    let entries = match layout::entries_of(&bytes, run.place.path()) {
        Ok(entries) => entries,
        Err(error) => return run.problem("index.json", malformed(&error)),
    };
    if let Err(error) = Index::parse(&bytes) {
        run.problem("index.json", malformed(&error));
    }
    for entry in entries {
        let descriptor = entry.descriptor;
        let called = [IMAGE_NAME, REF_NAME].iter().find_map(|key| descriptor.annotations.get(*key));
        let name = called.cloned().unwrap_or_else(|| descriptor.digest.to_string());
        check_node(run, &descriptor, &Trail { name, depth: 0 });
    }
}

/// Reads a document of bounded size.
pub(super) fn read_document(place: &Place, file: &str) -> Result<Vec<u8>, ProblemKind> {
    let Some((reader, size)) = place.file(file).map_err(unreadable)? else {
        return Err(ProblemKind::Missing { path: file.to_owned() });
    };
    if size > LARGEST_DOCUMENT {
        let detail = format!("a document of {size} bytes (at most {LARGEST_DOCUMENT})");
        return Err(ProblemKind::Malformed { detail });
    }
    let mut bytes = Vec::new();
    reader.take(LARGEST_DOCUMENT).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn check_node(run: &mut Run<'_>, node: &Descriptor, trail: &Trail) {
    let place = format!("{}: {}", trail.name, label(node));
    let Some(bytes) = run.document(&blob_file(&node.digest), &place) else { return };
    compare(run, node, (Digest::of(&bytes), bytes.len() as u64), &place);
    match Document::parse(&bytes) {
        Err(error) => run.problem(&place, malformed(&error)),
        Ok(Document::Index(_)) if trail.depth >= DEEPEST => {
            let detail = format!("indexes are nested more than {DEEPEST} deep");
            run.problem(&place, ProblemKind::Malformed { detail });
        }
        Ok(Document::Index(index)) => {
            check_media_type(run, node, index.media_type.as_deref(), &place);
            if let Err(error) = ImageIndex::from_reader(bytes.as_slice()) {
                run.problem(&place, foreign(&error));
            }
            for child in &index.manifests {
                let trail = Trail { name: trail.name.clone(), depth: trail.depth + 1 };
                check_node(run, child, &trail);
            }
        }
        Ok(Document::Manifest(manifest)) => {
            check_media_type(run, node, manifest.media_type.as_deref(), &place);
            if let Err(error) = ImageManifest::from_reader(bytes.as_slice()) {
                run.problem(&place, foreign(&error));
            }
            check_image(run, node, &manifest, &place, &trail.name);
        }
    }
}

/// Documents are also read by `oci-spec`: what only kiln's own types understand is no OCI document.
fn foreign(error: &oci_spec::OciSpecError) -> ProblemKind {
    ProblemKind::Malformed { detail: format!("another reader of the specification refuses it: {error}") }
}

fn check_media_type(run: &mut Run<'_>, node: &Descriptor, said: Option<&str>, place: &str) {
    if let Some(said) = said
        && said != node.media_type
    {
        let (expected, got) = (node.media_type.clone(), said.to_owned());
        run.problem(place, ProblemKind::MediaType { expected, got });
    }
}

fn check_image(run: &mut Run<'_>, node: &Descriptor, manifest: &Manifest, place: &str, name: &str) {
    let config = check_config(run, node, manifest, place);
    let mut below = Vec::new();
    for (number, layer) in manifest.layers.iter().enumerate() {
        let place = format!("{place}: layer {} ({})", number + 1, layer.digest);
        let diff_id = config.as_ref().and_then(|c| c.rootfs.diff_ids.get(number));
        let file = blob_file(&layer.digest);
        if is_nondistributable(&layer.media_type) && matches!(run.place.file(&file), Ok(None)) {
            continue;
        }
        let Some(claimed) = compression_of(&layer.media_type) else {
            if let Some(got) = run.hash(&file, &place) {
                compare(run, layer, got, &place);
            }
            continue;
        };
        let Some(facts) = run.layer(&file, &place) else { continue };
        compare(run, layer, (facts.digest, facts.size), &place);
        if facts.compression != claimed {
            run.problem(&place, ProblemKind::Compression { expected: claimed, got: facts.compression });
        }
        check_diff_id(run, &facts, diff_id.map(|d| d.0), &place);
        check_hard_links(run, &facts, &below, &place);
        below.push(file);
    }
    if !node.is_attestation() {
        let (manifest, layers) = (Some(node.digest), manifest.layers.len());
        let platform = config.map(|c| c.platform());
        run.report.images.push(VerifiedImage { name: name.to_owned(), manifest, platform, layers });
    }
}

fn check_config(
    run: &mut Run<'_>,
    node: &Descriptor,
    manifest: &Manifest,
    place: &str,
) -> Option<ImageConfig> {
    let place = format!("{place}: configuration");
    let bytes = run.document(&blob_file(&manifest.config.digest), &place)?;
    compare(run, &manifest.config, (Digest::of(&bytes), bytes.len() as u64), &place);
    if !crate::media_type::is_config(&manifest.config.media_type) {
        return None;
    }
    let config = check_config_document(run, &bytes, manifest.layers.len(), &place)?;
    if let Some(said) = node.platform.as_ref().map(Platform::normal)
        && !node.is_attestation()
        && said != config.platform()
    {
        let (expected, got) = (said.to_string(), config.platform().to_string());
        run.problem(&place, ProblemKind::Platform { expected, got });
    }
    Some(config)
}

/// What holds for a configuration in layouts and docker archives alike.
pub(super) fn check_config_document(
    run: &mut Run<'_>,
    bytes: &[u8],
    layers: usize,
    place: &str,
) -> Option<ImageConfig> {
    let config: ImageConfig = match serde_json::from_slice(bytes) {
        Ok(config) => config,
        Err(error) => {
            run.problem(place, malformed(&error));
            return None;
        }
    };
    if config.rootfs.kind != "layers" {
        let detail = format!("rootfs has type {:?}, not layers", config.rootfs.kind);
        run.problem(place, ProblemKind::Malformed { detail });
    }
    if config.rootfs.diff_ids.len() != layers {
        let diff_ids = config.rootfs.diff_ids.len();
        run.problem(place, ProblemKind::LayerCount { layers, diff_ids });
    }
    // A history is optional, but one that is there lines up.
    let history = config.history.iter().filter(|h| !h.empty_layer).count();
    if !config.history.is_empty() && history != layers {
        run.problem(place, ProblemKind::History { history, layers });
    }
    Some(config)
}

pub(super) fn check_diff_id(run: &mut Run<'_>, facts: &LayerFacts, claimed: Option<Digest>, place: &str) {
    if let (Some(claimed), Some(got)) = (claimed, facts.diff_id)
        && claimed != got.0
    {
        let (expected, got) = (claimed.to_string(), got.to_string());
        run.problem(place, ProblemKind::DiffId { expected, got });
    }
}

/// Looks for targets that are not in the layer itself in those below, which are read once more; layers with such links
/// are rare. Whiteouts are not considered.
pub(super) fn check_hard_links(run: &mut Run<'_>, facts: &Rc<LayerFacts>, below: &[String], place: &str) {
    let mut wanted = facts.unresolved.clone();
    for file in below.iter().rev() {
        if wanted.is_empty() {
            return;
        }
        if let Err(error) = find_paths(run.place, file, &mut wanted) {
            run.problem(place, unreadable(error));
        }
    }
    for (path, target) in wanted {
        run.problem(place, ProblemKind::Hardlink { path, target });
    }
}

fn compare(run: &mut Run<'_>, claimed: &Descriptor, (digest, size): (Digest, u64), place: &str) {
    if claimed.size != size {
        run.problem(place, ProblemKind::Size { expected: claimed.size, got: size });
    }
    if claimed.digest != digest {
        let (expected, got) = (claimed.digest.to_string(), digest.to_string());
        run.problem(place, ProblemKind::Digest { expected, got });
    }
}

fn label(node: &Descriptor) -> String {
    node.platform.as_ref().map_or_else(|| node.digest.to_string(), Platform::to_string)
}

fn blob_file(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn malformed(error: &impl ToString) -> ProblemKind {
    ProblemKind::Malformed { detail: error.to_string() }
}
