//! A repository's address and what opens it.

use std::fmt;
use std::path::PathBuf;

use crate::error::Denial;

/// A repository elsewhere.
#[derive(Clone, Default)]
pub struct Remote {
    /// Its address as git takes it, *without* credentials: `https://host/repo.git`, `ssh://git@host/repo`, `git@host:repo`.
    pub url: String,
    /// The value of an `Authorization` header for http(s).
    pub authorization: Option<String>,
    /// The addresses that the header is for begin with this; empty for `url` alone.
    pub scope: String,
    /// The socket of an ssh agent.
    pub agent: Option<PathBuf>,
}

impl fmt::Debug for Remote {
    /// Says whether there is a secret but not which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.authorization.is_some();
        f.debug_struct("Remote").field("url", &self.url).field("secret", &secret).finish_non_exhaustive()
    }
}

impl Remote {
    pub(crate) fn is_http(&self) -> bool {
        self.url.starts_with("https://") || self.url.starts_with("http://")
    }

    /// The secret, if this address takes one.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.authorization.as_deref().filter(|_| self.is_http())
    }

    pub(crate) fn scope(&self) -> &str {
        if self.scope.is_empty() { &self.url } else { &self.scope }
    }

    /// What a denial means here.
    pub(crate) fn denial(&self) -> Denial {
        match (self.is_http(), self.authorization.is_some(), self.agent.is_some()) {
            (true, false, _) => Denial::NoSecret,
            (true, true, _) => Denial::Secret,
            (false, _, false) => Denial::NoAgent,
            (false, _, true) => Denial::Agent,
        }
    }
}
