//! Parser directives: `# name=value` lines before anything else.

use crate::ast::Directives;
use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};

use super::lines::{Line, Lines};

/// Reads the directives at the head of `lines` and leaves `lines` behind them.
///
/// A first line that begins with `#!` is let pass; BuildKit then finds `syntax` and `check` behind
/// it, but no longer `escape`, and so does this.
pub(super) fn read(lines: &mut Lines<'_>, diagnostics: &mut Vec<Diagnostic>) -> Directives {
    let mut found = Directives::default();
    let mut seen: Vec<String> = Vec::new();
    let has_shebang = lines.peek().is_some_and(|line| lines.content(line).starts_with("#!"));
    if has_shebang {
        lines.next(diagnostics);
    }
    let comment =
        if lines.peek().is_some_and(|line| lines.content(line).starts_with("//")) { "//" } else { "#" };
    while let Some(line) = lines.peek() {
        let Some((name, value)) = split(lines.content(line), line, comment) else { break };
        let name = name.to_ascii_lowercase();
        if !matches!(name.as_str(), "syntax" | "escape" | "check") {
            break;
        }
        lines.next(diagnostics);
        let span = Span::new(line.start, line.end);
        if comment == "//" {
            let message = format!("`//{name}=` belongs to a frontend for another language than Dockerfile");
            diagnostics.push(Diagnostic::error(span, message).with_help(format!("write `# {name}=`")));
        }
        if seen.contains(&name) {
            diagnostics
                .push(Diagnostic::error(span, format!("only one {name} parser directive can be used")));
            continue;
        }
        // Of what follows the first word, BuildKit hands that of `syntax` to the frontend and takes that of `check` for a remark.
        let first = || {
            let word = value.value.split(' ').next().unwrap_or_default().to_owned();
            let end = value.span.start + word.len();
            Some(Spanned::new(word, Span::new(value.span.start, end)))
        };
        match name.as_str() {
            "escape" if has_shebang => {}
            "escape" => match value.value.as_str() {
                "\\" | "`" => found.escape = value.value.chars().next().unwrap_or('\\'),
                other => {
                    let message =
                        format!("invalid escape token `{other}`, it must be a backslash or a backtick");
                    diagnostics.push(Diagnostic::error(value.span, message));
                }
            },
            "syntax" => found.syntax = first(),
            _ => found.check = first(),
        }
        seen.push(name);
    }
    found
}

/// Name and value of a directive line; `None` ends the directives.
fn split<'t>(content: &'t str, line: Line, comment: &str) -> Option<(&'t str, Spanned<String>)> {
    let body = content.trim_start().strip_prefix(comment)?.trim_start();
    let length = body.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(body.len());
    let (name, rest) = body.split_at(length);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let blank = |c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c');
    let value = rest.trim_start_matches(blank).strip_prefix('=')?.trim_matches(blank);
    if value.is_empty() {
        return None;
    }
    let trailing = content.len() - content.trim_end_matches(blank).len();
    let end = line.end - trailing;
    Some((name, Spanned::new(value.to_owned(), Span::new(end - value.len(), end))))
}
