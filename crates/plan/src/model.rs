//! What is to be done, as plain data: stages, steps, operations with every variable resolved.

use std::collections::{BTreeMap, BTreeSet};

use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::lint::Values;
use kiln_dockerfile::span::Span;
use kiln_oci::config::ImageConfig;
use kiln_oci::platform::Platform;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// A plan for one target platform.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The stages that the target needs, each after those that it needs itself.
    pub stages: Vec<StagePlan>,
    /// Index into `stages` of the target.
    pub target: usize,
    /// What is odd, but does not stop the build.
    pub warnings: Vec<Diagnostic>,
    /// The stages whose base image sets a shell of its own, by position in the Dockerfile.
    pub with_shell: BTreeSet<usize>,
    /// The stages that start from another stage, by position in the Dockerfile, and the position of that.
    pub stage_bases: BTreeMap<usize, usize>,
    /// What words with variables stand for, for the build checks.
    pub values: Values,
    /// Build arguments that were given and that nothing in the file declares.
    pub unused_args: Vec<String>,
    /// `SOURCE_DATE_EPOCH` as a build argument, or else as a global `ARG` with a default; not checked.
    pub source_date_epoch: Option<String>,
}

/// One stage.
#[derive(Clone, Debug)]
pub struct StagePlan {
    /// Position in the Dockerfile, from 0.
    pub number: usize,
    /// `AS name`, as written.
    pub name: Option<String>,
    /// The `FROM` instruction.
    pub span: Span,
    /// 1-based line of the `FROM`.
    pub line: usize,
    /// `FROM image AS name`, expanded; for the display.
    pub text: String,
    /// The platform of its base and of what runs in it.
    pub platform: Platform,
    /// What it starts from.
    pub base: StageBase,
    /// What is done, in order; ONBUILD triggers of the base come first.
    pub steps: Vec<Step>,
    /// The configuration at its end: `history` and `rootfs` are the base image's, untouched (the executor appends a
    /// history line and a diff id for each step); of a stage on a stage, those of the image at the very bottom. `created`
    /// is unset.
    pub config: ImageConfig,
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StageBase {
    /// `FROM scratch`.
    Scratch,
    /// An image, by the key under which the planner was given it.
    Image(BaseKey),
    /// An earlier stage: index into [`Plan::stages`].
    Stage(usize),
    /// A directory given as `--build-context name=DIR`, used as a root filesystem.
    Context(String),
}

/// Asks for one base image.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BaseKey {
    /// Where it comes from.
    pub origin: ImageOrigin,
    /// For which platform.
    pub platform: Platform,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ImageOrigin {
    /// A registry reference, as written (expanded, not normalised).
    Registry(String),
    /// `oci-layout://DIR[:tag][@digest]`, without the scheme.
    Layout(String),
}

/// One instruction of a stage.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it is written. For an ONBUILD trigger of a base image: the span of the `FROM`.
    pub span: Span,
    /// 1-based line.
    pub line: usize,
    /// For the display: the instruction on one line with its variables expanded where Docker does.
    pub text: String,
    /// `created_by` of its history line.
    pub created_by: String,
    /// What has to be done to the root filesystem; `None` for instructions that change the configuration only (their history
    /// line is an `empty_layer`).
    pub op: Option<Op>,
    /// Whether it has a history line at all (`ONBUILD` has none).
    pub in_history: bool,
    /// The build arguments and variables that were filled in, for explaining a miss: name to value, secrets never. A RUN sees more: its
    /// [`RunOp::environment`].
    pub seen: BTreeMap<String, String>,
}

/// An operation on the root filesystem; each makes one layer.
#[derive(Clone, Debug)]
pub enum Op {
    /// `RUN`
    Run(Box<RunOp>),
    /// `COPY` and `ADD`
    Copy(Box<CopyOp>),
    /// `WORKDIR`
    Workdir(WorkdirOp),
}

