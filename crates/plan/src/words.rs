//! Expanding words, and keeping note of what they used and of what is wrong with them.

use std::collections::BTreeMap;

use kiln_dockerfile::ast::Word;
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::expand::{
    ExpandError, ExpandErrorKind, Expansion, Lookup, expand_for_display, expand_heredoc_body, expand_word,
    expand_words,
};
use kiln_dockerfile::lint::{self, Values};
use kiln_dockerfile::span::Span;

use crate::variables::{BuildArgs, Variables};

/// What came up while words were expanded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// The variables that were used, with their values.
    pub(crate) seen: BTreeMap<String, String>,
    /// The whole environment was used, and is told elsewhere.
    pub(crate) saw_environment: bool,
    /// Errors and warnings.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// A variable was used that has no value, whether that is worth a warning or not.
    pub(crate) unset: bool,
    /// What words with variables stand for, those aside that use one without a value.
    pub(crate) values: Values,
}

impl Notes {
    /// Adds an error.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(span, message));
    }

    /// Adds a way out to the last diagnostic.
    pub(crate) fn help(&mut self, help: String) {
        if let Some(last) = self.diagnostics.last_mut() {
            last.help = Some(help);
        }
    }

    /// The errors, and the rest; both in the order of the text. A trigger that several stages run says it once.
    pub(crate) fn split(mut self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        self.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        self.diagnostics.dedup();
        self.diagnostics.into_iter().partition(|d| d.severity == Severity::Error)
    }
}

/// Expands words with one set of variables.
#[derive(Clone, Copy)]
pub(crate) struct Expander<'v> {
    variables: &'v Variables,
    declared: Option<&'v BuildArgs>,
    escape: char,
}

impl Lookup for Variables {
    fn get(&self, name: &str) -> Option<String> {
        Variables::get(self, name).map(str::to_owned)
    }

    fn names(&self) -> Vec<String> {
        Variables::names(self).map(str::to_owned).collect()
    }
}

impl<'v> Expander<'v> {
    /// With the file's escape character.
    pub(crate) fn new(variables: &'v Variables, escape: char) -> Self {
        Self { variables, declared: None, escape }
    }

    /// The same with arguments that are declared, so that their having no value is no surprise.
    pub(crate) fn with_declared(self, declared: &'v BuildArgs) -> Self {
        Self { declared: Some(declared), ..self }
    }

    /// One word to one text; `None` after noting an error.
    pub(crate) fn word(&self, word: &Word, notes: &mut Notes) -> Option<String> {
        Some(self.expansion(word, notes)?.text)
    }

    /// One word to its text and the names that it used without their being set; `None` after noting an error.
    pub(crate) fn expansion(&self, word: &Word, notes: &mut Notes) -> Option<Expansion> {
        let result = expand_word(&word.value, self.escape, self.variables);
        let expansion = self.noted(result, word, notes)?;
        if word.value.contains('$') {
            notes.values.insert(word.span.start, vec![expansion.text.clone()]);
        }
        Some(expansion)
    }

    /// One word to as many as its variables hold; `None` after noting an error.
    pub(crate) fn words(&self, word: &Word, notes: &mut Notes) -> Option<Vec<String>> {
        self.expansion(word, notes)?;
        let words = expand_words(&word.value, self.escape, self.variables).ok()?;
        if let Some(values) = notes.values.get_mut(&word.span.start) {
            values.clone_from(&words);
        }
        Some(words)
    }

    /// The body of a here-document; `None` after noting an error.
    pub(crate) fn body(&self, body: &Word, notes: &mut Notes) -> Option<String> {
        let result = expand_heredoc_body(&body.value, self.variables);
        Some(self.noted(result, body, notes)?.text)
    }

    /// A line for people.
    pub(crate) fn shown(&self, line: &str) -> String {
        expand_for_display(line, self.escape, self.variables)
    }

    fn noted(
        &self,
        result: Result<Expansion, ExpandError>,
        word: &Word,
        notes: &mut Notes,
    ) -> Option<Expansion> {
        match result {
            Ok(expansion) => {
                for name in &expansion.used {
                    let value = self.variables.get(name).unwrap_or_default();
                    notes.seen.insert(name.clone(), value.to_owned());
                }
                notes.unset |= !expansion.unset.is_empty();
                self.warn_of_unset(&expansion, word, notes);
                Some(expansion)
            }
            Err(error) => {
                notes.unset |= matches!(error.kind, ExpandErrorKind::Required { .. });
                notes.error(word.span, error.message());
                if let Some(way_out) = error.way_out() {
                    notes.help(way_out.to_owned());
                }
                None
            }
        }
    }

    /// Warns of variables that nothing defines, unless the word says itself what to do then (`${name:-default}`).
    fn warn_of_unset(&self, expansion: &Expansion, word: &Word, notes: &mut Notes) {
        for name in &expansion.unset {
            let prefix = format!("${{{name}");
            let guarded = word
                .value
                .match_indices(&prefix)
                .any(|(at, _)| word.value[at + prefix.len()..].starts_with([':', '-', '+', '?']));
            if guarded || self.declared.is_some_and(|declared| declared.get(name).is_some()) {
                continue;
            }
            let span = self.place_of(name, word);
            notes.diagnostics.push(lint::undefined_var(name, span, self.variables.names()));
        }
    }

    /// Where `name` is used in `word`; all of it where that cannot be told, as behind a line that goes on.
    fn place_of(&self, name: &str, word: &Word) -> Span {
        let whole = word.span.end - word.span.start == word.value.len();
        let ends = |at: usize| !word.value[at..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let found = ["$", "${"].iter().find_map(|open| {
            let written = format!("{open}{name}");
            let mut places = word.value.match_indices(&written).map(|(at, _)| (at, at + written.len()));
            places.find(|(_, end)| ends(*end))
        });
        match found.filter(|_| whole) {
            Some((start, end)) => {
                let closed = word.value[start..].starts_with("${") && word.value[end..].starts_with('}');
                Span::new(word.span.start + start, word.span.start + end + usize::from(closed))
            }
            None => word.span,
        }
    }
}
