//! Builds: what their errors add to a message, whose fault they are, and the way out.

use std::io;

use kiln_build::error::{BuildError, BuildErrorKind, IgnoredBy};
use kiln_dockerfile::glob::has_wildcard;
use kiln_dockerfile::suggest::nearest;

use crate::errors::{
    Dockerfile, Report, chain, images, io_cause, judge_io, judge_sandbox, remote, say, status,
};

/// What a build's error adds to its message.
pub(super) fn describe<'a>(error: &'a BuildError, report: &mut Report<'a>) {
    match &error.kind {
        BuildErrorKind::Dockerfile(findings) | BuildErrorKind::Checks(findings) => {
            report.findings = findings;
            report.verdict = matches!(error.kind, BuildErrorKind::Checks(_));
            report.at = None;
        }
        BuildErrorKind::Exit { log, .. } | BuildErrorKind::Signal { log, .. } => report.log = Some(log),
        // Whoever pressed Ctrl-C knows why; the step that was under way is not at fault.
        BuildErrorKind::Interrupted => report.at = None,
        _ => {}
    }
    report.message = chain(&error.kind);
}

/// What was found out with another error of the same build.
pub(super) fn further<'a>(error: &'a BuildError, dockerfile: &'a Dockerfile) -> Report<'a> {
    let (status, hint) = judge(&error.kind);
    let mut report =
        Report { status, hint, at: error.at.as_ref(), source: Some(dockerfile), ..Report::default() };
    describe(error, &mut report);
    report
}

/// Exit status and hint.
pub(super) fn judge(kind: &BuildErrorKind) -> (u8, Option<String>) {
    match kind {
        BuildErrorKind::Dockerfile(_) => (status::USAGE, None),
        BuildErrorKind::Checks(_) => (status::FAILED, None),
        BuildErrorKind::Exit { code, .. } => (status::FAILED, exit_hint(*code)),
        BuildErrorKind::Signal { signal, .. } => (status::FAILED, exit_hint(128 + signal)),
        BuildErrorKind::Sandbox { source, .. } => judge_sandbox(source),
        BuildErrorKind::NoSandbox { remedy, .. } => (status::HOST, Some(sandbox_hint(remedy.as_deref()))),
        BuildErrorKind::Base { source, .. } => images::source((&source.reference, &source.kind)),
        BuildErrorKind::MissingSource { nearest, hidden_by, .. } => {
            (status::USAGE, missing_hint(nearest.as_deref(), hidden_by.as_ref()))
        }
        BuildErrorKind::DanglingSource { pattern, link, hidden_by, .. } => {
            // What is written out is wanted.
            let leave_out = || has_wildcard(pattern).then(|| format!("--exclude={link} leaves it out"));
            (status::USAGE, missing_hint(None, hidden_by.as_ref()).or_else(leave_out))
        }
        BuildErrorKind::NotCached { .. } => {
            (status::FAILED, say("--require-cached allows no step to run; without it they would"))
        }
        BuildErrorKind::Copy { help, .. } => (status::USAGE, help.clone()),
        BuildErrorKind::UnknownUser { what, file, .. } => (
            status::USAGE,
            Some(format!("use a numeric {what} id, or add the {what} to {file} in an earlier step")),
        ),
        BuildErrorKind::Secret { id, .. } => (
            status::USAGE,
            Some(format!("give it with --secret id={id},src=FILE or --secret id={id},env=NAME")),
        ),
        BuildErrorKind::Agent { id } => {
            (status::USAGE, Some(format!("give it with --ssh {id}, or a key with --ssh {id}=FILE")))
        }
        BuildErrorKind::Fetch { url, source } => remote::judge(url, source),
        BuildErrorKind::Epoch { .. } => (status::USAGE, None),
        BuildErrorKind::Unsupported { .. } => (status::USAGE, None),
        BuildErrorKind::NotAllowed { flag, .. } => (status::USAGE, Some(format!("allow it with {flag}"))),
        BuildErrorKind::Store { .. } => {
            (status::HOST, say("`kiln prune --all` clears the build cache; named images stay"))
        }
        BuildErrorKind::Place { remedy, .. } => (status::HOST, Some(remedy.clone())),
        BuildErrorKind::Content(error) => images::store(error),
        BuildErrorKind::Tar(_)
        | BuildErrorKind::Pack(_)
        | BuildErrorKind::Unpack(_)
        | BuildErrorKind::Diff(_)
        | BuildErrorKind::View(_) => causes(kind),
        BuildErrorKind::Artifact(error) => images::artifact(error),
        BuildErrorKind::NoCache { known, .. } if known.is_empty() => (status::USAGE, None),
        BuildErrorKind::NoCache { known, .. } => {
            (status::USAGE, Some(format!("there is {}", known.join(", "))))
        }
        BuildErrorKind::Lost { .. } => (status::FAILED, say("build without --cache-from")),
        BuildErrorKind::Io(error) => judge_io(error),
        BuildErrorKind::Interrupted => (status::INTERRUPTED, None),
        _ => (status::BUG, say("this is a bug in kiln; please report it")),
    }
}

/// An image that cannot be had may be a stage whose name is misspelt: one that stands above the instruction.
pub(super) fn meant_stage(error: &BuildError, dockerfile: &Dockerfile) -> Option<String> {
    let BuildErrorKind::Base { image, .. } = &error.kind else { return None };
    let line = error.at.as_ref().map_or(usize::MAX, |at| at.line);
    let file = kiln_dockerfile::parse(&dockerfile.text).dockerfile;
    let above = file.stages.iter().filter(|stage| stage.from.line < line);
    let names: Vec<&str> = above.filter_map(|stage| Some(stage.from.name.as_ref()?.value.as_str())).collect();
    let name = nearest(image, names, true)?;
    Some(format!("did you mean the stage {name:?}?"))
}

fn sandbox_hint(remedy: Option<&str>) -> String {
    let remedy = remedy.map(|text| format!("{text}; ")).unwrap_or_default();
    format!("{remedy}`kiln doctor` says what is missing; without RUN it builds here as it is")
}

pub(super) fn exit_hint(code: i32) -> Option<String> {
    match code {
        126 => say("126 says that a file was found but could not be executed"),
        127 => say("127 says that a command was not found in the image"),
        137 => say("SIGKILL is what the kernel sends when memory runs out"),
        _ => None,
    }
}

fn missing_hint(nearest: Option<&str>, hidden_by: Option<&IgnoredBy>) -> Option<String> {
    if let Some(IgnoredBy { file, line, rule }) = hidden_by {
        return Some(format!("it is there, but {file}:{line} hides it: `{rule}`"));
    }
    nearest.map(|path| format!("did you mean {path:?}?"))
}

/// An I/O error anywhere among the causes makes it the machine's fault.
fn causes(error: &(dyn std::error::Error + 'static)) -> (u8, Option<String>) {
    io_cause(error).map_or((status::FAILED, None), judge_io)
}

/// An archive that is damaged or cut off was given so; a disk that has no room for it is the machine's.
pub(super) fn archive(error: &BuildError) -> (u8, Option<String>) {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let of_host = |cause: &&io::Error| {
        matches!(cause.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied)
    };
    let cause = match &error.kind {
        BuildErrorKind::Io(cause) => Some(cause),
        kind => io_cause(kind),
    };
    match cause.filter(of_host) {
        Some(cause) => judge_io(cause),
        None => (status::USAGE, say("give a whole tar archive: `tar c . | kiln build -`")),
    }
}
