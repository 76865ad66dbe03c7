//! Progress for programs: `--progress=rawjson` writes one JSON object a line to standard error.
//!
//! Every object has `"v":1`, the version of the form: fields may be added under one number, none is renamed or removed.
//! `"event"` says what it is; the events are those of [`kiln_build::event::Event`], then at the very end either
//! `"built"` or `"error"`.

use kiln_build::event::Event;
use serde::Serialize;

use crate::errors::Report;

/// The version of the form.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Line<'a, T> {
    v: u32,
    #[serde(flatten)]
    event: &'a T,
}

/// How a build ended.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Ending {
    /// It was built.
    Built {
        /// Digest of the manifest, or of the index of several platforms.
        #[serde(skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
        /// Its names.
        names: Vec<String>,
    },
    /// It failed.
    Error {
        /// One sentence.
        message: String,
        /// 1-based line of the Dockerfile.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
        /// What else was found out with it, in the order of the file.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        also: Vec<Further>,
        /// The exit status of `kiln`.
        exit_code: u8,
    },
}

impl Ending {
    /// The end by an error.
    pub(crate) fn of(report: Report<'_>) -> Self {
        Self::Error {
            message: report.message,
            line: report.at.map(|at| at.line),
            also: report.also.into_iter().map(Further::from).collect(),
            exit_code: report.status,
        }
    }
}

/// A further error.
#[derive(Debug, Serialize)]
pub(crate) struct Further {
    /// One sentence.
    message: String,
    /// 1-based line of the Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl From<Report<'_>> for Further {
    fn from(report: Report<'_>) -> Self {
        Self { message: report.message, line: report.at.map(|at| at.line) }
    }
}

/// An event as a line.
pub(crate) fn line(event: &Event) -> String {
    encode(event)
}

/// The last line.
pub(crate) fn ending(ending: &Ending) -> String {
    encode(ending)
}

fn encode<T: Serialize>(event: &T) -> String {
    // Plain data with string keys always has a JSON form.
    let mut text = serde_json::to_string(&Line { v: VERSION, event }).unwrap_or_default();
    text.push('\n');
    text
}
