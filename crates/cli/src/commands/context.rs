//! `kiln build --print-context`: why a context is as large as it is.

use kiln_build::listing::{Listed, ListedKind, ListedRule, Listing, Sum, list_context};
use serde_json::{Value, json};

use crate::args::Format;
use crate::args::build::Extent;
use crate::commands::{answer, answer_json, table};
use crate::errors::CliError;
use crate::render::text::{bytes, tame};
use crate::request::Prepared;

/// At the top this many entries are always told one by one.
const TOP: usize = 20;

/// Writes to standard output what is in the context of a build.
pub(super) fn print(prepared: &Prepared, extent: Extent, format: Format) -> Result<(), CliError> {
    let listing = list_context(&prepared.request).map_err(|error| CliError::Build {
        error: Box::new(error),
        dockerfile: Box::new(prepared.source.clone()),
        lacks_ids: false,
    })?;
    match format {
        Format::Json => answer_json(&as_json(&listing)),
        Format::Text => answer(&as_text(&listing, extent)),
    }
}

/// Everything, biggest first, directories with the sums of what is below them.
fn as_json(listing: &Listing) -> Value {
    let mut entries = Vec::new();
    collect(&listing.root, "", &mut entries);
    entries.sort_by(|(a, p, _), (b, q, _)| b.cmp(a).then_with(|| p.cmp(q)));
    let entries: Vec<Value> = entries.into_iter().map(|(_, _, entry)| entry).collect();
    json!({
        "v": 1,
        "ignore_file": listing.ignore_file,
        "in": sum_json(listing.root.inside),
        "kept_out": sum_json(listing.root.outside),
        "entries": entries,
    })
}

fn collect(dir: &Listed, prefix: &str, entries: &mut Vec<(u64, String, Value)>) {
    for child in &dir.children {
        let path = format!("{prefix}{}", String::from_utf8_lossy(&child.name));
        let rule = child.rule.as_ref().map(|r| json!({ "line": r.line, "pattern": r.pattern }));
        let entry = json!({
            "path": path,
            "kind": kind_name(child.kind),
            "is_in": child.is_in,
            "in": sum_json(child.inside),
            "kept_out": sum_json(child.outside),
            "rule": rule,
        });
        entries.push((child.inside.bytes + child.outside.bytes, path.clone(), entry));
        collect(child, &(path + "/"), entries);
    }
}

fn sum_json(sum: Sum) -> Value {
    json!({ "bytes": sum.bytes, "files": sum.files })
}

fn kind_name(kind: ListedKind) -> &'static str {
    match kind {
        ListedKind::File => "file",
        ListedKind::Directory => "directory",
        ListedKind::Symlink => "symlink",
        ListedKind::Special => "special",
        ListedKind::Socket => "socket",
    }
}

fn as_text(listing: &Listing, extent: Extent) -> String {
    let file = listing.ignore_file.as_deref();
    let root = &listing.root;
    let mut text = format!("in the context: {}\n", sum_text(root.inside));
    text.push_str(&Section { file, kept_out: false, extent, least: root.inside.bytes / 100 }.table(root));
    match file {
        None => text.push_str("\nnothing is kept out: there is no ignore file, or it holds no pattern\n"),
        Some(file) => text.push_str(&format!("\nkept out by {file}: {}\n", sum_text(root.outside))),
    }
    text.push_str(&Section { file, kept_out: true, extent, least: root.outside.bytes / 100 }.table(root));
    text
}

fn sum_text(sum: Sum) -> String {
    let files = if sum.files == 1 { "file" } else { "files" };
    format!("{} in {} {files}", bytes(sum.bytes), sum.files)
}

/// One of the two halves of the answer.
struct Section<'a> {
    file: Option<&'a str>,
    kept_out: bool,
    extent: Extent,
    /// Smaller things than this are told together.
    least: u64,
}

