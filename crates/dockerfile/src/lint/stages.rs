//! Checks of `FROM` and of stage names.

use std::collections::{BTreeMap, BTreeSet};

use crate::ast::{Dockerfile, From, Kind, Word, adjoining};
use crate::expand::{Lookup, NoVariables, expand_word};
use crate::span::Span;
use crate::suggest::nearest;

use super::Facts;
use super::reference;
use super::rule;
use super::sink::{Finding, Sink};

/// Arguments that exist before the first `FROM` without being declared.
const PREDEFINED: [&str; 9] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

pub(super) fn check(text: &str, file: &Dockerfile, facts: &Facts<'_>, sink: &mut Sink) {
    let mut known = BTreeSet::new();
    let globals = Globals::new(file);
    for stage in &file.stages {
        let from = &stage.from;
        arguments(from, &globals, &known, sink);
        names(text, from, &mut known, sink);
        platform((text, file.directives.escape), from, facts, sink);
        if let Some(name) = &from.name {
            described("FROM", &[name], &from.comment, sink);
        }
    }
    for arg in &file.global_args {
        if let Kind::Arg(declared) = &arg.kind {
            let names: Vec<&Word> = declared.iter().map(|d| &d.name).collect();
            described("ARG", &names, &arg.comment, sink);
        }
    }
}

/// A comment above a definition should begin with the name of what is defined.
pub(super) fn described(instruction: &str, names: &[&Word], comment: &str, sink: &mut Sink) {
    let (Some(line), Some(first)) = (adjoining(comment).lines().last(), names.first()) else { return };
    let word = line.split(' ').next().unwrap_or_default();
    let is_name = |name: &str| name == word || (instruction == "FROM" && name.to_lowercase() == word);
    if names.iter().any(|name| is_name(&name.value)) {
        return;
    }
    let example = if names.len() == 1 { first.value.as_str() } else { "<name>" };
    let message = format!("comment for {instruction} should follow the format: `# {example} <description>`");
    let finding = Finding::new(first.span, message).help("or put an empty line below the comment");
    sink.add(&rule::INVALID_DEFINITION_DESCRIPTION, comment, finding);
}

fn names(text: &str, from: &From, known: &mut BTreeSet<String>, sink: &mut Sink) {
    let Some(name) = &from.name else { return };
    let lower = name.value.to_lowercase();
    if lower != name.value {
        let message = format!("stage name `{}` should be lowercase", name.value);
        let finding = Finding::new(name.span, message).fix(lower.clone());
        sink.add(&rule::STAGE_NAME_CASING, &from.comment, finding);
    }
    if matches!(lower.as_str(), "context" | "scratch") {
        let message = format!("stage name should not be the reserved `{lower}`");
        sink.add(&rule::RESERVED_STAGE_NAME, &from.comment, Finding::new(name.span, message));
    }
    as_casing(text, from, name.span, sink);
    if !known.insert(lower) {
        let message = format!("duplicate stage name `{}`, stage names should be unique", name.value);
        sink.add(&rule::DUPLICATE_STAGE_NAME, &from.comment, Finding::new(name.span, message));
    }
}

fn as_casing(text: &str, from: &From, name: Span, sink: &mut Sink) {
    let keyword: String = text[from.span.start..].chars().take_while(char::is_ascii_alphabetic).collect();
    let between = text.get(from.image.span.end..name.start).unwrap_or_default();
    let Some(offset) = between.find(|c: char| c.is_ascii_alphabetic()) else { return };
    let written: String = between[offset..].chars().take_while(char::is_ascii_alphabetic).collect();
    let wanted = if keyword == keyword.to_lowercase() {
        written.to_lowercase()
    } else if keyword == keyword.to_uppercase() {
        written.to_uppercase()
    } else {
        return;
    };
    if wanted != written {
        let start = from.image.span.end + offset;
        let span = Span::new(start, start + written.len());
        let message = format!("the casing of `{written}` and `{keyword}` does not match");
        sink.add(&rule::FROM_AS_CASING, &from.comment, Finding::new(span, message).fix(wanted));
    }
}

/// What is known of global arguments without a build's command line.
struct Globals {
    declared: Vec<String>,
    defaults: BTreeMap<String, String>,
    escape: char,
}

