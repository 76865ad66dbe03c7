//! What can be wrong with a word.

use super::pattern::PatternEscapeError;

/// A word that cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct ExpandError {
    /// Byte offset into the raw word of the quote or `$` at fault.
    pub offset: usize,
    /// What is wrong.
    pub kind: ExpandErrorKind,
}

/// What can be wrong with a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandErrorKind {
    /// A quote that is not closed.
    #[error("missing closing {quote} in `{text}`")]
    UnclosedQuote {
        /// The quote.
        quote: char,
        /// From the quote on.
        text: String,
    },
    /// A `${` that is not closed.
    #[error("missing `}}` in `{text}`")]
    UnclosedBrace {
        /// From the `$` on.
        text: String,
    },
    /// `${name/pattern}` without the second slash.
    #[error("missing `/` in `{text}`")]
    MissingSlash {
        /// From the `$` on.
        text: String,
    },
    /// `${}`, `${:...}` or `${{`.
    #[error("bad substitution in `{text}`")]
    BadSubstitution {
        /// From the `$` on.
        text: String,
    },
    /// An operator that does not exist.
    #[error("unsupported modifier `{modifier}` in `{text}`")]
    Modifier {
        /// The operator.
        modifier: String,
        /// From the `$` on.
        text: String,
    },
    /// A pattern with an escape that means nothing.
    #[error("invalid pattern `{pattern}` in substitution: {source}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        source: PatternEscapeError,
    },
    /// `${name?message}` or `${name:?message}` of a name that is unset or empty.
    #[error("{name}: {message}")]
    Required {
        /// The name.
        name: String,
        /// The message as written, or a standard one.
        message: String,
    },
}

impl ExpandError {
    /// What could be written instead, where that is more than closing what is open.
    pub fn way_out(&self) -> Option<&'static str> {
        match self.kind {
            ExpandErrorKind::Modifier { .. } => Some("modifiers are :- - :+ + :? ? # ## % %% / and //"),
            ExpandErrorKind::BadSubstitution { .. } => {
                Some("a name goes behind `${`; `\\$` is a dollar sign itself")
            }
            _ => None,
        }
    }

    /// The description without the place.
    pub fn message(&self) -> String {
        self.kind.to_string()
    }
}
