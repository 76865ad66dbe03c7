//! Which part of an instruction is at fault.

use kiln_dockerfile::span::Span;
use kiln_plan::model::{CopySource, Op, RunMountKind, Step};

use crate::error::BuildErrorKind;

/// The source or the mount that `kind` is about, if it is written in the step itself (a trigger of a base image is not), else the
/// whole step.
pub(crate) fn span(step: &Step, kind: &BuildErrorKind) -> Span {
    let part = match (&step.op, kind) {
        (
            Some(Op::Copy(op)),
            BuildErrorKind::MissingSource { pattern: missing, .. }
            | BuildErrorKind::DanglingSource { pattern: missing, .. },
        ) => op.sources.iter().find_map(|source| match source {
            CopySource::Path { pattern, span } if pattern == missing => Some(*span),
            _ => None,
        }),
        (Some(Op::Copy(op)), BuildErrorKind::Fetch { url: missing, .. }) => {
            op.sources.iter().find_map(|source| match source {
                CopySource::Http { url, span } | CopySource::Git { url, span } if url == missing => {
                    Some(*span)
                }
                _ => None,
            })
        }
        (Some(Op::Run(op)), kind) => op.mounts.iter().find_map(|mount| match (&mount.kind, kind) {
            (
                RunMountKind::Bind { source, .. } | RunMountKind::Cache { source, .. },
                BuildErrorKind::MissingSource { pattern, .. }
                | BuildErrorKind::DanglingSource { pattern, .. },
            ) if source == pattern => Some(mount.span),
            (RunMountKind::Secret { id, .. }, BuildErrorKind::Secret { id: missing, .. })
            | (RunMountKind::Ssh { id, .. }, BuildErrorKind::Agent { id: missing })
                if id == missing =>
            {
                Some(mount.span)
            }
            _ => None,
        }),
        _ => None,
    };
    part.filter(|part| step.span.start <= part.start && part.end <= step.span.end).unwrap_or(step.span)
}
