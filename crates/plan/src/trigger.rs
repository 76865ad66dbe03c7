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
    let mut instructions = Vec::new();
    let mut errors = Vec::new();
    for text in texts {
        match parse(text) {
            (Some(instruction), reasons) if reasons.is_empty() => instructions.push(Cow::Owned(instruction)),
            (_, reasons) => errors.push(wrong((text, "the base image"), &reasons, from)),
        }
    }
    if errors.is_empty() { Ok(instructions) } else { Err(errors) }
}

/// The triggers among the instructions of the stage that `from` builds on.
///
/// # Errors
/// For each that no build can do, at the image name of `from`.
pub(crate) fn of_stage<'a>(
    instructions: &'a [Instruction],
    from: &From,
) -> Result<Vec<Cow<'a, Instruction>>, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for instruction in instructions {
        match &instruction.kind {
            Kind::Onbuild(_, Some(trigger)) => found.push(Cow::Borrowed(trigger.as_ref())),
            Kind::Onbuild(text, None) => {
                errors.push(wrong((text, &format!("stage `{}`", from.image.value)), &parse(text).1, from));
            }
            _ => {}
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// The instruction that a trigger is, and what is wrong with it.
fn parse(text: &str) -> (Option<Instruction>, Vec<String>) {
    let (instruction, diagnostics) = parse_trigger(text, ESCAPE);
    let errors = diagnostics.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    (instruction, errors.map(|error| error.message).collect())
}

fn wrong((text, whose): (&str, &str), reasons: &[String], from: &From) -> Diagnostic {
    let message = format!("in `ONBUILD {text}` of {whose}: {}", reasons.join("; "));
    Diagnostic::error(from.image.span, message)
}
