//! Docker's `manifest.json`.

use serde::Deserialize;

use super::image::{check_config_document, check_diff_id, check_hard_links};
use super::problem::ProblemKind;
use super::{Run, VerifiedImage};
use crate::digest::Digest;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

pub(super) fn check(run: &mut Run<'_>) {
    let Some(bytes) = run.document("manifest.json", "manifest.json") else { return };
    match serde_json::from_slice::<Vec<Image>>(&bytes) {
        Ok(images) => images.iter().for_each(|image| check_image(run, image)),
        Err(error) => run.problem("manifest.json", ProblemKind::Malformed { detail: error.to_string() }),
    }
}

fn check_image(run: &mut Run<'_>, image: &Image) {
    let name = image.repo_tags.iter().flatten().next().unwrap_or(&image.config).clone();
    let layers = image.layers.as_deref().unwrap_or_default();
    let place = format!("{name} (manifest.json): configuration");
    let config = run.document(&image.config, &place).and_then(|bytes| {
        check_name(run, &image.config, Digest::of(&bytes), &place);
        check_config_document(run, &bytes, layers.len(), &place)
    });
    let mut below = Vec::new();
    for (number, file) in layers.iter().enumerate() {
        let place = format!("{name} (manifest.json): layer {} ({file})", number + 1);
        let Some(facts) = run.layer(file, &place) else { continue };
        check_name(run, file, facts.digest, &place);
        let claimed = config.as_ref().and_then(|c| c.rootfs.diff_ids.get(number));
        check_diff_id(run, &facts, claimed.map(|d| d.0), &place);
        check_hard_links(run, &facts, &below, &place);
        below.push(file.clone());
    }
    let platform = config.map(|c| c.platform());
    run.report.images.push(VerifiedImage { name, manifest: None, platform, layers: layers.len() });
}

/// A file whose name is a digest (`blobs/sha256/<hex>`, `<hex>.json`) has that digest.
fn check_name(run: &mut Run<'_>, file: &str, got: Digest, place: &str) {
    let base = file.rsplit_once('/').map_or(file, |(_, base)| base);
    let hex = base.strip_suffix(".json").or_else(|| base.strip_suffix(".tar")).unwrap_or(base);
    if let Ok(expected) = format!("sha256:{hex}").parse::<Digest>()
        && expected != got
    {
        let (expected, got) = (expected.to_string(), got.to_string());
        run.problem(place, ProblemKind::Digest { expected, got });
    }
}
