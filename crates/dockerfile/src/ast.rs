//! The typed syntax tree.
//!
//! Words keep their raw spelling (quotes, escapes and variables in place): what a variable is worth
//! is decided by `kiln-plan`, which calls [`crate::expand`]. Every node carries the [`Span`] it was
//! written at. Instructions inside `ONBUILD` are parsed too, so that what is wrong with them is
//! told where they are written.

use crate::span::{Span, Spanned};

/// A word (or a whole argument string) in its raw spelling.
pub type Word = Spanned<String>;

/// A parsed Dockerfile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dockerfile {
    /// The parser directives at its head.
    pub directives: Directives,
    /// `ARG` instructions before the first `FROM`.
    pub global_args: Vec<Instruction>,
    /// The build stages in order. Never empty in a file that parsed without an error.
    pub stages: Vec<Stage>,
}

/// Parser directives (`# key=value` lines at the head of the file).
#[derive(Clone, Debug, PartialEq)]
pub struct Directives {
    /// `# syntax=`.
    pub syntax: Option<Spanned<String>>,
    /// `# escape=`, a backslash unless it says a backtick.
    pub escape: char,
    /// `# check=`, raw.
    pub check: Option<Spanned<String>>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}

/// One build stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its `FROM`.
    pub from: From,
    /// What follows it, up to the next `FROM`.
    pub instructions: Vec<Instruction>,
}

/// `FROM [--platform=p] image [AS name]`.
#[derive(Clone, Debug, PartialEq)]
pub struct From {
    /// The whole instruction.
    pub span: Span,
    /// 1-based line of the keyword.
    pub line: usize,
    /// The image, stage or context name, unexpanded.
    pub image: Word,
    /// `--platform=`, unexpanded.
    pub platform: Option<Word>,
    /// The stage's name as written; compare without case.
    pub name: Option<Word>,
    /// The comment lines above; see [`adjoining`].
    pub comment: String,
}

/// One instruction of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// From the keyword to the end of the last line, here-documents included.
    pub span: Span,
    /// 1-based line of the keyword.
    pub line: usize,
    /// The instruction on one line: continuations joined, comment lines left out, keyword in upper
    /// case, here-document bodies left out. What a progress display or the log shows.
    pub text: String,
    /// What it says.
    pub kind: Kind,
    /// The comment lines above; see [`adjoining`].
    pub comment: String,
}

/// The lines of an instruction's comment that describe it: those directly above it.
///
/// The whole comment is all comment lines since the last instruction, or since the last that was a `#` alone. An empty line among them
/// stands as one. BuildKit takes all of it for `check=skip=`, and says that an empty line parts a description from its instruction.
pub fn adjoining(comment: &str) -> &str {
    if comment.ends_with('\n') {
        return "";
    }
    comment.rsplit_once("\n\n").map_or(comment, |(_, last)| last)
}

/// The instructions.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `ARG name[=default] ...`
    Arg(Vec<ArgDecl>),
    /// `ENV key=value ...` or the legacy `ENV key value`.
    Env(Vec<KeyValue>),
    /// `LABEL key=value ...` or the legacy form.
    Label(Vec<KeyValue>),
    /// `RUN`
    Run(Run),
    /// `COPY`
    Copy(Copy),
    /// `ADD`
    Add(Copy),
    /// `CMD`
    Cmd(CommandLine),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `SHELL ["program", ...]`
    Shell(Vec<String>),
    /// `WORKDIR path`
    Workdir(Word),
    /// `USER user[:group]`
    User(Word),
    /// `EXPOSE port[/protocol] ...`
    Expose(Vec<Word>),
    /// `VOLUME path ...` or a JSON array (then each word is already decoded; expansion applies).
    Volume(Vec<Word>),
    /// `STOPSIGNAL signal`
    StopSignal(Word),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `ONBUILD instruction`: the raw text after the keyword (as recorded in the image), and what it
    /// parses to; nothing if no build can do it.
    Onbuild(String, Option<Box<Instruction>>),
    /// `MAINTAINER text`
    Maintainer(Word),
}

/// One name of an `ARG`.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgDecl {
    /// The name.
    pub name: Word,
    /// The default, raw; `None` if there is no `=`.
    pub default: Option<Word>,
}

