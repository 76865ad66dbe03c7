//! Who needs what of a root filesystem, by the plan alone: files on disk only for RUN, knowledge of what is there for most steps, and
//! nothing at all for a base image that is merely passed on.

use kiln_plan::model::{BaseKey, CopyOp, Op, Origin, Plan, RunMountKind, StageBase, StagePlan};

use crate::users;

/// Whether `op` depends on the files below it.
pub(crate) fn looks_below(op: &Op) -> bool {
    match op {
        Op::Run(_) | Op::Workdir(_) => true,
        Op::Copy(copy) => !is_independent(copy),
    }
}

/// Whether the layer of a COPY does not depend on what it will lie on: with `--link` nothing is looked for there but names of users.
pub(crate) fn is_independent(op: &CopyOp) -> bool {
    op.link && op.chown.as_deref().is_none_or(users::is_numeric)
}

/// Whether some stage runs a command on the files of stage `of`, or mounts them into one.
pub(crate) fn runs_on(plan: &Plan, of: usize) -> bool {
    let mounted = mounts(plan).any(|from| *from == Origin::Stage(of));
    let on_it = |stage: &StagePlan| stage.base == StageBase::Stage(of);
    mounted || plan.stages.iter().enumerate().any(|(i, s)| on_it(s) && (has_run(s) || runs_on(plan, i)))
}

/// The images on whose files commands run, or that are mounted into one.
pub(crate) fn run_on(plan: &Plan) -> Vec<&BaseKey> {
    let mounted = mounts(plan).filter_map(|from| match from {
        Origin::Image(key) => Some(key),
        _ => None,
    });
    let below = plan.stages.iter().enumerate().filter_map(|(i, stage)| match &stage.base {
        StageBase::Image(key) if has_run(stage) || runs_on(plan, i) => Some(key),
        _ => None,
    });
    mounted.chain(below).collect()
}

fn has_run(stage: &StagePlan) -> bool {
    stage.steps.iter().any(|step| matches!(step.op, Some(Op::Run(_))))
}

/// What is mounted into commands.
fn mounts(plan: &Plan) -> impl Iterator<Item = &Origin> {
    let steps = plan.stages.iter().flat_map(|stage| &stage.steps);
    let runs = steps.filter_map(|step| match &step.op {
        Some(Op::Run(run)) => Some(run),
        _ => None,
    });
    runs.flat_map(|run| &run.mounts).filter_map(|mount| match &mount.kind {
        RunMountKind::Bind { from, .. } | RunMountKind::Cache { from: Some(from), .. } => Some(from),
        _ => None,
    })
}
