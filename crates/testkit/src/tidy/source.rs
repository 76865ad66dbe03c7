//! Reading Rust files as text: without comments, strings and tests.

use std::path::{Path, PathBuf};

use crate::machine::repository;

/// One Rust file of the workspace.
#[derive(Debug)]
pub struct File {
    /// The crate's folder name.
    pub krate: String,
    /// The path from the repository's root.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
    /// Its code: comments, strings and everything from the first `#[cfg(test)]` module on blanked out.
    pub code: String,
}

/// All Rust files under `crates/*/src` and `crates/*/tests`, sorted by path.
///
/// # Panics
/// When one cannot be read.
pub fn files() -> Vec<File> {
    let root = repository();
    let crates = root.join("crates");
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(&crates).sort_by_file_name() {
        let entry = entry.expect("the source can be read");
        if entry.path().extension().is_none_or(|e| e != "rs") {
            continue;
        }
        let inside = entry.path().strip_prefix(&crates).expect("below it");
        let krate = inside.iter().next().expect("a crate's folder").to_string_lossy().into_owned();
        let text = fs_err::read_to_string(entry.path()).expect("the source can be read");
        let code = without_tests(&blank(&text));
        files.push(File {
            krate,
            path: entry.path().strip_prefix(&root).expect("below it").to_owned(),
            text,
            code,
        });
    }
    files
}

impl File {
    /// Whether it belongs to the crate's own code and not to its tests.
    pub fn is_source(&self) -> bool {
        !self.path.iter().any(|part| part == "tests") && !self.path.ends_with("tests.rs")
    }

    /// The path of the module: `["store", "lock"]` for `src/store/lock.rs`; empty for `lib.rs` and `main.rs`.
    pub fn module(&self) -> Vec<String> {
        let inside: PathBuf = self.path.iter().skip_while(|part| *part != "src").skip(1).collect();
        let mut parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let Some(last) = parts.pop() else { return parts };
        let stem = Path::new(&last).file_stem().expect("a file name").to_string_lossy().into_owned();
        if !matches!(stem.as_str(), "lib" | "main" | "mod") {
            parts.push(stem);
        }
        parts
    }
}

/// Replaces comments and the insides of strings and characters by blanks; newlines stay.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        let is_code = end == at + 1;
        out.extend(bytes[at..end].iter().map(|&b| if is_code || b == b'\n' { b } else { b' ' }));
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment, string or character that starts at `at` ends; `at + 1` if none does.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |needle: &[u8], from: usize| {
        let place = rest[from..].windows(needle.len()).position(|w| w == needle);
        place.map_or(bytes.len(), |p| at + from + p + needle.len())
    };
    if rest.starts_with(b"//") {
        return find(b"\n", 2).saturating_sub(1).max(at + 2);
    }
    if rest.starts_with(b"/*") {
        return find(b"*/", 2);
    }
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let prefix = rest.iter().take_while(|b| matches!(b, b'b' | b'r' | b'c')).count();
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let raw = rest[..prefix].contains(&b'r');
    if raw && !in_word && prefix <= 2 && rest.get(prefix + hashes) == Some(&b'"') {
        let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
        return find(&close, prefix + hashes + 1);
    }
    match rest[0] {
        b'"' => quoted_end(bytes, at, b'"'),
        b'\'' if is_character(rest) => quoted_end(bytes, at, b'\''),
        _ => at + 1,
    }
}

/// A character literal, not a lifetime.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(first) if first.is_ascii() => rest.get(2) == Some(&b'\''),
        Some(_) => true,
        None => false,
    }
}

fn quoted_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != quote {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(bytes.len())
}

/// Blanked code up to its first test module. Tests stand last in every file; `tests/tidy.rs` sees to that.
fn without_tests(code: &str) -> String {
    let end = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
    code[..end].to_owned()
}

/// Whether `word` stands in `code` as a word of its own.
pub fn has_word(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let behind = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !behind.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_what_is_no_code() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b\n */ c", "a     \n    c"),
            (r#"f("x // y") + 1"#, "f(        ) + 1"),
            (r##"r#"a"b"# + b"\"" "##, "         + b     "),
            ("'a' + '\\'' + b'x'", "    +      + b   "),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("crab", "crab"),
        ];
        for (text, want) in cases {
            assert_eq!(blank(text), want, "{text}");
        }
    }

    #[test]
    fn words() {
        assert!(has_word("unsafe { x }", "unsafe"));
        assert!(!has_word("deny(unsafe_code)", "unsafe"));
    }
}
