//! Where findings go.

use crate::diagnostic::Diagnostic;
use crate::span::Span;

use super::config::Config;
use super::rule::Rule;

/// Takes findings and drops those that are not wanted.
#[derive(Debug)]
pub(super) struct Sink {
    config: Config,
    found: Vec<Diagnostic>,
}

impl Sink {
    pub(super) fn new(config: Config) -> Self {
        Self { config, found: Vec::new() }
    }

    /// Adds a finding, unless the configuration or `comment`, the one above the instruction, skips it.
    pub(super) fn add(&mut self, rule: &Rule, comment: &str, finding: Finding) {
        if self.config.with_comment(comment).runs(rule) {
            let mut diagnostic = Diagnostic::warning(rule.name, finding.span, finding.message);
            diagnostic.help = finding.help;
            diagnostic.fix = finding.fix;
            self.found.push(diagnostic);
        }
    }

    /// All findings in the order of the text.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|d| d.span.start);
        self.found
    }
}

/// What a check has to say.
#[derive(Debug)]
pub(super) struct Finding {
    span: Span,
    message: String,
    help: Option<String>,
    fix: Option<String>,
}

impl Finding {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None, fix: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}
