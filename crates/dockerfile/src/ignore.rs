//! Ignore files (`.dockerignore`).
//!
//! Lines beginning with `#` are comments, `!` takes back, the last pattern that matches decides, and
//! a pattern that matches a directory covers all below it. What a file means is what moby's walker
//! makes of it, not what its documentation says: see [`PatternSet::step`].

use crate::glob::{PatternError, PatternSet, clean};

/// A parsed ignore file.
///
/// ```
/// use kiln_dockerfile::ignore::Ignore;
/// let ignore = Ignore::parse("# sources only\n*\n!src\n").unwrap();
/// let verdict = ignore.decide("notes.txt", false);
/// assert!(verdict.ignored);
/// assert_eq!(verdict.rule.map(|rule| rule.line), Some(2));
/// assert!(!ignore.decide("src/main.rs", false).ignored);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    set: PatternSet,
}

/// One pattern line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// 1-based line number.
    pub line: usize,
    /// The line as written, trimmed.
    pub text: String,
}

/// What becomes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Whether it stays out of the context.
    pub ignored: bool,
    /// The line that decided; `None` if no line matched.
    pub rule: Option<&'a Rule>,
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {source}")]
pub struct IgnoreError {
    /// 1-based line number.
    pub line: usize,
    /// The line as written, trimmed.
    pub text: String,
    /// What is wrong with it.
    pub source: PatternError,
}

impl Ignore {
    /// Parses the text of an ignore file; a byte order mark is let pass.
    ///
    /// # Errors
    /// With the first line whose pattern is malformed.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut ignore = Self::default();
        for (i, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if line.starts_with('#') || trimmed.is_empty() {
                continue;
            }
            let rule = Rule { line: i + 1, text: trimmed.to_owned() };
            let error = |source| IgnoreError { line: rule.line, text: rule.text.clone(), source };
            ignore.set.push(&normalise(trimmed), ignore.rules.len()).map_err(error)?;
            ignore.rules.push(rule);
        }
        Ok(ignore)
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether any line begins with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.set.has_exclusions()
    }

    /// The fate of `path`: relative to the context, clean, with slashes. A directory and a file of
    /// the same name fare alike; `_is_dir` is there for languages of patterns that tell them apart.
    pub fn decide(&self, path: impl AsRef<[u8]>, _is_dir: bool) -> Verdict<'_> {
        let (ignored, decisive) = self.set.decide(path.as_ref());
        Verdict { ignored, rule: decisive.and_then(|i| self.rules.get(i)) }
    }

    /// Whether an ignored directory must still be entered, because a `!` line could take back
    /// something below it.
    pub fn may_hold_reincluded(&self, dir: impl AsRef<[u8]>) -> bool {
        self.set.may_exclude_below(dir.as_ref())
    }

    /// The patterns, for a walker that hands results down with [`PatternSet::step`]; positions index
    /// [`Ignore::rules`].
    pub fn patterns(&self) -> &PatternSet {
        &self.set
    }

    /// The pattern lines in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// Cleans what follows a `!`, and makes absolute paths relative to the context.
fn normalise(line: &str) -> String {
    let (mark, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if pattern.is_empty() {
        return mark.to_owned();
    }
    let cleaned = clean(pattern);
    let relative = if cleaned.len() > 1 { cleaned.strip_prefix('/').unwrap_or(&cleaned) } else { &cleaned };
    format!("{mark}{relative}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(text: &str, path: &str) -> (bool, Option<usize>) {
        let ignore = Ignore::parse(text).expect(text);
        let verdict = ignore.decide(path, false);
        (verdict.ignored, verdict.rule.map(|rule| rule.line))
    }

    #[test]
    fn lines() {
        assert_eq!(decide("\u{feff}a\r\n\r\n#b\r\n", "a"), (true, Some(1)));
        assert_eq!(decide("#a\n # b\n", "# b"), (true, Some(2)));
        assert_eq!(decide("/a/\n", "a/b"), (true, Some(1)));
        assert_eq!(decide("./a/../b\n", "b"), (true, Some(1)));
        assert_eq!(decide("  a  \n", "a"), (true, Some(1)));
        assert_eq!(decide("*\n! /a/b\n", "a/b"), (false, Some(2)));
        assert_eq!(decide("a\n!b\n", "b"), (false, None));
        assert_eq!(decide("", "b"), (false, None));
    }

    #[test]
    fn negation() {
        let text = "*.md\n!README*.md\nREADME-secret.md\n";
        assert_eq!(decide(text, "x.md"), (true, Some(1)));
        assert_eq!(decide(text, "README-build.md"), (false, Some(2)));
        assert_eq!(decide(text, "README-secret.md"), (true, Some(3)));
        assert_eq!(decide("dir\n!dir/**/*.go\n", "dir/a/b.go"), (false, Some(2)));
        assert_eq!(decide("dir\n!dir/**/*.go\n", "dir/a/b.c"), (true, Some(1)));
    }

    #[test]
    fn errors_name_the_line() {
        let error = Ignore::parse("a\n\n!\n").unwrap_err();
        assert_eq!((error.line, error.text.as_str()), (3, "!"));
        let error = Ignore::parse("# x\nfoo[\n").unwrap_err();
        assert_eq!((error.line, error.text.as_str()), (2, "foo["));
    }

    #[test]
    fn names_that_are_not_text() {
        let ignore = Ignore::parse("*.o\n").expect("patterns");
        assert!(ignore.decide(b"\xff\xfe.o", false).ignored);
        assert!(!ignore.decide(b"\xff\xfe.c", false).ignored);
    }
}
