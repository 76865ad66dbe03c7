//! Plans of whatever parses.

use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::span::Span;
use kiln_oci::config::ImageConfig;
use kiln_oci::platform::Platform;
use kiln_plan::model::Plan;
use kiln_plan::{BaseImage, Inputs, Planner};

/// Panics if `span` is not one of `text`.
pub(super) fn span(text: &str, span: Span) {
    assert!(text.get(span.start..span.end).is_some(), "{span:?} is not in the text");
}

/// The plan on empty base images.
pub(super) fn planned(text: &str, file: &Dockerfile) -> Result<Plan, Vec<Diagnostic>> {
    let platform = Platform::normalised("linux", "amd64", None);
    let mut planner = Planner::new(file, Inputs::new(platform.clone()))?;
    for _ in 0..200 {
        let needs = planner.needs();
        let Some(need) = needs.first() else { break };
        span(text, need.span);
        planner.supply(&need.key, BaseImage { config: ImageConfig::scratch(&platform) });
    }
    assert!(planner.needs().is_empty(), "the planner asks for ever");
    planner.finish()
}
