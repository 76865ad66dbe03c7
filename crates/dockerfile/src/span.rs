//! Where something stands in the source text.

use serde::{Deserialize, Serialize};

/// A half-open range of byte offsets into the Dockerfile's text, as it was read (a byte order
/// mark, if there is one, counts). Both ends always lie on `char` boundaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset one past the last byte.
    pub end: usize,
}

impl Span {
    /// The range `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest span that holds both.
    pub fn join(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// `value`, written at `span`.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// 1-based line and column (in characters) of byte `offset` of `text`.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (line, before[start..].chars().count() + 1)
}

/// Where byte `offset` of `text` stands for a program that speaks the language server protocol: line and character counted
/// from 0, the character in units of UTF-16.
pub fn protocol_position(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    (before.bytes().filter(|b| *b == b'\n').count(), before[start..].encode_utf16().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let text = "a\nñ𝒳b\r\n";
        for (offset, people, programs) in [
            (0, (1, 1), (0, 0)),
            (2, (2, 1), (1, 0)),
            (4, (2, 2), (1, 1)),
            (6, (2, 2), (1, 1)),
            (8, (2, 3), (1, 3)),
            (99, (3, 1), (2, 0)),
        ] {
            assert_eq!(
                (line_column(text, offset), protocol_position(text, offset)),
                (people, programs),
                "{offset}"
            );
        }
    }
}
