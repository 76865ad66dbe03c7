//! What is wrong with a Dockerfile, as data; `kiln-cli` draws it.

use crate::span::Span;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing can be built.
    Error,
    /// It builds, but probably not what was meant.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// BuildKit's name of the check (`NoEmptyContinuation`), if it has one.
    pub rule: Option<&'static str>,
    /// One sentence: lowercase, no period, names the token.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to do about it ("did you mean `mount`?"), if known.
    pub help: Option<String>,
    /// Replacement text for `span` where the mend is certain.
    pub fix: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, rule: None, message: message.into(), span, help: None, fix: None }
    }

    /// A warning of `rule` at `span`.
    pub fn warning(rule: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            rule: Some(rule),
            message: message.into(),
            span,
            help: None,
            fix: None,
        }
    }

    /// The same with a way out.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