impl Globals {
    fn new(file: &Dockerfile) -> Self {
        let mut defaults: BTreeMap<String, String> =
            PREDEFINED.iter().map(|name| ((*name).to_owned(), "linux".to_owned())).collect();
        let mut declared: Vec<String> = PREDEFINED.map(str::to_owned).to_vec();
        let escape = file.directives.escape;
        for arg in &file.global_args {
            let Kind::Arg(list) = &arg.kind else { continue };
            for one in list {
                declared.push(one.name.value.clone());
                let value = one.default.as_ref().and_then(|d| expand_word(&d.value, escape, &defaults).ok());
                if let Some(value) = value {
                    defaults.insert(one.name.value.clone(), value.text);
                }
            }
        }
        Self { declared, defaults, escape }
    }
}

fn arguments(from: &From, globals: &Globals, stages: &BTreeSet<String>, sink: &mut Sink) {
    for word in [Some(&from.image), from.platform.as_ref()].into_iter().flatten() {
        let Ok(expansion) = expand_word(&word.value, globals.escape, &NoVariables) else { continue };
        for name in expansion.unset.iter().filter(|name| !globals.declared.contains(name)) {
            let near = nearest(name, globals.declared.iter().map(String::as_str), true);
            let mut finding = Finding::new(word.span, format!("FROM argument `{name}` is not declared"));
            if let Some(near) = near {
                finding = finding.help(format!("did you mean `{near}`?"));
            }
            sink.add(&rule::UNDEFINED_ARG_IN_FROM, &from.comment, finding);
        }
    }
    if !from.image.value.contains('$') {
        return;
    }
    let defaults: &dyn Lookup = &globals.defaults;
    let Ok(image) = expand_word(&from.image.value, globals.escape, defaults) else { return };
    // A stage's name may end in a hyphen, which an image's may not: `FROM docs-${WITH_DOCS:+yes}`.
    if !reference::is_valid(&image.text) && !stages.contains(&image.text.to_lowercase()) {
        let message = format!(
            "default value for ARG `{}` results in an empty or invalid base image name",
            from.image.value
        );
        let finding = Finding::new(from.image.span, message);
        sink.add(&rule::INVALID_DEFAULT_ARG_IN_FROM, &from.comment, finding);
    }
}

fn platform((text, escape): (&str, char), from: &From, facts: &Facts<'_>, sink: &mut Sink) {
    let Some(platform) = &from.platform else { return };
    if is_target(&platform.value, escape) {
        let message = format!("setting the platform to `{}` in FROM is redundant", platform.value);
        let flag = whole_flag(text, platform.span);
        let finding = Finding::new(flag.unwrap_or(platform.span), message);
        let finding = match flag {
            Some(_) => finding.fix(""),
            None => finding,
        };
        let finding = finding.help("leave the flag out, it is the default");
        sink.add(&rule::REDUNDANT_TARGET_PLATFORM, &from.comment, finding);
        return;
    }
    let Ok(expansion) = expand_word(&platform.value, escape, &NoVariables) else { return };
    if !expansion.unset.is_empty() {
        return;
    }
    let Some((system, machine)) = facts.platform.and_then(|read| read(&expansion.text)) else { return };
    // A stage that is called after its platform is meant to be bound to it.
    let stage = from.name.as_ref().map(|name| name.value.to_lowercase()).unwrap_or_default();
    if !stage.contains(&system) && !stage.contains(&machine) {
        let message = format!("FROM --platform flag should not use constant value `{}`", expansion.text);
        let finding = Finding::new(platform.span, message);
        sink.add(&rule::FROM_PLATFORM_FLAG_CONST_DISALLOWED, &from.comment, finding);
    }
}

/// Whether the word is the target platform and nothing else, however it is written.
fn is_target(word: &str, escape: char) -> bool {
    const TARGET: &str = "TARGETPLATFORM";
    let vars = vec![(TARGET.to_owned(), "linux/amd64".to_owned())];
    expand_word(word, escape, &vars).is_ok_and(|expansion| {
        expansion.text == vars[0].1 && expansion.used == [TARGET] && expansion.unset.is_empty()
    })
}

/// `--platform=value` with the blanks behind it, if the value is written that way.
fn whole_flag(text: &str, value: Span) -> Option<Span> {
    let before = text.get(..value.start)?.strip_suffix("--platform=")?;
    let after = text.get(value.end..)?;
    let blanks = after.len() - after.trim_start_matches([' ', '\t']).len();
    (blanks > 0).then(|| Span::new(before.len(), value.end + blanks))
}
