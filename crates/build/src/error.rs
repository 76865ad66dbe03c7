//! Why a build failed. The command line maps each variant to a message, a hint and an exit code.

use std::path::PathBuf;

use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::span::Span;
use kiln_oci::source::{SourceError, SourceErrorKind};

mod remote;

pub use remote::{Refused, RemoteError};

/// Why, and at which instruction.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct BuildError {
    /// The instruction, if it is one's fault.
    pub at: Option<At>,
    /// What happened.
    pub kind: BuildErrorKind,
    /// What the build would have failed of next and was found out with it, in the order of the file: further sources that are missing.
    pub also: Vec<BuildError>,
}

impl BuildError {
    /// One that stands alone.
    pub fn new(at: Option<At>, kind: BuildErrorKind) -> Self {
        Self { at, kind, also: Vec::new() }
    }
}

/// A place in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Which part of the text.
    pub span: Span,
    /// 1-based line.
    pub line: usize,
    /// The step's name as on the screen: `[build 2/5] RUN make`.
    pub step: String,
}

/// What happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// The Dockerfile is wrong; at least one of these is an error.
    #[error("the Dockerfile has mistakes")]
    Dockerfile(Vec<Diagnostic>),
    /// Build checks found something, and `# check=error=true` makes that a failure.
    #[error("build checks found something, and error=true forbids it: {}", rules(.0))]
    Checks(Vec<Diagnostic>),
    /// A RUN ended with another status than 0.
    #[error("{command:?} ended with exit code {code}")]
    Exit {
        /// The command, as written.
        command: String,
        /// Its status.
        code: i32,
        /// Its whole output.
        log: PathBuf,
    },
    /// A RUN was killed by a signal.
    #[error("{command:?} was killed by signal {signal}")]
    Signal {
        /// The command, as written.
        command: String,
        /// Which.
        signal: i32,
        /// Its whole output.
        log: PathBuf,
    },
    /// A RUN could not be started.
    #[error("cannot run {command:?}")]
    Sandbox {
        /// The command, as written.
        command: String,
        /// Why.
        #[source]
        source: kiln_sandbox::Error,
    },
    /// No rung of the privilege ladder can run a step here.
    #[error("this step needs a root filesystem to run in, and nothing here allows one: {reason}")]
    NoSandbox {
        /// Why, rung by rung.
        reason: String,
        /// What would allow one, where that is known.
        remedy: Option<String>,
    },
    /// A RUN has turned up (in the ONBUILD triggers of a base image, say), and this process has not entered the user namespace
    /// that it needs. Whoever called enters it and builds again: nothing was lost.
    #[error("a step needs a root filesystem to run in")]
    NeedsNamespace,
    /// Steps are not in the store, and none was to be done ([`crate::request::Mode::Foresee`]).
    #[error("{steps} {} not in the cache", if *.steps == 1 { "step is" } else { "steps are" })]
    NotCached {
        /// How many, those included that cannot be told before others have run.
        steps: usize,
    },
    /// A step that is not in the store, or one that builds on such a step; it never leaves the stage that it is met in.
    #[error("this cannot be foreseen")]
    Unforeseen {
        /// Whether it only builds on one.
        depends: bool,
    },
    /// A base image could not be had.
    #[error("cannot get base image {image}")]
    Base {
        /// As written.
        image: String,
        /// Why.
        #[source]
        source: Box<SourceError>,
    },
    /// A COPY source is not there.
    #[error("{pattern:?} is not in {whence}")]
    MissingSource {
        /// As written.
        pattern: String,
        /// `the build context`, `stage build`, `image debian:12`.
        whence: String,
        /// The nearest path that is there.
        nearest: Option<String>,
        /// The ignore rule that hides it.
        hidden_by: Option<IgnoredBy>,
    },
    /// A COPY source is a symbolic link that leads nowhere.
    #[error("{link:?} is a symbolic link to {target:?}, where there is nothing in {whence}")]
    DanglingSource {
        /// The source as written, perhaps with wildcards.
        pattern: String,
        /// The link that it names or matches.
        link: String,
        /// What the link says.
        target: String,
        /// `the build context`, `stage build`, `image debian:12`.
        whence: String,
        /// The ignore rule that hides what it leads to.
        hidden_by: Option<IgnoredBy>,
    },
    /// Something about the paths of a COPY does not fit.
    #[error("{message}")]
    Copy {
        /// One sentence that names the path.
        message: String,
        /// The way out.
        help: Option<String>,
    },
    /// `USER` or `--chown` names nobody.
    #[error("no {what} {name:?} in the image's {file}")]
    UnknownUser {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
        /// `/etc/passwd` or `/etc/group`.
        file: &'static str,
    },
    /// A secret that is required was not given, or cannot be read.
    #[error("secret {id:?}: {reason}")]
    Secret {
        /// Its id.
        id: String,
        /// Why.
        reason: String,
    },
    /// An ssh agent that is required was not given.
    #[error("ssh agent {id:?} is required and was not given")]
    Agent {
        /// Its id.
        id: String,
    },
    /// Something that lies elsewhere could not be had: a file by URL, a commit, a remote context.
    #[error("cannot fetch {url}")]
    Fetch {
        /// What, without credentials.
        url: String,
        /// Why.
        #[source]
        source: Box<RemoteError>,
    },
    /// `SOURCE_DATE_EPOCH` is nothing that stands for a time.
    #[error("SOURCE_DATE_EPOCH={value}: {problem}")]
    Epoch {
        /// As given.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Something kiln cannot do yet, or will not do.
    #[error("{what} is not supported{}", if *.yet { " yet" } else { "" })]
    Unsupported {
        /// What.
        what: String,
        /// Whether it will be.
        yet: bool,
    },
    /// Something that `--allow` has to allow first.
    #[error("{what} is not allowed")]
    NotAllowed {
        /// What.
        what: String,
        /// The flag that allows it.
        flag: String,
    },
    /// The store is damaged.
    #[error("{path}: {problem}", path = .path.display())]
    Store {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The store cannot be where it is.
    #[error("{path}: {problem}", path = .path.display())]
    Place {
        /// The store's folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// The way out.
        remedy: String,
    },
    /// The content store failed.
    #[error(transparent)]
    Content(#[from] kiln_oci::error::StoreError),
    /// Reading an archive or a layer failed.
    #[error(transparent)]
    Tar(#[from] kiln_layer::tar::TarError),
    /// Writing a layer failed.
    #[error(transparent)]
    Pack(#[from] kiln_layer::pack::PackError),
    /// Unpacking a layer failed.
    #[error(transparent)]
    Unpack(#[from] kiln_layer::unpack::UnpackError),
    /// Looking at what a RUN changed failed.
    #[error(transparent)]
    Diff(#[from] kiln_layer::diff::DiffError),
    /// Looking at a root filesystem failed.
    #[error(transparent)]
    View(#[from] kiln_layer::view::ViewError),
    /// A cache elsewhere or an artifact could not be read or written.
    #[error(transparent)]
    Artifact(#[from] kiln_oci::artifact::ArtifactError),
    /// There is no such cache mount.
    #[error("there is no cache {id:?} {whence}")]
    NoCache {
        /// As given.
        id: String,
        /// `in the store`, or where.
        whence: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A layer that a cache elsewhere told of cannot be had.
    #[error("a cached layer cannot be had: {reason}")]
    Lost {
        /// Which cache, and why.
        reason: String,
    },
    /// Input or output failed; the message names the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Stopped because another part of the build failed; never the reported error.
    #[error("cancelled")]
    Cancelled,
}

/// The names of the rules of `findings`, each once.
fn rules(findings: &[Diagnostic]) -> String {
    let names: std::collections::BTreeSet<&str> = findings.iter().filter_map(|found| found.rule).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// The rule of an ignore file that hides a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredBy {
    /// Which file.
    pub file: String,
    /// 1-based line.
    pub line: usize,
    /// The rule.
    pub rule: String,
}

impl BuildErrorKind {
    /// The error for a base image that could not be had; a source that was stopped is no failure of its own.
    pub(crate) fn base(image: &str, source: SourceError) -> Self {
        match source.kind {
            SourceErrorKind::Cancelled => Self::Interrupted,
            _ => Self::Base { image: image.to_owned(), source: Box::new(source) },
        }
    }
}

impl BuildErrorKind {
    /// The error for a remote source that could not be had; one that was stopped is no failure of its own.
    pub(crate) fn fetch(url: String, source: RemoteError) -> Self {
        match source {
            RemoteError::Cancelled => Self::Interrupted,
            source => Self::Fetch { url, source: Box::new(source) },
        }
    }
}

impl From<BuildErrorKind> for BuildError {
    fn from(kind: BuildErrorKind) -> Self {
        Self::new(None, kind)
    }
}
