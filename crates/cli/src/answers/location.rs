//! Places in a Dockerfile, as BuildKit and as editors count them.

use kiln_dockerfile::span::{Span, line_column, protocol_position};
use serde::Serialize;

/// BuildKit's `pb.Location`: whole lines, counted from 1.
#[derive(Debug, Serialize)]
pub(crate) struct Location {
    ranges: [Lines; 1],
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
        let line = |offset| Line { line: line_column(text, offset).0 };
        Self { ranges: [Lines { start: line(span.start), end: line(last.max(span.start)) }] }
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