impl Section<'_> {
    fn table(&self, root: &Listed) -> String {
        let mut rows = Vec::new();
        self.rows(root, "", &mut rows);
        table(&rows)
    }

    fn sum(&self, of: &Listed) -> Sum {
        if self.kept_out { of.outside } else { of.inside }
    }

    fn rows(&self, dir: &Listed, prefix: &str, rows: &mut Vec<Vec<String>>) {
        let belongs = |child: &&Listed| {
            self.sum(child).files > 0 || child.kind == ListedKind::Directory && child.is_in != self.kept_out
        };
        let mut children: Vec<&Listed> = dir.children.iter().filter(belongs).collect();
        children.sort_by_key(|child| std::cmp::Reverse(self.sum(child).bytes));
        let mut position = 0;
        let (told, mut rest): (Vec<_>, Vec<_>) = children.into_iter().partition(|child| {
            position += 1;
            let is_at_top = prefix.is_empty() && position <= TOP;
            self.extent == Extent::All || is_at_top || self.sum(child).bytes > self.least
        });
        // A line that says "1 smaller" is no shorter than the thing itself.
        let single = if rest.len() == 1 { rest.pop() } else { None };
        // Nor does it say anything where the directory's own line says it already.
        let is_news = !told.is_empty();
        told.into_iter().chain(single).for_each(|child| self.row(child, prefix, rows));
        if is_news && !rest.is_empty() {
            let sum = rest.iter().map(|child| self.sum(child)).fold(Sum::default(), |all, one| Sum {
                bytes: all.bytes + one.bytes,
                files: all.files + one.files,
            });
            rows.push(row(sum, format!("{prefix}… {} smaller", rest.len()), String::new()));
        }
    }

    fn row(&self, one: &Listed, prefix: &str, rows: &mut Vec<Vec<String>>) {
        let is_dir = one.kind == ListedKind::Directory;
        let slash = if is_dir { "/" } else { "" };
        let path = format!("{prefix}{}{slash}", tame(&one.name));
        // A directory of which a part is kept out has no row of its own there, only that part has.
        if !(self.kept_out && one.is_in) {
            rows.push(row(self.sum(one), path.clone(), self.reason(one)));
        }
        let is_whole = self.kept_out && !one.is_in;
        if is_dir && !is_whole {
            self.rows(one, &path, rows);
        }
    }

    fn reason(&self, one: &Listed) -> String {
        let Some(file) = self.file else { return String::new() };
        let Some(ListedRule { line, pattern }) = &one.rule else {
            return match one.kind {
                ListedKind::Socket => "a socket, which no image can hold".to_owned(),
                _ => "no pattern matches".to_owned(),
            };
        };
        let pattern = tame(pattern.as_bytes());
        let let_in_below = one.is_in && !pattern.starts_with('!');
        format!("{file}:{line} {pattern}{}", if let_in_below { ", but a part is let in again" } else { "" })
    }
}

fn row(sum: Sum, path: String, reason: String) -> Vec<String> {
    vec![bytes(sum.bytes), sum.files.to_string(), path, reason]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: u64, is_in: bool, rule: Option<(usize, &str)>) -> Listed {
        let sum = Sum { bytes, files: 1 };
        let rule = rule.map(|(line, pattern)| ListedRule { line, pattern: pattern.to_owned() });
        let (inside, outside) = if is_in { (sum, Sum::default()) } else { (Sum::default(), sum) };
        Listed {
            name: name.into(),
            kind: ListedKind::File,
            inside,
            outside,
            is_in,
            rule,
            children: Vec::new(),
        }
    }

    fn directory(name: &str, is_in: bool, rule: Option<(usize, &str)>, children: Vec<Listed>) -> Listed {
        let mut dir = Listed { kind: ListedKind::Directory, ..file(name, 0, is_in, rule) };
        (dir.inside, dir.outside) = (Sum::default(), Sum::default());
        for child in &children {
            dir.inside = Sum {
                bytes: dir.inside.bytes + child.inside.bytes,
                files: dir.inside.files + child.inside.files,
            };
            dir.outside = Sum {
                bytes: dir.outside.bytes + child.outside.bytes,
                files: dir.outside.files + child.outside.files,
            };
        }
        Listed { children, ..dir }
    }

    fn sample() -> Listing {
        let docs = directory(
            "docs",
            true,
            Some((1, "docs")),
            vec![
                file("big", 5000, false, Some((1, "docs"))),
                file("a.md", 10, true, Some((2, "!docs/*.md"))),
            ],
        );
        let mut modules = directory("node_modules", false, Some((3, "node_modules")), Vec::new());
        modules.outside = Sum { bytes: 1_200_000, files: 9000 };
        let small = (0..3).map(|n| file(&format!("s{n}"), 1, true, None)).collect();
        let source = directory("src", true, None, [vec![file("main", 2000, true, None)], small].concat());
        let root = directory("", true, None, vec![modules, docs, source]);
        Listing { ignore_file: Some(".dockerignore".to_owned()), root }
    }

    #[test]
    fn text() {
        let want = "\
in the context: 2.01kB in 5 files
2.00kB  4  src/             no pattern matches
2.00kB  1  src/main         no pattern matches
3B      3  src/… 3 smaller
10B     1  docs/            .dockerignore:1 docs, but a part is let in again
10B     1  docs/a.md        .dockerignore:2 !docs/*.md

kept out by .dockerignore: 1.21MB in 9001 files
1.20MB  9000  node_modules/  .dockerignore:3 node_modules
5.00kB  1     docs/big       .dockerignore:1 docs
";
        let got = as_text(&sample(), Extent::Large);
        assert_eq!(got.lines().map(str::trim_end).collect::<Vec<_>>(), want.lines().collect::<Vec<_>>());
        assert!(as_text(&sample(), Extent::All).contains("docs/big"));
    }

    #[test]
    fn json_tells_all_biggest_first() {
        let value = as_json(&sample());
        let paths: Vec<&str> =
            value["entries"].as_array().unwrap().iter().map(|e| e["path"].as_str().unwrap()).collect();
        assert_eq!(
            paths,
            [
                "node_modules",
                "docs",
                "docs/big",
                "src",
                "src/main",
                "docs/a.md",
                "src/s0",
                "src/s1",
                "src/s2"
            ]
        );
        assert_eq!(value["kept_out"]["files"], 9001);
        assert_eq!(value["entries"][5]["rule"]["pattern"], "!docs/*.md");
    }
}
