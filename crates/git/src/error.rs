//! What can go wrong with a repository, without secrets in the words.

use std::io;

/// Why a repository could not be read. What git or the server said is bounded, freed of control characters and of secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// There is no git on this machine.
    #[error("the program git is not in PATH")]
    NoProgram,
    /// No connection, or it broke.
    #[error("cannot reach the repository: {said}")]
    Unreachable {
        /// What git said.
        said: String,
    },
    /// The server wants credentials, or others.
    #[error("the server denies access: {said}")]
    Denied {
        /// How it was spoken to.
        denial: Denial,
        /// What git said.
        said: String,
    },
    /// The server has no such repository, or does not show it to us.
    #[error("the server has no such repository: {said}")]
    NotFound {
        /// What git said.
        said: String,
    },
    /// The server sends us elsewhere while we carry a secret.
    #[error("the server redirects to another address, and the secret is for this one only")]
    Redirected,
    /// The repository has no such reference.
    #[error("the repository has no reference {reference:?}")]
    NoReference {
        /// As given.
        reference: String,
        /// Branches and tags that it has, without `refs/heads/` and `refs/tags/`.
        others: Vec<String>,
    },
    /// The repository has no commit at all.
    #[error("the repository is empty")]
    Empty,
    /// The server does not give this commit.
    #[error("the repository has no commit {commit}, or the server does not give it")]
    NoCommit {
        /// Which.
        commit: String,
    },
    /// A reference leads to another commit than the checksum says.
    #[error("the commit is {got}, not the checksum {expected}")]
    Checksum {
        /// As given.
        expected: String,
        /// What there is: the commit, or an annotated tag and its commit.
        got: String,
    },
    /// The directory to be taken is not there, or is none.
    #[error("{path:?} is not a directory of the repository")]
    NoDirectory {
        /// Relative to the repository's root.
        path: String,
    },
    /// A submodule could not be had.
    #[error("cannot get the submodules: {said}")]
    Submodules {
        /// What git said.
        said: String,
    },
    /// A secret that cannot be a header.
    #[error("the secret for this repository is not one line of text")]
    BadSecret,
    /// git failed in another way.
    #[error("git {step} failed: {said}")]
    Failed {
        /// `fetch`, `checkout`.
        step: &'static str,
        /// What it said.
        said: String,
    },
    /// This machine failed; the message names the path.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// How a server was spoken to that denies access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Over http(s) without a secret.
    NoSecret,
    /// Over http(s) with a secret.
    Secret,
    /// Over ssh without an agent.
    NoAgent,
    /// Over ssh with an agent.
    Agent,
    /// Over ssh to a host whose key is not the known one.
    HostKey,
}

/// What git's messages mean. Its words are the same in every version that there is (it runs in the C locale); whatever is not known
/// here stays [`GitError::Failed`], with the words.
pub(crate) fn explain(step: &'static str, said: String, denial: Denial) -> GitError {
    let lower = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["host key verification failed", "remote host identification has changed"]) {
        return GitError::Denied { denial: Denial::HostKey, said };
    }
    if has(&["could not read username", "could not read password"]) {
        // Nobody can be asked here, which is not what is wrong.
        return GitError::Denied { denial, said: "it wants a user name and a password".to_owned() };
    }
    if has(&[
        "authentication failed",
        "permission denied",
        "invalid credentials",
        "requested url returned error: 401",
        "requested url returned error: 403",
        "access denied",
        "http basic: access denied",
    ]) {
        return GitError::Denied { denial, said };
    }
    if has(&["returned error: 301", "returned error: 302", "returned error: 307", "returned error: 308"]) {
        return GitError::Redirected;
    }
    if has(&[
        "not found",
        "does not appear to be a git repository",
        "repository not exported",
        "no such repository",
    ]) && !has(&["remote ref"])
    {
        return GitError::NotFound { said };
    }
    if has(&[
        "could not resolve host",
        "couldn't connect",
        "failed to connect",
        "connection refused",
        "connection timed out",
        "connection reset",
        "network is unreachable",
        "no route to host",
        "unable to connect",
        "operation too slow",
        "early eof",
        "unexpected disconnect",
        "the remote end hung up",
        "rpc failed",
        "ssl certificate problem",
        "server certificate",
        "gnutls",
        "returned error: 5",
        "returned error: 429",
        "empty reply",
    ]) && !has(&["not our ref", "unadvertised object"])
    {
        return GitError::Unreachable { said };
    }
    GitError::Failed { step, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_git_are_understood() {
        let cases = [
            ("fatal: could not read Username for 'https://h': terminal prompts disabled", "denied"),
            ("fatal: Authentication failed for 'https://h/r.git/'", "denied"),
            ("git@h: Permission denied (publickey).", "denied"),
            ("Host key verification failed.", "host key"),
            ("fatal: repository 'https://h/r.git/' not found", "missing"),
            ("fatal: remote error: access denied or repository not exported: /r", "denied"),
            ("fatal: '/x' does not appear to be a git repository", "missing"),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", "unreachable"),
            ("fatal: unable to connect to h: errno=Connection refused", "unreachable"),
            (
                "fatal: unable to access 'http://h/r.git/': The requested URL returned error: 500",
                "unreachable",
            ),
            (
                "fatal: unable to access 'http://h/r.git/': The requested URL returned error: 302",
                "redirected",
            ),
            ("fatal: couldn't find remote ref refs/heads/x", "failed"),
            ("fatal: remote error: upload-pack: not our ref 0123", "failed"),
            ("fatal: bad object", "failed"),
        ];
        for (said, want) in cases {
            let got = match explain("fetch", said.to_owned(), Denial::NoSecret) {
                GitError::Denied { denial: Denial::HostKey, .. } => "host key",
                GitError::Denied { .. } => "denied",
                GitError::NotFound { .. } => "missing",
                GitError::Unreachable { .. } => "unreachable",
                GitError::Redirected => "redirected",
                GitError::Failed { .. } => "failed",
                other => panic!("{said}: {other:?}"),
            };
            assert_eq!(got, want, "{said}");
        }
    }
}
