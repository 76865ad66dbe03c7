//! `COPY` and `ADD`.

use kiln_dockerfile::ast::{Copy, Heredoc, Word};
use kiln_dockerfile::chmod;
use kiln_dockerfile::source::{self, GitSource, Source};
use kiln_dockerfile::span::Spanned;
use kiln_oci::digest::Digest;

use crate::go;
use crate::model::{CopyOp, CopySource, Op, Origin};
use crate::turn::{Outcome, Turn};

/// Plans one COPY, or one ADD.
pub(crate) fn copy(copy: &Copy, add: bool, turn: &mut Turn<'_>) -> Option<Outcome> {
    let named = copy.from.as_ref().filter(|from| !from.value.is_empty());
    let from = named.map_or(Some(Origin::Context), |from| turn.origin(from));
    let chown = not_empty(copy.chown.as_ref(), turn);
    let chmod = chmod(copy, turn);
    let checksum = not_empty(copy.checksum.as_ref(), turn);
    let texts = turn.each(&copy.sources);
    let inline: Vec<_> = copy.heredocs.iter().map(|heredoc| heredoc_source(heredoc, turn)).collect();
    let dest = turn.word(&copy.dest);
    let (chown, chmod, checksum, texts, dest) = (chown?, chmod?, checksum?, texts?, dest?);
    let line = history(copy, add, [chown.as_deref(), chmod.as_deref()], &texts, &dest);
    let mut op = CopyOp {
        add,
        sources: Vec::new(),
        from: from?,
        dest: go::destination(&turn.state.directory(), &dest),
        chown,
        chmod,
        link: copy.link,
        parents: copy.parents,
        excludes: copy.excludes.iter().map(|pattern| pattern.value.clone()).collect(),
        checksum,
        unpack: copy.unpack,
        keep_git_dir: copy.keep_git_dir.unwrap_or(false),
    };
    let sources: Vec<Option<CopySource>> =
        copy.sources.iter().zip(texts).map(|(word, text)| one_source(word, text, copy, &op, turn)).collect();
    op.sources = sources.into_iter().chain(inline).collect::<Option<_>>()?;
    check_checksum(copy, &op, turn)?;
    Outcome::layer(line, Op::Copy(Box::new(op)))
}

/// Flags, sources, names of here-documents, destination; as BuildKit records them, without `--from` and `--link`.
fn history(copy: &Copy, add: bool, owners: [Option<&str>; 2], texts: &[String], dest: &str) -> String {
    let mut line = if add { "ADD".to_owned() } else { "COPY".to_owned() };
    if copy.parents {
        line.push_str(" --parents");
    }
    for (flag, value) in ["--chown", "--chmod"].into_iter().zip(owners) {
        if let Some(value) = value {
            line = format!("{line} {flag}={value}");
        }
    }
    for text in texts {
        // A password in a URL is a secret like any other.
        line = format!("{line} {}", source::redacted(text));
    }
    for heredoc in &copy.heredocs {
        line = format!("{line} <<{}", heredoc.name);
    }
    format!("{line} {dest} # buildkit")
}

/// An expanded flag; empty is as if it were not there. The outer `None` means an error was noted.
fn not_empty(word: Option<&Word>, turn: &mut Turn<'_>) -> Option<Option<String>> {
    Some(turn.optional(word)?.filter(|text| !text.is_empty()))
}

/// The outer `None` means an error was noted.
fn chmod(copy: &Copy, turn: &mut Turn<'_>) -> Option<Option<String>> {
    let text = not_empty(copy.chmod.as_ref(), turn)?;
    match (text.as_deref().map(chmod::parse), &copy.chmod) {
        (Some(Err(error)), Some(word)) => turn.error(word.span, error.to_string()),
        _ => Some(text),
    }
}

fn heredoc_source(heredoc: &Heredoc, turn: &mut Turn<'_>) -> Option<CopySource> {
    let content = if heredoc.expand {
        turn.body(&Spanned::new(heredoc.body.clone(), heredoc.body_span))?
    } else {
        heredoc.body.clone()
    };
    Some(CopySource::Inline { name: heredoc.name.clone(), content })
}

fn one_source(
    word: &Word,
    text: String,
    copy: &Copy,
    op: &CopyOp,
    turn: &mut Turn<'_>,
) -> Option<CopySource> {
    let kind = match source::classify(&text) {
        Ok(kind) => kind,
        Err(error) => return turn.error(word.span, format!("git source `{text}`: {error}")),
    };
    match kind {
        Source::Path => Some(CopySource::Path { pattern: text, span: word.span }),
        Source::Http(_) if op.add => Some(CopySource::Http { url: text, span: word.span }),
        Source::Git(git) if op.add => {
            check_git(word, &git, copy, op, turn)?;
            Some(CopySource::Git { url: text, span: word.span })
        }
        Source::Http(_) => refuse(word, &text, "URL", turn),
        Source::Git(_) => refuse(word, &text, "git reference", turn),
    }
}

fn refuse<T>(word: &Word, text: &str, what: &str, turn: &mut Turn<'_>) -> Option<T> {
    turn.notes.error(word.span, format!("source can't be a {what} for COPY, found `{text}`"));
    turn.notes.help("ADD takes URLs and git references".to_owned());
    None
}

/// What the query of a git source and the flags of the instruction both say must agree.
fn check_git(word: &Word, git: &GitSource, copy: &Copy, op: &CopyOp, turn: &mut Turn<'_>) -> Option<()> {
    let disagree = |flag: Option<bool>, query: Option<bool>| flag.zip(query).is_some_and(|(a, b)| a != b);
    if disagree(copy.keep_git_dir, git.keep_git_dir) {
        return turn.error(word.span, "`keep-git-dir` of the source contradicts `--keep-git-dir`");
    }
    match (&op.checksum, &git.checksum) {
        (Some(flag), Some(query)) if flag != query => {
            turn.error(word.span, format!("checksum `{query}` of the source contradicts `--checksum={flag}`"))
        }
        _ => Some(()),
    }
}

fn check_checksum(copy: &Copy, op: &CopyOp, turn: &mut Turn<'_>) -> Option<()> {
    let (Some(word), Some(checksum)) = (&copy.checksum, &op.checksum) else { return Some(()) };
    match op.sources.as_slice() {
        [CopySource::Http { .. }] => match checksum.parse::<Digest>() {
            Ok(_) => Some(()),
            Err(error) => turn.error(word.span, format!("--checksum: {error}")),
        },
        [CopySource::Git { .. }] if source::is_commit_prefix(checksum) => Some(()),
        [CopySource::Git { .. }] => turn.error(
            word.span,
            format!("--checksum: `{checksum}` is no commit id: hexadecimal digits are expected"),
        ),
        [_] => turn.error(word.span, "--checksum needs a source that is a URL or a git repository"),
        _ => turn.error(word.span, "checksum can only be specified for a single source"),
    }
}
