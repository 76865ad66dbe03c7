//! `SOURCE_DATE_EPOCH` where it is not written as a number: the time of a source.
//!
//! As in BuildKit 1.24 and later: `context` is the main context, another word is a context of `--build-context` or a stage that holds one
//! remote ADD on `scratch` and nothing else. A commit's time is its committer's, a file's is `Last-Modified`, an archive's without that
//! the time of its newest file. What has no such time, a directory or an image, leaves the variable empty.

use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::source::{Source, classify};
use kiln_plan::model::{CopyOp, CopySource, Op, StageBase};
use kiln_plan::{Inputs, Planner};

use crate::error::{BuildError, BuildErrorKind};
use crate::remote::{RemoteContext, Sources};
use crate::request::{Context, NamedContext, Request};

/// The variable.
const NAME: &str = "SOURCE_DATE_EPOCH";

/// What the variable turns out to be; `None` if it is not set, or a number already.
pub(crate) fn resolve(
    file: &Dockerfile,
    request: &Request,
    inputs: &Inputs,
    sources: &Sources<'_>,
) -> Result<Option<String>, BuildError> {
    let wrong = |diagnostics| BuildError::from(BuildErrorKind::Dockerfile(diagnostics));
    let planner = Planner::new(file, inputs.clone()).map_err(wrong)?;
    let Some(value) = planner.source_date_epoch().filter(|text| text.parse::<i64>().is_err()) else {
        return Ok(None);
    };
    let time = match request.contexts.get(&value) {
        _ if value == "context" => match &request.context {
            Context::Fetched(fetched) => fetched.time,
            Context::Directory(_) | Context::Empty => None,
        },
        Some(NamedContext::Remote(remote)) => sources.context(remote)?.time,
        Some(_) => None,
        None => of_stage(file, inputs, &value, sources)?,
    };
    Ok(Some(time.map(|time| time.to_string()).unwrap_or_default()))
}

/// `inputs` with what the variable turned out to be.
pub(crate) fn known(mut inputs: Inputs, epoch: Option<&str>) -> Inputs {
    if let Some(epoch) = epoch {
        inputs.build_args.insert(NAME.to_owned(), epoch.to_owned());
    }
    inputs
}

/// The time of what the stage called `value` adds.
fn of_stage(
    file: &Dockerfile,
    inputs: &Inputs,
    value: &str,
    sources: &Sources<'_>,
) -> Result<Option<i64>, BuildError> {
    let problem =
        |problem: &str| BuildErrorKind::Epoch { value: value.to_owned(), problem: problem.to_owned() };
    let named = |name: &str| name.eq_ignore_ascii_case(value);
    if !file.stages.iter().any(|stage| stage.from.name.as_ref().is_some_and(|name| named(&name.value))) {
        return Err(problem("it is neither a number nor `context`, a named context or a stage").into());
    }
    let mut inputs = Inputs { target: Some(value.to_owned()), ..inputs.clone() };
    inputs.build_args.remove(NAME);
    let wrong = |diagnostics| BuildError::from(BuildErrorKind::Dockerfile(diagnostics));
    let planner = Planner::new(file, inputs).map_err(wrong)?;
    let only = "the stage must be FROM scratch with one ADD of a URL or a git repository";
    if !planner.needs().is_empty() {
        return Err(problem(only).into());
    }
    let plan = planner.finish().map_err(wrong)?;
    let stage = &plan.stages[plan.target];
    let mut ops = stage.steps.iter().filter_map(|step| step.op.as_ref());
    let (Some(Op::Copy(add)), None, StageBase::Scratch) = (ops.next(), ops.next(), &stage.base) else {
        return Err(problem(only).into());
    };
    of_add(add, sources)?.ok_or_else(|| problem(only).into())
}

/// The outer `None` if it is not one remote source.
fn of_add(add: &CopyOp, sources: &Sources<'_>) -> Result<Option<Option<i64>>, BuildErrorKind> {
    match add.sources.as_slice() {
        [CopySource::Git { url, .. }] => {
            let Ok(Source::Git(source)) = classify(url) else { return Ok(None) };
            let keep_git_dir = add.keep_git_dir;
            Ok(Some(sources.context(&RemoteContext::Git { source, keep_git_dir })?.time))
        }
        [CopySource::Http { url, .. }] => Ok(Some(sources.context(&RemoteContext::Http(url.clone()))?.time)),
        _ => Ok(None),
    }
}
