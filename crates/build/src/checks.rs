//! The build checks before a build.
//!
//! What the text alone shows comes from `kiln_dockerfile::lint`, what takes variables and base images from the planner.
//! Here the two meet, with the file's own choice of checks.

use std::collections::BTreeSet;

use kiln_dockerfile::Parsed;
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::ignore::Ignore;
use kiln_dockerfile::lint::{self, Config, Facts};
use kiln_dockerfile::span::{Span, line_column};
use kiln_oci::platform::Platform;
use kiln_plan::Planner;
use kiln_plan::model::Plan;

use crate::contexts::{ignore_file, main_ignore_files};
use crate::error::BuildErrorKind;
use crate::report::Reporter;
use crate::request::{Context, Request};

/// What somebody found who read a file of which parts are missing may follow from just that.
pub(crate) fn believable(found: &Diagnostic, parsed: &Parsed, request: &Request) -> bool {
    let line = |span: Span| line_column(&request.dockerfile, span.start).0;
    let errors = || parsed.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    errors().next().is_none()
        || (found.severity == Severity::Error && errors().all(|error| line(error.span) != line(found.span)))
}

/// The ignore file of the main context.
pub(crate) fn ignore(request: &Request) -> Result<Option<Ignore>, BuildErrorKind> {
    match &request.context {
        Context::Directory(root) => {
            Ok(ignore_file(root, &main_ignore_files(request))?.map(|(_, ignore)| ignore))
        }
        Context::Fetched(_) | Context::Empty => Ok(None),
    }
}

/// System and processor of a platform, for the checks.
pub(crate) fn platform(text: &str) -> Option<(String, String)> {
    text.parse::<Platform>().ok().map(|platform| (platform.os, platform.architecture))
}

/// The file's choice of checks; `BUILDKIT_DOCKERFILE_CHECK` replaces it.
pub(crate) fn config(request: &Request, parsed: &Parsed) -> Result<Config, Box<Diagnostic>> {
    let directive = parsed.dockerfile.directives.check.as_ref();
    let (text, span, whence) = match request.build_args.get("BUILDKIT_DOCKERFILE_CHECK") {
        Some(given) => (given.as_str(), Span::default(), "BUILDKIT_DOCKERFILE_CHECK: "),
        None => {
            (directive.map_or("", |d| d.value.as_str()), directive.map(|d| d.span).unwrap_or_default(), "")
        }
    };
    Config::parse(text).map_err(|e| Box::new(Diagnostic::error(span, format!("{whence}{e}"))))
}

/// The checks of one build.
pub(crate) struct Checks<'a> {
    request: &'a Request,
    config: Config,
    told: Vec<Diagnostic>,
}

impl<'a> Checks<'a> {
    /// Looks for mistakes before anybody is asked for a base image.
    ///
    /// # Errors
    /// All mistakes that the text shows, at once.
    pub(crate) fn before(request: &'a Request, parsed: &Parsed) -> Result<Self, BuildErrorKind> {
        let mut mistakes = parsed.diagnostics.clone();
        let config = config(request, parsed).unwrap_or_else(|wrong| {
            mistakes.push(*wrong);
            Config::default()
        });
        if let Some(platform) = request.platforms.first().filter(|_| parsed.stages_hold) {
            let survey = Planner::lenient(&parsed.dockerfile, request.inputs(platform), false).survey();
            let errors = survey.found.into_iter().filter(|found| found.severity == Severity::Error);
            mistakes.extend(errors.filter(|found| believable(found, parsed, request)));
        }
        if mistakes.iter().any(|found| found.severity == Severity::Error) {
            return Err(BuildErrorKind::Dockerfile(mistakes));
        }
        Ok(Self { request, config, told: Vec::new() })
    }

    /// Tells what was found, each thing once however many platforms are built.
    ///
    /// # Errors
    /// If something was found and the file says that this is an error.
    pub(crate) fn tell(
        &mut self,
        parsed: &Parsed,
        plan: &Plan,
        reporter: &Reporter<'_>,
    ) -> Result<(), BuildErrorKind> {
        let (text, file) = (&self.request.dockerfile, &parsed.dockerfile);
        let stages: BTreeSet<usize> = plan.stages.iter().map(|stage| stage.number).collect();
        // One that cannot be used is told of by whoever needs the context.
        let ignore = ignore(self.request).unwrap_or_default();
        let facts = Facts {
            ignore: ignore.as_ref(),
            stages: Some(&stages),
            with_shell: plan.with_shell.clone(),
            bases: plan.stage_bases.clone(),
            values: plan.values.clone(),
            platform: Some(platform),
        };
        let others = parsed.diagnostics.iter().chain(&plan.warnings).cloned().collect();
        let mut found = lint::wanted(file, &self.config, others);
        found.extend(lint::check(text, file, &facts, &self.config));
        found.sort_by_key(|found| found.span);
        found.retain(|found| !self.told.contains(found));
        found.dedup();
        if self.config.error && found.iter().any(lint::counts) {
            return Err(BuildErrorKind::Checks(found));
        }
        for one in &found {
            let help = one.help.as_ref().filter(|help| help.starts_with("did you mean"));
            let message = help.map_or_else(|| one.message.clone(), |help| format!("{}, {help}", one.message));
            reporter.finding(one.rule, message, line_column(text, one.span.start).0);
        }
        self.told.append(&mut found);
        Ok(())
    }
}
