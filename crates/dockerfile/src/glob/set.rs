//! An ordered list of moby patterns.

use super::chunk::matches;
use super::pattern::{Matcher, compile};

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A `!` with nothing after it.
    #[error("illegal exclusion pattern: `!`")]
    LoneExclamation,
    /// Malformed wildcards.
    #[error("syntax error in pattern `{0}`")]
    Syntax(String),
}

/// Patterns of which the last that matches decides; those with a `!` take back earlier ones.
///
/// ```
/// use kiln_dockerfile::glob::PatternSet;
/// let set = PatternSet::new(["docs", "!docs/*.md"])?;
/// assert!(set.matches_or_parent("docs/img/a.png"));
/// assert!(!set.matches_or_parent("docs/index.md"));
/// # Ok::<(), kiln_dockerfile::glob::PatternError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PatternSet {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    exclusion: bool,
    matcher: Matcher,
    /// Position in the list given to [`PatternSet::new`], empty entries counted.
    index: usize,
}

/// Which patterns matched a directory, to be handed on to what lies in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParentMatches(Vec<bool>);

impl PatternSet {
    /// Compiles patterns in order. Each is trimmed and lexically cleaned; empty ones are dropped.
    ///
    /// # Errors
    /// With the first pattern that is malformed.
    pub fn new<I, S>(patterns: I) -> Result<Self, PatternError>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut set = Self::default();
        for (index, raw) in patterns.into_iter().enumerate() {
            set.push(raw.as_ref(), index)?;
        }
        Ok(set)
    }

    /// Adds a pattern, which [`PatternSet::step`] will call `index`.
    ///
    /// # Errors
    /// If it is malformed.
    pub(crate) fn push(&mut self, raw: &str, index: usize) -> Result<(), PatternError> {
        let trimmed = raw.trim();
        if trimmed.is_empty() {
            return Ok(());
        }
        let cleaned = clean(trimmed);
        let (exclusion, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(PatternError::LoneExclamation),
            Some(text) => (true, text),
            None => (false, cleaned.as_str()),
        };
        matches(text, ".").map_err(|_| PatternError::Syntax(text.to_owned()))?;
        self.patterns.push(Pattern { text: text.to_owned(), exclusion, matcher: compile(text), index });
        Ok(())
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether any pattern begins with `!`.
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|p| p.exclusion)
    }

    /// Whether `path` (slashes, relative, clean) or a directory above it is matched in the end.
    /// Moby's `MatchesOrParentMatches`.
    pub fn matches_or_parent(&self, path: impl AsRef<[u8]>) -> bool {
        let path = path.as_ref();
        let mut matched = false;
        for pattern in self.patterns.iter() {
            if pattern.exclusion == matched
                && (pattern.matcher.is_match(path) || parents(path).any(|dir| pattern.matcher.is_match(dir)))
            {
                matched = !pattern.exclusion;
            }
        }
        matched
    }

    /// The verdict on `path` for a walker that comes from the top: whether it is matched, the position
    /// of the pattern that decided (in the list given to [`PatternSet::new`]), and what to hand on if
    /// `path` is a directory.
    ///
    /// `parent` is what its directory gave, `None` at the top. Moby's `MatchesUsingParentResults`,
    /// which differs from [`PatternSet::matches_or_parent`] in that a `!` pattern does nothing for
    /// what lies below a directory that it had no need to take back.
    pub fn step(&self, path: &[u8], parent: Option<&ParentMatches>) -> (bool, Option<usize>, ParentMatches) {
        let (mut matched, mut decisive) = (false, None);
        let mut own = vec![false; self.patterns.len()];
        for (i, pattern) in self.patterns.iter().enumerate() {
            let inherited = parent.is_some_and(|p| p.0.get(i).copied().unwrap_or_default());
            let hit = inherited
                || pattern.exclusion == matched
                    && (pattern.matcher.is_match(path)
                        || parent.is_none() && parents(path).any(|dir| pattern.matcher.is_match(dir)));
            own[i] = hit;
            if hit {
                matched = !pattern.exclusion;
                decisive = Some(pattern.index);
            }
        }
        (matched, decisive, ParentMatches(own))
    }

    /// [`PatternSet::step`] taken from the top down to `path`.
    pub fn decide(&self, path: &[u8]) -> (bool, Option<usize>) {
        let mut above: Option<ParentMatches> = None;
        for dir in parents(path) {
            above = Some(self.step(dir, above.as_ref()).2);
        }
        let (matched, decisive, _) = self.step(path, above.as_ref());
        (matched, decisive)
    }

    /// Whether a `!` pattern could match something below the directory `dir`. May say yes in vain,
    /// never no in vain.
    pub fn may_exclude_below(&self, dir: &[u8]) -> bool {
        let stems = || self.patterns.iter().filter(|p| p.exclusion).map(|p| stem(&p.text));
        if stems().any(|stem| stem.contains(['*', '[', ']', '?', '^', '\\'])) {
            return true;
        }
        stems()
            .any(|stem| stem.as_bytes().strip_prefix(dir).is_some_and(|rest| matches!(rest, [] | [b'/', ..])))
    }
}

