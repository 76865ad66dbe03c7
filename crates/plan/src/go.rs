//! The spellings of Go's standard library that histories and paths are made of: images are compared byte by byte
//! with what other builders, written in Go, give.

use kiln_dockerfile::duration;
use kiln_oci::config::Healthcheck;

/// `%q` of a `[]string`: `["a" "b"]`.
pub(crate) fn quoted_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", quoted.join(" "))
}

/// `%v` of a `[]string`: `[a b]`.
pub(crate) fn list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

/// `%+v` of Docker's health check.
pub(crate) fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        list(&check.test),
        duration::format(check.interval),
        duration::format(check.timeout),
        duration::format(check.start_period),
        duration::format(check.start_interval),
        check.retries,
    )
}

/// `strconv.Quote`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Go's `unicode.IsPrint` as far as Rust's tables tell: neither a control character, nor a blank other than the
/// plain one, nor one of the invisible format characters.
fn is_printable(c: char) -> bool {
    let invisible = matches!(u32::from(c),
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e
        | 0x2060..=0x206f | 0xe000..=0xf8ff | 0xfeff | 0xfff0..=0xfffb | 0xe_0000..=0xe_0fff | 0xf_0000..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

/// `path.Clean`: no `.`, no `..` except leading ones of a relative path, no doubled or trailing slash; `.` if empty.
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
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// `path.Join` of an absolute directory and what is named in it; an absolute `path` replaces `dir` and is cleaned.
pub(crate) fn absolute(dir: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("/{dir}/{path}")) }
}

/// Like [`absolute`], but the `/` or `/.` at the end that tells a directory from a file name is kept.
pub(crate) fn destination(dir: &str, path: &str) -> String {
    let path = if path.is_empty() || path == "." { "./" } else { path };
    let mut full = absolute(dir, path);
    let end = if path.ends_with("/.") {
        "/."
    } else if path.ends_with('/') {
        "/"
    } else {
        return full;
    };
    if full == "/" {
        full.clear();
    }
    full + end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        let cases = [
            ("plain", r#""plain""#),
            ("a \"b\" \\", r#""a \"b\" \\""#),
            ("tab\tnl\n", r#""tab\tnl\n""#),
            ("\u{1}\u{7f}", r#""\x01\x7f""#),
            ("größe 日本", r#""größe 日本""#),
            ("\u{a0}\u{200b}", r#""\u00a0\u200b""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ];
        for (text, want) in cases {
            assert_eq!(quoted(text), want);
        }
        assert_eq!(quoted_list(&[]), "[]");
        assert_eq!(quoted_list(&["a".to_owned(), "b c".to_owned()]), r#"["a" "b c"]"#);
    }

    #[test]
    fn paths() {
        for (path, want) in [
            ("", "."),
            ("/", "/"),
            ("a//b/", "a/b"),
            ("/a/../..", "/"),
            ("../x", "../x"),
            ("a/../../b", "../b"),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
        let destinations = [
            ("/w", "x", "/w/x"),
            ("/w", "x/", "/w/x/"),
            ("/w", ".", "/w/"),
            ("/w", "", "/w/"),
            ("/", "./", "/"),
            ("/", "/", "/"),
            ("/w", "/a/../b/", "/b/"),
            ("/w", "/a/.", "/a/."),
            ("/w", "sub/.", "/w/sub/."),
        ];
        for (dir, path, want) in destinations {
            assert_eq!(destination(dir, path), want, "{path} in {dir}");
        }
    }
}
