//! Knots: modules of one crate that need each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::source::File;

/// For each folder of modules in a crate, the arrows between its children.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Finds the circles among the modules of one crate, at every depth: between top-level modules, and between the
/// children of each of them. A parent and its child may know each other. Each circle is told as
/// `a -> b -> a`.
pub fn circles(files: &[&File]) -> Vec<String> {
    let modules: BTreeSet<Vec<String>> = files.iter().map(|f| f.module()).collect();
    let mut levels: BTreeMap<Vec<String>, Arrows> = BTreeMap::new();
    for file in files {
        let from = file.module();
        for to in paths(&file.code, &from) {
            let to = longest_module(&to, &modules);
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
                let level = levels.entry(from[..common].to_vec()).or_default();
                level.entry(a.clone()).or_default().insert(b.clone());
            }
        }
    }
    levels.values().filter_map(circle).collect()
}

/// The longest front part of a path that is a module.
fn longest_module(path: &[String], modules: &BTreeSet<Vec<String>>) -> Vec<String> {
    (0..=path.len()).rev().map(|n| path[..n].to_vec()).find(|p| modules.contains(p)).unwrap_or_default()
}

/// Every path in the code that starts at `crate`, `super` or `self`, from the crate's root.
fn paths(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let base = match start {
                "crate::" => Vec::new(),
                "super::" => module[..module.len().saturating_sub(1)].to_vec(),
                _ => module.to_vec(),
            };
            tree(&code[at + start.len()..], base, &mut found);
        }
    }
    found
}

/// Reads a path or use tree, such as `a::{b, c::d}`; returns what follows it.
fn tree<'a>(code: &'a str, mut path: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = tree(rest, path.clone(), found).trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = code.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(code.len());
    let (name, rest) = code.split_at(end);
    match name {
        "super" => {
            path.pop();
        }
        "" | "self" => {}
        _ => path.push(name.to_owned()),
    }
    if let Some(more) = rest.strip_prefix("::") {
        return tree(more, path, found);
    }
    found.push(path);
    // `as` and a new name
    let skip = rest.find([',', '}', ';', '\n']).unwrap_or(rest.len());
    if rest.trim_start().starts_with("as ") { &rest[skip..] } else { rest }
}

/// A circle among the arrows, if there is one.
fn circle(arrows: &Arrows) -> Option<String> {
    arrows.keys().find_map(|start| {
        let mut way = vec![start.clone()];
        leads_back(arrows, start, &mut way, &mut BTreeSet::new()).then(|| way.join(" -> "))
    })
}

fn leads_back(arrows: &Arrows, start: &str, way: &mut Vec<String>, seen: &mut BTreeSet<String>) -> bool {
    let here = way.last().cloned().unwrap_or_default();
    for next in arrows.get(&here).into_iter().flatten() {
        if next == start {
            way.push(next.clone());
            return true;
        }
        if seen.insert(next.clone()) {
            way.push(next.clone());
            if leads_back(arrows, start, way, seen) {
                return true;
            }
            way.pop();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(path: &str, code: &str) -> File {
        let path = PathBuf::from("crates/x/src").join(path);
        File { krate: "x".into(), path, text: code.into(), code: code.into() }
    }

    /// Files with their code, and the circles among them.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

    #[test]
    fn finds_circles() {
        let cases: [Case<'_>; 6] = [
            (&[("a.rs", "use crate::b::B;"), ("b.rs", "fn f() {}")], &[]),
            (&[("a.rs", "use crate::b::B;"), ("b.rs", "fn f(x: crate::a::A) {}")], &["a -> b -> a"]),
            (
                &[
                    ("a.rs", "use crate::{c, b::{self, B as D}};"),
                    ("b.rs", "use super::c;"),
                    ("c.rs", "use super::a::{X};"),
                ],
                &["a -> b -> c -> a"],
            ),
            (&[("a.rs", "pub use self::b::B;"), ("a/b.rs", "use super::T; use crate::a::X;")], &[]),
            (
                &[("a.rs", ""), ("a/b.rs", "use super::c;"), ("a/c.rs", "use crate::a::{b::Z};")],
                &["b -> c -> b"],
            ),
            (&[("lib.rs", "use crate::a;"), ("a.rs", "use crate::Thing;")], &[]),
        ];
        for (files, want) in cases {
            let files: Vec<_> = files.iter().map(|(path, code)| file(path, code)).collect();
            let files: Vec<_> = files.iter().collect();
            assert_eq!(circles(&files), want, "{files:?}");
        }
    }
}
