//! What can go wrong between a client and a registry, without secrets in the words.

use std::fmt;
use std::time::Duration;

use kiln_oci::reference::Reference;
use kiln_oci::source::{SourceError, SourceErrorKind};

/// One entry of the error document that registries send (distribution specification, "Error Codes").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryError {
    /// `MANIFEST_UNKNOWN`, `DENIED`, ...
    pub code: String,
    /// The server's words, control characters replaced, at most 500 characters.
    pub message: String,
    /// The server's detail as compact JSON, bounded likewise; empty if there was none.
    pub detail: String,
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => write!(f, "{}: {}", self.code, self.message),
            (false, true) => f.write_str(&self.code),
            _ => f.write_str(&self.message),
        }
    }
}

/// The ways in which a conversation with a registry fails. URLs come without query and user information.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No connection, or it broke (name, route, TLS, time-out, reset), after retries.
    #[error("cannot reach {host}: {detail}")]
    Unreachable {
        /// `host` or `host:port`.
        host: String,
        /// The cause.
        detail: String,
        /// Whether trying again cannot help (a certificate nobody vouches for).
        permanent: bool,
    },
    /// 401 or 403 with the credentials at hand.
    #[error("access denied by {url}: {}", Said { errors, detail })]
    Denied {
        /// What was asked.
        url: String,
        /// 401 or 403.
        status: u16,
        /// The registry's error document.
        errors: Vec<RegistryError>,
        /// Which credentials were tried (where they come from, never what they are).
        detail: String,
    },
    /// 429, and waiting did not help or would have taken too long.
    #[error("rate limited by {url}: {}", Said { errors, detail })]
    RateLimited {
        /// What was asked.
        url: String,
        /// How long the server wants us to wait, if it said so.
        wait: Option<Duration>,
        /// The registry's error document.
        errors: Vec<RegistryError>,
        /// Other words of the server.
        detail: String,
    },
    /// Any other answer that is not what was asked for.
    #[error("{url} answered {status}: {}", Said { errors, detail })]
    Status {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// How long the server wants us to wait, if it said so.
        wait: Option<Duration>,
        /// The registry's error document.
        errors: Vec<RegistryError>,
        /// Other words of the server.
        detail: String,
    },
    /// What came is not what was promised.
    #[error("{what} does not match: expected {expected}, got {got}")]
    Mismatch {
        /// Which object.
        what: String,
        /// Digest or size promised.
        expected: String,
        /// Digest or size received.
        got: String,
    },
    /// A document or header that cannot be understood.
    #[error("{what} is not valid: {detail}")]
    Malformed {
        /// Which object.
        what: String,
        /// Why.
        detail: String,
    },
    /// Something on this machine could not be read: a blob to send, a certificate, a credential file.
    #[error("cannot read {what}")]
    Local {
        /// Which object.
        what: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The connection broke after the first bytes of a download.
    #[error("the connection to {url} broke: {detail}")]
    Broken {
        /// What was asked.
        url: String,
        /// The cause.
        detail: String,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// The registry's error document and whatever else is known, in one line.
struct Said<'a> {
    errors: &'a [RegistryError],
    detail: &'a str,
}

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.errors.iter().map(ToString::to_string).collect();
        if !self.detail.is_empty() {
            parts.push(self.detail.to_owned());
        }
        if parts.is_empty() {
            parts.push("no reason given".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}

impl Failure {
    /// Whether the same request may succeed later, and how long the server wants it to wait.
    pub(crate) fn retryable(&self) -> Option<Option<Duration>> {
        match self {
            Self::Unreachable { permanent: false, .. } => Some(None),
            Self::RateLimited { wait, .. } => Some(*wait),
            Self::Status { status: 408 | 500 | 502..=504, wait, .. } => Some(*wait),
            // The registry lost an upload session (a restart, another node): a new one may do.
            Self::Status { errors, .. } if errors.iter().any(|e| e.code == "BLOB_UPLOAD_UNKNOWN") => {
                Some(None)
            }
            _ => None,
        }
    }

    /// Whether a registry has understood the request and will not change its mind. A 400 is no such answer: it is how TLS
    /// servers turn plain requests away.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Denied { .. } => true,
            Self::Status { status, .. } => *status != 400 && self.retryable().is_none(),
            _ => false,
        }
    }

    /// The same, as an image source says it.
    /// The same in the words that every source of images has.
    pub fn into_kind(self) -> SourceErrorKind {
        match self {
            Self::Unreachable { host, detail, .. } => SourceErrorKind::Unreachable { host, detail },
            Self::Denied { errors, detail, .. } => {
                SourceErrorKind::Denied { detail: Said { errors: &errors, detail: &detail }.to_string() }
            }
            Self::RateLimited { errors, detail, .. } => {
                SourceErrorKind::RateLimited { detail: Said { errors: &errors, detail: &detail }.to_string() }
            }
            Self::Status { status: 404, .. } => SourceErrorKind::NotFound,
            Self::Status { url, status, errors, detail, .. } => {
                let detail = Said { errors: &errors, detail: &detail }.to_string();
                SourceErrorKind::Server { url, status, detail }
            }
            Self::Mismatch { what, expected, got } => SourceErrorKind::Mismatch { what, expected, got },
            Self::Malformed { what, detail } => SourceErrorKind::Malformed { what, detail },
            Self::Local { cause, .. } => SourceErrorKind::Io(cause),
            Self::Broken { url, detail } => SourceErrorKind::Unreachable { host: url, detail },
            Self::Cancelled => SourceErrorKind::Cancelled,
        }
    }

    /// The same, as an image source says it of `reference`.
    pub(crate) fn into_source(self, reference: &Reference) -> SourceError {
        SourceError { reference: reference.familiar(), kind: self.into_kind() }
    }
}

