//! The privilege ladder's rungs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much this host lets us do, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// Root with `CAP_SYS_ADMIN`: namespaces and overlay as they are.
    Root,
    /// An ordinary user with subordinate ids: a user namespace with a full range of ids.
    SubIds,
    /// An ordinary user without: a user namespace in which only id 0 exists.
    SingleId,
    /// No namespaces: no RUN.
    None,
}

impl fmt::Display for Rung {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Root => "root",
            Self::SubIds => "user namespace with subordinate ids",
            Self::SingleId => "user namespace with a single id",
            Self::None => "no privilege",
        })
    }
}
