//! The reader behind [`super::expand_word`] and its siblings.

use std::collections::BTreeSet;

use super::error::{ExpandError, ExpandErrorKind};
use super::lookup::Lookup;
use super::pattern::{Length, Pattern};

/// What is special and what is kept.
#[derive(Clone, Copy)]
pub(super) struct Mode {
    /// The escape character.
    pub(super) escape: char,
    /// Quotes are special.
    pub(super) quotes: bool,
    /// Quotes that were special stay in the text.
    pub(super) keep_quotes: bool,
    /// `$name` stays where the name is not set.
    pub(super) keep_unset: bool,
}

impl Mode {
    pub(super) fn word(escape: char) -> Self {
        Self { escape, quotes: true, keep_quotes: false, keep_unset: false }
    }
}

/// How deep `${a:-${b:-...}}` may go, lest hostile input exhausts the stack.
const DEEPEST: usize = 200;

pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    mode: Mode,
    vars: &'a dyn Lookup,
    /// Escape characters stay in the text: the inside of a pattern.
    raw_escapes: bool,
    depth: usize,
    pub(super) used: BTreeSet<String>,
    pub(super) unset: BTreeSet<String>,
}

/// What was read, as one text and as words.
#[derive(Default)]
pub(super) struct Output {
    pub(super) text: String,
    pub(super) words: Vec<String>,
    word: String,
}