/// One pair of `ENV` or `LABEL`.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValue {
    /// The raw key.
    pub key: Word,
    /// The raw value, quotes in place.
    pub value: Word,
    /// Whether it was written in the legacy form `KEY the rest of the line`.
    pub legacy: bool,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandLine {
    /// JSON array: run as it is.
    Exec(Vec<String>),
    /// Text for the shell; continuations joined, otherwise as written.
    Shell(String),
}

/// A here-document.
#[derive(Clone, Debug, PartialEq)]
pub struct Heredoc {
    /// The delimiter, without quotes.
    pub name: String,
    /// The body; leading tabs are already stripped if it was written `<<-`.
    pub body: String,
    /// Whether variables in the body are expanded (the delimiter was not quoted).
    pub expand: bool,
    /// Written with `<<-`.
    pub strip_tabs: bool,
    /// The file descriptor before the `<<` (`3<<EOF`), 0 if none.
    pub fd: u32,
    /// Where the `<<NAME` word stands.
    pub span: Span,
    /// Where the body stands.
    pub body_span: Span,
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The command. For the shell form with here-documents: the command line without the bodies.
    pub command: CommandLine,
    /// Here-documents that the command line opens, in order.
    pub heredocs: Vec<Heredoc>,
    /// `--mount=...`, parsed as comma-separated `key[=value]`.
    pub mounts: Vec<MountFlag>,
    /// `--network=`
    pub network: Option<Word>,
    /// `--security=`
    pub security: Option<Word>,
    /// `--device=`
    pub devices: Vec<Word>,
}

/// One `--mount=` flag. Keys are checked against the mount's type at parse time; values may hold
/// variables and are checked once expanded.
#[derive(Clone, Debug, PartialEq)]
pub struct MountFlag {
    /// The whole flag.
    pub span: Span,
    /// The kind (`bind` if `type=` is left out).
    pub kind: MountKind,
    /// The other options in order, keys in canonical spelling: `target` (for dst, destination),
    /// `source` (for src), `from`, `readonly` (for ro), `readwrite` (for rw), `id`, `sharing`, `mode`, `uid`, `gid`,
    /// `size`, `required`, `env`. A value of `None` means a bare key.
    pub options: Vec<(Spanned<&'static str>, Option<Word>)>,
}

/// The kinds of `RUN --mount`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MountKind {
    /// A directory or file of the context, a stage or an image.
    Bind,
    /// A directory kept across builds.
    Cache,
    /// A fresh tmpfs.
    Tmpfs,
    /// A secret given on the command line.
    Secret,
    /// A forwarded ssh agent.
    Ssh,
}

/// `COPY` and `ADD`.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// Paths, URLs or git references, raw, in order. JSON-form words are decoded (see `json`).
    pub sources: Vec<Word>,
    /// Sources given as here-documents, in order of appearance among all sources.
    pub heredocs: Vec<Heredoc>,
    /// The destination, raw.
    pub dest: Word,
    /// Whether the arguments were a JSON array.
    pub json: bool,
    /// `--from=` (COPY only), raw.
    pub from: Option<Word>,
    /// `--chown=`
    pub chown: Option<Word>,
    /// `--chmod=`
    pub chmod: Option<Word>,
    /// `--link[=bool]`
    pub link: bool,
    /// `--parents[=bool]` (COPY only)
    pub parents: bool,
    /// `--exclude=`, repeatable
    pub excludes: Vec<Word>,
    /// `--checksum=` (ADD only)
    pub checksum: Option<Word>,
    /// `--unpack[=bool]` (ADD only)
    pub unpack: Option<bool>,
    /// `--keep-git-dir[=bool]` (ADD only)
    pub keep_git_dir: Option<bool>,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`
    None,
    /// `HEALTHCHECK [options] CMD command`. Durations in nanoseconds, 0 if not given.
    Cmd {
        /// The command.
        command: CommandLine,
        /// `--interval`
        interval: i64,
        /// `--timeout`
        timeout: i64,
        /// `--start-period`
        start_period: i64,
        /// `--start-interval`
        start_interval: i64,
        /// `--retries`
        retries: i64,
    },
}
