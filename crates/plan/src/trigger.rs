//! `ONBUILD` triggers as an image records them: text that is parsed where the image is used.

use std::borrow::Cow;

use kiln_dockerfile::ast::{From, Instruction};
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
        let (instruction, diagnostics) = parse_trigger(text, ESCAPE);
        let failed = diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
        let reasons: Vec<&str> = failed.map(|diagnostic| diagnostic.message.as_str()).collect();
        match instruction {
            Some(instruction) if reasons.is_empty() => instructions.push(Cow::Owned(instruction)),
            _ => {
                let message = format!("in `ONBUILD {text}` of the base image: {}", reasons.join("; "));
                errors.push(Diagnostic::error(from.image.span, message));
            }
        }
    }
    if errors.is_empty() { Ok(instructions) } else { Err(errors) }
}
