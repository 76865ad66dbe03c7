//! The wildcards of `${name#pattern}` and its kin: `*`, `?` and backslash, no classes.

/// A backslash before something that needs none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid escape `\\{0}`")]
pub struct PatternEscapeError(pub String);

/// A parsed pattern.
pub(super) struct Pattern(Vec<Token>);

enum Token {
    Literal(char),
    /// Any character but a newline.
    One,
    /// Any run of characters without a newline.
    Star,
}

/// Which of several matches that begin at one place is taken.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Length {
    Shortest,
    Longest,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternEscapeError> {
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Literal(c),
                    other => return Err(PatternEscapeError(other.map(String::from).unwrap_or_default())),
                },
                c => Token::Literal(c),
            });
        }
        Ok(Self(tokens))
    }

    /// `value` without the prefix that matches.
    pub(super) fn trim_prefix(&self, value: &str, length: Length) -> String {
        let value: Vec<char> = value.chars().collect();
        let end = self.ends(&value, length)[0].unwrap_or(0);
        value[end..].iter().collect()
    }

    /// `value` without the suffix that matches: the prefix of everything turned round.
    pub(super) fn trim_suffix(mut self, value: &str, length: Length) -> String {
        self.0.reverse();
        let reversed: String = value.chars().rev().collect();
        self.trim_prefix(&reversed, length).chars().rev().collect()
    }

    /// `value` with the first match, or all that do not overlap, replaced. Matches are the longest.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        let value: Vec<char> = value.chars().collect();
        let ends = self.ends(&value, Length::Longest);
        let mut out = String::new();
        let (mut copied, mut at) = (0, 0);
        while let Some((start, end)) = (at..=value.len()).find_map(|i| Some((i, ends[i]?))) {
            out.extend(&value[copied..start]);
            // Nothing matched right behind a match is no match of its own.
            if end > copied || start == 0 {
                out.push_str(replacement);
            }
            copied = end;
            at = if end > at { end } else { at + 1 };
            if !all {
                break;
            }
        }
        out.extend(&value[copied.min(value.len())..]);
        out
    }

    /// For each place in `value`, where the preferred match that begins there ends. Filled from the
    /// back, token by token, so that hostile patterns take time linear in both lengths.
    fn ends(&self, value: &[char], length: Length) -> Vec<Option<usize>> {
        let mut after: Vec<Option<usize>> = (0..=value.len()).map(Some).collect();
        for token in self.0.iter().rev() {
            let mut here = vec![None; value.len() + 1];
            for i in (0..=value.len()).rev() {
                let next = value.get(i).copied();
                here[i] = match token {
                    Token::Literal(c) if next == Some(*c) => after[i + 1],
                    Token::One if next.is_some_and(|c| c != '\n') => after[i + 1],
                    Token::Literal(_) | Token::One => None,
                    Token::Star => {
                        let more = if next.is_some_and(|c| c != '\n') { here[i + 1] } else { None };
                        match length {
                            Length::Shortest => after[i].or(more),
                            Length::Longest => more.or(after[i]),
                        }
                    }
                };
            }
            after = here;
        }
        after
    }
}
