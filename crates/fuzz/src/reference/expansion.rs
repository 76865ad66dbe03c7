//! Words with variables: the text of a syntax tree and its value, each straight from the tree, so that no reader of text takes part.

use crate::random::Choices;

/// The variables that are set; `U` and `UNSET` are not.
pub const VARIABLES: [(&str, &str); 5] =
    [("A", "alpha.tar.gz"), ("B", ""), ("PATHS", "a/b/c/b/a"), ("ONE", "x"), ("É", "schön*é")];

const NAMES: [&str; 7] = ["A", "B", "PATHS", "ONE", "É", "U", "UNSET"];
const PLAIN: [&str; 12] = ["a", "b/", ".", "x y", "ü", "=", "tar", ":", "-", "b", "/a", "0"];

/// A piece of a word.
#[derive(Clone, Debug)]
pub enum Part {
    /// Characters that stand for themselves.
    Plain(&'static str),
    /// `'...'`
    Single(&'static str),
    /// `"..."` of pieces that are not quotes.
    Double(Vec<Part>),
    /// A backslash and a character.
    Escape(char),
    /// `$name`
    Bare(&'static str),
    /// `${name}`
    Braced(&'static str),
    /// `${name:-word}` and its kin: operator, whether with a colon, word.
    Default(&'static str, char, bool, Vec<Part>),
    /// `${name#pattern}` and its kin: operator, doubled, pattern.
    Trim(&'static str, char, bool, Vec<Token>),
    /// `${name/pattern/word}`, `//` for all.
    Replace(&'static str, bool, Vec<Token>, &'static str),
}

/// A piece of a pattern.
#[derive(Clone, Copy, Debug)]
pub enum Token {
    /// `*`
    Star,
    /// `?`
    One,
    /// A character; those that mean something are written with a backslash.
    Is(char),
}

/// A word made of the choices.
pub fn word(choices: &mut Choices<'_>, depth: usize) -> Vec<Part> {
    let count = 1 + choices.below(4);
    (0..count).map(|_| part(choices, depth)).collect()
}

fn part(choices: &mut Choices<'_>, depth: usize) -> Part {
    let name = choices.one(&NAMES).unwrap_or("A");
    match choices.below(if depth == 0 { 5 } else { 9 }) {
        0 => Part::Plain(choices.one(&PLAIN).unwrap_or("a")),
        1 => Part::Single(choices.one(&["", "$A", "a b", "\\", "\"", "{}"]).unwrap_or("")),
        2 => Part::Escape(choices.one(&['$', '"', '\'', '\\', 'n', ' ', '}']).unwrap_or('$')),
        3 => Part::Braced(name),
        4 => Part::Bare(name),
        5 => Part::Double((0..choices.below(4)).map(|_| inside_quotes(choices, depth - 1)).collect()),
        6 => {
            let operator = choices.one(&['-', '+']).unwrap_or('-');
            Part::Default(name, operator, choices.below(2) == 1, word(choices, depth - 1))
        }
        7 => {
            let operator = choices.one(&['#', '%']).unwrap_or('#');
            Part::Trim(name, operator, choices.below(2) == 1, tokens(choices))
        }
        _ => Part::Replace(
            name,
            choices.below(2) == 1,
            tokens(choices),
            choices.one(&PLAIN).unwrap_or("a").trim_matches('/'),
        ),
    }
}

/// Quotes are ordinary characters between quotes, so none is made there.
fn inside_quotes(choices: &mut Choices<'_>, depth: usize) -> Part {
    match part(choices, depth) {
        Part::Single(_) | Part::Double(_) => Part::Plain("q"),
        other => other,
    }
}

fn tokens(choices: &mut Choices<'_>) -> Vec<Token> {
    let count = 1 + choices.below(4);
    (0..count)
        .map(|_| match choices.below(8) {
            0 | 1 => Token::Star,
            2 => Token::One,
            _ => Token::Is(choices.one(&['a', '/', '.', 'b', '*', 'x', 'é', 't']).unwrap_or('a')),
        })
        .collect()
}

/// The word as it is written.
pub fn written(parts: &[Part]) -> String {
    let mut out = String::new();
    for (i, part) in parts.iter().enumerate() {
        match part {
            Part::Plain(text) => out.push_str(text),
            Part::Single(text) => out.push_str(&format!("'{text}'")),
            Part::Double(inner) => out.push_str(&format!("\"{}\"", written(inner))),
            Part::Escape(c) => out.extend(['\\', *c]),
            // What follows could be taken for more of the name.
            Part::Bare(name) if parts.get(i + 1).is_some_and(begins_like_a_name) => {
                out.push_str(&format!("${{{name}}}"));
            }
            Part::Bare(name) => out.push_str(&format!("${name}")),
            Part::Braced(name) => out.push_str(&format!("${{{name}}}")),
            Part::Default(name, operator, colon, inner) => {
                let colon = if *colon { ":" } else { "" };
                out.push_str(&format!("${{{name}{colon}{operator}{}}}", written(inner)));
            }
            Part::Trim(name, operator, doubled, pattern) => {
                let again = if *doubled { operator.to_string() } else { String::new() };
                out.push_str(&format!("${{{name}{operator}{again}{}}}", pattern_written(pattern)));
            }
            Part::Replace(name, all, pattern, with) => {
                let slash = if *all { "//" } else { "/" };
                out.push_str(&format!("${{{name}{slash}{}/{with}}}", pattern_written(pattern)));
            }
        }
    }
    out
}

fn begins_like_a_name(part: &Part) -> bool {
    matches!(part, Part::Plain(text) if text.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

fn pattern_written(pattern: &[Token]) -> String {
    let mut out = String::new();
    for token in pattern {
        match token {
            Token::Star => out.push('*'),
            Token::One => out.push('?'),
            Token::Is(c @ ('*' | '?' | '\\' | '}' | '/')) => out.extend(['\\', *c]),
            Token::Is(c) => out.push(*c),
        }
    }
    out
}

/// The word's value.
pub fn value(parts: &[Part]) -> String {
    parts.iter().map(|part| part_value(part, false)).collect()
}

fn part_value(part: &Part, in_quotes: bool) -> String {
    match part {
        Part::Plain(text) | Part::Single(text) => (*text).to_owned(),
        Part::Double(inner) => inner.iter().map(|part| part_value(part, true)).collect(),
        Part::Escape(c) if in_quotes && !matches!(c, '$' | '"' | '\\') => format!("\\{c}"),
        Part::Escape(c) => c.to_string(),
        Part::Bare(name) | Part::Braced(name) => of(name).unwrap_or_default().to_owned(),
        // The braces end what the quotes around them mean.
        Part::Default(name, operator, colon, inner) => {
            let is_there = of(name).is_some_and(|value| !(*colon && value.is_empty()));
            match (operator, is_there) {
                ('-', true) => of(name).unwrap_or_default().to_owned(),
                ('-', false) | ('+', true) => value(inner),
                _ => String::new(),
            }
        }
        Part::Trim(name, operator, longest, pattern) => {
            trim(of(name).unwrap_or_default(), *operator, *longest, pattern)
        }
        Part::Replace(name, all, pattern, with) => replace(of(name).unwrap_or_default(), *all, pattern, with),
    }
}

fn of(name: &str) -> Option<&'static str> {
    VARIABLES.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn trim(value: &str, operator: char, longest: bool, pattern: &[Token]) -> String {
    let chars: Vec<char> = value.chars().collect();
    let lengths: Box<dyn Iterator<Item = usize>> =
        if longest { Box::new((0..=chars.len()).rev()) } else { Box::new(0..=chars.len()) };
    for length in lengths {
        let (taken, kept) = match operator {
            '#' => (&chars[..length], &chars[length..]),
            _ => (&chars[chars.len() - length..], &chars[..chars.len() - length]),
        };
        if fits(pattern, taken) {
            return kept.iter().collect();
        }
    }
    value.to_owned()
}

/// The leftmost match, there the longest; an empty one right behind another is none.
fn replace(value: &str, all: bool, pattern: &[Token], with: &str) -> String {
    let chars: Vec<char> = value.chars().collect();
    let (mut out, mut at, mut last_end) = (String::new(), 0, None);
    while at <= chars.len() {
        let found = (at..=chars.len()).rev().find(|end| fits(pattern, &chars[at..*end]));
        let found = found.filter(|end| *end > at || last_end != Some(at));
        if let Some(end) = found {
            out.push_str(with);
            last_end = Some(end);
            if !all {
                out.extend(&chars[end..]);
                return out;
            }
            if end > at {
                at = end;
                continue;
            }
        }
        out.extend(chars.get(at));
        at += 1;
    }
    out
}

/// Whether the whole of `chars` matches.
fn fits(pattern: &[Token], chars: &[char]) -> bool {
    match pattern.split_first() {
        None => chars.is_empty(),
        Some((Token::Star, rest)) => (0..=chars.len()).any(|n| fits(rest, &chars[n..])),
        Some((Token::One, rest)) => !chars.is_empty() && fits(rest, &chars[1..]),
        Some((Token::Is(c), rest)) => chars.first() == Some(c) && fits(rest, &chars[1..]),
    }
}
