//! Lines of the file, and the longer lines that continuations join them to.

use std::collections::HashMap;

use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};

/// The longest line that is let pass, in bytes without its newline.
const LONGEST_LINE: usize = 65_535;

/// One line as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Offset of its first byte.
    pub(super) start: usize,
    /// Offset past its last byte, carriage returns and the newline left out.
    pub(super) end: usize,
    /// Offset of the next line.
    pub(super) next: usize,
    /// 1-based number.
    pub(super) number: usize,
}

/// Gives out the lines of a text one by one.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    at: usize,
    number: usize,
    /// End of the line given out last.
    pub(super) last_end: usize,
    last_of: Option<LastOf<'t>>,
}

/// Where the last line of each content begins, made once it is asked for. It spares a file full of
/// here-documents that never end a search to the end for each of them.
#[derive(Debug, Default)]
struct LastOf<'t> {
    whole: HashMap<&'t str, usize>,
    /// Without the tabs at their head.
    untabbed: HashMap<&'t str, usize>,
}

impl<'t> Lines<'t> {
    /// All lines from byte `start` on, which is the beginning of line `number`.
    pub(super) fn new(text: &'t str, start: usize, number: usize) -> Self {
        Self { text, at: start, number, last_end: start, last_of: None }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    pub(super) fn content(&self, line: Line) -> &'t str {
        &self.text[line.start..line.end]
    }

    /// The line that [`Lines::next`] will give.
    pub(super) fn peek(&self) -> Option<Line> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').map_or(rest.len(), |i| i + 1);
        let content = rest[..length].trim_end_matches(['\r', '\n']);
        let (start, next) = (self.at, self.at + length);
        Some(Line { start, end: start + content.len(), next, number: self.number })
    }

    /// Whether a line that is just `content` is still to come.
    pub(super) fn will_give(&mut self, content: &str, strip_tabs: bool) -> bool {
        let text = self.text;
        let known = self.last_of.get_or_insert_with(|| {
            let (mut last_of, mut start) = (LastOf::default(), 0);
            for line in text.split_inclusive('\n') {
                let content = line.trim_end_matches(['\r', '\n']);
                last_of.whole.insert(content, start);
                last_of.untabbed.insert(content.trim_start_matches('\t'), start);
                start += line.len();
            }
            last_of
        });
        let lines = if strip_tabs { &known.untabbed } else { &known.whole };
        lines.get(content).is_some_and(|start| *start >= self.at)
    }

    pub(super) fn next(&mut self, diagnostics: &mut Vec<Diagnostic>) -> Option<Line> {
        let line = self.peek()?;
        let length = self.text[line.start..line.next].trim_end_matches('\n').len();
        if length > LONGEST_LINE {
            let message =
                format!("line of {length} bytes is longer than the {LONGEST_LINE} bytes that are allowed");
            diagnostics.push(Diagnostic::error(Span::new(line.start, line.end), message));
        }
        self.at = line.next;
        self.number += 1;
        self.last_end = line.end;
        Some(line)
    }
}

/// An instruction's line with continuations joined, comments and empty lines left out, and the way
/// back from each of its bytes to the file.
#[derive(Debug, Default)]
pub(super) struct Logical {
    pub(super) text: String,
    /// Where a run of bytes begins here, and where in the file.
    runs: Vec<(usize, usize)>,
    /// 1-based number of its first line.
    pub(super) number: usize,
}

impl Logical {
    /// Reads on from `first`, the first line of an instruction.
    pub(super) fn read(
        first: Line,
        lines: &mut Lines<'_>,
        escape: char,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut logical = Self { number: first.number, ..Self::default() };
        let content = lines.content(first);
        let indent = content.len() - content.trim_start().len();
        let mut continued = logical.append(&content[indent..], first.start + indent, escape);
        let mut empty: Option<Span> = None;
        while continued && let Some(line) = lines.next(diagnostics) {
            let content = lines.content(line);
            let visible = content.trim_start();
            if visible.is_empty() {
                let here = Span::new(line.start, line.next);
                empty = match empty {
                    Some(earlier) if earlier.end == line.start => Some(earlier.join(here)),
                    earlier => earlier.or(Some(here)),
                };
            } else if !visible.starts_with('#') {
                continued = logical.append(content, line.start, escape);
            }
        }
        if let Some(span) = empty {
            let mut warning = Diagnostic::warning("NoEmptyContinuation", span, "empty continuation line")
                .with_help("remove the empty line, or make it a comment");
            warning.fix = Some(String::new());
            diagnostics.push(warning);
        }
        logical
    }

