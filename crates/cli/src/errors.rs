//! What a user is told when something fails, and with which status kiln ends. Every library error passes through here, and
//! only here: its kind, its way out, its place in the Dockerfile.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the build failed: a command, a check that found something |
//! | 2 | wrong usage, or a wrong Dockerfile: also one that names a file, user or secret that is not there |
//! | 3 | this machine cannot do it: no namespaces, no disk, no permission |
//! | 4 | a registry |
//! | 70 | a bug in kiln |
//! | 130 | Ctrl-C |

use std::io;
use std::path::{Path, PathBuf};

use kiln_build::enter::EnterError;
use kiln_build::error::{At, BuildError, BuildErrorKind};
use kiln_build::history::{BuildId, HistoryError};
use kiln_build::mend::may_be_damage;
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::suggest::nearest;
use kiln_oci::error::StoreError;
use kiln_oci::export::ExportError;
use kiln_oci::platform::{ARCHITECTURES, SYSTEMS};
use kiln_registry::{Failure, PushError};

use crate::answers::findings::count;

mod building;
mod images;
mod remote;
#[cfg(test)]
mod tests;

/// Exit statuses.
pub(crate) mod status {
    /// The build failed.
    pub(crate) const FAILED: u8 = 1;
    /// Wrong usage or a wrong Dockerfile.
    pub(crate) const USAGE: u8 = 2;
    /// This machine cannot do it.
    pub(crate) const HOST: u8 = 3;
    /// A registry.
    pub(crate) const REGISTRY: u8 = 4;
    /// A bug in kiln.
    pub(crate) const BUG: u8 = 70;
    /// Ctrl-C.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// Anything that ends a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Arguments that do not fit; clap knows nothing of these rules.
    #[error("{flag}: {problem}")]
    Usage {
        /// Which flag or argument.
        flag: &'static str,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A function that kiln does not have yet.
    #[error("{what} is not supported yet")]
    NotYet {
        /// Which.
        what: String,
    },
    /// Nobody says where the store is.
    #[error("HOME is not set, so there is no place for the store")]
    NoHome,
    /// The context is not there.
    #[error("build context {path}: {source}", path = .path.display())]
    Context {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What came as the context is no archive that can be unpacked.
    #[error("the build context on standard input cannot be unpacked")]
    Archive {
        /// Why.
        source: Box<BuildError>,
    },
    /// There is no Dockerfile.
    #[error("no Dockerfile at {path}", path = .path.display())]
    NoDockerfile {
        /// Where it should be.
        path: PathBuf,
        /// What there is instead, as arguments.
        instead: Option<String>,
    },
    /// The Dockerfile is no text.
    #[error("{name} is not UTF-8 text (byte {offset})")]
    NotText {
        /// Which file.
        name: String,
        /// The first wrong byte.
        offset: usize,
    },
    /// A build failed.
    #[error("{error}")]
    Build {
        /// Why.
        error: Box<BuildError>,
        /// The Dockerfile.
        dockerfile: Box<Dockerfile>,
        /// It looks like a step that needed more than the one id that it had.
        lacks_ids: bool,
    },
    /// The engine failed where no Dockerfile is around.
    #[error(transparent)]
    Engine(Box<BuildError>),
    /// The check found something.
    #[error("{} and {} in {name}", count(*.errors, "error"), count(*.warnings, "warning"))]
    Findings {
        /// Errors.
        errors: usize,
        /// Warnings.
        warnings: usize,
        /// How many of them `--fix` would mend.
        fixable: usize,
        /// It was said in another form.
        silent: bool,
        /// Of which file.
        name: String,
    },
    /// The past cannot be told.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A step that has no log.
    #[error("step {step} of {build} {}", if *.gone { "has no log in the store any more" } else { "wrote no log: it ran no command" })]
    NoLog {
        /// Which build.
        build: BuildId,
        /// Which step.
        step: String,
        /// Whether it had one.
        gone: bool,
    },
    /// A step that has no result.
    #[error("{build} did not finish what step {step} needs, so there is nothing to compare")]
    NotMade {
        /// Which build.
        build: BuildId,
        /// Which step.
        step: String,
    },
    /// An image whose layers no record tells.
    #[error("image {name:?} was made by no recorded build, so its layers cannot be compared")]
    NotRecorded {
        /// As given.
        name: String,
    },
    /// The store does not have an image.
    #[error("no image {name:?} in the store")]
    UnknownImage {
        /// As given.
        name: String,
        /// The nearest that it has.
        nearest: Option<String>,
    },
    /// Nothing that could be verified.
    #[error(transparent)]
    Verify(#[from] kiln_oci::verify::VerifyError),
    /// An image is not what it claims.
    #[error("{what}: {problems} problems found")]
    Damaged {
        /// Which.
        what: String,
        /// How many.
        problems: usize,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A step cannot be entered.
    #[error(transparent)]
    Enter(#[from] kiln_build::enter::EnterError),
    /// An image could not be written out.
    #[error("cannot write {dest}")]
    Export {
        /// Where to.
        dest: String,
        /// Why.
        source: ExportError,
    },
    /// A push failed.
    #[error(transparent)]
    Push(#[from] PushError),
    /// An archive on a terminal.
    #[error("{what} would go to the terminal")]
    Terminal {
        /// Which output.
        what: String,
    },
    /// Neither Docker nor Podman.
    #[error("nothing to load the image with: neither docker nor podman is in PATH")]
    NoLoader,
    /// The loader failed.
    #[error("{program} load failed ({status}): {message}")]
    Loader {
        /// Which program.
        program: String,
        /// How it ended.
        status: String,
        /// What it said.
        message: String,
    },
    /// A name that cannot name an image.
    #[error(transparent)]
    Reference(#[from] kiln_oci::reference::BadReference),
    /// A platform that is none.
    #[error(transparent)]
    Platform(#[from] kiln_oci::platform::BadPlatform),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] kiln_sandbox::Error),
    /// Input or output; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Whoever read our standard output went away.
    #[error("the reader of standard output went away")]
    BrokenPipe,
}

/// The Dockerfile that an error may point into.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dockerfile {
    /// What to call it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

/// An error, ready to be shown.
#[derive(Debug, Default)]
pub(crate) struct Report<'a> {
    /// The exit status.
    pub(crate) status: u8,
    /// One sentence; empty if nothing is to be said.
    pub(crate) message: String,
    /// The way out.
    pub(crate) hint: Option<String>,
    /// The instruction.
    pub(crate) at: Option<&'a At>,
    /// The Dockerfile.
    pub(crate) source: Option<&'a Dockerfile>,
    /// What is wrong with it.
    pub(crate) findings: &'a [Diagnostic],
    /// The message is to be told behind the findings.
    pub(crate) verdict: bool,
    /// The output of the step that failed.
    pub(crate) log: Option<&'a PathBuf>,
    /// What else was found out with it, each told like this one.
    pub(crate) also: Vec<Report<'a>>,
}

impl CliError {
    /// An error about a flag.
    pub(crate) fn usage(flag: &'static str, problem: impl Into<String>) -> Self {
        Self::Usage { flag, problem: problem.into(), hint: None }
    }

    /// What is to be shown of it.
    pub(crate) fn report(&self) -> Report<'_> {
        let (status, hint) = self.judge();
        let mut report = Report { status, hint, message: chain(self), ..Report::default() };
        match self {
            Self::Build { error, dockerfile, .. } => {
                report.at = error.at.as_ref();
                report.source = Some(dockerfile);
                building::describe(error, &mut report);
                report.also =
                    error.also.iter().map(|further| building::further(further, dockerfile)).collect();
            }
            Self::Engine(error) => building::describe(error, &mut report),
            Self::BrokenPipe | Self::Findings { silent: true, .. } => report.message.clear(),
            _ => {}
        }
        report
    }

    /// Whether something in the store may be damaged, and in which file if that is known.
    pub(crate) fn damage(&self) -> Option<Option<&Path>> {
        let kind = match self {
            Self::Build { error, .. } | Self::Engine(error) => &error.kind,
            Self::Store(error) | Self::Export { source: ExportError::Store(error), .. } => {
                return may_be_damage(error).then(|| images::blob_of(error));
            }
            Self::Push(error) => match &*error.failure {
                Failure::Local { cause, .. } => {
                    let damaged = cause.get_ref()?.downcast_ref::<StoreError>()?;
                    return may_be_damage(damaged).then(|| images::blob_of(damaged));
                }
                _ => return None,
            },
            _ => return None,
        };
        let file = match kind {
            BuildErrorKind::Content(error) => images::blob_of(error),
            _ => None,
        };
        kind.may_be_damage().then_some(file)
    }

    fn judge(&self) -> (u8, Option<String>) {
        match self {
            Self::Usage { hint, .. } => (status::USAGE, hint.clone()),
            Self::NotYet { .. } | Self::NotText { .. } | Self::Reference(_) => (status::USAGE, None),
            Self::Platform(error) => {
                let known = SYSTEMS.into_iter().chain(ARCHITECTURES);
                (
                    status::USAGE,
                    nearest(&error.text, known, false).map(|near| format!("did you mean {near}?")),
                )
            }
            Self::NoHome => (status::USAGE, say("set HOME, or name a place with --root DIR")),
            Self::Context { .. } => (
                status::USAGE,
                say("give a directory, a git or http(s) URL, or - for a Dockerfile on standard input"),
            ),
            Self::Archive { source } => building::archive(source),
            Self::NoDockerfile { instead, .. } => {
                let instead = instead.as_ref().map(|i| format!("there is {i}"));
                (status::USAGE, instead.or_else(|| say("name it with -f FILE")))
            }
            Self::Build { lacks_ids: true, .. } => (status::FAILED, say(MORE_IDS)),
            Self::Build { error, dockerfile, .. } => {
                let (status, hint) = building::judge(&error.kind);
                (status, building::meant_stage(error, dockerfile).or(hint))
            }
            Self::Engine(error) => building::judge(&error.kind),
            // As with buildx what only warns is 1, too; a Dockerfile that cannot be built is 2 whoever finds out.
            Self::Findings { errors, fixable, .. } => {
                let fix = || format!("`kiln build --check --fix` mends {fixable} of them");
                let code = if *errors > 0 { status::USAGE } else { status::FAILED };
                (code, (*fixable > 0).then(fix))
            }
            Self::Verify(_) | Self::Damaged { .. } | Self::BrokenPipe => (status::FAILED, None),
            Self::UnknownImage { nearest, .. } => {
                let nearest = nearest.as_ref().map(|n| format!("did you mean {n}?"));
                (status::USAGE, nearest.or_else(|| say("`kiln images` lists what it has")))
            }
            Self::Store(error) => images::store(error),
            Self::History(error) => judge_history(error),
            Self::NoLog { gone: true, .. } => (status::FAILED, say("a build with --no-cache writes it anew")),
            Self::NoLog { .. } => (status::FAILED, say("`kiln history BUILD` says which steps have a log")),
            Self::NotMade { .. } | Self::NotRecorded { .. } => (status::FAILED, say("build it again")),
            Self::Enter(error) => judge_enter(error),
            Self::Export { source, .. } => images::export(source),
            Self::Push(error) => images::push(error),
            Self::Terminal { .. } => (status::USAGE, say("name a file with dest=FILE, or pipe it on")),
            Self::NoLoader => (
                status::HOST,
                say("write an archive with --output type=docker,dest=FILE and load it elsewhere"),
            ),
            Self::Loader { .. } => (status::HOST, None),
            Self::Sandbox(error) => judge_sandbox(error),
            Self::Io(error) => judge_io(error),
        }
    }
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        Self::Engine(Box::new(error))
    }
}

const MORE_IDS: &str = "this user has one id only, so a chown to another owner is refused; a range in /etc/subuid and \
    /etc/subgid allows it: `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`";

fn say(hint: &str) -> Option<String> {
    Some(hint.to_owned())
}

/// The message and those of its causes that it does not tell itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

fn judge_history(error: &HistoryError) -> (u8, Option<String>) {
    match error {
        HistoryError::Nothing { .. } => (status::FAILED, say("each `kiln build` leaves a record")),
        HistoryError::UnknownBuild { .. } => (status::USAGE, say("`kiln history` lists them")),
        HistoryError::UnknownStep { .. } => (status::USAGE, say("`kiln history BUILD` lists them")),
        HistoryError::Damaged { .. } | HistoryError::OtherForm { .. } => {
            (status::HOST, say("`kiln prune` removes it"))
        }
        HistoryError::LayerGone { .. } => (status::FAILED, say("build it again")),
        HistoryError::Io(error) => judge_io(error),
        _ => (status::HOST, say("`kiln prune --all` clears the build cache; named images stay")),
    }
}

fn judge_enter(error: &EnterError) -> (u8, Option<String>) {
    match error {
        EnterError::Gone { .. } => (status::FAILED, say("build again, then they are there")),
        EnterError::NotReached { .. } => (status::USAGE, say("`kiln shell --failed` goes to where it ended")),
        EnterError::Nothing { .. } => (status::USAGE, say("`--after` goes to what it left")),
        EnterError::Build(kind) => building::judge(kind),
        _ => (status::USAGE, None),
    }
}

fn judge_sandbox(error: &kiln_sandbox::Error) -> (u8, Option<String>) {
    use kiln_sandbox::Error;
    match error {
        Error::NotFound { .. } => (
            status::FAILED,
            say("`kiln shell --before N -- COMMAND` looks into the step with a program that is there"),
        ),
        Error::Exec { .. } | Error::Cwd { .. } | Error::BadCommand => (status::FAILED, None),
        Error::UnknownUlimit { .. } => (status::USAGE, None),
        Error::Unmapped { .. } | Error::NoSubordinateIds { .. } | Error::IdMap { .. } => {
            (status::HOST, say(MORE_IDS))
        }
        _ => (status::HOST, say("`kiln doctor` says what this machine allows")),
    }
}

/// Whether it comes down to a reader that went away.
pub(crate) fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    io_cause(error).is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn io_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

fn judge_io(error: &io::Error) -> (u8, Option<String>) {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            say("the disk is full: `kiln prune` frees what is not used, --root DIR chooses another disk")
        }
        io::ErrorKind::ReadOnlyFilesystem => say("choose another place for the store with --root DIR"),
        _ => None,
    };
    (status::HOST, hint)
}
