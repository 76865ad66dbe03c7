//! Why something could not be fetched.

use std::io;

/// Who was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A download without a secret.
    Download,
    /// A download with one.
    DownloadWithSecret,
    /// git over http(s) without a secret.
    Git,
    /// git over http(s) with one.
    GitWithSecret,
    /// git over ssh without an agent.
    NoAgent,
    /// git over ssh with one.
    Agent,
    /// git over ssh, by us: the host has another key than the known one.
    HostKey,
}

/// Why something could not be fetched. No secret is in the words; what a server said is bounded and freed of control characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// Whoever wired this build gave no way to the network.
    #[error("{what} are not possible here")]
    Unavailable {
        /// `downloads`, `git repositories`
        what: &'static str,
    },
    /// There is no git on this machine.
    #[error("the program git is not in PATH")]
    NoProgram,
    /// A URL that cannot be understood.
    #[error(transparent)]
    Url(#[from] kiln_dockerfile::source::SourceError),
    /// No connection.
    #[error("{detail}")]
    Unreachable {
        /// Why.
        detail: String,
    },
    /// The connection broke while bytes were coming.
    #[error("{detail}")]
    Cut {
        /// What happened.
        detail: String,
    },
    /// The server wants credentials, or others.
    #[error("{detail}")]
    Denied {
        /// Who was refused.
        refused: Refused,
        /// What the server said.
        detail: String,
    },
    /// There is no such thing there.
    #[error("{detail}")]
    NotFound {
        /// What the server said.
        detail: String,
    },
    /// Another answer than the one that was wanted.
    #[error("{detail}")]
    Status {
        /// HTTP status.
        status: u16,
        /// What the server said.
        detail: String,
    },
    /// A redirect that cannot be followed while a secret is carried.
    #[error("the server redirects to another address, and the secret is for this one only")]
    Redirected,
    /// The repository has no such branch or tag.
    #[error("the repository has no branch or tag {reference:?}")]
    NoReference {
        /// As given.
        reference: String,
        /// Those that it has.
        others: Vec<String>,
    },
    /// The repository has no commit.
    #[error("the repository is empty")]
    Empty,
    /// The repository has no such commit, or does not give it.
    #[error("the repository has no commit {commit}, or the server does not give it")]
    NoCommit {
        /// Which.
        commit: String,
    },
    /// `fetch-by-commit` without a whole commit id.
    #[error("fetch-by-commit needs the whole id of a commit as its checksum")]
    NeedsCommit,
    /// Something else than the checksum says.
    #[error("it is {got}, not the checksum {expected}")]
    Checksum {
        /// As given.
        expected: String,
        /// What came.
        got: String,
    },
    /// The directory to be taken is none.
    #[error("{path:?} is not a directory of the repository")]
    NoDirectory {
        /// Which.
        path: String,
    },
    /// A submodule could not be had.
    #[error("cannot get the submodules: {detail}")]
    Submodules {
        /// Why.
        detail: String,
    },
    /// A secret that cannot be sent.
    #[error("the secret {id:?} is not one line of text")]
    BadSecret {
        /// Its id.
        id: String,
    },
    /// A secret that cannot be read.
    #[error("the secret {id:?} cannot be read: {source}")]
    Secret {
        /// Its id.
        id: String,
        /// Why.
        source: io::Error,
    },
    /// An archive that is damaged or hostile.
    #[error("the archive cannot be unpacked: {detail}")]
    Archive {
        /// Why.
        detail: String,
    },
    /// Another failure.
    #[error("{what}: {detail}")]
    Failed {
        /// What was being done.
        what: String,
        /// What was said.
        detail: String,
    },
    /// This machine failed; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}
