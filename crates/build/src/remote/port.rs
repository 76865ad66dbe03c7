//! The two ways to the network, and what is said on them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_dockerfile::source::{GitSource, shown};
use kiln_layer::stop::Stop;
use serde::{Deserialize, Serialize};

use crate::error::RemoteError;
use crate::secret::SecretSource;
use crate::store::Lock;

/// Fetches what URLs name. `kiln-cli` wires an HTTP client to it: this crate has no network.
pub trait Fetcher: Send + Sync {
    /// Writes the body of what `ask` names to `out`, redirects followed. If the server says that it is still what the caller knows,
    /// nothing is written.
    ///
    /// # Errors
    /// Any other status than 200. After [`RemoteError::Cut`] part of the body may have been written.
    fn fetch(&self, ask: &Ask<'_>, out: &mut dyn io::Write) -> Result<Fetched, RemoteError>;

    /// Nobody wants anything from it any more: what is under way ends with [`RemoteError::Cancelled`] at once, and so does what comes
    /// after.
    fn abandon(&self) {}

    /// It is wanted again.
    fn resume(&self) {}
}

/// A question to a web server.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Absolute; may hold a user name and password.
    pub url: &'a str,
    /// The value of an `Authorization` header for the URL's own host and no other.
    pub authorization: Option<&'a str>,
    /// What the server called the version that is here already.
    pub known: Option<&'a Validators>,
}

/// What a server calls one version of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified`, where it can tell two versions apart.
    pub modified: Option<String>,
}

/// A web server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The body was written.
    Body {
        /// `Last-Modified`, in seconds since 1970.
        last_modified: Option<i64>,
        /// For the next time.
        validators: Validators,
    },
    /// What is known is still so.
    Unchanged,
}

/// Reads git repositories. `kiln-cli` wires the host's git to it.
pub trait Repositories: Send + Sync {
    /// Asks what `reference` (empty for the default branch) stands for.
    ///
    /// # Errors
    /// See [`RemoteError`].
    fn resolve(
        &self,
        repository: &Repository,
        reference: &str,
        within: Within<'_>,
    ) -> Result<Resolved, RemoteError>;

    /// Makes the files of a commit somewhere in the folder of `within`.
    ///
    /// # Errors
    /// See [`RemoteError`].
    fn check_out(
        &self,
        repository: &Repository,
        order: &CheckoutOrder<'_>,
        within: Within<'_>,
    ) -> Result<CheckedOut, RemoteError>;
}

/// A repository and what opens it.
#[derive(Clone)]
pub struct Repository {
    /// Its address, without credentials.
    pub url: String,
    /// The value of an `Authorization` header.
    pub authorization: Option<String>,
    /// The addresses that the header is for begin with this.
    pub scope: String,
    /// The socket of an ssh agent.
    pub agent: Option<PathBuf>,
}

/// Where work is done, and until when.
#[derive(Clone, Copy)]
pub struct Within<'a> {
    /// An empty folder, which the caller takes away.
    pub place: &'a Path,
    /// Once it says so, whatever waits comes back.
    pub stop: Stop<'a>,
}

/// What a reference stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Id of a commit or of an annotated tag.
    pub object: String,
    /// The reference in full.
    pub reference: Option<String>,
    /// The commit that an annotated tag is of.
    pub peeled: Option<String>,
}

/// What is to be made of a commit.
#[derive(Clone, Copy, Debug)]
pub struct CheckoutOrder<'a> {
    /// Id of a commit or of an annotated tag.
    pub object: &'a str,
    /// The reference that led to it.
    pub reference: Option<&'a str>,
    /// The beginning that its id must have.
    pub checksum: Option<&'a str>,
    /// The directory to take; empty for all.
    pub subdir: &'a str,
    /// Submodules, too.
    pub submodules: bool,
    /// `.git`, too.
    pub keep_git_dir: bool,
    /// Files have the commit's time; else that of the checkout.
    pub commit_times: bool,
}

/// The files of a commit.
#[derive(Clone, Debug)]
pub struct CheckedOut {
    /// The directory.
    pub tree: PathBuf,
    /// The commit.
    pub commit: String,
    /// Its committer's time, in seconds since 1970.
    pub time: i64,
}

/// A build context that lies elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteContext {
    /// A commit.
    Git {
        /// Which.
        source: GitSource,
        /// `BUILDKIT_CONTEXT_KEEP_GIT_DIR`, for what the URL leaves open.
        keep_git_dir: bool,
    },
    /// An archive, or a single file, which is then called `context`.
    Http(String),
}

/// A git source as messages name it.
pub(crate) fn shown_source(source: &GitSource) -> String {
    let remote = shown(&source.remote);
    match (source.reference.as_str(), source.subdir.as_str()) {
        ("", "") => remote,
        (reference, "") => format!("{remote}#{reference}"),
        (reference, subdir) => format!("{remote}#{reference}:{subdir}"),
    }
}

impl RemoteContext {
    /// Its address for screens and messages: without credentials and queries.
    pub fn shown(&self) -> String {
        match self {
            Self::Git { source, .. } => shown_source(source),
            Self::Http(url) => shown(url),
        }
    }
}

/// A remote context that is here now. As long as it lives, collection leaves it alone.
pub struct FetchedContext {
    /// The directory with its files.
    pub root: PathBuf,
    /// The one file that it is, if it is no archive and no repository.
    pub file: Option<PathBuf>,
    /// What `SOURCE_DATE_EPOCH=context` means here: the commit's time, or `Last-Modified`, or that of an archive's newest file.
    pub time: Option<i64>,
    /// Its address, fit to be shown.
    pub name: String,
    pub(crate) _lease: Arc<Lock>,
}

impl std::fmt::Debug for FetchedContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FetchedContext").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The ways to the network, and the secrets for it.
#[derive(Clone, Copy)]
pub struct Access<'a> {
    /// For http(s).
    pub fetcher: Option<&'a dyn Fetcher>,
    /// For git.
    pub repositories: Option<&'a dyn Repositories>,
    /// `--secret`, by id.
    pub secrets: &'a BTreeMap<String, SecretSource>,
    /// `--ssh`: sockets of agents, by id.
    pub ssh: &'a BTreeMap<String, PathBuf>,
}
