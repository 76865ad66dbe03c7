//! The build checks: what builds, but probably not as it was meant.
//!
//! The names are BuildKit's, so that a `# check=skip=` line means the same here. [`check`] runs those
//! that need no more than the text and the ignore file. `NoEmptyContinuation` comes out of the parser;
//! `UndefinedVar` and `InvalidBaseImagePlatform` need to know variables and base images, so whoever
//! knows them calls [`undefined_var`] and [`base_image_platform`].

mod config;
mod instructions;
mod reference;
mod rule;
mod sink;
mod stages;

use crate::ast::Dockerfile;
use crate::diagnostic::Diagnostic;
use crate::ignore::Ignore;
use crate::span::Span;
use crate::suggest::nearest;

pub use config::{Config, ConfigError};
pub use instructions::sounds_secret;
pub use rule::*;
use sink::Sink;

/// Runs the checks that `config` leaves on over `file`, which was parsed from `text`.
///
/// `ignore` is the context's ignore file, if it has one. Findings come in the order of the text; those
/// with a `fix` can be mended by putting it in place of their span.
pub fn check(text: &str, file: &Dockerfile, ignore: Option<&Ignore>, config: &Config) -> Vec<Diagnostic> {
    let mut sink = Sink::new(config.clone());
    stages::check(text, file, &mut sink);
    instructions::check(file, ignore, &mut sink);
    instructions::casing(text, file, &mut sink);
    sink.finish()
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
