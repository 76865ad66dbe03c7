//! The JSON form of an instruction's arguments: an array of strings.

use crate::span::Spanned;

use super::lines::Piece;

/// What the arguments are, seen as JSON.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    /// Not a JSON array: the shell form.
    No,
    /// An array of strings, decoded.
    Strings(Vec<Spanned<String>>),
    /// A valid array that holds something other than strings.
    Mixed,
}

/// Arrays and objects may nest so deep before the text counts as no JSON.
const DEEPEST: usize = 128;

/// Reads the whole of `args` as JSON.
pub(super) fn parse(args: Piece<'_>) -> Json {
    let args = args.trim();
    let mut reader = Reader { text: args.text(), at: 0 };
    match reader.array(args) {
        Some(found) if reader.at == reader.text.len() => found,
        _ => Json::No,
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    /// Each of these returns `None` for what is not JSON.
    fn array(&mut self, args: Piece<'_>) -> Option<Json> {
        self.expect('[')?;
        let (mut strings, mut mixed) = (Vec::new(), false);
        self.blanks();
        if self.expect(']').is_some() {
            return Some(Json::Strings(strings));
        }
        loop {
            self.blanks();
            let start = self.at;
            if self.peek() == Some('"') {
                let value = self.string()?;
                strings.push(Spanned::new(value, args.sub(start, self.at).span()));
            } else {
                self.value(1)?;
                mixed = true;
            }
            self.blanks();
            if self.expect(',').is_none() {
                self.expect(']')?;
                return Some(if mixed { Json::Mixed } else { Json::Strings(strings) });
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            '"' => self.string().map(drop),
            '[' => self.members(']', depth, false),
            '{' => self.members('}', depth, true),
            '-' | '0'..='9' => self.number(),
            _ => {
                let word = ["true", "false", "null"].into_iter().find(|w| self.rest().starts_with(w))?;
                self.at += word.len();
                Some(())
            }
        }
    }

    fn members(&mut self, close: char, depth: usize, named: bool) -> Option<()> {
        self.at += 1;
        self.blanks();
        if self.expect(close).is_some() {
            return Some(());
        }
        loop {
            self.blanks();
            if named {
                self.string()?;
                self.blanks();
                self.expect(':')?;
                self.blanks();
            }
            self.value(depth + 1)?;
            self.blanks();
            if self.expect(',').is_none() {
                return self.expect(close);
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let _ = self.expect('-');
        if self.expect('0').is_none() {
            self.digits()?;
        }
        if self.expect('.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        self.at += count;
        (count > 0).then_some(())
    }

    fn string(&mut self) -> Option<String> {
        self.expect('"')?;
        let mut out = String::new();
        loop {
            let c = self.next()?;
            match c {
                '"' => return Some(out),
                '\\' => out.push(self.escape()?),
                c if c < ' ' => return None,
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.next()? {
            c @ ('"' | '\\' | '/') => c,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = self.hex()?;
                let before = self.at;
                if (0xd800..0xdc00).contains(&high)
                    && self.expect('\\').is_some()
                    && self.expect('u').is_some()
                    && let Some(low) = self.hex()
                    && (0xdc00..0xe000).contains(&low)
                {
                    return char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
                }
                if (0xd800..0xdc00).contains(&high) {
                    self.at = before;
                }
                char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let value = u32::from_str_radix(digits, 16).ok()?;
        self.at += 4;
        Some(value)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn expect(&mut self, c: char) -> Option<()> {
        if self.peek() != Some(c) {
            return None;
        }
        self.at += c.len_utf8();
        Some(())
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::{Lines, Logical};
    use super::*;

    fn check(text: &str) -> Json {
        let mut diagnostics = Vec::new();
        let mut lines = Lines::new(text, 0, 1);
        let first = lines.next(&mut diagnostics).expect("a line");
        let line = Logical::read(first, &mut lines, '`', &mut diagnostics);
        parse(line.piece())
    }

    #[test]
    fn arrays_of_strings() {
        let cases: [(&str, &[&str]); 9] = [
            ("[]", &[]),
            ("[ ]", &[]),
            (r#"[""]"#, &[""]),
            (r#"["a","b c"]"#, &["a", "b c"]),
            ("\t[\t\"a\" ,\t\"b\"\t]\t", &["a", "b"]),
            (r#"["\" \\ \/ \b \f \n \r \t \u0041"]"#, &["\" \\ / \u{8} \u{c} \n \r \t A"]),
            (r#"["\ud83d\udc33"]"#, &["🐳"]),
            (r#"["\ud83dx"]"#, &["\u{fffd}x"]),
            (r#"["\ud83d\u0041"]"#, &["\u{fffd}A"]),
        ];
        for (text, want) in cases {
            match check(text) {
                Json::Strings(got) => {
                    assert_eq!(got.iter().map(|w| w.value.as_str()).collect::<Vec<_>>(), want, "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn other_arrays() {
        let texts = [
            "[1]",
            r#"["a",42,"b"]"#,
            r#"["a",-1.5e+3]"#,
            r#"["a",{}]"#,
            r#"["a",{"c": "d", "e": [1]}]"#,
            r#"["a",["c"]]"#,
            "[true]",
            "[false]",
            "[null]",
            "[0]",
            "[[],{}]",
        ];
        for text in texts {
            assert_eq!(check(text), Json::Mixed, "{text}");
        }
    }

    #[test]
    fn no_json() {
        let texts = [
            "a",
            "[",
            r#"["a""#,
            r#"["a",]"#,
            "['a']",
            r#"["a"] x"#,
            r#"["a" "b"]"#,
            "[a]",
            r#"["\x"]"#,
            "[01]",
            "[1.]",
            "[ -d /data ] && x",
            r#"{"a":"b"}"#,
            r#""a""#,
            "[\"a\tb\"]",
            r#"["\u12"]"#,
            "[tru]",
            r#"[{"a"}]"#,
        ];
        for text in texts {
            assert_eq!(check(text), Json::No, "{text}");
        }
        assert_eq!(check(&"[".repeat(100_000)), Json::No);
    }
}
