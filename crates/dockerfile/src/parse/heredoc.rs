//! Here-documents: finding them in a command line, and reading their bodies.
//!
//! A word that is `<<` with an optional `-`, an optional number before and a delimiter behind opens
//! one. BuildKit looks no further; this reader also knows what a shell would never take for one: what
//! stands in `$((...))` and `((...))`, and comments of `RUN`. It lets blanks follow `<<-`, and ends a
//! delimiter in `RUN` at `;`, `&`, `|`, `>`, `(` or `)`.

use crate::ast::Heredoc;
use crate::diagnostic::Diagnostic;
use crate::span::Span;

use super::keyword::Keyword;
use super::lines::{Lines, Piece};

/// A here-document and the word that opened it, in offsets of the logical line.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) heredoc: Heredoc,
}

/// Finds the here-documents that `args` opens and takes their bodies from `lines`.
pub(super) fn read(
    args: Piece<'_>,
    keyword: Keyword,
    lines: &mut Lines<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Opened> {
    if !args.text().contains("<<") {
        return Vec::new();
    }
    let mut opened = Vec::new();
    for found in Scanner::new(args.text(), keyword == Keyword::Run).scan() {
        let span = args.sub(found.start, found.end).span();
        let mut heredoc = Heredoc {
            name: found.name,
            body: String::new(),
            expand: !found.quoted,
            strip_tabs: found.strip_tabs,
            fd: found.fd,
            span,
            body_span: Span::default(),
        };
        if read_body(&mut heredoc, lines, diagnostics) {
            opened.push(Opened { start: args.start + found.start, end: args.start + found.end, heredoc });
        }
    }
    opened
}

/// Takes lines up to the delimiter; if it never comes, up to what looks like the next instruction.
fn read_body(heredoc: &mut Heredoc, lines: &mut Lines<'_>, diagnostics: &mut Vec<Diagnostic>) -> bool {
    if !lines.will_give(&heredoc.name, heredoc.strip_tabs) {
        diagnostics.push(unterminated(heredoc));
        while lines.peek().is_some_and(|line| !starts_instruction(lines.content(line))) {
            lines.next(diagnostics);
        }
        return false;
    }
    let start = lines.peek().map_or(lines.text().len(), |line| line.start);
    let mut end = start;
    while let Some(line) = lines.next(diagnostics) {
        let content = lines.content(line);
        let visible = if heredoc.strip_tabs { content.trim_start_matches('\t') } else { content };
        end = line.start;
        if visible == heredoc.name {
            break;
        }
    }
    heredoc.body_span = Span::new(start, end);
    let raw = &lines.text()[start..end];
    heredoc.body = if heredoc.strip_tabs {
        raw.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    } else {
        raw.to_owned()
    };
    true
}

fn unterminated(heredoc: &Heredoc) -> Diagnostic {
    let message = format!("unterminated here-document `{}`", heredoc.name);
    Diagnostic::error(heredoc.span, message)
        .with_help(format!("end it with a line that holds nothing but `{}`", heredoc.name))
}

fn starts_instruction(content: &str) -> bool {
    let word = content.split([' ', '\t']).next().unwrap_or_default();
    Keyword::names().any(|name| name == word)
}

#[derive(Debug)]
struct Found {
    start: usize,
    end: usize,
    name: String,
    quoted: bool,
    strip_tabs: bool,
    fd: u32,
}

/// Reads a command line as a shell would, as far as that is needed to tell words from other things.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    shell: bool,
    /// How many `((` were not closed so far.
    unclosed: usize,
}

/// After so many `((` that are never closed no more are looked into: each costs a search to the end.
const MOST_UNCLOSED: usize = 100;

impl<'a> Scanner<'a> {
    fn new(text: &'a str, shell: bool) -> Self {
        Self { text, at: 0, shell, unclosed: 0 }
    }

    /// All openings in order; none if quotes or braces are not closed.
    fn scan(mut self) -> Vec<Found> {
        let mut found = Vec::new();
        let mut at_word_start = true;
        while let Some(c) = self.peek() {
            if at_word_start && let Some(opening) = self.opening() {
                found.push(opening);
                at_word_start = false;
                continue;
            }
            if at_word_start && c == '#' && self.shell {
                break;
            }
            if self.skip(c).is_none() {
                return Vec::new();
            }
            at_word_start = c.is_whitespace();
        }
        found
    }

    /// Passes over one character or one quoted, escaped, braced or arithmetic unit.
    fn skip(&mut self, c: char) -> Option<()> {
        match c {
            '\'' | '"' => self.quoted(c).map(drop),
            '\\' => {
                self.next();
                self.next();
                Some(())
            }
            '$' if self.rest().starts_with("${") => {
                self.at += 2;
                self.braced()
            }
            '$' if self.rest().starts_with("$((") => {
                self.at += 1;
                self.arithmetic();
                Some(())
            }
            '(' if self.shell && self.rest().starts_with("((") => {
                self.arithmetic();
                Some(())
            }
            _ => {
                self.next();
                Some(())
            }
        }
    }

