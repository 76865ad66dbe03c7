//! What the documents name must exist.

use std::path::PathBuf;

use crate::machine::repository;

/// The repository's documents, by path from its root.
///
/// # Panics
/// When one cannot be read.
pub fn documents() -> Vec<(PathBuf, String)> {
    let root = repository();
    let places = ["README.md", "docs", "testdata", "crates"];
    let files = places.iter().flat_map(|place| walkdir::WalkDir::new(root.join(place)).sort_by_file_name());
    let files = files.map(|entry| entry.expect("documents can be read").into_path());
    let documents = files.filter(|path| path.extension().is_some_and(|e| e == "md"));
    documents
        .map(|path| {
            let text = fs_err::read_to_string(&path).expect("documents can be read");
            (path.strip_prefix(&root).expect("below it").to_owned(), text)
        })
        .collect()
}

/// The paths that a document names and that do not exist: targets of relative links, and words in backticks that begin
/// with a folder of the repository.
pub fn missing(document: &PathBuf, text: &str) -> Vec<String> {
    let root = repository();
    let folder = root.join(document).parent().expect("a file is in a folder").to_owned();
    let mut missing = Vec::new();
    for link in between(text, "](", ")") {
        let target = link.split('#').next().unwrap_or_default();
        let is_local = !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:");
        if is_local && !folder.join(target).exists() {
            missing.push(link.to_owned());
        }
    }
    for word in text.split('`').skip(1).step_by(2) {
        let first = word.split_whitespace().next().unwrap_or_default().trim_start_matches("./");
        let of_ours =
            ["crates/", "docs/", "testdata/", ".ci/"].iter().any(|folder| first.starts_with(folder));
        let is_pattern = first.contains(['*', '<', '{', '$']);
        let upper = first.chars().any(|c| c.is_ascii_uppercase()) && !first.contains('.');
        if of_ours
            && !is_pattern
            && !upper
            && !root.join(first.split(':').next().unwrap_or_default()).exists()
        {
            missing.push(first.to_owned());
        }
    }
    missing
}

fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
}
