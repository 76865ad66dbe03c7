//! Variables, quotes and escapes in words.
//!
//! This is the shell-like language that `ENV`, `LABEL`, `COPY` and most other instructions share
//! (not `RUN`, `CMD` and `ENTRYPOINT`, which leave it to the shell). It follows BuildKit's
//! `frontend/dockerfile/shell`: `$name`, `${name}` and, inside the braces, `:-` `-` `:+` `+` `:?`
//! `?` `#` `##` `%` `%%` `/` `//`; single quotes keep everything, double quotes all but `$` and
//! escapes. Names that nothing defines are empty, and are reported so that a caller can warn.

mod error;
mod lexer;
mod lookup;
mod pattern;

use std::collections::BTreeSet;

pub use error::{ExpandError, ExpandErrorKind};
use lexer::{Lexer, Mode};
pub use lookup::{Lookup, NoVariables};
pub use pattern::PatternEscapeError;

/// What a word became.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The text, quotes and escapes removed.
    pub text: String,
    /// Names that were looked up and not set, sorted. Also those for which `${name:-word}` had an answer.
    pub unset: Vec<String>,
    /// Names that were looked up and set, sorted.
    pub used: Vec<String>,
}

/// Expands a word, or a whole argument string that is to stay one.
///
/// # Errors
/// If quotes or braces are unbalanced, an operator is unknown, or `?` finds its variable missing.
///
/// ```
/// use kiln_dockerfile::expand::expand_word;
/// let vars = vec![("DIR".to_owned(), "/srv".to_owned())];
/// let expansion = expand_word(r#""${DIR}/$NAME"'/$DIR'"#, '\\', &vars).unwrap();
/// assert_eq!(expansion.text, "/srv//$DIR");
/// assert_eq!(expansion.unset, ["NAME"]);
/// ```
pub fn expand_word(raw: &str, escape: char, vars: &dyn Lookup) -> Result<Expansion, ExpandError> {
    run(raw, Mode::word(escape), vars)
}

/// Expands and then splits on blanks that no quote or escape protects, as `EXPOSE` does: a variable
/// may give several words, or none.
///
/// # Errors
/// As [`expand_word`].
pub fn expand_words(raw: &str, escape: char, vars: &dyn Lookup) -> Result<Vec<String>, ExpandError> {
    let mut lexer = Lexer::new(raw, Mode::word(escape), vars);
    Ok(lexer.run()?.words)
}

/// Expands the body of a here-document of `COPY` or `ADD`: quotes are ordinary characters, and a
/// backslash (whatever the file's escape character) takes the next one literally.
///
/// # Errors
/// As [`expand_word`].
pub fn expand_heredoc_body(body: &str, vars: &dyn Lookup) -> Result<Expansion, ExpandError> {
    run(body, Mode { quotes: false, ..Mode::word('\\') }, vars)
}

/// A line for people to read: variables that are set are replaced, all else (quotes, unset
/// variables) stays. A line that cannot be expanded stays as it is.
pub fn expand_for_display(raw: &str, escape: char, vars: &dyn Lookup) -> String {
    let mode = Mode { keep_quotes: true, keep_unset: true, ..Mode::word(escape) };
    run(raw, mode, vars).map_or_else(|_| raw.to_owned(), |expansion| expansion.text)
}

fn run(raw: &str, mode: Mode, vars: &dyn Lookup) -> Result<Expansion, ExpandError> {
    let mut lexer = Lexer::new(raw, mode, vars);
    let text = lexer.run()?.text;
    let sorted = |set: BTreeSet<String>| set.into_iter().collect();
    Ok(Expansion { text, unset: sorted(lexer.unset), used: sorted(lexer.used) })
}

#[cfg(test)]
mod tests;