/// `RUN`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunOp {
    /// The program and its arguments; the shell is already in front for the shell form.
    pub argv: Vec<String>,
    /// The environment, ARGs included, sorted as Docker gives it (image order, then ARGs).
    #[serde(flatten)]
    pub environment: Environment,
    /// Variables that RUN sees but that are left out of the key, the history and all records: predefined proxy arguments.
    #[serde(skip)]
    pub unkeyed_env: Vec<(String, String)>,
    /// `USER` as in the configuration, unresolved; empty for root.
    pub user: String,
    /// Absolute working directory.
    pub cwd: String,
    /// `--mount`, in order.
    pub mounts: Vec<RunMount>,
    /// `--network`; `None` leaves it to the command line.
    pub network: Option<NetworkMode>,
    /// `--security=insecure`
    pub insecure: bool,
    /// Files that here-documents with a shebang need: mounted read-only, executable, at an absolute path.
    pub scripts: Vec<Script>,
}

/// A script file for `RUN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Absolute path in the container, such as `/dev/pipes/EOF`.
    pub path: String,
    /// Content.
    pub content: String,
}

/// The network of a `RUN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NetworkMode {
    /// What the builder gives.
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// A mount of a `RUN`; targets are absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunMount {
    /// Where.
    pub target: String,
    /// The flag.
    pub span: Span,
    /// What.
    pub kind: RunMountKind,
}

/// The kinds of mounts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RunMountKind {
    /// Files of a context, a stage or an image.
    Bind {
        /// Of which.
        from: Origin,
        /// Path in it; `/` for all.
        source: String,
        /// Writes are allowed (and thrown away).
        readwrite: bool,
    },
    /// A directory kept across builds.
    Cache {
        /// Its identity.
        id: String,
        /// Who may use it at once.
        sharing: CacheSharing,
        /// What it holds when new; `None` for empty.
        from: Option<Origin>,
        /// Path in `from`.
        source: String,
        /// Mounted read-only.
        readonly: bool,
        /// Mode of the directory when new.
        mode: u32,
        /// Owner when new.
        uid: u32,
        /// Group when new.
        gid: u32,
    },
    /// Memory.
    Tmpfs {
        /// Limit in bytes.
        size: Option<u64>,
    },
    /// A secret.
    Secret {
        /// Its id on the command line.
        id: String,
        /// Set as this variable; with `target` empty, only as that.
        env: Option<String>,
        /// Whether it is an error if it was not given.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// An ssh agent.
    Ssh {
        /// Its id on the command line.
        id: String,
        /// Whether it is an error if it was not given.
        required: bool,
        /// Mode of the socket.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Who may use a cache mount at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CacheSharing {
    /// Anyone.
    Shared,
    /// One build at a time, another one gets its own copy.
    Private,
    /// One build at a time, another one waits.
    Locked,
}

/// Where files come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// The build context.
    Context,
    /// A context of `--build-context` that is a directory.
    Named(String),
    /// A stage: index into [`Plan::stages`].
    Stage(usize),
    /// An image.
    Image(BaseKey),
    /// Nothing: an empty file system.
    Scratch,
}

/// `COPY` and `ADD`.
#[derive(Clone, Debug)]
pub struct CopyOp {
    /// `ADD` rather than `COPY`.
    pub add: bool,
    /// What, in order.
    pub sources: Vec<CopySource>,
    /// Of which file system the paths are.
    pub from: Origin,
    /// Absolute destination, a trailing slash (or `/.`) kept.
    pub dest: String,
    /// `--chown`, unresolved.
    pub chown: Option<String>,
    /// `--chmod`, unresolved (checked).
    pub chmod: Option<String>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`
    pub excludes: Vec<String>,
    /// `--checksum`
    pub checksum: Option<String>,
    /// `--unpack`
    pub unpack: Option<bool>,
    /// `--keep-git-dir`, for git sources whose URL does not say otherwise.
    pub keep_git_dir: bool,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    /// A path or pattern (Go's `filepath.Match`), relative to the root of `from`.
    Path {
        /// As expanded.
        pattern: String,
        /// Where it is written.
        span: Span,
    },
    /// A here-document.
    Inline {
        /// File name.
        name: String,
        /// Content.
        content: String,
    },
    /// `ADD https://...`
    Http {
        /// The URL.
        url: String,
        /// Where it is written.
        span: Span,
    },
    /// `ADD <git url>`
    Git {
        /// As written.
        url: String,
        /// Where it is written.
        span: Span,
    },
}

/// `WORKDIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkdirOp {
    /// Absolute path to make if it is not there.
    pub path: String,
    /// `USER` at that point (the owner of what is made), unresolved.
    pub user: String,
}
