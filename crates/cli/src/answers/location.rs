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

/// The last line of an instruction of which `span` is a line, its here-documents left out.
pub(crate) fn last_line(text: &str, span: Span, escape: char) -> Span {
    let mut last = span;
    let mut start = span.end;
    for line in text.get(span.end..).unwrap_or_default().split_inclusive('\n') {
        last = Span::new(start, start + line.len());
        start = last.end;
        let visible = line.trim();
        let goes_on = visible.is_empty()
            || visible.starts_with('#')
            || visible.strip_suffix(escape).is_some_and(|line| !line.ends_with(escape));
        if !goes_on {
            break;
        }
    }
    last
}

/// The instruction of `file` that holds the beginning of `span`; `span` itself if none does.
pub(crate) fn instruction_around(file: &Dockerfile, span: Span) -> Span {
    let stages = file.stages.iter().flat_map(|stage| {
        std::iter::once(stage.from.span).chain(stage.instructions.iter().map(|one| one.span))
    });
    let mut all = file.global_args.iter().map(|one| one.span).chain(stages);
    all.find(|one| one.start <= span.start && span.start < one.end).unwrap_or(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where BuildKit is when it tells of an empty line inside an instruction.
    #[test]
    fn the_last_line_of_an_instruction() {
        for (text, escape, want) in [
            ("RUN a \\\n\nb\nRUN c\n", '\\', "b\n"),
            ("RUN a \\\n\n # no\n\n b \\ \n\n  c <<E\nx\nE\n", '\\', "  c <<E\n"),
            ("RUN a `\n\nb \\\nRUN c", '`', "b \\\n"),
            ("RUN a \\\n\nb \\\\\nRUN c", '\\', "b \\\\\n"),
            ("RUN a \\\n\n# at the end", '\\', "# at the end"),
            ("RUN a \\\n\n", '\\', "\n"),
        ] {
            let empty = text.find("\n\n").expect("an empty line") + 1;
            let span = last_line(text, Span::new(empty, empty + 1), escape);
            assert_eq!(&text[span.start..span.end], want, "{text:?}");
        }
    }
}
