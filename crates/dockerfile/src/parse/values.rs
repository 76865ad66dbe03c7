//! `ARG`, `ENV` and `LABEL`: words in which quotes and escapes count.

use crate::ast::{ArgDecl, KeyValue, Kind};
use crate::diagnostic::Diagnostic;

use super::input::{COMMENT, Input};
use super::lines::Piece;

/// `ARG name[=default] ...`
pub(super) fn arg(input: &Input<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Kind, Diagnostic> {
    let mut declared = Vec::new();
    for word in words(input.args, input.escape) {
        let (name, default) = match word.text().find('=') {
            Some(i) => (word.sub(0, i), Some(word.sub(i + 1, word.text().len()))),
            None => (word, None),
        };
        if name.is_empty() {
            diagnostics.push(blank_name(word, "ARG"));
            continue;
        }
        declared.push(ArgDecl { name: name.word(), default: default.map(Piece::word) });
    }
    if input.args.is_empty() {
        return Err(input.needs_arguments());
    }
    Ok(Kind::Arg(declared))
}

/// The pairs of `ENV` and `LABEL`, `key=value ...` or the legacy `key the rest`.
pub(super) fn pairs(
    input: &Input<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Vec<KeyValue>, Diagnostic> {
    let name = input.keyword.name();
    let words = words(input.args, input.escape);
    let Some(first) = words.first() else {
        return Err(input.needs_arguments());
    };
    if !first.text().contains('=') {
        let (key, value) = input.args.split_word();
        if value.is_empty() {
            let message = format!("{name} must have two arguments");
            return Err(Diagnostic::error(input.args.span(), message)
                .with_help(format!("write `{name} {}=value`", input.args.text())));
        }
        return Ok(vec![KeyValue { key: key.word(), value: value.word(), legacy: true }]);
    }
    let mut pairs = Vec::new();
    for word in words {
        match word.text().find('=') {
            Some(0) => diagnostics.push(blank_name(word, name)),
            Some(i) => {
                let (key, value) = (word.sub(0, i), word.sub(i + 1, word.text().len()));
                pairs.push(KeyValue { key: key.word(), value: value.word(), legacy: false });
            }
            None => {
                let message =
                    format!("cannot find = in `{}`, {name} takes pairs of the form name=value", word.text());
                let comment = word.text().starts_with('#');
                let help = if comment { COMMENT } else { "put quotes around a value that holds blanks" };
                diagnostics.push(Diagnostic::error(word.span(), message).with_help(help));
                if comment {
                    break;
                }
            }
        }
    }
    Ok(pairs)
}

/// Whether the arguments of `ENV` or `LABEL` fall into pairs, whatever their names are.
pub(super) fn splits(args: Piece<'_>, escape: char) -> bool {
    let words = words(args, escape);
    let has_sign = |word: &Piece<'_>| word.text().contains('=');
    match words.split_first() {
        None => true,
        Some((first, _)) if !has_sign(first) => !args.split_word().1.is_empty(),
        Some((_, others)) => others.iter().all(has_sign),
    }
}

fn blank_name(word: Piece<'_>, instruction: &str) -> Diagnostic {
    Diagnostic::error(word.span(), format!("{instruction} names can not be blank"))
}

/// Splits at blanks outside of quotes; the words keep their raw spelling. An escape character at the
/// very end is dropped.
fn words(args: Piece<'_>, escape: char) -> Vec<Piece<'_>> {
    let text = args.text();
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut quote: Option<char> = None;
    let mut end = text.len();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        if start.is_none() && c.is_whitespace() {
            continue;
        }
        let from = *start.get_or_insert(i);
        match quote {
            None if c.is_whitespace() => {
                words.push(args.sub(from, i));
                start = None;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            // Nothing can be escaped in single quotes.
            Some('\'') => {}
            _ if c == escape && chars.next().is_none() => end = i,
            _ => {}
        }
    }
    if let Some(from) = start
        && from < end
    {
        words.push(args.sub(from, end));
    }
    words
}
