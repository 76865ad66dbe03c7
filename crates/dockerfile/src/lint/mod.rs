//! The build checks: what builds, but probably not as it was meant.
//!
//! The names are BuildKit's, so that a `# check=skip=` line means the same here. [`check`] runs those
//! that need no more than the text and the ignore file. `NoEmptyContinuation` comes out of the parser;
//! `UndefinedVar` and `InvalidBaseImagePlatform` need to know variables and base images, so whoever
//! knows them calls [`undefined_var`] and [`base_image_platform`].

mod config;
mod extra;
mod instead;
mod instructions;
mod mend;
mod reference;
mod rule;
mod sink;
mod stages;

use std::collections::{BTreeMap, BTreeSet};

use crate::ast::Dockerfile;
use crate::diagnostic::Diagnostic;
use crate::ignore::Ignore;
use crate::span::Span;
use crate::suggest::nearest;

pub use config::{Config, ConfigError};
pub use instructions::sounds_secret;
pub use mend::{Mended, mend};
pub use rule::*;
use sink::Sink;

/// What words with variables stand for: the offset at which a word begins, and what it gives, several words where its
/// variables hold blanks.
pub type Values = BTreeMap<usize, Vec<String>>;

/// Reads a platform, giving the names of its system and its processor in their normal form; `None` if it is none.
pub type ReadPlatform = fn(&str) -> Option<(String, String)>;

/// What is known beyond the text.
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    /// The context's ignore file, if it has one.
    pub ignore: Option<&'a Ignore>,
    /// The stages that are built, by position; all if nobody says. What is wrong with the words of others (a name's
    /// casing, say) is still told, as BuildKit does.
    pub stages: Option<&'a BTreeSet<usize>>,
    /// The stages whose base image sets a shell of its own, by position.
    pub with_shell: BTreeSet<usize>,
    /// The stages that other stages start from, where that takes variables: by position, the position of the base.
    pub bases: BTreeMap<usize, usize>,
    /// The words of `COPY`, `ADD`, `EXPOSE` and `WORKDIR` that have variables, as far as these are known. Of others nothing is said.
    pub values: Values,
    /// What reads a platform; without it nothing is said of constant ones.
    pub platform: Option<ReadPlatform>,
}

/// Runs the checks that `config` leaves on over `file`, which was parsed from `text`.
///
/// Findings come in the order of the text; those with a `fix` can be mended by putting it in place of their span.
pub fn check(text: &str, file: &Dockerfile, facts: &Facts<'_>, config: &Config) -> Vec<Diagnostic> {
    let mut sink = Sink::new(config.clone());
    stages::check(text, file, facts, &mut sink);
    instructions::check(text, file, facts, &mut sink);
    instructions::casing(text, file, &mut sink);
    // The comment above an instruction may turn on what is off elsewhere.
    if text.contains("experimental=") || EXTRA.iter().any(|rule| config.runs(rule)) {
        extra::check(text, file, facts.stages, &mut sink);
    }
    sink.finish()
}

/// Those of `findings`, made by somebody else, that `config` and the comment above their instruction leave on. What is no
/// check's finding stays.
pub fn wanted(file: &Dockerfile, config: &Config, findings: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let runs = |found: &Diagnostic| {
        found
            .rule
            .and_then(Rule::named)
            .is_none_or(|rule| config.with_comment(comment_at(file, found.span)).runs(rule))
    };
    findings.into_iter().filter(runs).collect()
}

/// Whether `error=true` makes a failure of a finding. Of what BuildKit does not look for it does not, unless that was asked for: a file
/// that forbids findings builds here if it builds there.
pub fn counts(found: &Diagnostic) -> bool {
    found.rule.and_then(Rule::named).is_none_or(|rule| rule.group != Group::Own)
}

/// The comment above the instruction that begins last at or before `span`.
fn comment_at(file: &Dockerfile, span: Span) -> &str {
    let own = |list: &'_ [crate::ast::Instruction]| {
        let behind = list.partition_point(|one| one.span.start <= span.start);
        behind.checked_sub(1).map(|i| (list[i].span, i))
    };
    let stage = file.stages.partition_point(|stage| stage.from.span.start <= span.start);
    let Some(stage) = stage.checked_sub(1).map(|i| &file.stages[i]) else {
        return own(&file.global_args).map_or("", |(_, i)| &file.global_args[i].comment);
    };
    own(&stage.instructions).map_or(&stage.from.comment, |(_, i)| &stage.instructions[i].comment)
}

/// The finding for a variable at `span` that nothing defines; `known` are the names in scope.
pub fn undefined_var<'a>(name: &str, span: Span, known: impl IntoIterator<Item = &'a str>) -> Diagnostic {
    let found =
        Diagnostic::warning(UNDEFINED_VAR.name, span, format!("usage of undefined variable `${name}`"));
    match nearest(name, known, true) {
        Some(near) => found.with_help(format!("did you mean `${near}`?")),
        None => found,
    }
}

/// The finding for a base image that is not for the platform that is built for.
pub fn base_image_platform(image: &str, span: Span, actual: &str, expected: &str) -> Diagnostic {
    let message = format!("base image {image} is for platform `{actual}`, expected `{expected}`");
    Diagnostic::warning(INVALID_BASE_IMAGE_PLATFORM.name, span, message)
}

#[cfg(test)]
mod tests;
