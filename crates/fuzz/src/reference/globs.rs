//! The two pattern languages by way of regular expressions, as moby's patternmatcher has it and as Go's documentation of
//! `filepath.Match` reads.

use regex::bytes::{Regex, RegexBuilder};

/// A pattern of an ignore file, cleaned and without its `!`. `None` if it is not one that a regular expression stands for without
/// second thoughts (malformed classes, escapes of letters that mean something to the expression).
pub fn moby(pattern: &str) -> Option<Regex> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::from("^");
    let mut i = 0;
    while i < chars.len() {
        match chars[i] {
            '*' if chars.get(i + 1) == Some(&'*') => {
                let slash = chars.get(i + 2) == Some(&'/');
                let after = i + 2 + usize::from(slash);
                let is_last = after == chars.len();
                // `**` swallows whole components; at the end it takes everything. At the very beginning, with nothing special
                // behind it, moby compares ends of strings, so that `**go` takes `x.go`.
                let is_suffix = i == 0 && !chars[after..].iter().any(|c| "*?[]\\".contains(*c));
                out.push_str(if is_last || is_suffix && !slash { ".*" } else { "(.*/)?" });
                i = after;
                continue;
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '\\' => {
                i += 1;
                out.push_str(&regex::escape(chars.get(i)?.encode_utf8(&mut [0; 4])));
            }
            '[' => i = class(&chars, i, &mut out)?,
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
        i += 1;
    }
    compile(out)
}

/// Go's `filepath.Match`; `None` for a malformed pattern, and for one that Go reads otherwise than an expression would.
pub fn go(pattern: &str) -> Option<Regex> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::from("^");
    let mut i = 0;
    while i < chars.len() {
        match chars[i] {
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '\\' => {
                i += 1;
                out.push_str(&regex::escape(chars.get(i)?.encode_utf8(&mut [0; 4])));
            }
            // Such a class takes a slash, and Go does not come back to a star once a later part has fitted.
            '[' if chars.get(i + 1) == Some(&'^') => return None,
            '[' => i = class(&chars, i, &mut out)?,
            c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
        i += 1;
    }
    compile(out)
}

fn compile(mut text: String) -> Option<Regex> {
    text.push('$');
    RegexBuilder::new(&text).dot_matches_new_line(true).build().ok()
}

/// Writes the class that begins at `start`; returns where its `]` stands. Only plain ones: `[a-z_]`, `[^0-9]`.
fn class(chars: &[char], start: usize, out: &mut String) -> Option<usize> {
    let mut i = start + 1;
    out.push('[');
    if chars.get(i) == Some(&'^') {
        out.push('^');
        i += 1;
    }
    let first = i;
    loop {
        match *chars.get(i)? {
            ']' if i > first => break,
            low if low.is_alphanumeric() || low == '_' || low == '.' => {
                let high = match (chars.get(i + 1), chars.get(i + 2)) {
                    (Some('-'), Some(high)) if high.is_alphanumeric() => {
                        i += 2;
                        *high
                    }
                    (Some('-'), _) => return None,
                    _ => low,
                };
                if low > high {
                    return None;
                }
                out.push_str(&format!("{}-{}", escaped(low), escaped(high)));
            }
            _ => return None,
        }
        i += 1;
    }
    out.push(']');
    Some(i)
}

fn escaped(c: char) -> String {
    regex::escape(c.encode_utf8(&mut [0; 4]))
}

/// What an ignore file's patterns say of `path`, by the rule as moby's walker has it: each pattern in order, a match counts where it
/// changes something, and what matched a directory matches all below it. Each pattern is `(taken back, expression)`.
pub fn walk(patterns: &[(bool, Regex)], path: &str) -> bool {
    let mut above: Option<Vec<bool>> = None;
    let mut verdict = false;
    let ends = path.match_indices('/').map(|(i, _)| i).filter(|i| *i > 0).chain([path.len()]);
    for end in ends {
        let mut own = Vec::with_capacity(patterns.len());
        verdict = false;
        for (i, (is_exception, expression)) in patterns.iter().enumerate() {
            let inherited = above.as_ref().is_some_and(|above| above[i]);
            // A pattern that could change nothing is not tried, and so hands nothing down.
            let hit = inherited || (*is_exception == verdict && expression.is_match(&path.as_bytes()[..end]));
            if hit {
                verdict = !is_exception;
            }
            own.push(hit);
        }
        above = Some(own);
    }
    verdict
}
