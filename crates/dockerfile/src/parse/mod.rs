//! Text to syntax tree.

use crate::ast::{Dockerfile, Instruction};
use crate::diagnostic::Diagnostic;

/// What a text parsed to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The tree; what could not be understood is left out of it.
    pub dockerfile: Dockerfile,
    /// All that is wrong, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a Dockerfile. Never fails: mistakes are diagnostics, and parsing goes on behind them.
pub fn parse(text: &str) -> Parsed {
    let _ = text;
    Parsed::default()
}

/// Parses one `ONBUILD` trigger, as recorded in an image.
pub fn parse_trigger(text: &str, escape: char) -> (Option<Instruction>, Vec<Diagnostic>) {
    let _ = (text, escape);
    (None, Vec::new())
}
