//! A credential, and keeping it out of sight.

use std::fmt;

use base64::Engine as _;

/// What proves who we are. Its `Debug` form shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    /// User and password.
    Basic {
        /// User name.
        user: String,
        /// Password or access token.
        secret: String,
    },
    /// An identity token, exchanged for bearer tokens (OAuth2 `refresh_token`).
    Identity(String),
    /// A bearer token to be sent as it is.
    Bearer(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::Identity(_) => "Identity(..)",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

/// The value of an `Authorization` header for user and password (RFC 7617).
pub(crate) fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{secret}")))
}
