//! What a check found, as JSON.
//!
//! The shape is that of BuildKit's `lint.LintResults`: `warnings`, `sources`, `buildError`; `location` is the whole instruction, or the last line of one
//! with an empty line in it. On top
//! of it each finding has `range`, `help` and, where the mend is certain, `fix`; all errors are in `errors`, of which `buildError` is the
//! first. As with BuildKit a file that forbids findings has a `buildError` without a place for them.

use std::borrow::Cow;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_build::check::Checked;
use kiln_build::error::BuildErrorKind;
use kiln_dockerfile::ast;
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::lint::{NO_EMPTY_CONTINUATION, Rule};
use kiln_dockerfile::parse;
use serde::Serialize;

use crate::answers::location::{Location, Range, instruction_around, last_line};

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
    message: Cow<'a, str>,
    location: Location,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    place: Option<Place<'a>>,
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
    let page = Page { text, file: parse(text).dockerfile };
    let of = |severity| checked.findings.iter().filter(move |found| found.severity == severity);
    let is_forbidden = checked.strict && !checked.findings.is_empty();
    let forbidden = || BuildError {
        message: BuildErrorKind::Checks(checked.findings.clone()).to_string().into(),
        location: Location::default(),
        place: None,
    };
    let results = Results {
        warnings: of(Severity::Warning).map(|found| page.warning(found)).collect(),
        sources: [Source { filename: name, language: "Dockerfile", data: STANDARD.encode(text) }],
        build_error: of(Severity::Error)
            .next()
            .map(|found| page.error(found))
            .or_else(|| is_forbidden.then(forbidden)),
        errors: of(Severity::Error).map(|found| page.error(found)).collect(),
        notes: checked.unknown.iter().map(|(image, why)| format!("{image} is not known: {why}")).collect(),
        fixed,
    };
    Ok(serde_json::to_string_pretty(&results)? + "\n")
}

/// What the findings are about.
struct Page<'a> {
    text: &'a str,
    file: ast::Dockerfile,
}

impl<'a> Page<'a> {
    fn warning(&self, found: &'a Diagnostic) -> Warning<'a> {
        let rule = found.rule.and_then(Rule::named);
        Warning {
            rule_name: found.rule.unwrap_or_default(),
            description: rule.map_or("", |rule| rule.description),
            url: rule.and_then(Rule::url),
            detail: &found.message,
            location: self.location(found),
            place: self.place(found),
        }
    }

    fn error(&self, found: &'a Diagnostic) -> BuildError<'a> {
        BuildError {
            message: found.message.as_str().into(),
            location: self.location(found),
            place: Some(self.place(found)),
        }
    }

    fn location(&self, found: &Diagnostic) -> Location {
        let span = if found.rule == Some(NO_EMPTY_CONTINUATION.name) {
            // BuildKit has read on when it says so.
            last_line(self.text, found.span, self.file.directives.escape)
        } else {
            instruction_around(&self.file, found.span)
        };
        Location::of(self.text, span)
    }

    fn place(&self, found: &'a Diagnostic) -> Place<'a> {
        let range = || Range::of(self.text, found.span);
        let fix = found.fix.as_deref().map(|new_text| Fix { range: range(), new_text });
        Place { help: found.help.as_deref(), range: range(), fix }
    }
}

/// `1 finding`, `2 findings`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
