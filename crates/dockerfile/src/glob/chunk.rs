//! Go's `filepath.Match`.

/// A pattern with an unclosed `[`, an empty or malformed class, or a backslash at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Whether `name` as a whole matches `pattern`.
///
/// `*` stands for any run of bytes without a slash, `?` for one character other than a slash,
/// `[a-z]` and `[^a-z]` for one of a class, and a backslash takes the next character literally.
///
/// # Errors
/// If the pattern is malformed, whether or not the name would match what comes before the mistake.
pub fn matches(pattern: &str, name: impl AsRef<[u8]>) -> Result<bool, BadPattern> {
    let mut pattern = pattern.as_bytes();
    check(pattern)?;
    let mut name = name.as_ref();
    while !pattern.is_empty() {
        let (star, chunk, rest) = next_chunk(pattern);
        pattern = rest;
        if star && chunk.is_empty() {
            return Ok(!name.contains(&b'/'));
        }
        let is_last = pattern.is_empty();
        let Some(after) = place(chunk, name, star, is_last)? else { return Ok(false) };
        name = after;
    }
    Ok(name.is_empty())
}

/// Whether `text` holds a wildcard (`*`, `?` or `[`) that no backslash disarms.
pub fn has_wildcard(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return true,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    false
}

/// What is left of `name` after the leftmost place where `chunk` fits; with no star before it, only
/// the beginning is one. The last chunk must reach the end.
fn place<'n>(
    chunk: &[u8],
    name: &'n [u8],
    star: bool,
    is_last: bool,
) -> Result<Option<&'n [u8]>, BadPattern> {
    let mut from = 0;
    loop {
        if let Some(after) = match_chunk(chunk, &name[from..])?
            && (!is_last || after.is_empty())
        {
            return Ok(Some(after));
        }
        if !star || from >= name.len() || name[from] == b'/' {
            return Ok(None);
        }
        from += 1;
    }
}

fn check(mut pattern: &[u8]) -> Result<(), BadPattern> {
    while !pattern.is_empty() {
        let (_, chunk, rest) = next_chunk(pattern);
        let mut chunk = chunk;
        while let Some(first) = chunk.first() {
            chunk = match first {
                b'[' => class(chunk, None)?.1,
                b'\\' => chunk.get(2..).ok_or(BadPattern)?,
                _ => &chunk[1..],
            };
        }
        pattern = rest;
    }
    Ok(())
}

/// Whether stars lead, the part up to the next star, and the rest.
fn next_chunk(pattern: &[u8]) -> (bool, &[u8], &[u8]) {
    let stars = pattern.iter().take_while(|b| **b == b'*').count();
    let body = &pattern[stars..];
    let (mut i, mut in_class) = (0, false);
    while i < body.len() {
        match body[i] {
            b'\\' => i += 1,
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => break,
            _ => {}
        }
        i += 1;
    }
    let end = i.min(body.len());
    (stars > 0, &body[..end], &body[end..])
}

/// Matches a chunk without stars at the head of `name` and returns what follows.
fn match_chunk<'n>(mut chunk: &[u8], mut name: &'n [u8]) -> Result<Option<&'n [u8]>, BadPattern> {
    while let Some(first) = chunk.first() {
        let (c, width) = first_char(name);
        if width == 0 {
            return Ok(None);
        }
        let taken = match first {
            b'[' => {
                let (hit, rest) = class(chunk, Some(c))?;
                chunk = rest;
                hit.then_some(width)
            }
            b'?' => {
                chunk = &chunk[1..];
                (name[0] != b'/').then_some(width)
            }
            literal => {
                let escaped = usize::from(*literal == b'\\');
                let byte = *chunk.get(escaped).ok_or(BadPattern)?;
                chunk = &chunk[escaped + 1..];
                (byte == name[0]).then_some(1)
            }
        };
        match taken {
            Some(width) => name = &name[width..],
            None => return Ok(None),
        }
    }
    Ok(Some(name))
}

/// Reads the class at the head of `chunk`: whether it holds `c`, and what follows it.
fn class(chunk: &[u8], c: Option<char>) -> Result<(bool, &[u8]), BadPattern> {
    let mut rest = &chunk[1..];
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let (mut hit, mut ranges) = (false, 0);
    loop {
        if ranges > 0 && rest.first() == Some(&b']') {
            return Ok((hit != negated, &rest[1..]));
        }
        let (low, after) = class_char(rest)?;
        let (high, after) = match after.first() {
            Some(b'-') => class_char(&after[1..])?,
            _ => (low, after),
        };
        hit |= c.is_some_and(|c| (low..=high).contains(&c));
        rest = after;
        ranges += 1;
    }
}

/// One possibly escaped character of a class; a `]` must still follow.
fn class_char(rest: &[u8]) -> Result<(char, &[u8]), BadPattern> {
    let rest = match rest.first() {
        None | Some(b'-' | b']') => return Err(BadPattern),
        Some(b'\\') => &rest[1..],
        Some(_) => rest,
    };
    let (c, width) = first_char(rest);
    if width == 0 || rest.len() == width {
        return Err(BadPattern);
    }
    Ok((c, &rest[width..]))
}

/// The first character and its width; a byte that is not UTF-8 counts as U+FFFD, nothing as width 0.
pub(super) fn first_char(bytes: &[u8]) -> (char, usize) {
    let window = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(window) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(c) => (c, c.len_utf8()),
        None => (char::REPLACEMENT_CHARACTER, usize::from(!bytes.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let cases = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("[x\\-]", "z", false),
            ("*x", "xxx", true),
            ("**", "a", true),
            ("**/x", "a/x", true),
            ("**/x", "a/b/x", false),
            ("", "", true),
            ("", "a", false),
            ("a*?", "a", false),
            ("*[", "", false),
        ];
        for (pattern, name, want) in cases {
            if pattern.ends_with('[') {
                assert_eq!(matches(pattern, name), Err(BadPattern), "{pattern}");
            } else {
                assert_eq!(matches(pattern, name), Ok(want), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn malformed_whatever_the_name() {
        let bad = [
            "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\", "[\\", "b[", "*b[",
            "[a-\\",
        ];
        for pattern in bad {
            for name in ["a", "", "zzz", "ab"] {
                assert_eq!(matches(pattern, name), Err(BadPattern), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn names_that_are_not_text() {
        assert_eq!(matches("a?c", b"a\xffc"), Ok(true));
        assert_eq!(matches("a*", b"a\xff\xfe"), Ok(true));
        assert_eq!(matches("a[^b]c", b"a\xffc"), Ok(true));
        assert_eq!(matches("abc", b"a\xffc"), Ok(false));
    }

    #[test]
    fn wildcards() {
        for (text, want) in
            [("a*", true), ("a\\*", false), ("[x", true), ("\\\\?", true), ("plain", false), ("\\", false)]
        {
            assert_eq!(has_wildcard(text), want, "{text}");
        }
    }
}
