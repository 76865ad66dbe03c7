//! What a check found, as JSON.
//!
//! The shape is that of BuildKit's `lint.LintResults`: `warnings`, `sources`, `buildError`. On top of it each finding has
//! `range`, `help` and, where the mend is certain, `fix`; all errors are in `errors`, of which `buildError` is the first.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_build::check::Checked;
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::lint::Rule;
use serde::Serialize;

use crate::answers::location::{Location, Range};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Results<'a> {
    warnings: Vec<Warning<'a>>,
    sources: [Source<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<BuildError<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed: Option<usize>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning<'a> {
    rule_name: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: &'a str,
    location: Location,
    #[serde(flatten)]
    place: Place<'a>,
}

#[derive(Serialize)]
struct BuildError<'a> {
    message: &'a str,
    location: Location,
    #[serde(flatten)]
    place: Place<'a>,
}

#[derive(Serialize)]
struct Place<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    range: Range,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<Fix<'a>>,
}

/// A `TextEdit` of the language server protocol.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fix<'a> {
    range: Range,
    new_text: &'a str,
}

#[derive(Serialize)]
struct Source<'a> {
    filename: &'a str,
    language: &'static str,
    data: String,
}

/// The whole answer about the file `name` that holds `text`; `fixed` is how many findings were mended, if that was asked for.
pub(crate) fn json(
    (name, text): (&str, &str),
    checked: &Checked,
    fixed: Option<usize>,
) -> Result<String, io::Error> {
    let of = |severity| checked.findings.iter().filter(move |found| found.severity == severity);
    let mut errors: Vec<BuildError<'_>> = of(Severity::Error).map(|found| error(text, found)).collect();
    let results = Results {
        warnings: of(Severity::Warning).map(|found| warning(text, found)).collect(),
        sources: [Source { filename: name, language: "Dockerfile", data: STANDARD.encode(text) }],
        build_error: of(Severity::Error).next().map(|found| error(text, found)),
        errors: std::mem::take(&mut errors),
        notes: checked.unknown.iter().map(|(image, why)| format!("{image} is not known: {why}")).collect(),
        fixed,
    };
    let json = serde_json::to_string_pretty(&results)?;
    Ok(json + "\n")
}

fn warning<'a>(text: &str, found: &'a Diagnostic) -> Warning<'a> {
    let rule = found.rule.and_then(Rule::named);
    Warning {
        rule_name: found.rule.unwrap_or_default(),
        description: rule.map_or("", |rule| rule.description),
        url: rule.and_then(Rule::url),
        detail: &found.message,
        location: Location::of(text, found.span),
        place: place(text, found),
    }
}

fn error<'a>(text: &str, found: &'a Diagnostic) -> BuildError<'a> {
    BuildError {
        message: &found.message,
        location: Location::of(text, found.span),
        place: place(text, found),
    }
}

fn place<'a>(text: &str, found: &'a Diagnostic) -> Place<'a> {
    let fix = found.fix.as_deref().map(|new_text| Fix { range: Range::of(text, found.span), new_text });
    Place { help: found.help.as_deref(), range: Range::of(text, found.span), fix }
}

/// `1 finding`, `2 findings`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
