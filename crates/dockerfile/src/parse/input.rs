//! What the parser of an instruction is given.

use crate::ast::CommandLine;
use crate::diagnostic::Diagnostic;
use crate::expand::{NoVariables, expand_word};
use crate::span::{Span, Spanned};

use super::flags::Flags;
use super::heredoc::Opened;
use super::json::{self, Json};
use super::keyword::Keyword;
use super::lines::Piece;

/// An instruction, split but not yet understood.
#[derive(Debug)]
pub(super) struct Input<'a> {
    pub(super) keyword: Keyword,
    /// The keyword as written.
    pub(super) head: Piece<'a>,
    pub(super) flags: Flags,
    /// What follows the flags, trimmed.
    pub(super) args: Piece<'a>,
    /// Here-documents that the arguments open.
    pub(super) heredocs: Vec<Opened>,
    /// The escape character.
    pub(super) escape: char,
}

impl Input<'_> {
    /// An error about the instruction as a whole.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.span(), message)
    }

    /// Keyword and arguments, here-document bodies left out.
    pub(super) fn span(&self) -> Span {
        if self.args.is_empty() { self.head.span() } else { self.head.span().join(self.args.span()) }
    }

    pub(super) fn needs_arguments(&self) -> Diagnostic {
        self.error(format!("{} requires at least one argument", self.keyword.name()))
            .with_help(self.example())
    }

    /// What the instruction looks like.
    fn example(&self) -> String {
        let arguments = match self.keyword {
            Keyword::Arg => "NAME=default",
            Keyword::Env | Keyword::Label => "NAME=value",
            Keyword::Expose => "80/tcp",
            Keyword::Healthcheck => "CMD command",
            Keyword::Maintainer => "name",
            Keyword::Onbuild => "RUN command",
            Keyword::Shell => r#"["/bin/sh", "-c"]"#,
            Keyword::StopSignal => "SIGTERM",
            Keyword::User => "name",
            Keyword::Volume | Keyword::Workdir => "/path",
            Keyword::From => "image",
            Keyword::Add | Keyword::Copy => "source destination",
            Keyword::Cmd | Keyword::Entrypoint | Keyword::Run => "command",
        };
        format!("write `{} {arguments}`", self.keyword.name())
    }

    /// The arguments as one word.
    pub(super) fn one_argument(&self) -> Result<Spanned<String>, Diagnostic> {
        if self.args.is_empty() {
            let message = format!("{} requires exactly one argument", self.keyword.name());
            return Err(self.error(message).with_help(self.example()));
        }
        Ok(self.args.word())
    }

    /// The arguments as JSON strings, if that is what they are.
    pub(super) fn json(&self) -> Result<Option<Vec<Spanned<String>>>, Diagnostic> {
        json_strings(self.args)
    }
}

/// The text of a value that holds no variable.
pub(super) fn literal(value: &str, escape: char) -> Option<String> {
    if value.contains('$') {
        return None;
    }
    expand_word(value, escape, &NoVariables).ok().map(|expansion| expansion.text)
}

/// What to say to somebody who put a comment behind an instruction.
pub(super) const COMMENT: &str = "a comment needs a line of its own";

/// `args` as JSON strings; `None` if it is no JSON array.
pub(super) fn json_strings(args: Piece<'_>) -> Result<Option<Vec<Spanned<String>>>, Diagnostic> {
    match json::parse(args) {
        Json::No => Ok(None),
        Json::Strings(strings) => Ok(Some(strings)),
        Json::Mixed => {
            let message = "when using JSON array syntax, arrays must be comprised of strings only";
            Err(Diagnostic::error(args.span(), message).with_help("put every element in double quotes"))
        }
    }
}

/// `args` as a command in either form.
pub(super) fn command_line(args: Piece<'_>) -> Result<CommandLine, Diagnostic> {
    Ok(match json_strings(args)? {
        Some(words) => CommandLine::Exec(words.into_iter().map(|word| word.value).collect()),
        None => CommandLine::Shell(args.text().to_owned()),
    })
}
