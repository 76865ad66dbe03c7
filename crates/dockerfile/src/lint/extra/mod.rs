//! The checks that BuildKit does not have, and that people ask of other linters. Off unless asked for.
//!
//! They read the shell lines of `RUN` the way a person skims them: which programs are started with which words. What
//! hides in variables, scripts and substitutions is not seen, and nothing is said about it.

mod copies;
mod packages;
mod shell;
mod steps;

use std::collections::BTreeSet;

use crate::ast::{CommandLine, Dockerfile, Instruction, Kind, Run, Stage};
use crate::span::Span;

use super::rule::Rule;
use super::sink::{Finding, Sink};
use shell::{Command, commands};

/// What a stage has had so far, handed on to stages built on it.
#[derive(Clone, Debug, Default)]
struct State {
    /// `SHELL` fails when a part of a pipe does.
    pipefail: bool,
    /// `PIP_NO_CACHE_DIR` is set.
    pip_keeps_nothing: bool,
    /// Where `WORKDIR` leads, if it can be told.
    directory: Option<String>,
    /// Paths that `COPY` and `ADD` wrote, with the instruction's keyword.
    copied: Vec<(String, &'static str)>,
    /// The `COPY` of the whole context, until the first installation.
    whole_context: Option<(Span, String)>,
    /// Dependencies have been installed.
    installed: bool,
}

/// An instruction and what is around it.
#[derive(Clone, Copy)]
struct Place<'a> {
    text: &'a str,
    one: &'a Instruction,
}

impl Place<'_> {
    /// Where `word` stands in the instruction, as a word of its own; all of the first line if it cannot be found as written.
    fn find(&self, word: &str) -> Span {
        let span = self.one.span;
        let body = self.text.get(span.start..span.end).unwrap_or_default();
        let part = |c: char| c.is_alphanumeric() || "-_=./@".contains(c);
        let alone = |at: &usize| {
            let (before, after) = (&body[..*at], &body[at + word.len()..]);
            !before.ends_with(part) && !after.starts_with(part)
        };
        let found = body.match_indices(word).map(|(at, _)| at).find(alone).filter(|_| !word.is_empty());
        match found {
            Some(at) => Span::new(span.start + at, span.start + at + word.len()),
            None => Span::new(span.start, span.start + body.lines().next().unwrap_or_default().len()),
        }
    }

    fn at(&self, word: &str) -> Spot<'_> {
        Spot { span: self.find(word), comment: &self.one.comment }
    }
}

/// A word of an instruction.
struct Spot<'a> {
    span: Span,
    comment: &'a str,
}

impl Spot<'_> {
    fn say(&self, rule: &Rule, message: String, help: &str, sink: &mut Sink) {
        sink.add(rule, self.comment, Finding::new(self.span, message).help(help));
    }
}

pub(super) fn check(text: &str, file: &Dockerfile, stages: Option<&BTreeSet<usize>>, sink: &mut Sink) {
    let mut states: Vec<(String, State)> = Vec::new();
    for (number, stage) in file.stages.iter().enumerate() {
        let image = stage.from.image.value.to_lowercase();
        let below = states.iter().rev().find(|(name, _)| *name == image).map(|(_, state)| state);
        let is_stage = below.is_some();
        let mut state = below.cloned().unwrap_or_default();
        if stages.is_none_or(|stages| stages.contains(&number)) {
            if !is_stage {
                steps::base_image(stage, sink);
            }
            for one in &stage.instructions {
                instruction(&Place { text, one }, &mut state, sink);
            }
            steps::last_user(text, stage, number + 1 == file.stages.len(), sink);
        }
        if let Some(name) = &stage.from.name {
            states.push((name.value.to_lowercase(), state));
        }
    }
}

fn instruction(place: &Place<'_>, state: &mut State, sink: &mut Sink) {
    match &place.one.kind {
        Kind::Run(run) => {
            let commands = commands_of(run);
            packages::check(place, run, &commands, state, sink);
            steps::run(place, &commands, state, sink);
            copies::after(place, &commands, state, sink);
        }
        Kind::Copy(copy) => copies::copy(place, copy, "COPY", state, sink),
        Kind::Add(copy) => copies::copy(place, copy, "ADD", state, sink),
        Kind::Shell(argv) => state.pipefail = argv.iter().any(|word| word.contains("pipefail")),
        Kind::Workdir(path) => {
            let literal = Some(path.value.trim_matches(['"', '\''])).filter(|path| !path.contains('$'));
            state.directory = literal.and_then(|path| copies::absolute(path, state.directory.as_deref()));
        }
        Kind::Env(pairs) => {
            state.pip_keeps_nothing |= pairs.iter().any(|pair| pair.key.value == "PIP_NO_CACHE_DIR");
            steps::values(place, pairs.iter().map(|pair| &pair.value), sink);
        }
        Kind::Label(pairs) => steps::values(place, pairs.iter().map(|pair| &pair.value), sink),
        Kind::Arg(list) => steps::values(place, list.iter().filter_map(|arg| arg.default.as_ref()), sink),
        _ => {}
    }
}

/// What a RUN starts: nothing can be said of scripts for anything but a shell.
fn commands_of(run: &Run) -> Vec<Command> {
    let line = match &run.command {
        CommandLine::Exec(argv) => {
            let inner = match argv.as_slice() {
                [shell, flag, line]
                    if shell.ends_with("sh") && flag.starts_with('-') && flag.ends_with('c') =>
                {
                    return commands(line);
                }
                argv => argv.to_vec(),
            };
            return vec![Command { words: inner, ..Command::default() }];
        }
        CommandLine::Shell(line) => line,
    };
    let Some(heredoc) = run.heredocs.first().filter(|_| line.trim_start().starts_with("<<")) else {
        return commands(line);
    };
    let rest = line.trim_start().trim_start_matches(['<', '-', ' ', '"', '\'']);
    let rest =
        rest.strip_prefix(heredoc.name.as_str()).unwrap_or(rest).trim_start_matches(['"', '\'']).trim();
    let shebang = heredoc.body.strip_prefix("#!").and_then(|body| body.lines().next());
    let interpreter = shebang.or(Some(rest).filter(|rest| !rest.is_empty())).unwrap_or("sh");
    let is_shell = interpreter.split_whitespace().any(|word| word.ends_with("sh") && !word.ends_with("pwsh"));
    if is_shell { commands(&heredoc.body) } else { Vec::new() }
}

/// What is said about stages in `steps`.
fn stage_span(stage: &Stage) -> Span {
    stage.from.image.span
}
