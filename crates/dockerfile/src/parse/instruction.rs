//! One instruction: its keyword, flags, arguments and here-documents.

use crate::ast::{From, Instruction, Kind};
use crate::diagnostic::{Diagnostic, Severity};
use crate::span::Span;
use crate::suggest::{certain, nearest};

use super::command::{healthcheck, run, shell};
use super::copy::copy;
use super::flags::{Flags, split_flags};
use super::heredoc;
use super::input::{Input, command_line};
use super::json::{self, Json};
use super::keyword::Keyword;
use super::lines::{Lines, Logical, Piece};
use super::plain::{expose, from, stop_signal, volume};
use super::values::{arg, pairs, splits};

/// What an instruction turned out to be.
#[derive(Debug)]
pub(super) enum Item {
    From(From),
    Instruction(Instruction),
    /// An instruction with a mistake that leaves nothing to keep.
    Broken {
        /// What it was meant to be, as far as that can be told.
        meant: Option<Keyword>,
    },
}

/// Reads instructions from lines.
pub(super) struct Reader<'r, 't> {
    pub(super) lines: &'r mut Lines<'t>,
    pub(super) escape: char,
    pub(super) diagnostics: &'r mut Vec<Diagnostic>,
    /// The here-documents of the instruction at hand: where their bodies are, and their names.
    bodies: Vec<(Span, String)>,
    /// What is wrong with the trigger at hand is not left to the build that uses it.
    refused: bool,
}

impl<'r, 't> Reader<'r, 't> {
    /// For one instruction.
    pub(super) fn new(lines: &'r mut Lines<'t>, escape: char, diagnostics: &'r mut Vec<Diagnostic>) -> Self {
        Self { lines, escape, diagnostics, bodies: Vec::new(), refused: false }
    }
}

impl Reader<'_, '_> {
    /// Parses the instruction on `line`, and takes its here-documents from the lines that follow.
    /// `as_trigger` forbids what cannot stand behind `ONBUILD`.
    pub(super) fn read(&mut self, line: &Logical, as_trigger: bool) -> Item {
        self.parse(line.piece().trim(), as_trigger)
    }

    fn parse(&mut self, piece: Piece<'_>, as_trigger: bool) -> Item {
        let (head, rest) = piece.split_word();
        let Some(keyword) = Keyword::parse(head.text()) else {
            return self.unknown(head, rest, as_trigger);
        };
        if as_trigger && self.forbidden(keyword, head) {
            self.heredocs(keyword, rest);
            return Item::Broken { meant: Some(keyword) };
        }
        let (raw_flags, args) = split_flags(rest, self.escape);
        let heredocs = self.heredocs(keyword, args);
        self.refused |= as_trigger && !can_be_split(keyword, args, self.escape);
        let flags = Flags::check(keyword, &raw_flags, self.diagnostics);
        let input = Input { keyword, head, flags, args, heredocs, escape: self.escape };
        if keyword == Keyword::From {
            return Item::From(from(&input, self.diagnostics));
        }
        match self.kind(input) {
            Ok(kind) => {
                let start = head.span().start;
                let mut span = piece.span();
                if !self.bodies.is_empty() {
                    span.end = self.lines.last_end;
                }
                span.start = start;
                Item::Instruction(Instruction {
                    span,
                    line: head.line.number,
                    text: one_line(keyword, rest),
                    kind,
                    comment: String::new(),
                })
            }
            Err(Some(diagnostic)) => {
                self.diagnostics.push(diagnostic);
                Item::Broken { meant: Some(keyword) }
            }
            Err(None) => Item::Broken { meant: Some(keyword) },
        }
    }

    /// Here-documents, where the instruction takes them and is not in JSON form.
    fn heredocs(&mut self, keyword: Keyword, args: Piece<'_>) -> Vec<heredoc::Opened> {
        if !keyword.takes_heredocs() || json::parse(args) != Json::No {
            return Vec::new();
        }
        let earlier = self.diagnostics.len();
        let opened = heredoc::read(args, keyword, self.lines, self.diagnostics);
        self.refused |= self.diagnostics[earlier..].iter().any(is_error);
        let bodies = opened.iter().map(|one| (one.heredoc.body_span, one.heredoc.name.clone()));
        self.bodies = bodies.collect();
        opened
    }

    /// The error is `None` if it is already among the diagnostics.
    fn kind(&mut self, input: Input<'_>) -> Result<Kind, Option<Diagnostic>> {
        let diagnostics = &mut *self.diagnostics;
        let kind = match input.keyword {
            Keyword::Add | Keyword::Copy => copy(input, diagnostics),
            Keyword::Arg => arg(&input, diagnostics),
            Keyword::Cmd => command_line(input.args).map(Kind::Cmd),
            Keyword::Entrypoint => command_line(input.args).map(Kind::Entrypoint),
            Keyword::Env => pairs(&input, diagnostics).map(Kind::Env),
            Keyword::Label => pairs(&input, diagnostics).map(Kind::Label),
            Keyword::Expose => expose(&input, diagnostics),
            Keyword::Healthcheck => healthcheck(&input, diagnostics),
            Keyword::Maintainer => input.one_argument().map(Kind::Maintainer),
            Keyword::Onbuild => return self.onbuild(&input),
            Keyword::Run => run(input, diagnostics),
            Keyword::Shell => shell(&input),
            Keyword::StopSignal => stop_signal(&input, diagnostics),
            Keyword::User => input.one_argument().map(Kind::User),
            Keyword::Volume => volume(&input),
            Keyword::Workdir => input.one_argument().map(Kind::Workdir),
            Keyword::From => Err(input.error("FROM cannot stand here")),
        };
        kind.map_err(Some)
    }

