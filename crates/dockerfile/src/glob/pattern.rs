//! One pattern of moby's `patternmatcher`, compiled.
//!
//! Moby compiles to a regular expression with fast paths beside it, and the fast paths are part of
//! the meaning: `**x` matches whatever ends in `x`, while `**x*` wants `x` after a slash.

use super::chunk::first_char;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Matcher {
    /// The path is this.
    Exact(Vec<u8>),
    /// The path begins with this.
    Prefix(Vec<u8>),
    /// The path ends in this, or is this without a leading slash.
    Suffix(Vec<u8>),
    /// The path is what the tokens describe.
    Tokens(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Literal(char),
    /// One character other than a slash.
    One,
    /// Any run of characters other than slashes.
    Star,
    /// Either [`Token::Dirs`], which always comes next, or nothing.
    MaybeDirs,
    /// Anything that ends in a slash.
    Dirs,
    /// Anything.
    Rest,
    /// One character in (or, negated, not in) one of the ranges.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Compiles a pattern that [`super::matches`] accepts.
pub(super) fn compile(pattern: &str) -> Matcher {
    let (mut tokens, mut plain) = (Vec::new(), true);
    let mut rest = pattern;
    let mut shape = Shape::Exact;
    while let Some(c) = rest.chars().next() {
        let at_start = rest.len() == pattern.len();
        rest = &rest[c.len_utf8()..];
        match c {
            '*' if rest.starts_with('*') => {
                rest = &rest[1..];
                rest = rest.strip_prefix('/').unwrap_or(rest);
                let ends = rest.is_empty();
                if ends {
                    tokens.push(Token::Rest);
                } else {
                    tokens.extend([Token::MaybeDirs, Token::Dirs]);
                }
                shape = match (at_start, ends && shape == Shape::Exact) {
                    (true, _) => Shape::Suffix,
                    (false, true) => Shape::Prefix,
                    (false, false) => Shape::Tokens,
                };
            }
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::One),
            '[' => {
                let (class, after) = class(rest);
                tokens.push(class);
                rest = after;
            }
            '\\' => {
                plain = false;
                let literal = rest.chars().next();
                rest = &rest[literal.map_or(0, char::len_utf8)..];
                tokens.push(Token::Literal(literal.unwrap_or('\\')));
            }
            // Moby takes its regular expression for this one too, since it may have ended a class.
            ']' => {
                plain = false;
                tokens.push(Token::Literal(']'));
            }
            c => tokens.push(Token::Literal(c)),
        }
        if !plain || matches!(tokens.last(), Some(Token::Star | Token::One | Token::Class { .. })) {
            shape = Shape::Tokens;
        }
    }
    match shape {
        Shape::Exact => Matcher::Exact(pattern.into()),
        Shape::Prefix => Matcher::Prefix(pattern[..pattern.len() - 2].into()),
        Shape::Suffix => Matcher::Suffix(pattern[2..].into()),
        Shape::Tokens => Matcher::Tokens(tokens),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Exact,
    Prefix,
    Suffix,
    Tokens,
}

/// The class whose inside begins `rest`, and what follows its `]`.
fn class(rest: &str) -> (Token, &str) {
    let (negated, mut rest) = match rest.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let mut ranges = Vec::new();
    while let Some((low, after)) = class_char(rest) {
        rest = after;
        let mut high = low;
        if let Some((top, after)) = rest.strip_prefix('-').and_then(class_char) {
            (high, rest) = (top, after);
        }
        ranges.push((low, high));
    }
    (Token::Class { negated, ranges }, rest.strip_prefix(']').unwrap_or(rest))
}

fn class_char(rest: &str) -> Option<(char, &str)> {
    let rest = match rest.strip_prefix('\\') {
        Some(escaped) => escaped,
        None if rest.starts_with(']') => return None,
        None => rest,
    };
    let c = rest.chars().next()?;
    Some((c, &rest[c.len_utf8()..]))
}

impl Matcher {
    pub(super) fn is_match(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => path == whole,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix(b"/").is_some_and(|whole| path == whole)
            }
            Self::Tokens(tokens) => match_tokens(tokens, path),
        }
    }
}

