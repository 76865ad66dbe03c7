//! Text to syntax tree.
//!
//! The text is read once, line by line. [`lines`] joins continuations and remembers where each byte
//! came from; [`instruction`] splits off keyword, flags and here-documents and hands the rest to the
//! parser of that instruction; this module puts the instructions into stages.

mod command;
mod copy;
mod directive;
mod flags;
mod heredoc;
mod input;
mod instruction;
mod json;
mod keyword;
mod lines;
mod mount;
mod plain;
mod values;

use crate::ast::{Dockerfile, Instruction, Kind, Stage};
use crate::diagnostic::{Diagnostic, Severity};
use crate::span::Span;

use instruction::{Item, Reader};
use keyword::Keyword;
pub use keyword::instructions;
use lines::{Lines, Logical};

/// What a text parsed to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The tree; what could not be understood is left out of it.
    pub dockerfile: Dockerfile,
    /// All that is wrong, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether each instruction stands in its stage: no, if something was meant to be a `FROM` and is none.
    pub stages_hold: bool,
}

impl Parsed {
    /// Whether any diagnostic is an error, so that nothing can be built.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}

/// Parses a Dockerfile. Never fails: mistakes are diagnostics, and parsing goes on behind them.
pub fn parse(text: &str) -> Parsed {
    let mut diagnostics = Vec::new();
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut lines = Lines::new(text, start, 1);
    let directives = directive::read(&mut lines, &mut diagnostics);
    let escape = directives.escape;
    let mut assembly = Assembly {
        dockerfile: Dockerfile { directives, ..Dockerfile::default() },
        homeless: false,
        lacks_stage: false,
        is_empty: true,
    };
    for_each_instruction(&mut lines, escape, &mut diagnostics, |reader, line, comment| {
        let item = reader.read(line, false);
        assembly.add(item, line.piece().trim().span(), comment, reader.diagnostics);
    });
    let stages_hold = !assembly.lacks_stage && !assembly.homeless && !assembly.dockerfile.stages.is_empty();
    let mut dockerfile = assembly.dockerfile;
    if assembly.is_empty {
        diagnostics.push(Diagnostic::error(Span::new(start, start), "file with no instructions"));
    } else if dockerfile.stages.is_empty() && !assembly.homeless {
        let message = "the Dockerfile has no build stage, every build begins with FROM";
        diagnostics.push(Diagnostic::error(Span::new(text.len(), text.len()), message));
    }
    dockerfile.stages.shrink_to_fit();
    diagnostics.sort_by_key(|d| (d.span.start, d.severity));
    Parsed { dockerfile, diagnostics, stages_hold }
}

/// Parses one `ONBUILD` trigger, as recorded in an image. Spans are into `text`.
pub fn parse_trigger(text: &str, escape: char) -> (Option<Instruction>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut lines = Lines::new(text, 0, 1);
    let mut found = None;
    let mut count = 0;
    for_each_instruction(&mut lines, escape, &mut diagnostics, |reader, line, comment| {
        count += 1;
        if count > 1 {
            let message = "an ONBUILD trigger must be a single instruction";
            reader.diagnostics.push(Diagnostic::error(line.piece().trim().span(), message));
        }
        if let Item::Instruction(instruction) = reader.read(line, true) {
            found = Some(Instruction { comment, ..instruction });
        }
    });
    if count == 0 {
        diagnostics.push(Diagnostic::error(Span::default(), "empty ONBUILD trigger"));
    }
    diagnostics.sort_by_key(|d| (d.span.start, d.severity));
    (found.filter(|_| count == 1), diagnostics)
}

/// Calls `handle` with each instruction's line and the comment above it.
fn for_each_instruction(
    lines: &mut Lines<'_>,
    escape: char,
    diagnostics: &mut Vec<Diagnostic>,
    mut handle: impl FnMut(&mut Reader<'_, '_>, &Logical, String),
) {
    let mut comments: Vec<String> = Vec::new();
    while let Some(line) = lines.next(diagnostics) {
        let visible = lines.content(line).trim();
        if visible.is_empty() {
            if !comments.is_empty() {
                comments.push(String::new());
            }
            continue;
        }
        if visible == "#" {
            comments.clear();
            continue;
        }
        if let Some(comment) = visible.strip_prefix('#') {
            comments.push(comment.trim().to_owned());
            continue;
        }
        let logical = Logical::read(line, lines, escape, diagnostics);
        let comment = std::mem::take(&mut comments).join("\n");
        let mut reader = Reader::new(&mut *lines, escape, &mut *diagnostics);
        handle(&mut reader, &logical, comment);
    }
}

struct Assembly {
    dockerfile: Dockerfile,
    /// An instruction stood before the first `FROM`, which has been said.
    homeless: bool,
    /// A `FROM` could not be read, so instructions stand in the wrong stage.
    lacks_stage: bool,
    is_empty: bool,
}

impl Assembly {
    fn add(&mut self, item: Item, span: Span, comment: String, diagnostics: &mut Vec<Diagnostic>) {
        self.is_empty = false;
        let (instruction, is_arg) = match item {
            Item::From(mut from) => {
                from.comment = comment;
                self.dockerfile.stages.push(Stage { from, instructions: Vec::new() });
                return;
            }
            Item::Instruction(mut instruction) => {
                instruction.comment = comment;
                let is_arg = matches!(instruction.kind, Kind::Arg(_));
                (Some(instruction), is_arg)
            }
            Item::Broken { meant } => {
                self.lacks_stage |= meant == Some(Keyword::From);
                (None, meant == Some(Keyword::Arg))
            }
        };
        match self.dockerfile.stages.last_mut() {
            Some(stage) => stage.instructions.extend(instruction),
            None if is_arg => self.dockerfile.global_args.extend(instruction),
            None if self.homeless => {}
            None => {
                self.homeless = true;
                // One that could not be understood has its own error.
                if instruction.is_some() {
                    let message =
                        "no build stage in current context: only ARG may come before the first FROM";
                    diagnostics.push(Diagnostic::error(span, message));
                }
            }
        }
    }
}
