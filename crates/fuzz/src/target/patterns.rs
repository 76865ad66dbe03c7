//! Ignore files and wildcards: `patterns, an empty line, paths`.

use kiln_dockerfile::glob::{PatternSet, matches};
use kiln_dockerfile::ignore::Ignore;
use regex::bytes::Regex;

use crate::random::Signature;
use crate::reference::globs;

/// Compares every verdict with the reference's.
pub(super) fn ignore_file(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let (rules, paths) = text.split_once("\n\n").unwrap_or((&text, "a\na/b\na/b/c.go\nx.log\nd/e/f/g"));
    let mut seen = Signature::default();
    let paths: Vec<&str> = paths.lines().filter(|path| is_clean(path)).take(16).collect();
    match Ignore::parse(rules) {
        Ok(ignore) => verdicts(&ignore, &paths, &mut seen),
        Err(error) => {
            assert!(error.line >= 1 && error.line <= rules.lines().count().max(1), "{error}");
            seen.add("refused");
        }
    }
    for rule in rules.lines().take(8) {
        let reference = globs::go(rule);
        paths.iter().for_each(|path| wildcard((rule, reference.as_ref()), path, &mut seen));
        if let Ok(set) = PatternSet::new([rule]) {
            paths.iter().for_each(|path| _ = set.matches_or_parent(path));
        }
    }
    seen.finish()
}

/// Relative, without `.`, `..` and empty components: as a walker gives them.
fn is_clean(path: &str) -> bool {
    !path.is_empty() && path.len() < 200 && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn verdicts(ignore: &Ignore, paths: &[&str], seen: &mut Signature) {
    let reference: Option<Vec<_>> = ignore
        .rules()
        .iter()
        .map(|rule| {
            let (is_exception, pattern) = match rule.text.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, rule.text.as_str()),
            };
            let is_simple = is_clean(pattern) && pattern.trim() == pattern;
            if is_simple { globs::moby(pattern).map(|expression| (is_exception, expression)) } else { None }
        })
        .collect();
    for path in paths {
        let verdict = ignore.decide(path, false);
        assert_eq!(verdict, ignore.decide(path, true), "files and directories fare alike");
        if verdict.ignored {
            assert!(verdict.rule.is_some(), "{path} is ignored by nothing");
        }
        if let Some(reference) = &reference {
            let want = globs::walk(reference, path);
            assert_eq!(verdict.ignored, want, "{path:?} under {:?}", ignore.rules());
        }
        // Whoever stops at an ignored directory must not miss anything that is let in below it.
        if !verdict.ignored {
            for (i, _) in path.match_indices('/') {
                let dir = &path[..i];
                let is_closed = ignore.decide(dir, true).ignored && !ignore.may_hold_reincluded(dir);
                assert!(!is_closed, "{dir} would not be entered, and {path} is let in: {:?}", ignore.rules());
            }
        }
        seen.add([u8::from(verdict.ignored), verdict.rule.map_or(0, |rule| rule.line.min(200) as u8)]);
    }
}

fn wildcard((pattern, reference): (&str, Option<&Regex>), path: &str, seen: &mut Signature) {
    let got = matches(pattern, path);
    if let (Some(reference), Ok(got)) = (reference, got) {
        assert_eq!(got, reference.is_match(path.as_bytes()), "{pattern:?} and {path:?}");
    }
    seen.add([got.map_or(2, u8::from)]);
}
