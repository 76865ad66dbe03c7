//! `kiln inspect`: a layout, an archive, or an image of the store.

use std::fmt::Write as _;
use std::path::Path;

use kiln_oci::blobs::Blobs;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::inspect::{Inspection, inspect};
use kiln_oci::layout::Layout;

use crate::args::{Format, InspectArgs};
use crate::commands::{Setting, answer, answer_json, names, table};
use crate::errors::CliError;
use crate::render::text::bytes;

pub(super) fn run(args: &InspectArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let mut images = Vec::new();
    let path = Path::new(&args.what);
    if Layout::is_layout(path) {
        let layout = Layout::open(path)?;
        for entry in layout.list()? {
            collect(&layout.blobs(), &entry.descriptor, &mut images)?;
        }
    } else if path.is_file() {
        return Err(CliError::NotYet {
            what: format!("{}: inspecting an archive (`kiln verify` reads it)", args.what),
        });
    } else {
        let store = setting.content()?;
        collect(&store, &names::find(&store, &args.what)?, &mut images)?;
    }
    match args.list.format {
        Format::Json => answer_json(&images),
        Format::Text => answer(&images.iter().map(text).collect::<Vec<_>>().join("\n")),
    }
}

fn collect(blobs: &Blobs, root: &Descriptor, images: &mut Vec<Inspection>) -> Result<(), CliError> {
    images.extend(inspect(blobs, root)?);
    Ok(())
}

fn text(image: &Inspection) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |key: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![key.to_owned(), value]);
        }
    };
    let run = &image.config.config;
    row("id", image.id.to_string());
    row("manifest", image.manifest.to_string());
    row("media type", image.media_type.clone());
    row("platform", image.platform.to_string());
    row("created", image.config.created.clone().unwrap_or_default());
    row("size", format!("{} in {} layers", bytes(image.size), image.layers.len()));
    row("user", run.user.clone());
    row("workdir", run.working_dir.clone());
    row("entrypoint", words(run.entrypoint.as_deref()));
    row("cmd", words(run.cmd.as_deref()));
    row("shell", words(run.shell.as_deref()));
    row("stop signal", run.stop_signal.clone().unwrap_or_default());
    row("ports", run.exposed_ports.keys().cloned().collect::<Vec<_>>().join(" "));
    row("volumes", run.volumes.keys().cloned().collect::<Vec<_>>().join(" "));
    for variable in &run.env {
        row("env", variable.clone());
    }
    for (key, value) in &run.labels {
        row("label", format!("{key}={value}"));
    }
    for (key, value) in &image.annotations {
        row("annotation", format!("{key}={value}"));
    }
    let mut out = table(&rows);
    out.push_str("\nhistory\n");
    for line in &image.history {
        let by = line.entry.created_by.as_deref().unwrap_or_default();
        let layer = line.layer.map(|l| image.layers[l].digest.hex()).unwrap_or_default();
        let layer: String = layer.chars().take(12).collect();
        let size = if line.layer.is_some() { bytes(line.size) } else { String::new() };
        let _ = writeln!(out, "  {layer:12}  {size:>7}  {}", by.replace('\n', " "));
    }
    out
}

fn words(list: Option<&[String]>) -> String {
    list.map(|list| serde_json::json!(list).to_string()).unwrap_or_default()
}
