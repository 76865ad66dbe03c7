//! What else is not there, once a build has failed of a source that is not: who has to mend one instruction should hear of all.

use kiln_plan::CopiedPath;
use kiln_plan::model::{CopySource, Op, Origin, RunMountKind};

use crate::copy::gather::look;
use crate::copy::wanted;
use crate::error::{BuildError, BuildErrorKind};
use crate::stage::Stage;

/// `error` with all that the stages' other instructions would fail of in the same way; the first in the file bears the rest. Nothing
/// is looked for unless `error` is about a source, and then only in contexts that are at hand: what a stage or an image lacks, only
/// they could tell.
pub(crate) fn with_others(mut error: BuildError, stages: &[Stage<'_>]) -> BuildError {
    if !is_absence(&error.kind) {
        return error;
    }
    let mut others: Vec<BuildError> = Vec::new();
    for stage in stages {
        for (i, step) in stage.plan.steps.iter().enumerate() {
            for (origin, path) in step.op.as_ref().map(taken).unwrap_or_default() {
                let Some(files) = stage.work.contexts.at_hand(origin) else { continue };
                let Err(kind) = look(files.as_ref(), &path) else { continue };
                let found = stage.at_step(kind, i);
                // Anything else that fails here is for the step itself to say.
                let counts = is_absence(&found.kind) || matches!(found.kind, BuildErrorKind::Copy { .. });
                if counts && !others.iter().chain([&error]).any(|known| is_same(known, &found)) {
                    others.push(found);
                }
            }
        }
    }
    others.sort_by_key(place);
    if let Some(earlier) = others.first_mut().filter(|first| place(first) < place(&error)) {
        std::mem::swap(earlier, &mut error);
        others.sort_by_key(place);
    }
    error.also = others;
    error
}

fn is_absence(kind: &BuildErrorKind) -> bool {
    matches!(kind, BuildErrorKind::MissingSource { .. } | BuildErrorKind::DanglingSource { .. })
}

fn is_same(one: &BuildError, other: &BuildError) -> bool {
    one.at == other.at && one.kind.to_string() == other.kind.to_string()
}

fn place(error: &BuildError) -> Option<usize> {
    error.at.as_ref().map(|at| at.span.start)
}

/// The paths that `op` takes, each with where from.
fn taken(op: &Op) -> Vec<(&Origin, CopiedPath)> {
    match op {
        Op::Copy(op) => op
            .sources
            .iter()
            .filter_map(|source| match source {
                CopySource::Path { pattern, .. } => Some((&op.from, wanted(op, pattern))),
                CopySource::Inline { .. } | CopySource::Http { .. } | CopySource::Git { .. } => None,
            })
            .collect(),
        Op::Run(op) => op
            .mounts
            .iter()
            .filter_map(|mount| match &mount.kind {
                RunMountKind::Bind { from, source, .. }
                | RunMountKind::Cache { from: Some(from), source, .. } => {
                    Some((from, CopiedPath::whole(source)))
                }
                _ => None,
            })
            .collect(),
        Op::Workdir(_) => Vec::new(),
    }
}
