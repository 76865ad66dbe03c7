//! `ONBUILD` triggers as an image records them: text that is parsed where the image is used.

use std::borrow::Cow;

use kiln_dockerfile::ast::{From, Instruction, Kind};
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::parse_trigger;

/// The triggers of an image are parsed with the usual escape character, whatever the file at hand uses.
const ESCAPE: char = '\\';

/// Parses the triggers of the base image of `from`.
///
/// # Errors
/// For each trigger that is no instruction, at the image name of `from`.
pub(crate) fn parse_all<'a>(
    texts: &[String],
    from: &From,
) -> Result<Vec<Cow<'a, Instruction>>, Vec<Diagnostic>> {
    gathered(texts.iter().map(|text| match read(text, ESCAPE) {
        (Some(instruction), reasons) if reasons.is_empty() => Ok(Cow::Owned(instruction)),
        (_, reasons) => Err(wrong((text, "the base image"), &reasons, from)),
    }))
}

/// The triggers among the instructions of the stage that `from` builds on; `escape` is the file's.
///
/// # Errors
/// For each that no build can do, at the image name of `from`.
pub(crate) fn of_stage<'a>(
    instructions: &'a [Instruction],
    (from, escape): (&From, char),
) -> Result<Vec<Cow<'a, Instruction>>, Vec<Diagnostic>> {
    let whose = format!("stage `{}`", from.image.value);
    gathered(instructions.iter().filter_map(|instruction| match &instruction.kind {
        Kind::Onbuild(_, Some(trigger)) => Some(Ok(Cow::Borrowed(trigger.as_ref()))),
        Kind::Onbuild(text, None) => Some(Err(wrong((text, &whose), &read(text, escape).1, from))),
        _ => None,
    }))
}

/// All triggers, or all that is wrong with them.
fn gathered<T>(triggers: impl Iterator<Item = Result<T, Diagnostic>>) -> Result<Vec<T>, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for trigger in triggers {
        match trigger {
            Ok(trigger) => found.push(trigger),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// The instruction that a trigger is, and what is wrong with it.
fn read(text: &str, escape: char) -> (Option<Instruction>, Vec<String>) {
    let (instruction, diagnostics) = parse_trigger(text, escape);
    let errors = diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    (instruction, errors.map(|error| error.message).collect())
}

fn wrong((text, whose): (&str, &str), reasons: &[String], from: &From) -> Diagnostic {
    let message = format!("in `ONBUILD {text}` of {whose}: {}", reasons.join("; "));
    Diagnostic::error(from.image.span, message)
}
