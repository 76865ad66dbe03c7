//! Stages, and what a build can be given: `--call=targets` and `--call=outline`, in the shapes of BuildKit's results.

use std::fmt::Write as _;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_build::check::{Outline, OutlineMount, description};
use kiln_dockerfile::ast::{Dockerfile, Stage};
use serde::Serialize;

use crate::answers::location::Location;

#[derive(Serialize)]
struct Targets<'a> {
    targets: Vec<Target<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Target<'a> {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    base: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<&'a str>,
    location: Location,
}

#[derive(Serialize)]
struct OutlineJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Arg<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Mount<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Mount<'a>>,
    sources: [String; 1],
}

#[derive(Serialize)]
struct Arg<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    location: Location,
}

#[derive(Serialize)]
struct Mount<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

fn name(stage: &Stage) -> String {
    stage.from.name.as_ref().map(|name| name.value.to_lowercase()).unwrap_or_default()
}

/// The stages, for programs.
pub(crate) fn targets_json(text: &str, file: &Dockerfile) -> Result<String, io::Error> {
    let last = file.stages.len().saturating_sub(1);
    let target = |(i, stage): (usize, &Stage)| {
        let name = name(stage);
        Target {
            default: i == last,
            description: description(&stage.from.comment, &name),
            base: "",
            platform: None,
            location: Location::of(text, stage.from.span),
            name,
        }
    };
    let mut targets: Vec<Target<'_>> = file.stages.iter().enumerate().map(target).collect();
    for (target, stage) in targets.iter_mut().zip(&file.stages) {
        target.base = &stage.from.image.value;
        target.platform = stage.from.platform.as_ref().map(|word| word.value.as_str());
    }
    pretty(&Targets { targets, sources: [STANDARD.encode(text)] })
}

/// The stages, for people.
pub(crate) fn targets(file: &Dockerfile) -> String {
    let last = file.stages.len().saturating_sub(1);
    let row = |(i, stage): (usize, &Stage)| {
        let name = name(stage);
        let about = description(&stage.from.comment, &name);
        let shown = match (i == last, name.as_str()) {
            (true, "") => "(default)".to_owned(),
            (true, name) => format!("{name} (default)"),
            (false, name) => name.to_owned(),
        };
        vec![shown, about]
    };
    table(&["TARGET", "DESCRIPTION"], &file.stages.iter().enumerate().map(row).collect::<Vec<_>>(), 1)
}

/// What the target can be given, for programs.
pub(crate) fn outline_json(text: &str, outline: &Outline) -> Result<String, io::Error> {
    let mount = |mount: &OutlineMount| (mount.required, Location::of(text, mount.span));
    let mounts = |list: &'_ [OutlineMount]| -> Vec<(bool, Location)> { list.iter().map(mount).collect() };
    fn named<'a>(list: &'a [OutlineMount], rest: Vec<(bool, Location)>) -> Vec<Mount<'a>> {
        let pairs = list.iter().zip(rest);
        pairs.map(|(mount, (required, location))| Mount { name: &mount.name, required, location }).collect()
    }
    pretty(&OutlineJson {
        name: &outline.name,
        description: &outline.description,
        args: outline
            .args
            .iter()
            .map(|arg| Arg {
                name: &arg.name,
                description: &arg.description,
                value: &arg.value,
                location: Location::of(text, arg.span),
            })
            .collect(),
        secrets: named(&outline.secrets, mounts(&outline.secrets)),
        ssh: named(&outline.ssh, mounts(&outline.ssh)),
        sources: [STANDARD.encode(text)],
    })
}

/// What the target can be given, for people.
pub(crate) fn outline(outline: &Outline) -> String {
    let mut out = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        let _ = writeln!(out, "TARGET:      {name}");
        if !outline.description.is_empty() {
            let _ = writeln!(out, "DESCRIPTION: {}", outline.description);
        }
        out.push('\n');
    }
    let mut add = |head: &[&str], rows: &[Vec<String>]| {
        if !rows.is_empty() {
            out.push_str(&table(head, rows, 3));
            out.push('\n');
        }
    };
    let args =
        outline.args.iter().map(|arg| vec![arg.name.clone(), arg.value.clone(), arg.description.clone()]);
    add(&["BUILD ARG", "VALUE", "DESCRIPTION"], &args.collect::<Vec<_>>());
    for (head, list) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        let truth = |mount: &OutlineMount| if mount.required { "true".to_owned() } else { String::new() };
        let rows: Vec<Vec<String>> =
            list.iter().map(|mount| vec![mount.name.clone(), truth(mount)]).collect();
        add(&[head, "REQUIRED"], &rows);
    }
    out
}

/// Columns as wide as their widest cell and a gap.
fn table(head: &[&str], rows: &[Vec<String>], gap: usize) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or_default() + gap;
    let mut out = String::new();
    for row in all() {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let _ = write!(line, "{cell:0$}", width(i));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn pretty(value: &impl Serialize) -> Result<String, io::Error> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
