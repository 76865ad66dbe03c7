//! Images on their way in and out: whose fault a failure is, and the way out.

use std::path::Path;

use kiln_dockerfile::suggest::nearest;
use kiln_oci::artifact::ArtifactError;
use kiln_oci::error::StoreError;
use kiln_oci::export::ExportError;
use kiln_oci::source::SourceErrorKind;

use kiln_registry::{Failure, PushError};

use crate::errors::{judge_io, say, status};

/// An artifact lies in a directory or in a registry; only what the latter did is its fault.
pub(super) fn artifact(error: &ArtifactError) -> (u8, Option<String>) {
    match &error.kind {
        SourceErrorKind::Malformed { .. } | SourceErrorKind::Mismatch { .. } => (status::FAILED, None),
        SourceErrorKind::Cancelled => (status::INTERRUPTED, None),
        SourceErrorKind::NotFound => (status::FAILED, say("there is nothing of that name yet")),
        kind => source((&error.place, kind)),
    }
}

pub(super) fn source((reference, kind): (&str, &SourceErrorKind)) -> (u8, Option<String>) {
    let host = reference.split('/').next().unwrap_or_default();
    let hint = match kind {
        SourceErrorKind::NotFound => say("check the name and the tag"),
        SourceErrorKind::NoPlatform { wanted, available } => {
            // Of two that are both known, neither is a misspelling of the other.
            let near = wanted
                .unknown_part()
                .and_then(|_| nearest(&wanted.to_string(), available.iter().map(String::as_str), true));
            near.map_or_else(
                || say("choose one of these with --platform"),
                |near| Some(format!("did you mean {near}?")),
            )
        }
        SourceErrorKind::Denied { .. } => Some(format!(
            "log in with `docker login {host}` (or podman, skopeo): kiln reads the same credentials"
        )),
        SourceErrorKind::RateLimited { .. } => say("log in for a higher limit, or try again later"),
        SourceErrorKind::Unreachable { host, detail } => unreachable_hint(host, detail),
        SourceErrorKind::Io(error) => return judge_io(error),
        _ => None,
    };
    (status::REGISTRY, hint)
}

fn unreachable_hint(host: &str, detail: &str) -> Option<String> {
    let detail = detail.to_ascii_lowercase();
    let tls =
        ["tls", "certificate", "corrupt message", "invalidcontenttype"].iter().any(|w| detail.contains(w));
    tls.then(|| format!("if it speaks plain HTTP or has a certificate of its own, allow that with --insecure-registry {host}"))
}

pub(super) fn push(error: &PushError) -> (u8, Option<String>) {
    let hint = match &*error.failure {
        Failure::Denied { .. } => say("log in with `docker login`: kiln reads the same credentials"),
        Failure::Unreachable { host, detail, .. } => unreachable_hint(host, detail),
        Failure::RateLimited { .. } => say("try again later"),
        Failure::Local { cause, .. } => return judge_io(cause),
        Failure::Cancelled => return (status::INTERRUPTED, None),
        _ => None,
    };
    (status::REGISTRY, hint)
}

pub(super) fn store(error: &StoreError) -> (u8, Option<String>) {
    match error {
        StoreError::Io(error) => judge_io(error),
        StoreError::Mismatch { .. } => {
            (status::REGISTRY, say("the registry sent something else than it promised; try again"))
        }
        _ => (status::FAILED, None),
    }
}

pub(super) fn blob_of(error: &StoreError) -> Option<&Path> {
    match error {
        StoreError::Damaged { path, .. }
        | StoreError::Missing { path, .. }
        | StoreError::Malformed { path, .. } => Some(path),
        _ => None,
    }
}

pub(super) fn export(error: &ExportError) -> (u8, Option<String>) {
    match error {
        ExportError::Store(error) => store(error),
        ExportError::Write(error) => judge_io(error),
        ExportError::Occupied { .. } => {
            (status::USAGE, say("name a new directory, or an OCI layout to add the image to"))
        }
        _ => (status::FAILED, None),
    }
}
