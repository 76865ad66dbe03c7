//! Instructions that hold a command: `RUN`, `SHELL`, `HEALTHCHECK`.

use crate::ast::{CommandLine, Healthcheck, Kind, Run, Word};
use crate::diagnostic::{Diagnostic, Severity};
use crate::duration;
use crate::suggest::nearest;

use super::input::{Input, command_line};
use super::lines::Piece;
use super::mount;

pub(super) fn run(input: Input<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Kind, Diagnostic> {
    let line = input.args.line;
    let mut mounts = Vec::new();
    for (span, value) in input.flags.decoded("mount") {
        mounts.extend(mount::mount(span, value, line, input.escape, diagnostics));
    }
    for (span, value) in input.flags.decoded("device") {
        mount::check_device(span, value, line, diagnostics);
    }
    let network = one_of(&input, "network", &["default", "none", "host"], diagnostics);
    let security = one_of(&input, "security", &["sandbox", "insecure"], diagnostics);
    Ok(Kind::Run(Run {
        command: command_line(input.args)?,
        mounts,
        network,
        security,
        devices: input.flags.list("device"),
        heredocs: input.heredocs.into_iter().map(|opened| opened.heredoc).collect(),
    }))
}

/// The value of a flag that takes one of a few words, never a variable.
fn one_of(
    input: &Input<'_>,
    flag: &str,
    choices: &[&'static str],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Word> {
    let value = input.flags.text(flag)?;
    if !choices.contains(&value.value.as_str()) {
        let error = Diagnostic::error(value.span, format!("invalid {flag} mode `{}`", value.value));
        diagnostics.push(match nearest(&value.value, choices.iter().copied(), true) {
            Some(known) => error.with_help(format!("did you mean `{known}`?")),
            None => error.with_help(format!("it takes {}", choices.join(", "))),
        });
    }
    Some(value)
}

pub(super) fn shell(input: &Input<'_>) -> Result<Kind, Diagnostic> {
    match input.json()? {
        _ if input.args.is_empty() => Err(input.needs_arguments()),
        Some(words) if words.is_empty() => Err(input.needs_arguments()),
        Some(words) => Ok(Kind::Shell(words.into_iter().map(|word| word.value).collect())),
        None => {
            let words: Vec<String> =
                input.args.text().split_whitespace().map(|word| format!("{word:?}")).collect();
            let mut error =
                Diagnostic::error(input.args.span(), "SHELL requires the arguments to be in JSON form");
            error.help = Some(if input.args.text().starts_with('[') {
                r#"a JSON array is like `["/bin/sh", "-c"]`: double quotes, commas between, and closed"#
                    .to_owned()
            } else {
                format!("write `SHELL [{}]`", words.join(", "))
            });
            Err(error)
        }
    }
}

pub(super) fn healthcheck(input: &Input<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Kind, Diagnostic> {
    if input.args.is_empty() {
        return Err(input.needs_arguments());
    }
    let text = input.args.text();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (kind, rest) = (input.args.sub(0, end), input.args.sub(end, text.len()).trim());
    match kind.text().to_uppercase().as_str() {
        "NONE" => {
            if !rest.is_empty() {
                return Err(Diagnostic::error(rest.span(), "HEALTHCHECK NONE takes no arguments"));
            }
            if let Some(span) = input.flags.first_span() {
                let mut warning = Diagnostic::error(span, "flags mean nothing for HEALTHCHECK NONE");
                warning.severity = Severity::Warning;
                diagnostics.push(warning);
            }
            Ok(Kind::Healthcheck(Healthcheck::None))
        }
        "CMD" => check_command(input, rest, diagnostics).map(Kind::Healthcheck),
        _ => {
            let message = format!("unknown type `{}` in HEALTHCHECK", kind.text());
            Err(Diagnostic::error(kind.span(), message).with_help("try `HEALTHCHECK CMD ...`"))
        }
    }
}

fn check_command(
    input: &Input<'_>,
    rest: Piece<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Healthcheck, Diagnostic> {
    let command = command_line(rest)?;
    let is_empty = match &command {
        CommandLine::Exec(words) => words.is_empty(),
        CommandLine::Shell(text) => text.is_empty(),
    };
    if is_empty {
        return Err(input.error("missing command after HEALTHCHECK CMD"));
    }
    Ok(Healthcheck::Cmd {
        command,
        interval: interval(input, "interval", diagnostics),
        timeout: interval(input, "timeout", diagnostics),
        start_period: interval(input, "start-period", diagnostics),
        start_interval: interval(input, "start-interval", diagnostics),
        retries: retries(input, diagnostics),
    })
}

/// A duration in nanoseconds: 0 if it is not given, else at least a millisecond.
fn interval(input: &Input<'_>, flag: &str, diagnostics: &mut Vec<Diagnostic>) -> i64 {
    let Some(word) = input.flags.text(flag).filter(|word| !word.value.is_empty()) else { return 0 };
    match duration::parse(&word.value) {
        Ok(0) => 0,
        Ok(nanoseconds) if nanoseconds >= 1_000_000 => nanoseconds,
        Ok(_) => {
            let message = format!("--{flag} `{}` cannot be less than 1ms", word.value);
            diagnostics.push(Diagnostic::error(word.span, message));
            0
        }
        Err(error) => {
            let diagnostic = Diagnostic::error(word.span, error.to_string());
            diagnostics.push(diagnostic.with_help("durations look like `30s`, `1m30s` or `500ms`"));
            0
        }
    }
}

fn retries(input: &Input<'_>, diagnostics: &mut Vec<Diagnostic>) -> i64 {
    let Some(word) = input.flags.text("retries").filter(|word| !word.value.is_empty()) else { return 0 };
    match word.value.parse::<i32>() {
        Ok(count) if count >= 0 => i64::from(count),
        Ok(count) => {
            let message = format!("--retries cannot be negative ({count})");
            diagnostics.push(Diagnostic::error(word.span, message));
            0
        }
        Err(_) => {
            let message = format!("--retries must be a number, found `{}`", word.value);
            diagnostics.push(Diagnostic::error(word.span, message));
            0
        }
    }
}
