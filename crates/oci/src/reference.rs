//! Image references: `[registry/]repository[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// A normalised image reference (the grammar and defaults of distribution/reference: no registry means `docker.io`, one
/// path component on docker.io means `library/`, neither tag nor digest means `latest`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io`, `127.0.0.1:5000`
    pub registry: String,
    /// `library/debian`
    pub repository: String,
    /// `bookworm`; `None` only if there is a digest.
    pub tag: Option<String>,
    /// `sha256:...`
    pub digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {reason}")]
pub struct BadReference {
    /// What was given.
    pub text: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        // Filled in by the oci crate's owner: see distribution/reference for the grammar.
        Err(BadReference { text: text.to_owned(), reason: "not parsed yet" })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |d| write!(f, "@{d}"))
    }
}