    /// The text between quotes; `None` if they are not closed.
    fn quoted(&mut self, quote: char) -> Option<String> {
        self.next();
        let mut out = String::new();
        loop {
            match self.next()? {
                c if c == quote => return Some(out),
                '\\' if quote == '"' => match self.peek()? {
                    c @ ('"' | '$' | '\\') => {
                        self.next();
                        out.push(c);
                    }
                    _ => out.push('\\'),
                },
                c => out.push(c),
            }
        }
    }

    /// The inside of `${`, with what nests in it.
    fn braced(&mut self) -> Option<()> {
        let mut depth = 1;
        while depth > 0 {
            match self.peek()? {
                '}' => {
                    self.next();
                    depth -= 1;
                }
                '$' if self.rest().starts_with("${") => {
                    self.at += 2;
                    depth += 1;
                }
                c @ ('\'' | '"') => {
                    self.quoted(c)?;
                }
                '\\' => {
                    self.next();
                    self.next();
                }
                _ => {
                    self.next();
                }
            }
        }
        Some(())
    }

    /// Passes over `((...))`; if it is not closed, over the parentheses alone.
    fn arithmetic(&mut self) {
        let mut depth = 0_usize;
        let searched = if self.unclosed < MOST_UNCLOSED { self.rest() } else { "" };
        for (i, c) in searched.char_indices() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.at += i + 1;
                return;
            }
        }
        self.unclosed += 1;
        self.at += 2;
    }

    /// The opening that begins here, if one does; otherwise nothing is read.
    fn opening(&mut self) -> Option<Found> {
        let start = self.at;
        let found = self.try_opening(start);
        if found.is_none() {
            self.at = start;
        }
        found
    }

    fn try_opening(&mut self, start: usize) -> Option<Found> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let fd = if digits == 0 { 0 } else { self.rest()[..digits].parse().ok()? };
        let rest = self.rest()[digits..].strip_prefix("<<")?;
        let (strip_tabs, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        self.at = self.text.len() - rest.trim_start_matches(['\t', '\r', ' ']).len();
        let (name, quoted) = self.delimiter()?;
        Some(Found { start, end: self.at, name, quoted, strip_tabs, fd })
    }

    fn delimiter(&mut self) -> Option<(String, bool)> {
        let (mut name, mut quoted) = (String::new(), false);
        while let Some(c) = self.peek() {
            match c {
                c if c.is_whitespace() => break,
                ';' | '&' | '|' | '>' | '(' | ')' if self.shell => break,
                '<' => return None,
                '\'' | '"' => {
                    name.push_str(&self.quoted(c)?);
                    quoted = true;
                }
                '\\' => {
                    self.next();
                    name.extend(self.next());
                }
                c => {
                    self.next();
                    name.push(c);
                }
            }
        }
        (!name.is_empty()).then_some((name, quoted))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str, shell: bool) -> Vec<Found> {
        Scanner::new(text, shell).scan()
    }

    #[test]
    fn openings() {
        let cases: [(&str, &[&str]); 25] = [
            ("<<EOF", &["EOF"]),
            ("<<-EOF", &["EOF"]),
            ("<< EOF", &["EOF"]),
            ("<<- EOF", &["EOF"]),
            ("<< -EOF", &["-EOF"]),
            ("<<'EOF'", &["EOF"]),
            ("<<\"E F\"", &["E F"]),
            ("<<eo'f'", &["eof"]),
            (r"<<eo\'f", &["eo'f"]),
            ("4<<EOF", &["EOF"]),
            ("<<A cat > /a && cat <<B > /b", &["A", "B"]),
            ("<<$EOF", &["$EOF"]),
            ("<<EOF | sh", &["EOF"]),
            ("cat <<EOF>/x", &["EOF"]),
            ("(cat <<EOF)", &["EOF"]),
            ("cat <<EOF; true", &["EOF"]),
            ("'<<EOF' \"<<EOF\"", &[]),
            ("<<<x", &[]),
            ("cat <<< \"x\"", &[]),
            ("a<<b", &[]),
            (r"a\<\<b", &[]),
            ("<<", &[]),
            ("<<''", &[]),
            ("it's <<EOF", &[]),
            ("x <<EOF 'open", &[]),
        ];
        for (text, want) in cases {
            let names: Vec<String> = scan(text, true).into_iter().map(|f| f.name).collect();
            assert_eq!(names, want, "{text}");
        }
    }

    #[test]
    fn look_alikes_of_a_shell() {
        for text in [
            "echo $((1<<3))",
            "echo $((1 << 3))",
            "(( x = 1 << 3 ))",
            "echo $(( (1 << 2) << 3 ))",
            "echo ${x:-a << b}",
            "echo hi # see <<EOF",
        ] {
            assert!(scan(text, true).is_empty(), "{text}");
        }
        assert_eq!(scan("echo $((1 << 3)) <<EOF", true).len(), 1);
        assert_eq!(scan("echo ${x:0:3} <<EOF", true).len(), 1);
        assert_eq!(scan("a#b <<EOF", true).len(), 1);
        assert_eq!(scan("# <<EOF /x", false).len(), 1);
    }

    #[test]
    fn attributes() {
        let found = scan("3<<-'X' <<Y", true);
        assert_eq!((found[0].fd, found[0].strip_tabs, found[0].quoted), (3, true, true));
        assert_eq!((found[0].start, found[0].end), (0, 7));
        assert_eq!((found[1].fd, found[1].strip_tabs, found[1].quoted), (0, false, false));
    }
}