/// Simulates all ways at once, so that the time is linear in pattern times path.
fn match_tokens(tokens: &[Token], path: &[u8]) -> bool {
    let mut states = vec![false; tokens.len() + 1];
    states[0] = true;
    follow_empty(tokens, &mut states);
    let mut rest = path;
    while !rest.is_empty() {
        let (c, width) = first_char(rest);
        rest = &rest[width..];
        let mut next = vec![false; states.len()];
        for (i, token) in tokens.iter().enumerate().filter(|(i, _)| states[*i]) {
            match token {
                Token::Literal(literal) => next[i + 1] |= *literal == c,
                Token::One => next[i + 1] |= c != '/',
                Token::Class { negated, ranges } => {
                    let hit = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                    next[i + 1] |= hit != *negated;
                }
                Token::Star => next[i] |= c != '/',
                Token::Rest => next[i] = true,
                Token::MaybeDirs => {}
                Token::Dirs => {
                    next[i] = true;
                    next[i + 1] |= c == '/';
                }
            }
        }
        states = next;
        follow_empty(tokens, &mut states);
    }
    states[tokens.len()]
}

/// Adds the states that are reached without a character.
fn follow_empty(tokens: &[Token], states: &mut [bool]) {
    for (i, token) in tokens.iter().enumerate() {
        if !states[i] {
            continue;
        }
        match token {
            Token::Star | Token::Rest => states[i + 1] = true,
            Token::MaybeDirs => {
                states[i + 1] = true;
                states[i + 2] = true;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let cases = [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir", false),
            ("dir/**", "dir/dir2/file", true),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", false),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/*", "dir/dir2/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir3/file", true),
            ("**file", "file", true),
            ("**file", "dir/myfile", true),
            ("**file*", "myfile", false),
            ("**]", "x]", false),
            ("**]", "dir/]", true),
            ("**file*", "dir/file.txt", true),
            ("**/file*txt", "dir/dir/filetxt", true),
            ("**/**/*.txt", "file.txt", true),
            ("a**/*.txt", "a/file/dir/file.txt", true),
            ("a**/*.txt", "file.txt", false),
            ("a/*.txt", "a/b/file.txt", false),
            ("a[b-d]e", "ace", true),
            ("a[\\b-d]e", "aze", false),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abc/def", false),
            ("a\\", "a\\", true),
            ("a\\*b", "a*b", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/foo/bar", true),
            ("abc/**", "abc", false),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", "bar.foo", false),
            ("**/.foo", "test/.foo", true),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("a/**/b", "a/xb", false),
            ("x/**/*.rs", "x/main.rs", true),
            ("a*/**/b", "ax/b", true),
            ("[^/]*", "abc", true),
        ];
        for (pattern, path, want) in cases {
            assert_eq!(compile(pattern).is_match(path.as_bytes()), want, "{pattern} {path}");
        }
    }

    #[test]
    fn fast_paths_only_where_moby_has_them() {
        assert!(matches!(compile("a.b"), Matcher::Exact(_)));
        assert!(matches!(compile("a/**"), Matcher::Prefix(_)));
        assert!(matches!(compile("**/a"), Matcher::Suffix(_)));
        assert!(matches!(compile("**"), Matcher::Suffix(_)));
        for pattern in ["a*", "**/a*", "a/**/b", "*/**", "**/a/**", "a\\b", "[a]"] {
            assert!(matches!(compile(pattern), Matcher::Tokens(_)), "{pattern}");
        }
    }

    #[test]
    fn long_paths_take_linear_time() {
        let path = "a/".repeat(5_000);
        assert!(!compile("**/a*/**/a*/**/a*/**/b*").is_match(path.as_bytes()));
    }
}