    /// A trigger is recorded as it is written, and read only where the image is used: what BuildKit would find wrong with it there and
    /// not here is no error, but worth a warning.
    fn onbuild(&mut self, input: &Input<'_>) -> Result<Kind, Option<Diagnostic>> {
        if input.args.is_empty() {
            return Err(Some(input.needs_arguments()));
        }
        let earlier = self.diagnostics.len();
        let item = self.parse(input.args, true);
        let said = self.diagnostics.split_off(earlier);
        let is_wrong = said.iter().any(is_error);
        if is_wrong && self.refused {
            self.diagnostics.extend(said);
            return Err(None);
        }
        self.diagnostics.extend(said.into_iter().map(in_trigger));
        let trigger = match item {
            Item::Instruction(trigger) if !is_wrong => Some(Box::new(trigger)),
            _ => None,
        };
        // As recorded in images: to the end of the line, blanks included.
        let line = input.args.line;
        let mut raw = line.text[input.args.start..].to_owned();
        for (span, name) in &self.bodies {
            raw.push('\n');
            raw.push_str(&self.lines.text()[span.start..span.end]);
            raw.push_str(name);
        }
        Ok(Kind::Onbuild(raw, trigger))
    }

    fn forbidden(&mut self, keyword: Keyword, head: Piece<'_>) -> bool {
        if !NO_TRIGGERS.contains(&keyword.name()) {
            return false;
        }
        let message = match keyword {
            Keyword::Onbuild => "chaining ONBUILD via `ONBUILD ONBUILD` is not allowed".to_owned(),
            other => format!("{} is not allowed as an ONBUILD trigger", other.name()),
        };
        self.diagnostics.push(Diagnostic::error(head.span(), message));
        self.refused = true;
        true
    }

    fn unknown(&mut self, head: Piece<'_>, rest: Piece<'_>, as_trigger: bool) -> Item {
        if head.is_empty() {
            self.diagnostics.push(Diagnostic::error(head.span(), "continuation of no instruction"));
            return Item::Broken { meant: None };
        }
        let error = Diagnostic::error(head.span(), format!("unknown instruction: {}", head.text()));
        let names = || Keyword::names().filter(|name| !as_trigger || !NO_TRIGGERS.contains(name));
        let is_word = head.text().chars().all(|c| c.is_ascii_alphanumeric());
        let Some(known) = nearest(head.text(), names(), false).filter(|_| is_word) else {
            let help = if is_word {
                format!("instructions are {}", names().collect::<Vec<_>>().join(", "))
            } else {
                format!("if this belongs to the line above, end that with `{}`", self.escape)
            };
            self.diagnostics.push(error.with_help(help));
            return Item::Broken { meant: None };
        };
        let fix = certain(head.text(), names(), false);
        self.diagnostics.push(Diagnostic { fix, ..error.with_help(format!("did you mean `{known}`?")) });
        let meant = Keyword::parse(&known);
        // The body of a here-document that was meant is not a row of instructions, as which BuildKit reads it.
        if let Some(keyword) = meant {
            self.refused |= !self.heredocs(keyword, rest).is_empty();
        }
        Item::Broken { meant }
    }
}

/// What cannot stand behind `ONBUILD`.
const NO_TRIGGERS: [&str; 3] = ["FROM", "MAINTAINER", "ONBUILD"];

fn is_error(diagnostic: &Diagnostic) -> bool {
    diagnostic.severity == Severity::Error
}

/// What was said of an instruction, when it is the trigger of an `ONBUILD`.
fn in_trigger(said: Diagnostic) -> Diagnostic {
    if !is_error(&said) {
        return said;
    }
    let message = format!("no build can do this ONBUILD trigger: {}", said.message);
    // Another text is another image: what is written is what is recorded.
    Diagnostic { severity: Severity::Warning, rule: Some("BrokenTrigger"), message, fix: None, ..said }
}

/// Whether BuildKit takes the arguments apart, which it does before it knows what they are for: also those of triggers.
fn can_be_split(keyword: Keyword, args: Piece<'_>, escape: char) -> bool {
    let is_mixed = |args| json::parse(args) == Json::Mixed;
    match keyword {
        Keyword::Env | Keyword::Label => splits(args, escape),
        Keyword::Healthcheck => !is_mixed(args.split_word().1),
        Keyword::Add
        | Keyword::Cmd
        | Keyword::Copy
        | Keyword::Entrypoint
        | Keyword::Run
        | Keyword::Shell
        | Keyword::Volume => !is_mixed(args),
        _ => true,
    }
}

fn one_line(keyword: Keyword, rest: Piece<'_>) -> String {
    if rest.is_empty() { keyword.name().to_owned() } else { format!("{} {}", keyword.name(), rest.text()) }
}