    /// Adds one line of the file; whether it says that another follows.
    fn append(&mut self, content: &str, start: usize, escape: char) -> bool {
        let body = strip_continuation(content, escape);
        self.runs.push((self.text.len(), start));
        self.text.push_str(body.unwrap_or(content));
        body.is_some()
    }

    /// All of it.
    pub(super) fn piece(&self) -> Piece<'_> {
        Piece { line: self, start: 0, end: self.text.len() }
    }

    /// The place in the file of bytes `start..end`.
    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        let from = self.source(start);
        if end <= start {
            return Span::new(from, from);
        }
        // The last byte's place, not the next one's: that may lie behind a continuation.
        Span::new(from, self.source(end - 1) + 1)
    }

    fn source(&self, offset: usize) -> usize {
        let run = self.runs.partition_point(|(here, _)| *here <= offset);
        // Several runs can begin at one place, if lines held nothing but the escape character.
        self.runs.get(run.saturating_sub(1)).map_or(0, |(here, there)| there + (offset - here))
    }
}

/// The line without the escape character at its end, if it has one that is not itself escaped.
fn strip_continuation(content: &str, escape: char) -> Option<&str> {
    let body = content.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    if body.ends_with(escape) { None } else { Some(body) }
}

/// A part of a [`Logical`] line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) line: &'a Logical,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The blanks that separate words where no quotes are known.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\x0b' | '\x0c' | '\r' | ' ')
}

impl<'a> Piece<'a> {
    pub(super) fn text(self) -> &'a str {
        &self.line.text[self.start..self.end]
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(super) fn span(self) -> Span {
        self.line.span(self.start, self.end)
    }

    /// As a word of the syntax tree.
    pub(super) fn word(self) -> Spanned<String> {
        Spanned::new(self.text().to_owned(), self.span())
    }

    /// Bytes `start..end` of this piece.
    pub(super) fn sub(self, start: usize, end: usize) -> Self {
        Self { start: self.start + start, end: self.start + end, ..self }
    }

    pub(super) fn trim(self) -> Self {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        self.sub(start, start + text.trim().len())
    }

    /// The first word, and what follows the blanks behind it.
    pub(super) fn split_word(self) -> (Self, Self) {
        let text = self.text();
        let word = text.find(is_blank).unwrap_or(text.len());
        let rest = text[word..].find(|c| !is_blank(c)).map_or(text.len(), |i| word + i);
        (self.sub(0, word), self.sub(rest, text.len()))
    }

    /// Everything between blanks.
    pub(super) fn words(self) -> Vec<Self> {
        let mut words = Vec::new();
        let mut rest = self;
        while !rest.is_empty() {
            let (word, after) = rest.split_word();
            if !word.is_empty() {
                words.push(word);
            }
            rest = after;
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logical(text: &str, escape: char) -> Logical {
        let mut diagnostics = Vec::new();
        let mut lines = Lines::new(text, 0, 1);
        let first = lines.next(&mut diagnostics).expect("a line");
        Logical::read(first, &mut lines, escape, &mut diagnostics)
    }

    #[test]
    fn joins() {
        let cases = [
            ("RUN a", "RUN a"),
            ("  RUN a  \n", "RUN a  "),
            ("RUN a \\\n b", "RUN a  b"),
            ("RUN a \\ \t\n b", "RUN a  b"),
            ("RUN a\\\nb", "RUN ab"),
            ("RUN a \\\n# c\n\n \t\nb\\\n", "RUN a b"),
            ("RUN a \\\\\n b", "RUN a \\\\"),
            ("RUN a\\\r\nb\r\n", "RUN ab"),
            ("\\\nRUN a", "RUN a"),
            ("RUN a # x\\\ny", "RUN a # xy"),
        ];
        for (text, want) in cases {
            assert_eq!(logical(text, '\\').text, want, "{text:?}");
        }
        assert_eq!(logical("RUN a `\n b \\\n c", '`').text, "RUN a  b \\");
    }

    #[test]
    fn words_lead_back_to_the_file() {
        let text = "  ENV é=1 \\\n# no\n\n  b\\\n\\\nc  d";
        let line = logical(text, '\\');
        let words: Vec<(&str, &str)> =
            line.piece().words().iter().map(|w| (w.text(), &text[w.span().start..w.span().end])).collect();
        assert_eq!(words, [("ENV", "ENV"), ("é=1", "é=1"), ("bc", "b\\\n\\\nc"), ("d", "d")]);
    }
}
