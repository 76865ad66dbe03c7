//! The build checks instead of a build.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::lint::{self, Config, Facts};
use kiln_dockerfile::parse;
use kiln_dockerfile::span::Span;
use kiln_oci::platform::Platform;
use kiln_oci::source::SourceErrorKind;
use kiln_plan::{BaseImage, Need, Planner};

use crate::bases::Bases;
use crate::checks::{believable, config, ignore, platform};
use crate::engine::Engine;
use crate::error::{BuildError, BuildErrorKind};
use crate::event::Sink;
use crate::layers::pull::Puller;
use crate::report::Reporter;
use crate::request::Request;

pub use kiln_plan::outline::{Outline, OutlineArg, OutlineMount, description};

/// What a check without a build found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Errors and warnings, in the order of the file.
    pub findings: Vec<Diagnostic>,
    /// Base images that nothing is known of, and why: what depends on them was not checked.
    pub unknown: Vec<(String, String)>,
    /// What was found fails the build: `# check=error=true`.
    pub strict: bool,
}

/// Looks at the Dockerfile of `request` without building it. Of several platforms each is looked at. Without a target all
/// stages are, as BuildKit does.
///
/// `asked` are rules to turn on (see [`Config::with_asked`]). Base images are looked up if there is an `engine` to do so:
/// what it remembers of a name is good enough, unless the request says to pull. An image that cannot be had is no failure.
///
/// # Errors
/// If the ignore file cannot be used, or Ctrl-C was pressed.
pub fn check(
    request: &Request,
    asked: Option<&str>,
    engine: Option<(&Engine, &dyn Sink, &AtomicBool)>,
) -> Result<Checked, BuildError> {
    let parsed = parse(&request.dockerfile);
    let mut checked = Checked { findings: parsed.diagnostics.clone(), ..Checked::default() };
    let config = config(request, &parsed).unwrap_or_else(|wrong| {
        checked.findings.push(*wrong);
        Config::default()
    });
    let config = config.clone().with_asked(asked.unwrap_or_default()).unwrap_or_else(|wrong| {
        checked.findings.push(Diagnostic::error(Span::default(), wrong.to_string()));
        config
    });
    checked.strict = config.error;
    let ignore = ignore(request)?;
    let mut facts = Facts { ignore: ignore.as_ref(), platform: Some(platform), ..Facts::default() };
    let mut stages = BTreeSet::new();
    for target in request.platforms.iter().filter(|_| parsed.stages_hold) {
        let mut planner =
            Planner::lenient(&parsed.dockerfile, request.inputs(target), request.target.is_none());
        if let Some((engine, sink, cancel)) = engine {
            look_up(&mut planner, (request, target), &Reporter::new(sink, cancel), engine, &mut checked)?;
        }
        facts.with_shell.extend(planner.with_shell());
        facts.bases.extend(planner.stage_bases());
        stages.extend(planner.reachable_stages());
        let survey = planner.survey();
        facts.values.extend(survey.values);
        checked.findings.extend(survey.found.into_iter().filter(|found| believable(found, &parsed, request)));
    }
    facts.stages = request.target.is_some().then_some(&stages);
    checked.findings.extend(lint::check(&request.dockerfile, &parsed.dockerfile, &facts, &config));
    checked.findings = lint::wanted(&parsed.dockerfile, &config, checked.findings);
    checked.findings.sort_by(|a, b| (a.span, a.severity, &a.message).cmp(&(b.span, b.severity, &b.message)));
    checked.findings.dedup();
    checked.strict &= checked.findings.iter().any(lint::counts);
    Ok(checked)
}

fn look_up(
    planner: &mut Planner<'_>,
    (request, platform): (&Request, &Platform),
    reporter: &Reporter<'_>,
    engine: &Engine,
    checked: &mut Checked,
) -> Result<(), BuildError> {
    let _lease = engine.store.lease()?;
    let puller = Puller::new(&engine.store, reporter);
    let mut bases = Bases::new(puller, engine.images.clone(), request.pull);
    bases.trusts_memory = !request.pull;
    let mut tried: Vec<Need> = Vec::new();
    loop {
        let needs: Vec<Need> = planner.needs().into_iter().filter(|need| !tried.contains(need)).collect();
        if needs.is_empty() {
            return Ok(());
        }
        let found: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = needs.iter().map(|need| scope.spawn(|| bases.find(&need.key))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or(Err(BuildErrorKind::Cancelled))).collect()
        });
        for (need, base) in needs.iter().zip(found) {
            match base {
                Ok(base) => planner.supply(&need.key, BaseImage { config: base.image().config.clone() }),
                Err(BuildErrorKind::Base { image, source }) => {
                    let absent =
                        matches!(source.kind, SourceErrorKind::NotFound | SourceErrorKind::NoPlatform { .. });
                    if absent {
                        checked.findings.push(Diagnostic::error(need.span, format!("{source}")));
                    } else {
                        checked.unknown.push((image, format!("{source} ({platform})")));
                    }
                }
                Err(other) => return Err(other.into()),
            }
        }
        tried.extend(needs);
    }
}

/// Whether a stage starts from an image, so that a check can do better with an engine. `scratch` is none.
pub fn names_images(request: &Request) -> bool {
    let parsed = parse(&request.dockerfile);
    let needs = |platform: &Platform| {
        !Planner::lenient(&parsed.dockerfile, request.inputs(platform), request.target.is_none())
            .needs()
            .is_empty()
    };
    parsed.stages_hold && request.platforms.iter().any(needs)
}

/// What the target of `request` can be given, for the first of its platforms. No base image is asked for: a default that is
/// made of a base image's variables shows without them.
///
/// # Errors
/// The mistakes in the Dockerfile, if it has any.
pub fn outline(request: &Request) -> Result<Outline, Vec<Diagnostic>> {
    let parsed = parse(&request.dockerfile);
    let mut mistakes = parsed.diagnostics.clone();
    let platform = request.platforms.first().cloned().unwrap_or_else(Platform::host);
    let planner = Planner::lenient(&parsed.dockerfile, request.inputs(&platform), false);
    mistakes.extend(planner.survey().found);
    if mistakes.iter().any(|found| found.severity == Severity::Error) {
        return Err(mistakes);
    }
    Ok(planner.outline())
}
