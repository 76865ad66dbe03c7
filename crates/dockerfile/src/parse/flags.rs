//! `--name[=value]` flags between an instruction's name and its arguments.

use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};
use crate::suggest::{certain, nearest};

use super::keyword::{FlagKind, FlagSpec, Keyword};
use super::lines::{Logical, Piece};

/// Text whose quotes and escapes are gone, and where each of its bytes came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Decoded {
    pub(super) text: String,
    /// Offsets into the logical line.
    origins: Vec<usize>,
    /// Offset past the last byte of the raw text.
    end: usize,
}

impl Decoded {
    fn push(&mut self, c: char, origin: usize) {
        self.text.push(c);
        self.origins.extend(origin..origin + c.len_utf8());
    }

    /// The place in the file of bytes `start..end`.
    pub(super) fn span(&self, line: &Logical, start: usize, end: usize) -> Span {
        let origin = |i: usize| self.origins.get(i).copied().unwrap_or(self.end);
        let last = if end > start { origin(end - 1) + 1 } else { origin(start) };
        line.span(origin(start), last.max(origin(start)))
    }

    /// The part from byte `start` on.
    pub(super) fn tail(&self, start: usize) -> Self {
        Self { text: self.text[start..].to_owned(), origins: self.origins[start..].to_vec(), end: self.end }
    }

    /// Bytes `start..end` as a word of the syntax tree.
    pub(super) fn word(&self, line: &Logical, start: usize, end: usize) -> Spanned<String> {
        Spanned::new(self.text[start..end].to_owned(), self.span(line, start, end))
    }
}

/// A flag as written.
#[derive(Clone, Debug)]
pub(super) struct RawFlag<'a> {
    pub(super) piece: Piece<'a>,
    pub(super) decoded: Decoded,
}

/// Splits the flags off the head of `args`. Quotes and escapes in them are resolved here; a lone `--`
/// ends them.
pub(super) fn split_flags(args: Piece<'_>, escape: char) -> (Vec<RawFlag<'_>>, Piece<'_>) {
    let mut flags = Vec::new();
    let mut rest = args.trim();
    while rest.text().starts_with("--") {
        let flag = read_flag(rest, escape);
        rest = rest.sub(flag.piece.end - rest.start, rest.end - rest.start).trim();
        if flag.decoded.text == "--" {
            break;
        }
        flags.push(flag);
    }
    (flags, rest)
}

fn read_flag(rest: Piece<'_>, escape: char) -> RawFlag<'_> {
    let mut decoded = Decoded::default();
    let mut quote: Option<char> = None;
    let mut chars = rest.text().char_indices();
    let mut length = rest.text().len();
    while let Some((i, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                length = i;
                break;
            }
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (c, _) if c == escape => {
                if let Some((i, c)) = chars.next() {
                    decoded.push(c, rest.start + i);
                }
            }
            (c, _) => decoded.push(c, rest.start + i),
        }
    }
    decoded.end = rest.start + length;
    RawFlag { piece: rest.sub(0, length), decoded }
}

/// The flags of one instruction, checked against what it takes.
#[derive(Debug, Default)]
pub(super) struct Flags {
    given: Vec<Given>,
}

#[derive(Debug)]
struct Given {
    name: &'static str,
    kind: FlagKind,
    span: Span,
    value: Decoded,
    truth: bool,
    word: Spanned<String>,
}

impl Flags {
    /// Checks `raw`; what is wrong with a flag is said, and the flag is left out.
    pub(super) fn check(keyword: Keyword, raw: &[RawFlag<'_>], diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut flags = Self::default();
        for flag in raw {
            match flags.accept(keyword, flag) {
                Ok(given) => flags.given.push(given),
                Err(diagnostic) => diagnostics.push(diagnostic),
            }
        }
        flags
    }

    fn accept(&self, keyword: Keyword, flag: &RawFlag<'_>) -> Result<Given, Diagnostic> {
        let span = flag.piece.span();
        let text = &flag.decoded.text;
        let (dashed, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_str(), None),
        };
        let written = dashed.strip_prefix("--").unwrap_or(dashed);
        let (name, kind) = *find(keyword, written).ok_or_else(|| unknown(keyword, written, flag.piece))?;
        if kind != FlagKind::List && self.given.iter().any(|g| g.name == name) {
            return Err(Diagnostic::error(span, format!("duplicate flag specified: --{name}")));
        }
        let missing = || Diagnostic::error(span, format!("missing a value on flag: --{name}"));
        let truth = match (kind, value.map(str::to_lowercase).as_deref()) {
            (FlagKind::Bool, None | Some("true")) => true,
            (FlagKind::Bool, Some("false")) => false,
            (FlagKind::Bool, Some("")) | (FlagKind::Text | FlagKind::List, None) => return Err(missing()),
            (FlagKind::Bool, Some(_)) => {
                let value = value.unwrap_or_default();
                let message = format!("expecting boolean value for flag --{name}, not: {value}");
                return Err(Diagnostic::error(span, message).with_help("it takes true or false"));
            }
            (FlagKind::Text | FlagKind::List, Some(_)) => true,
        };
        let value = flag.decoded.tail(text.len().min(dashed.len() + 1));
        let word = value.word(flag.piece.line, 0, value.text.len());
        Ok(Given { name, kind, span, value, truth, word })
    }

    /// The value of a flag that is given at most once.
    pub(super) fn text(&self, name: &str) -> Option<Spanned<String>> {
        self.given.iter().find(|g| g.name == name && g.kind == FlagKind::Text).map(|g| g.word.clone())
    }

    /// The value of a flag that is on or off, if it is given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.given.iter().find(|g| g.name == name && g.kind == FlagKind::Bool).map(|g| g.truth)
    }

    /// All values of a flag that may be repeated.
    pub(super) fn list(&self, name: &str) -> Vec<Spanned<String>> {
        self.given.iter().filter(|g| g.name == name).map(|g| g.word.clone()).collect()
    }

    /// All values of a flag that may be repeated, each with the place of the whole flag.
    pub(super) fn decoded(&self, name: &str) -> impl Iterator<Item = (Span, &Decoded)> {
        self.given.iter().filter(move |g| g.name == name).map(|g| (g.span, &g.value))
    }

    /// Where the first flag stands, if there is one.
    pub(super) fn first_span(&self) -> Option<Span> {
        self.given.first().map(|g| g.span)
    }
}

fn find(keyword: Keyword, name: &str) -> Option<&'static FlagSpec> {
    keyword.flags().iter().find(|(known, _)| *known == name)
}

fn unknown(keyword: Keyword, name: &str, piece: Piece<'_>) -> Diagnostic {
    let error = Diagnostic::error(piece.span(), format!("unknown flag: --{name}"));
    let names = || keyword.flags().iter().map(|(known, _)| *known);
    match nearest(name, names(), true) {
        Some(known) => {
            let value = piece.text().strip_prefix("--").and_then(|text| text.strip_prefix(name));
            let whole = piece.span().end - piece.span().start == piece.text().len();
            let sure = certain(name, names(), true).filter(|_| whole);
            let fix = sure.zip(value).map(|(sure, value)| format!("--{sure}{value}"));
            Diagnostic { fix, ..error.with_help(format!("did you mean `--{known}`?")) }
        }
        None if keyword.flags().is_empty() => error.with_help(format!("{} takes no flags", keyword.name())),
        None => {
            let known: Vec<String> = names().map(|known| format!("--{known}")).collect();
            error.with_help(format!("{} takes {}", keyword.name(), known.join(", ")))
        }
    }
}