impl Output {
    /// A character that splits words if it is a blank.
    fn push(&mut self, c: char) {
        self.text.push(c);
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    /// Text that is part of a word whatever it holds.
    fn push_raw(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn finish(mut self) -> Self {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
        self
    }
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, mode: Mode, vars: &'a dyn Lookup) -> Self {
        Self {
            text,
            at: 0,
            mode,
            vars,
            raw_escapes: false,
            depth: 0,
            used: BTreeSet::new(),
            unset: BTreeSet::new(),
        }
    }

    /// Reads all of the text.
    pub(super) fn run(&mut self) -> Result<Output, ExpandError> {
        self.read_until(None)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Reads up to and over `stop`, or to the end if there is none. The caller words the error of a
    /// `stop` that never comes, from `Ok` with nothing left to read being impossible for it.
    fn read_until(&mut self, stop: Option<char>) -> Result<Output, ExpandError> {
        let start = self.at;
        let mut out = Output::default();
        while let Some(c) = self.peek() {
            if stop == Some(c) {
                self.next();
                return Ok(out.finish());
            }
            match c {
                '$' => {
                    for c in self.dollar()?.chars() {
                        out.push(c);
                    }
                }
                '\'' if self.mode.quotes => out.push_raw(&self.single_quoted()?),
                '"' if self.mode.quotes => out.push_raw(&self.double_quoted()?),
                '<' => out.push_raw(self.angle()),
                c if c == self.mode.escape => self.escaped(&mut out),
                c => {
                    self.next();
                    out.push(c);
                }
            }
        }
        match stop {
            None => Ok(out.finish()),
            Some(_) => Err(self.error(start, |text| ExpandErrorKind::UnclosedBrace { text })),
        }
    }

    /// An escape character and what it protects; at the end it vanishes.
    fn escaped(&mut self, out: &mut Output) {
        self.next();
        if self.raw_escapes {
            out.push_raw(self.mode.escape.encode_utf8(&mut [0; 4]));
        }
        if let Some(c) = self.next() {
            out.push_raw(c.encode_utf8(&mut [0; 4]));
        }
    }

    /// `<`, or `<<` with the blanks that may stand before a delimiter: they do not end the word.
    fn angle(&mut self) -> &'a str {
        let start = self.at;
        self.next();
        if self.peek() == Some('<') {
            self.next();
            while matches!(self.peek(), Some('\t' | '\r' | ' ')) {
                self.next();
            }
        }
        &self.text[start..self.at]
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        self.next();
        let Some(length) = self.text[self.at..].find('\'') else {
            return Err(self.error(start, |text| ExpandErrorKind::UnclosedQuote { quote: '\'', text }));
        };
        self.at += length + 1;
        let kept = usize::from(!self.mode.keep_quotes);
        Ok(self.text[start + kept..self.at - kept].to_owned())
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        let mut out = String::new();
        self.next();
        if self.mode.keep_quotes {
            out.push('"');
        }
        loop {
            match self.peek() {
                None => {
                    return Err(self.error(start, |text| ExpandErrorKind::UnclosedQuote { quote: '"', text }));
                }
                Some('"') => {
                    self.next();
                    if self.mode.keep_quotes {
                        out.push('"');
                    }
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) if c == self.mode.escape => self.escaped_in_quotes(&mut out),
                Some(c) => {
                    self.next();
                    out.push(c);
                }
            }
        }
    }

    /// In double quotes only `"`, `$` and the escape character itself can be escaped.
    fn escaped_in_quotes(&mut self, out: &mut String) {
        let escape = self.mode.escape;
        self.next();
        if self.raw_escapes {
            out.push(escape);
        }
        match self.peek() {
            None => {}
            Some(c) if c == '"' || c == '$' || c == escape => {
                self.next();
                out.push(c);
            }
            Some(_) => out.push(escape),
        }
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            let value = self.lookup(name);
            return Ok(self.or_raw(value, start));
        }
        self.next();
        match self.peek() {
            None => return Err(self.error(start, |text| ExpandErrorKind::UnclosedBrace { text })),
            Some('{' | '}' | ':') => {
                return Err(self.error(start, |text| ExpandErrorKind::BadSubstitution { text }));
            }
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error(start, |text| ExpandErrorKind::BadSubstitution { text }));
        }
        let name = self.name();
        let value = self.braced(start, name);
        self.depth -= 1;
        value
    }

    /// What follows the name in `${name`.
    fn braced(&mut self, start: usize, name: &'a str) -> Result<String, ExpandError> {
        let operator = self.at;
        let Some(mut c) = self.next() else {
            return Err(self.error(start, |text| ExpandErrorKind::UnclosedBrace { text }));
        };
        if c == '}' {
            let value = self.lookup(name);
            return Ok(self.or_raw(value, start));
        }
        let empty_is_unset = c == ':';
        if empty_is_unset {
            match self.next() {
                None => return Err(self.error(start, |text| ExpandErrorKind::UnclosedBrace { text })),
                Some(next) => c = next,
            }
        }
        let known = match c {
            '+' | '-' | '?' => true,
            '#' | '%' | '/' => !empty_is_unset,
            _ => false,
        };
        if !known {
            let modifier = self.text[operator..self.at].to_owned();
            return Err(self.error(start, |text| ExpandErrorKind::Modifier { modifier, text }));
        }
        match c {
            '#' | '%' => self.trim(start, name, c),
            '/' => self.replace(start, name),
            _ => self.substitute(start, name, c, empty_is_unset),
        }
    }

    /// `-`, `+` and `?`, with or without a colon.
    fn substitute(
        &mut self,
        start: usize,
        name: &str,
        operator: char,
        empty_is_unset: bool,
    ) -> Result<String, ExpandError> {
        let word = self.operand(start, '}', false)?;
        let value = self.lookup(name);
        if self.mode.keep_unset && value.is_none() {
            return Ok(self.text[start..self.at].to_owned());
        }
        let was_set = value.is_some();
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (operator, value) {
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            (_, None) => {
                let standard =
                    if was_set { "is not allowed to be empty" } else { "is not allowed to be unset" };
                let message = if word.is_empty() { standard.to_owned() } else { word };
                let kind = ExpandErrorKind::Required { name: name.to_owned(), message };
                Err(ExpandError { offset: start, kind })
            }
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trim(&mut self, start: usize, name: &str, operator: char) -> Result<String, ExpandError> {
        let word = self.operand(start, '}', true)?;
        let value = self.lookup(name);
        if self.mode.keep_unset && value.is_none() {
            return Ok(self.text[start..self.at].to_owned());
        }
        let (text, length) = match word.strip_prefix(operator) {
            Some(rest) => (rest, Length::Longest),
            None => (word.as_str(), Length::Shortest),
        };
        let pattern = Self::pattern(start, text)?;
        let value = value.unwrap_or_default();
        Ok(match operator {
            '#' => pattern.trim_prefix(&value, length),
            _ => pattern.trim_suffix(&value, length),
        })
    }

    /// `/` and `//`.
    fn replace(&mut self, start: usize, name: &str) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.operand(start, '/', true)?;
        let replacement = self.operand(start, '}', true)?;
        let value = self.lookup(name);
        if self.mode.keep_unset && value.is_none() {
            return Ok(self.text[start..self.at].to_owned());
        }
        let pattern = Self::pattern(start, &pattern)?;
        Ok(pattern.replace(&value.unwrap_or_default(), &replacement, all))
    }

    fn pattern(start: usize, text: &str) -> Result<Pattern, ExpandError> {
        Pattern::parse(text).map_err(|source| ExpandError {
            offset: start,
            kind: ExpandErrorKind::Pattern { pattern: text.to_owned(), source },
        })
    }

    /// The word after an operator, up to `stop`, itself expanded.
    fn operand(&mut self, start: usize, stop: char, raw_escapes: bool) -> Result<String, ExpandError> {
        let outer = std::mem::replace(&mut self.raw_escapes, raw_escapes);
        let read = self.read_until(Some(stop));
        self.raw_escapes = outer;
        match read {
            Ok(out) => Ok(out.text),
            Err(_) if self.at == self.text.len() => Err(self.error(start, |text| match stop {
                '/' => ExpandErrorKind::MissingSlash { text },
                _ => ExpandErrorKind::UnclosedBrace { text },
            })),
            Err(error) => Err(error),
        }
    }

    /// A name, digits only if it begins with one, or one special parameter; empty if there is none.
    fn name(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let length = match rest.chars().next() {
            Some(c) if c.is_ascii_digit() => rest.find(|c: char| !c.is_ascii_digit()),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => Some(1),
            _ => rest.find(|c: char| !(c == '_' || c.is_ascii_digit() || c.is_alphabetic())),
        };
        let name = &rest[..length.unwrap_or(rest.len())];
        self.at += name.len();
        name
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.vars.get(name);
        let seen = if value.is_some() { &mut self.used } else { &mut self.unset };
        seen.insert(name.to_owned());
        value
    }

    /// The value; of an unset name nothing, or what was written from `start` on.
    fn or_raw(&self, value: Option<String>, start: usize) -> String {
        match value {
            Some(value) => value,
            None if self.mode.keep_unset => self.text[start..self.at].to_owned(),
            None => String::new(),
        }
    }

    fn error(&self, start: usize, kind: impl FnOnce(String) -> ExpandErrorKind) -> ExpandError {
        ExpandError { offset: start, kind: kind(self.text[start..].to_owned()) }
    }
}
