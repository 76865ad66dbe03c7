//! Small pieces of text: sizes, times, lines out of a byte stream, lines cut to a width.

use std::time::Duration;

use unicode_width::UnicodeWidthChar;

/// A size for people, in powers of 1000 as registries and disks count: `999B`, `1.50kB`, `12.3MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count}B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// A time for people: `0.3s`, `59.9s`, `2m 3.4s`, `1h 2m 3s`.
pub(crate) fn seconds(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    let (all, tenth) = (tenths / 10, tenths % 10);
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}.{tenth}s"),
        (0, _) => format!("{minutes}m {seconds}.{tenth}s"),
        _ => format!("{hours}h {minutes}m {seconds}s"),
    }
}

/// The longest line that is kept whole; more is cut into lines of this length, so that memory stays flat.
const LONGEST_LINE: usize = 16 << 10;

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes bytes, returns the lines that they complete, tamed.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") || self.rest.len() >= LONGEST_LINE {
                lines.extend(self.finish());
            }
        }
        lines
    }

    /// The line that has no end yet, if there is one.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.rest);
        (!line.is_empty()).then(|| tame(&line))
    }
}

/// A line of a program's output that is safe to show: no escape sequences, no control characters but tabs, and of what a
/// carriage return overwrites only the last state.
pub(crate) fn tame(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\n', '\r']);
    let text = text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => skip_escape(&mut chars),
            '\t' => out.push('\t'),
            c if c.is_control() || is_bidi(c) => {}
            c => out.push(c),
        }
    }
    out
}

/// Skips the rest of an escape sequence (ECMA-48: CSI up to its final byte, OSC and its like up to BEL or ST).
fn skip_escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(c) = chars.next() {
                if c == '\x07' {
                    break;
                }
                if c == '\x1b' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        // Charset selection and the like: intermediate bytes, then one final byte.
        Some(' '..='/') => while chars.next().is_some_and(|c| (' '..='/').contains(&c)) {},
        _ => {}
    }
}

/// Characters that reorder what stands around them.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

/// How many columns a text takes; a tab counts 4.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    if c == '\t' { 4 } else { c.width().unwrap_or(0) }
}

/// The text cut to `columns`, with `…` if something was cut; tabs become spaces.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    let whole = width(text) <= columns;
    let limit = if whole { columns } else { columns.saturating_sub(1) };
    let mut out = String::with_capacity(text.len());
    let mut used = 0;
    for c in text.chars() {
        let wide = char_width(c);
        if used + wide > limit {
            break;
        }
        used += wide;
        if c == '\t' { out.push_str("    ") } else { out.push(c) }
    }
    if !whole && columns > 0 {
        out.push('…');
    }
    out
}

/// One finding of a build check as a line.
pub(crate) fn finding(rule: Option<&str>, message: &str, line: usize) -> String {
    let rule = rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
    format!(" - {rule}{message} (line {line})\n")
}

/// The findings of a build, shortly; nothing if there are none.
pub(crate) fn findings(lines: &[String]) -> String {
    match lines.len() {
        0 => String::new(),
        1 => format!("1 warning found (`kiln build --check` shows it in full):\n{}", lines.concat()),
        many => {
            format!("{many} warnings found (`kiln build --check` shows them in full):\n{}", lines.concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (count, want) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (1500, "1.50kB"),
            (9_995, "10.0kB"),
            (12_345_678, "12.3MB"),
            (999_499_999, "999MB"),
            (999_600_000, "1.00GB"),
            (4 << 40, "4.40TB"),
        ] {
            assert_eq!(bytes(count), want, "{count}");
        }
    }

    #[test]
    fn times() {
        for (millis, want) in [
            (0, "0.0s"),
            (49, "0.0s"),
            (50, "0.1s"),
            (59_949, "59.9s"),
            (59_950, "1m 0.0s"),
            (123_400, "2m 3.4s"),
            (3_723_000, "1h 2m 3s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), want, "{millis}");
        }
    }

    #[test]
    fn lines_from_any_cut() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), ["one"]);
        assert_eq!(lines.push(b"o\r\n\nth"), ["two", ""]);
        assert_eq!(lines.push(b"ree"), Vec::<String>::new());
        assert_eq!(lines.finish().as_deref(), Some("three"));
        assert_eq!(lines.finish(), None);
        assert_eq!(lines.push(&vec![b'x'; LONGEST_LINE + 5]).len(), 1);
        // Half a character at the end of a piece is completed by the next one.
        let mut lines = Lines::default();
        assert_eq!(lines.push(&"é".as_bytes()[..1]), Vec::<String>::new());
        assert_eq!(lines.push(b"\xa9\n"), ["é"]);
    }

    #[test]
    fn hostile_output_is_tamed() {
        for (line, want) in [
            (&b"plain\ttext\n"[..], "plain\ttext"),
            (b"10%\r50%\r100%\r\n", "100%"),
            (b"10%\r50%", "50%"),
            (b"\x1b[31mred\x1b[0m", "red"),
            (b"\x1b]0;title\x07x\x1b]8;;url\x1b\\y", "xy"),
            (b"a\x1b(Bb\x08\x00c", "abc"),
            (b"\x1b[2J\x1b[", ""),
            (b"\xff", "\u{fffd}"),
            ("a\u{202e}b".as_bytes(), "ab"),
        ] {
            assert_eq!(tame(line), want, "{line:?}");
        }
    }

    #[test]
    fn fitting() {
        for (text, columns, want) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("漢字", 4, "漢字"),
            ("漢字x", 4, "漢…"),
            ("\tx", 9, "    x"),
            ("a", 0, ""),
        ] {
            assert_eq!(fit(text, columns), want, "{text} {columns}");
            assert!(width(&fit(text, columns)) <= columns);
        }
    }
}
