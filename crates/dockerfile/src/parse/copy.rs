//! `COPY` and `ADD`.

use crate::ast::{Copy, Heredoc, Kind, Word};
use crate::chmod;
use crate::diagnostic::Diagnostic;
use crate::glob::PatternSet;
use crate::source::{self, Source};

use super::input::{Input, literal};
use super::keyword::Keyword;

/// The arguments, sorted into what they are.
#[derive(Default)]
struct Arguments {
    words: Vec<Word>,
    heredocs: Vec<Heredoc>,
    json: bool,
    ends_in_heredoc: bool,
}

pub(super) fn copy(input: Input<'_>, diagnostics: &mut Vec<Diagnostic>) -> Result<Kind, Diagnostic> {
    check_values(&input, diagnostics);
    let keyword = input.keyword;
    let span = input.span();
    let flags = Copy {
        sources: Vec::new(),
        heredocs: Vec::new(),
        dest: Word::new(String::new(), span),
        json: false,
        from: input.flags.text("from"),
        chown: input.flags.text("chown"),
        chmod: input.flags.text("chmod"),
        link: input.flags.switch("link").unwrap_or(false),
        parents: input.flags.switch("parents").unwrap_or(false),
        excludes: input.flags.list("exclude"),
        checksum: input.flags.text("checksum"),
        unpack: input.flags.switch("unpack"),
        keep_git_dir: input.flags.switch("keep-git-dir"),
    };
    let name = keyword.name();
    let escape = input.escape;
    let mut arguments = arguments(input)?;
    let count = arguments.words.len() + arguments.heredocs.len();
    if count < 2 {
        let message = match count {
            0 => format!("{name} requires at least two arguments, but none was given"),
            _ => format!(
                "{name} requires at least two arguments, but only one was provided, so the destination is unknown"
            ),
        };
        return Err(Diagnostic::error(span, message));
    }
    if arguments.ends_in_heredoc {
        return Err(Diagnostic::error(
            span,
            format!("{name} cannot accept a here-document as a destination"),
        ));
    }
    let Some(dest) = arguments.words.pop() else {
        return Err(Diagnostic::error(span, format!("{name} has no destination")));
    };
    if let Some(checksum) = &flags.checksum
        && arguments.words.len() != 1
    {
        let message = "checksum can only be specified for a single source";
        return Err(Diagnostic::error(checksum.span, message));
    }
    for word in &arguments.words {
        diagnostics.extend(wrong_source(word, keyword, escape));
    }
    let copy =
        Copy { sources: arguments.words, heredocs: arguments.heredocs, dest, json: arguments.json, ..flags };
    Ok(if keyword == Keyword::Add { Kind::Add(copy) } else { Kind::Copy(copy) })
}

fn arguments(input: Input<'_>) -> Result<Arguments, Diagnostic> {
    if let Some(words) = input.json()? {
        return Ok(Arguments { words, json: true, ..Arguments::default() });
    }
    let mut arguments = Arguments::default();
    let mut opened = input.heredocs.into_iter().peekable();
    let mut taken_to = 0;
    for word in input.args.words() {
        // A here-document's word may hold blanks: `<< EOF`, `<<"end of file"`.
        if word.start < taken_to {
            continue;
        }
        arguments.ends_in_heredoc = false;
        match opened.next_if(|next| next.start == word.start) {
            Some(next) => {
                taken_to = next.end;
                arguments.ends_in_heredoc = true;
                arguments.heredocs.push(next.heredoc);
            }
            None => arguments.words.push(word.word()),
        }
    }
    Ok(arguments)
}

/// What is wrong with a source that holds no variable.
fn wrong_source(word: &Word, keyword: Keyword, escape: char) -> Option<Diagnostic> {
    let text = literal(&word.value, escape)?;
    let what = match source::classify(&text) {
        Err(error) => return Some(Diagnostic::error(word.span, error.to_string())),
        Ok(_) if keyword == Keyword::Add => return None,
        Ok(Source::Path) => return None,
        Ok(Source::Http(_)) => "a URL",
        Ok(Source::Git(_)) => "a git reference",
    };
    let error = Diagnostic::error(word.span, format!("source can't be {what} for COPY, found `{text}`"));
    Some(error.with_help("ADD takes URLs and git references"))
}

/// Checks the flag values that can be judged before variables are known.
fn check_values(input: &Input<'_>, diagnostics: &mut Vec<Diagnostic>) {
    if let Some(mode) = input.flags.text("chmod")
        && let Some(text) = literal(&mode.value, input.escape)
        && !text.is_empty()
        && let Err(error) = chmod::parse(&text)
    {
        diagnostics.push(Diagnostic::error(mode.span, error.to_string()));
    }
    for exclude in input.flags.list("exclude") {
        if let Err(error) = PatternSet::new([&exclude.value]) {
            diagnostics.push(Diagnostic::error(exclude.span, error.to_string()));
        }
    }
    if let Some(from) = input.flags.text("from")
        && from.value.contains('$')
    {
        let message = format!("variables are not supported in --from, found `{}`", from.value);
        diagnostics.push(
            Diagnostic::error(from.span, message).with_help(
                "define a stage with FROM, using an ARG from before the first FROM, and name that",
            ),
        );
    }
}
