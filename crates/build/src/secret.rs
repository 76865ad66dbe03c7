//! Where secrets are.

use std::path::PathBuf;
use std::sync::Arc;

/// Where a secret's bytes are.
#[derive(Clone)]
pub enum SecretSource {
    /// A file, read when a step needs it.
    File(PathBuf),
    /// Given already (from an environment variable).
    Bytes(Arc<[u8]>),
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(_) => f.write_str("Bytes(..)"),
        }
    }
}