/// The directories above `path`, top first.
fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(i, _)| &path[..i])
        .filter(|dir| !dir.is_empty())
}

/// The pattern without a wildcard that ends it.
fn stem(pattern: &str) -> &str {
    let one = pattern.strip_suffix("**").or_else(|| pattern.strip_suffix('*')).unwrap_or(pattern);
    one.strip_suffix('/').unwrap_or(one)
}

/// Go's `filepath.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_decides() {
        let cases: [(&[&str], &str, bool); 12] = [
            (&["**", "!fileutils.go"], "fileutils.go", false),
            (&["**", "!fileutils.go"], "other.go", true),
            (&["**", "!util", "util/docker"], "util/docker/x", true),
            (&["**", "!util/docker"], "util/docker/x", false),
            (&["*", "!a/b"], "a/b/c", false),
            (&["*", "!a/b"], "a/c", true),
            (&["!x", "x"], "x", true),
            (&["x", "!x", "x"], "x", true),
            (&["a*/b"], "ax/b/c", true),
            (&["/a"], "a", false),
            (&["./a//b/"], "a/b", true),
            (&[], "a", false),
        ];
        for (patterns, path, want) in cases {
            let set = PatternSet::new(patterns).expect("patterns");
            assert_eq!(set.matches_or_parent(path), want, "{patterns:?} {path}");
            assert_eq!(set.decide(path.as_bytes()).0, want, "{patterns:?} {path}");
        }
    }

    /// The walk and the plain question differ here, in moby too.
    #[test]
    fn walk_keeps_what_parents_gave() {
        let set = PatternSet::new(["a/b", "!a"]).expect("patterns");
        assert!(!set.matches_or_parent("a/b"));
        assert_eq!(set.decide(b"a/b"), (true, Some(0)));
    }

    #[test]
    fn entering_directories() {
        let cases: [(&[&str], &str, bool); 9] = [
            (&["d"], "d", false),
            (&["d", "!d/keep"], "d", true),
            (&["d", "!d/keep/**"], "d/keep", true),
            (&["d", "!d/keep"], "d/other", false),
            (&["d", "!dx"], "d", false),
            (&["d", "!**/*.go"], "d", true),
            (&["d", "!d/**/*.go"], "d/e", true),
            (&["*", "!a/b/*"], "a", true),
            (&["*", "!a/b/*"], "c", false),
        ];
        for (patterns, dir, want) in cases {
            let set = PatternSet::new(patterns).expect("patterns");
            assert_eq!(set.may_exclude_below(dir.as_bytes()), want, "{patterns:?} {dir}");
        }
    }

    #[test]
    fn refused() {
        assert_eq!(PatternSet::new(["a", " ! "]).unwrap_err(), PatternError::LoneExclamation);
        assert_eq!(PatternSet::new(["!a["]).unwrap_err(), PatternError::Syntax("a[".to_owned()));
    }

    #[test]
    fn cleaning() {
        let cases = [
            ("", "."),
            ("a/./b//c/", "a/b/c"),
            ("a/../..", ".."),
            ("/../a", "/a"),
            ("../../x", "../../x"),
            ("/", "/"),
        ];
        for (path, want) in cases {
            assert_eq!(clean(path), want, "{path}");
        }
    }
}