/// Why a push did not complete. What had been sent stays at the registry, but no tag points to it.
#[derive(Debug, thiserror::Error)]
#[error("cannot push {reference} ({step}): {failure}")]
pub struct PushError {
    /// What was pushed, as the user would write it.
    pub reference: String,
    /// During which step.
    pub step: PushStep,
    /// What happened.
    #[source]
    pub failure: Box<Failure>,
}

/// The steps of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PushStep {
    /// Finding out how to speak to the registry.
    Connect,
    /// Checking, mounting or sending a blob.
    Blob(kiln_oci::digest::Digest),
    /// Sending a manifest or index, by tag or by digest.
    Manifest(String),
}

impl fmt::Display for PushStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connecting"),
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Manifest(name) => write!(f, "manifest {name}"),
        }
    }
}

/// A server's words fit for a terminal: control characters become spaces, at most 500 characters.
pub(crate) fn tame(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut out: String = text.trim().chars().take(500).map(clean).collect();
    if text.trim().chars().count() > 500 {
        out.push('…');
    }
    out
}

/// Reads an error body: the entries of a registry's document, else the tamed text (HTML is dropped).
pub(crate) fn decode(body: &[u8]) -> (Vec<RegistryError>, String) {
    #[derive(serde::Deserialize)]
    struct Document {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: serde_json::Value,
        #[serde(default)]
        message: serde_json::Value,
        #[serde(default)]
        detail: serde_json::Value,
    }
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => tame(text),
        other => tame(&other.to_string()),
    };
    if let Ok(document) = serde_json::from_slice::<Document>(body) {
        let read = |e: &Entry| RegistryError {
            code: text(&e.code),
            message: text(&e.message),
            detail: text(&e.detail),
        };
        return (document.errors.iter().take(10).map(read).collect(), String::new());
    }
    if let Ok(serde_json::Value::Object(fields)) = serde_json::from_slice(body) {
        // OAuth2 and other servers: {"error": ..., "error_description"/"details"/"message": ...}
        let words = ["error", "error_description", "details", "message"];
        let found: Vec<String> = words.iter().filter_map(|w| fields.get(*w)).map(text).collect();
        return (Vec::new(), found.join(": "));
    }
    let plain = String::from_utf8_lossy(body);
    let html = plain.trim_start().starts_with('<');
    (Vec::new(), if html { String::new() } else { tame(&plain) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_documents_are_decoded() {
        let body =
            br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m","detail":{"a":1}},{"code":"X"}]}"#;
        let (errors, rest) = decode(body);
        assert_eq!(errors[0].to_string(), "DENIED: no [31m");
        assert_eq!(errors[0].detail, r#"{"a":1}"#);
        assert_eq!(errors[1].to_string(), "X");
        assert_eq!(rest, "");
        assert_eq!(decode(br#"{"error":"invalid_grant","error_description":"x"}"#).1, "invalid_grant: x");
        assert_eq!(decode(b"<html>bad gateway</html>"), (vec![], String::new()));
        assert_eq!(decode(b"plain\nwords\n"), (vec![], "plain words".to_owned()));
        assert!(tame(&"x".repeat(9000)).chars().count() <= 501);
    }

    #[test]
    fn only_passing_trouble_is_retried() {
        let status = |status| Failure::Status {
            url: String::new(),
            status,
            wait: None,
            errors: vec![],
            detail: String::new(),
        };
        for code in [408, 500, 502, 503, 504] {
            assert!(status(code).retryable().is_some(), "{code}");
        }
        for code in [400, 404, 405, 413, 501] {
            assert!(status(code).retryable().is_none(), "{code}");
        }
    }
}
