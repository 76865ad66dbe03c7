//! `kiln verify`: a layout, an archive, or an image of the store.

use std::path::Path;

use kiln_oci::export::{Export, Placement};
use kiln_oci::verify::{Report, verify};

use crate::args::{Format, VerifyArgs};
use crate::commands::{Setting, answer, answer_json, names};
use crate::errors::CliError;
use crate::render::text::bytes;

pub(super) fn run(args: &VerifyArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let path = Path::new(&args.what);
    let report = if path.exists() { verify(path)? } else { stored(&args.what, setting)? };
    match args.list.format {
        Format::Json => answer_json(&json(&report))?,
        Format::Text => answer(&text(&report))?,
    }
    match report.problems.len() {
        0 => Ok(()),
        problems => Err(CliError::Damaged { what: args.what.clone(), problems }),
    }
}

/// An image of the store is verified alone: as a layout that shares the store's blobs, which is gone afterwards.
fn stored(name: &str, setting: &Setting<'_>) -> Result<Report, CliError> {
    let store = setting.content()?;
    let root = names::find(&store, name)?;
    let place = tempfile::Builder::new().prefix("verify-").tempdir_in(&setting.store)?;
    let dest = place.path().join("layout");
    let names: Vec<_> = name.parse().into_iter().collect();
    Export { store: &store, root: &root, names: &names, cancel: None }
        .oci_directory(&dest, Placement::Share)
        .map_err(|source| CliError::Export { dest: dest.display().to_string(), source })?;
    Ok(verify(&dest)?)
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for image in &report.images {
        let platform = image.platform.as_ref().map(|p| format!(" {p}")).unwrap_or_default();
        out.push_str(&format!("{}{platform}: {} layers\n", image.name, image.layers));
    }
    for problem in &report.problems {
        out.push_str(&format!("{}: {}\n", problem.place, problem.kind));
    }
    let verdict = if report.is_clean() { "all is as it claims" } else { "damaged" };
    out.push_str(&format!("{} files, {}: {verdict}\n", report.files, bytes(report.bytes)));
    out
}

fn json(report: &Report) -> serde_json::Value {
    let image = |image: &kiln_oci::verify::VerifiedImage| {
        serde_json::json!({
            "name": image.name,
            "manifest": image.manifest,
            "platform": image.platform.as_ref().map(ToString::to_string),
            "layers": image.layers,
        })
    };
    let problem = |problem: &kiln_oci::verify::Problem| serde_json::json!({ "place": problem.place, "problem": problem.kind.to_string() });
    serde_json::json!({
        "images": report.images.iter().map(image).collect::<Vec<_>>(),
        "files": report.files,
        "bytes": report.bytes,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}
