//! Places in a Dockerfile, as BuildKit and as editors count them.

use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::span::{Span, line_column, protocol_position};
use serde::Serialize;

/// BuildKit's `pb.Location`: whole lines, counted from 1, each a range of its own.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Lines>,
}

#[derive(Debug, Serialize)]
struct Lines {
    start: Line,
    end: Line,
}

#[derive(Debug, Serialize)]
struct Line {
    line: usize,
}

/// The `Range` of the language server protocol: line and character counted from 0, the character in units of UTF-16, the end
/// exclusive.
#[derive(Debug, Serialize)]
pub(crate) struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, Serialize)]
struct Position {
    line: usize,
    character: usize,
}

impl Location {
    /// The lines of `span`.
    pub(crate) fn of(text: &str, span: Span) -> Self {
        let last =
            text.get(span.start..span.end).map_or(span.start, |part| span.start + part.trim_end().len());
        let line = |offset| line_column(text, offset).0;
        let lines = line(span.start)..=line(last.max(span.start));
        Self { ranges: lines.map(|line| Lines { start: Line { line }, end: Line { line } }).collect() }
    }
}

impl Range {
    /// The characters of `span`.
    pub(crate) fn of(text: &str, span: Span) -> Self {
        let position = |offset| {
            let (line, character) = protocol_position(text, offset);
            Position { line, character }
        };
        Self { start: position(span.start), end: position(span.end) }
    }
}

/// The instruction of `file` that holds the beginning of `span`; `span` itself if none does.
pub(crate) fn instruction_around(file: &Dockerfile, span: Span) -> Span {
    let stages = file.stages.iter().flat_map(|stage| {
        std::iter::once(stage.from.span).chain(stage.instructions.iter().map(|one| one.span))
    });
    let mut all = file.global_args.iter().map(|one| one.span).chain(stages);
    all.find(|one| one.start <= span.start && span.start < one.end).unwrap_or(span)
}
