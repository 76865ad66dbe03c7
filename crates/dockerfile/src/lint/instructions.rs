//! Checks of the instructions inside stages.

use crate::ast::{CommandLine, Copy, Dockerfile, Instruction, KeyValue, Kind, Stage, Word};
use crate::expand::{NoVariables, expand_word};
use crate::expose;
use crate::glob::clean;
use crate::ignore::Ignore;
use crate::source::{Source, classify};
use crate::span::Span;

use super::sink::{Finding, Sink};
use super::stages::described;
use super::{Facts, instead, rule};

/// What a stage has had so far, handed on to stages built on it.
#[derive(Clone, Debug, Default)]
struct State {
    shell: bool,
    workdir: bool,
}

pub(super) fn check(text: &str, file: &Dockerfile, facts: &Facts<'_>, sink: &mut Sink) {
    let mut states: Vec<State> = Vec::new();
    for (number, stage) in file.stages.iter().enumerate() {
        let image = stage.from.image.value.to_lowercase();
        let is_named =
            |stage: &Stage| stage.from.name.as_ref().is_some_and(|n| n.value.to_lowercase() == image);
        let by_name = || file.stages[..number].iter().rposition(is_named);
        let base = facts.bases.get(&number).copied().or_else(by_name);
        let mut state = base.and_then(|base| states.get(base)).cloned().unwrap_or_default();
        state.shell |= facts.with_shell.contains(&number);
        // What nobody builds is looked at no closer than the parser does.
        if facts.stages.is_none_or(|stages| stages.contains(&number)) {
            let place = Place { text, facts, escape: file.directives.escape, file };
            check_stage(stage, &mut state, &place, sink);
        }
        states.push(state);
    }
}

/// What surrounds an instruction.
struct Place<'a> {
    text: &'a str,
    facts: &'a Facts<'a>,
    escape: char,
    file: &'a Dockerfile,
}

impl Place<'_> {
    /// What `word` stands for; nothing if that takes variables that nobody knows.
    fn values(&self, word: &Word) -> Vec<String> {
        if word.value.contains('$') {
            return self.facts.values.get(&word.span.start).cloned().unwrap_or_default();
        }
        let plain = expand_word(&word.value, self.escape, &NoVariables);
        plain.map(|expansion| vec![expansion.text]).unwrap_or_default()
    }
}

fn check_stage(stage: &Stage, state: &mut State, place: &Place<'_>, sink: &mut Sink) {
    let mut once: [Option<&Instruction>; 3] = [None; 3];
    for one in &stage.instructions {
        let slot = match &one.kind {
            Kind::Cmd(_) => Some(0),
            Kind::Entrypoint(_) => Some(1),
            Kind::Healthcheck(_) => Some(2),
            _ => None,
        };
        // The earlier one is reported, since it is the one without effect.
        if let Some(earlier) = slot.and_then(|slot| once[slot].replace(one)) {
            let name = keyword(one);
            let message = format!(
                "multiple {name} instructions should not be used in the same stage, only the last one has effect"
            );
            let finding = Finding::new(earlier.span, message);
            sink.add(&rule::MULTIPLE_INSTRUCTIONS_DISALLOWED, &one.comment, finding);
        }
        check_one(one, state, place, sink);
    }
}

fn check_one(one: &Instruction, state: &mut State, place: &Place<'_>, sink: &mut Sink) {
    match &one.kind {
        Kind::Cmd(CommandLine::Shell(line)) | Kind::Entrypoint(CommandLine::Shell(line)) if !state.shell => {
            let message =
                format!("JSON arguments recommended for {}, so that signals reach the program", keyword(one));
            let mut finding = Finding::new(one.span, message);
            if let Some(argv) = instead::argv(one, line, place.file) {
                finding = finding.help(format!("write `{} {argv}`", keyword(one)));
            }
            sink.add(&rule::JSON_ARGS_RECOMMENDED, &one.comment, finding);
        }
        Kind::Shell(_) => state.shell = true,
        Kind::Workdir(path) => workdir(one, path, (state, place), sink),
        Kind::Maintainer(_) => {
            let label = instead::label(place.text, one);
            let finding =
                Finding::new(one.span, "MAINTAINER is deprecated in favor of a label").help(format!(
                    "write `{}`",
                    label.as_deref().unwrap_or("LABEL org.opencontainers.image.authors=...")
                ));
            sink.add(&rule::MAINTAINER_DEPRECATED, &one.comment, finding);
        }
        Kind::Env(pairs) => {
            legacy(one, pairs, place, sink);
            for pair in pairs {
                secret(one, &pair.key, sink);
            }
        }
        Kind::Label(pairs) => legacy(one, pairs, place, sink),
        Kind::Arg(declared) => {
            for each in declared {
                secret(one, &each.name, sink);
            }
            let names: Vec<&Word> = declared.iter().map(|each| &each.name).collect();
            described("ARG", &names, &one.comment, sink);
        }
        Kind::Expose(words) => words.iter().for_each(|word| ports(one, word, place, sink)),
        Kind::Copy(copy) | Kind::Add(copy) => copied(one, copy, place, sink),
        _ => {}
    }
}

fn keyword(one: &Instruction) -> &str {
    one.text.split(' ').next().unwrap_or_default()
}

