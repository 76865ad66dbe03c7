//! `kiln build --check` and `--call`: what can be said about a Dockerfile without building it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use kiln_build::check::{Checked, check, outline};
use kiln_build::event::Event;
use kiln_build::request::Context;
use kiln_dockerfile::diagnostic::Severity;
use kiln_dockerfile::lint::{Mended, mend};
use kiln_registry::Client;
use kiln_sandbox::{Rung, StopSignal, install_signal_flag, termination_requested};

use crate::answers::{findings, parameters};
use crate::args::Format;
use crate::args::build::BuildArgs;
use crate::args::call::Method;
use crate::commands::{Setting, answer};
use crate::errors::CliError;
use crate::excerpt::{self, Ink};
use crate::interrupt::watched;
use crate::render::write_stderr;
use crate::request::Prepared;

/// Base images tell a check more, but it can do without: all questions about them together get no more than this.
const PATIENCE: Duration = Duration::from_secs(5);
/// Mends can make room for others; this many rounds are more than any file takes.
const ROUNDS: usize = 8;

pub(super) fn run(args: &BuildArgs, prepared: Prepared, setting: &Setting<'_>) -> Result<(), CliError> {
    let json = args.format == Format::Json || args.call.format == Some(Format::Json);
    if args.fix && args.method() != Method::Check {
        return Err(CliError::usage("--fix", "it goes with --check"));
    }
    match args.method() {
        Method::Targets => {
            let file = kiln_dockerfile::parse(&prepared.source.text);
            let text = &prepared.source.text;
            told(&file.diagnostics, prepared.source.clone())?;
            answer(&if json {
                parameters::targets_json(text, &file.dockerfile)?
            } else {
                parameters::targets(&file.dockerfile)
            })
        }
        Method::Outline => {
            let found = outline(&prepared.request);
            let found = found
                .or_else(|mistakes| told(&mistakes, prepared.source.clone()).map(|()| Default::default()))?;
            let text = &prepared.source.text;
            answer(&if json { parameters::outline_json(text, &found)? } else { parameters::outline(&found) })
        }
        Method::Check | Method::Build => examine(args, prepared, setting, json),
    }
}

/// An error if any of these is one.
fn told(
    found: &[kiln_dockerfile::diagnostic::Diagnostic],
    source: crate::errors::Dockerfile,
) -> Result<(), CliError> {
    if !found.iter().any(|found| found.severity == Severity::Error) {
        return Ok(());
    }
    let kind = kiln_build::error::BuildErrorKind::Dockerfile(found.to_vec());
    Err(CliError::Build { error: Box::new(kind.into()), dockerfile: Box::new(source), lacks_ids: false })
}

fn examine(
    args: &BuildArgs,
    mut prepared: Prepared,
    setting: &Setting<'_>,
    json: bool,
) -> Result<(), CliError> {
    let client = Client::new(setting.network(&args.insecure_registry).hasty(PATIENCE));
    let mut checked = look(args, &prepared, setting, &client)?;
    let mut mended = 0;
    if args.fix {
        let path = writable(&prepared)?;
        for _ in 0..ROUNDS {
            let Some(better) = improve(&prepared.source.text, &checked) else { break };
            mended += better.count;
            prepared.request.dockerfile.clone_from(&better.text);
            prepared.source.text = better.text;
            checked = look(args, &prepared, setting, &client)?;
        }
        if mended > 0 {
            replace(&path, prepared.source.text.as_bytes())?;
        }
    }
    let source = &prepared.source;
    if json {
        answer(&findings::json((&source.name, &source.text), &checked, args.fix.then_some(mended))?)?;
    } else {
        let look = setting.environment.look_at(&std::io::stdout());
        let ink = Ink { colour: look.colour, columns: look.columns.unwrap_or(100).max(40) };
        answer(&excerpt::findings(&checked.findings, source, ink))?;
        for (image, why) in &checked.unknown {
            write_stderr(&format!(
                "note: {image} is not known, so what depends on it was not checked: {why}\n"
            ));
        }
        if mended > 0 {
            write_stderr(&format!("mended {} in {}\n", findings::count(mended, "finding"), source.name));
        }
    }
    let errors = checked.findings.iter().filter(|d| d.severity == Severity::Error).count();
    let warnings = checked.findings.len() - errors;
    if warnings + errors == 0 {
        return if json { Ok(()) } else { answer("check complete, no warnings found\n") };
    }
    // As with buildx, which ignores what warns and nothing else.
    if args.call.ignore_status && errors == 0 && !checked.strict {
        return Ok(());
    }
    let fixable = checked.findings.iter().filter(|found| found.fix.is_some()).count();
    // Nothing is promised that `--fix` would refuse.
    let fixable = if args.fix || writable(&prepared).is_err() { 0 } else { fixable };
    Err(CliError::Findings { errors, warnings, fixable, silent: json, name: source.name.clone() })
}

/// Checks, with what the store knows of base images; a store that cannot be used is done without.
fn look(
    args: &BuildArgs,
    prepared: &Prepared,
    setting: &Setting<'_>,
    client: &Client,
) -> Result<Checked, CliError> {
    let asked = args.check.as_ref().and_then(|rules| rules.names.as_deref());
    let request = &prepared.request;
    let alone = || check(request, asked, None);
    let needs_images = kiln_build::check::names_images(request);
    let engine = if needs_images { setting.engine(client.clone(), Rung::None).ok() } else { None };
    let done = match &engine {
        Some(engine) => {
            install_signal_flag(&StopSignal::ALL)?;
            let cancel = termination_requested();
            let stop = || client.cancel();
            watched(&stop, cancel, || check(request, asked, Some((engine, &|_: Event| {}, cancel))))
        }
        None => alone(),
    };
    let dockerfile = || Box::new(prepared.source.clone());
    done.map_err(|error| CliError::Build {
        error: Box::new(error),
        dockerfile: dockerfile(),
        lacks_ids: false,
    })
}

/// The text with all certain mends made, if that leaves fewer mistakes or as few.
fn improve(text: &str, checked: &Checked) -> Option<Mended> {
    let errors = |text: &str| {
        kiln_dockerfile::parse(text).diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
    };
    let mended = mend(text, &checked.findings);
    (mended.count > 0 && mended.text != text && errors(&mended.text) <= errors(text)).then_some(mended)
}

/// The file that holds the Dockerfile, links followed.
fn writable(prepared: &Prepared) -> Result<PathBuf, CliError> {
    let request = &prepared.request;
    match (&request.context, &request.dockerfile_path) {
        (Context::Directory(root), Some(path)) if !prepared.is_unpacked() => {
            Ok(fs_err::canonicalize(root.join(path))?)
        }
        _ => Err(CliError::usage(
            "--fix",
            "the Dockerfile is no file of this machine, so there is nothing to write to",
        )),
    }
}

/// Puts new content in place of a file, all at once; mode and owner stay.
fn replace(path: &std::path::Path, content: &[u8]) -> Result<(), CliError> {
    let was = fs_err::metadata(path)?;
    let parent = path.parent().unwrap_or_else(|| std::path::Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut file = tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(parent)?;
    std::io::Write::write_all(&mut file, content)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(was.mode() & 0o7777))?;
    let mine = file.as_file().metadata()?;
    if (mine.uid(), mine.gid()) != (was.uid(), was.gid()) {
        std::os::unix::fs::fchown(file.as_file(), Some(was.uid()), Some(was.gid()))?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}
