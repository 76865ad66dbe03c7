//! Instructions whose arguments are a few plain words.

use crate::ast::{From, Kind};
use crate::diagnostic::Diagnostic;
use crate::expand::{ExpandErrorKind, NoVariables, expand_words};
use crate::expose::ExposeError;
use crate::span::Spanned;
use crate::{expose, signal};

use super::input::{COMMENT, Input, literal};

pub(super) fn expose(input: &Input<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Kind, Diagnostic> {
    if input.args.is_empty() {
        return Err(input.needs_arguments());
    }
    let words: Vec<Spanned<String>> = input.args.words().into_iter().map(|word| word.word()).collect();
    for word in &words {
        match expand_words(&word.value, input.escape, &NoVariables) {
            Ok(specs) if !word.value.contains('$') => {
                let errors = specs.iter().filter_map(|spec| expose::parse(spec).err());
                diagnostics.extend(errors.map(|error| port_error(word, &error)));
            }
            // One that is cut in two by a blank has its other half among the next words.
            Err(error) if !matches!(error.kind, ExpandErrorKind::Required { .. }) => {
                diagnostics.push(Diagnostic::error(word.span, error.message()));
                break;
            }
            _ => {}
        }
        if word.value.starts_with('#') {
            break;
        }
    }
    Ok(Kind::Expose(words))
}

fn port_error(word: &Spanned<String>, error: &ExposeError) -> Diagnostic {
    let diagnostic = Diagnostic::error(word.span, error.to_string());
    match error {
        _ if word.value.starts_with('#') => diagnostic.with_help(COMMENT),
        ExposeError::Protocol { .. } => diagnostic.with_help("protocols are tcp, udp and sctp"),
        _ => diagnostic,
    }
}

pub(super) fn volume(input: &Input<'_>) -> Result<Kind, Diagnostic> {
    let words = match input.json()? {
        Some(words) => words,
        None => input.args.words().into_iter().map(|word| word.word()).collect(),
    };
    if words.is_empty() {
        return Err(input.needs_arguments());
    }
    let trimmed: Vec<Spanned<String>> =
        words.into_iter().map(|word| Spanned::new(word.value.trim().to_owned(), word.span)).collect();
    if let Some(empty) = trimmed.iter().find(|word| word.value.is_empty()) {
        return Err(Diagnostic::error(empty.span, "VOLUME cannot be an empty string"));
    }
    Ok(Kind::Volume(trimmed))
}

pub(super) fn stop_signal(input: &Input<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Kind, Diagnostic> {
    let word = input.one_argument()?;
    if let Some(text) = literal(&word.value, input.escape)
        && let Err(error) = signal::check(&text)
    {
        diagnostics.push(Diagnostic::error(word.span, error.to_string()).with_help(error.way_out()));
    }
    Ok(Kind::StopSignal(word))
}

/// `FROM`. Something always comes back, so that what follows has a stage to belong to.
pub(super) fn from(input: &Input<'_>, diagnostics: &mut Vec<Diagnostic>) -> From {
    let words = input.args.words();
    let mut name = None;
    match words.as_slice() {
        [_] => {}
        [_, keyword, alias] if keyword.text().eq_ignore_ascii_case("as") => {
            let lower = alias.text().to_lowercase();
            if is_stage_name(&lower) {
                name = Some(alias.word());
            } else {
                let message = format!(
                    "invalid name for build stage: `{}`, a name can't start with a number or contain symbols",
                    alias.text()
                );
                let help = "names begin with a letter and go on with letters, digits, `-`, `_` and `.`";
                diagnostics.push(Diagnostic::error(alias.span(), message).with_help(help));
            }
        }
        _ => {
            let error = input.error("FROM requires either one or three arguments");
            let comment = words.iter().any(|word| word.text().starts_with('#'));
            diagnostics.push(if comment {
                error.with_help(COMMENT)
            } else {
                error.with_help("write `FROM image` or `FROM image AS name`")
            });
        }
    }
    From {
        span: input.span(),
        line: input.head.line.number,
        image: words.first().copied().unwrap_or(input.args).word(),
        platform: input.flags.text("platform"),
        name,
        comment: String::new(),
    }
}

fn is_stage_name(lower: &str) -> bool {
    lower.starts_with(|c: char| c.is_ascii_lowercase())
        && lower.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
}