fn workdir(one: &Instruction, path: &Word, (state, place): (&mut State, &Place<'_>), sink: &mut Sink) {
    if std::mem::replace(&mut state.workdir, true) {
        return;
    }
    for value in place.values(path).iter().filter(|value| !value.starts_with('/')) {
        let message = if value.is_empty() {
            format!("WORKDIR `{}` is empty, which leaves it to the base image", path.value)
        } else {
            format!("relative WORKDIR `{value}` depends on the base image")
        };
        let finding = Finding::new(path.span, message).help("set an absolute WORKDIR first");
        sink.add(&rule::WORKDIR_RELATIVE_PATH, &one.comment, finding);
    }
}

fn legacy(one: &Instruction, pairs: &[KeyValue], place: &Place<'_>, sink: &mut Sink) {
    let name = keyword(one);
    for pair in pairs.iter().filter(|pair| pair.legacy) {
        let message = format!("`{name} key=value` should be used instead of the legacy `{name} key value`");
        let span = pair.key.span.join(pair.value.span);
        let mut finding = Finding::new(span, message);
        // A key that would not stay one word is for people to mend.
        let is_word = pair.key.value.chars().all(|c| c.is_ascii_graphic() && !"\"'\\`".contains(c));
        let one_line = !place.text.get(span.start..span.end).unwrap_or("\n").contains('\n');
        if is_word && one_line && !pair.value.value.contains(['"', '\'', '\\', '`']) {
            finding = finding.fix(format!("{}=\"{}\"", pair.key.value, pair.value.value));
        }
        sink.add(&rule::LEGACY_KEY_VALUE_FORMAT, &one.comment, finding);
    }
}

/// Whether a variable of this name is likely to hold a secret, as `SecretsUsedInArgOrEnv` judges.
pub fn sounds_secret(name: &str) -> bool {
    const TELLING: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&TELLING) && !has(&HARMLESS)
}

fn secret(one: &Instruction, name: &Word, sink: &mut Sink) {
    if sounds_secret(&name.value) {
        let message = format!("do not use ARG or ENV for sensitive data ({} `{}`)", keyword(one), name.value);
        let finding = Finding::new(name.span, message).help("use `RUN --mount=type=secret`");
        sink.add(&rule::SECRETS_USED_IN_ARG_OR_ENV, &one.comment, finding);
    }
}

fn ports(one: &Instruction, word: &Word, place: &Place<'_>, sink: &mut Sink) {
    for port in place.values(word) {
        let protocol = port.rsplit_once('/').map_or("", |(_, protocol)| protocol);
        if protocol != protocol.to_lowercase() {
            let message = format!("protocol of `{port}` in EXPOSE should be lowercase");
            let mut finding = Finding::new(word.span, message);
            if port == word.value {
                finding = finding.fix(port.to_lowercase());
            }
            sink.add(&rule::EXPOSE_PROTO_CASING, &one.comment, finding);
        }
        if expose::maps_host(&port) {
            let message = format!("EXPOSE should not define an IP address or a host port, found `{port}`");
            sink.add(&rule::EXPOSE_INVALID_FORMAT, &one.comment, Finding::new(word.span, message));
        }
    }
}

/// Sources that the ignore file excludes. With exceptions in that file nothing can be said.
fn copied(one: &Instruction, copy: &Copy, place: &Place<'_>, sink: &mut Sink) {
    let Some(ignore) = place.facts.ignore.filter(|ignore| !ignore.has_exceptions() && copy.from.is_none())
    else {
        return;
    };
    for word in &copy.sources {
        for text in place.values(word) {
            if matches!(classify(&text), Ok(Source::Path)) && excludes(ignore, &text) {
                let message = format!("{} of `{text}`, which the ignore file excludes", keyword(one));
                sink.add(&rule::COPY_IGNORED_FILE, &one.comment, Finding::new(word.span, message));
            }
        }
    }
}

fn excludes(ignore: &Ignore, source: &str) -> bool {
    let path = clean(source);
    let path = path.trim_start_matches('/');
    if path.is_empty() || path == "." {
        return ignore.rules().iter().any(|rule| matches!(rule.text.as_str(), "*" | "**" | "**/*"));
    }
    ignore.patterns().matches_or_parent(path)
}

/// All keywords in one case: the one that most have, upper if it is a draw.
pub(super) fn casing(text: &str, file: &Dockerfile, sink: &mut Sink) {
    let mut keywords: Vec<(Span, &str, &str)> = Vec::new();
    for stage in &file.stages {
        keywords.push(written(text, stage.from.span, &stage.from.comment));
        keywords.extend(stage.instructions.iter().map(|one| written(text, one.span, &one.comment)));
    }
    let lower = keywords.iter().filter(|(_, word, _)| *word == word.to_lowercase()).count();
    let upper = keywords.iter().filter(|(_, word, _)| *word == word.to_uppercase()).count();
    for (span, word, comment) in keywords {
        let (wanted, name) = if lower > upper {
            (word.to_lowercase(), "lowercase")
        } else {
            (word.to_uppercase(), "uppercase")
        };
        if wanted != word {
            let message = format!("instruction `{word}` should be in {name} like most others");
            let finding = Finding::new(span, message).fix(wanted);
            sink.add(&rule::CONSISTENT_INSTRUCTION_CASING, comment, finding);
        }
    }
}

fn written<'a>(text: &'a str, span: Span, comment: &'a str) -> (Span, &'a str, &'a str) {
    let rest = text.get(span.start..span.end).unwrap_or_default();
    let length = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    (Span::new(span.start, span.start + length), &rest[..length], comment)
}
