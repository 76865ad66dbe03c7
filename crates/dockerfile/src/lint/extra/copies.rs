//! What COPY and ADD write, and what later steps do to it.

use crate::ast::Copy;
use crate::glob::clean;
use crate::source::{Source, classify};

use super::super::rule;
use super::shell::Command;
use super::{Place, State};
use crate::lint::sink::{Finding, Sink};

/// Endings of archives that ADD unpacks.
const ARCHIVES: [&str; 10] =
    [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst"];

pub(super) fn copy(
    place: &Place<'_>,
    copy: &Copy,
    keyword: &'static str,
    state: &mut State,
    sink: &mut Sink,
) {
    if keyword == "ADD" {
        add(place, copy, sink);
    }
    let target = copy.dest.value.trim_matches(['"', '\'']);
    if let Some(path) = absolute(target, state.directory.as_deref()).filter(|path| !path.contains('$')) {
        state.copied.push((path, keyword));
    }
    let whole = |word: &str| matches!(word, "." | "./" | "/" | "*" | "./*");
    let source = copy.sources.iter().find(|word| whole(&word.value));
    if let Some(word) =
        source.filter(|_| copy.from.is_none() && !state.installed && state.whole_context.is_none())
    {
        state.whole_context = Some((word.span, place.one.comment.clone()));
    }
}

/// `path` without `.` and `..`, below `directory` if it is relative; `None` if nobody knows where that is.
pub(super) fn absolute(path: &str, directory: Option<&str>) -> Option<String> {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", directory?) };
    Some(clean(&whole))
}

fn add(place: &Place<'_>, copy: &Copy, sink: &mut Sink) {
    let special = copy.checksum.is_some() || copy.unpack.is_some() || copy.keep_git_dir.is_some();
    let local = |text: &str| {
        let lower = text.trim_matches(['"', '\'']).to_ascii_lowercase();
        let archive = ARCHIVES.iter().any(|ending| lower.ends_with(ending));
        !archive && !lower.contains(['$', '*', '?']) && matches!(classify(text), Ok(Source::Path))
    };
    if special || copy.sources.is_empty() || !copy.sources.iter().all(|word| local(&word.value)) {
        return;
    }
    let name = &copy.sources[0].value;
    let message = format!("ADD of `{name}`, which is neither an archive nor from elsewhere");
    place.at("ADD").say(&rule::ADD_FOR_COPY, message, "write COPY", sink);
}

/// What a RUN does to files that were copied.
pub(super) fn after(place: &Place<'_>, all: &[Command], state: &mut State, sink: &mut Sink) {
    for command in all {
        if installs_dependencies(command) {
            if let Some((span, comment)) = state.whole_context.take() {
                let program = command.words.iter().take(2).cloned().collect::<Vec<_>>().join(" ");
                let message = format!("any change to the context makes `{program}` run again");
                let finding = Finding::new(span, message)
                    .help("copy what lists the dependencies, install them, then copy the rest");
                sink.add(&rule::COPY_BEFORE_INSTALL, &comment, finding);
            }
            state.installed = true;
        }
        if matches!(command.name(), "chown" | "chmod" | "chgrp") {
            ownership(place, command, state, sink);
        }
    }
}

fn ownership(place: &Place<'_>, command: &Command, state: &State, sink: &mut Sink) {
    // The first word that is no flag is the owner or the mode; `-x` is a mode, too.
    let mut words = command.arguments().iter().skip_while(|word| word.starts_with("--") || is_flag(word));
    words.next();
    for word in words.filter(|word| !word.starts_with('-')) {
        let Some(path) = absolute(word, state.directory.as_deref()).filter(|path| path != "/") else {
            continue;
        };
        let touches = |copied: &str| is_below(copied, &path) || is_below(&path, copied);
        let Some((copied, keyword)) =
            state.copied.iter().find(|(copied, _)| touches(copied) && copied != "/")
        else {
            continue;
        };
        let flag = if command.name() == "chmod" { "--chmod" } else { "--chown" };
        let message =
            format!("`{} {word}` stores what {keyword} wrote to `{copied}` a second time", command.name());
        let help = format!("write `{keyword} {flag}=...`");
        place.at(command.name()).say(&rule::CHOWN_DOUBLES_LAYER, message, &help, sink);
        return;
    }
}

fn is_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|flags| flags.chars().all(|c| "RvcfhHLP".contains(c)))
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether it fetches what a list in the context names.
fn installs_dependencies(command: &Command) -> bool {
    let words: Vec<&str> =
        command.arguments().iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let has = |flag: &str| {
        command.arguments().iter().any(|word| word == flag || word.starts_with(&format!("{flag}=")))
    };
    match (command.name(), words.as_slice()) {
        ("npm", ["ci", ..] | ["install" | "i"])
        | ("pnpm", ["install" | "i"])
        | ("yarn", [] | ["install"]) => true,
        ("pip" | "pip3", ["install", ..]) => has("-r") || has("--requirement"),
        ("python" | "python3", ["pip", "install", ..]) => has("-r") || has("--requirement"),
        ("poetry" | "pipenv" | "bundle" | "composer" | "bun", ["install", ..]) => true,
        ("go", ["mod", "download"])
        | ("cargo", ["fetch"])
        | ("dotnet", ["restore", ..])
        | ("uv", ["sync", ..]) => true,
        ("mvn" | "mvnw", goals) => goals.iter().any(|goal| goal.starts_with("dependency:")),
        ("mix", ["deps.get", ..]) => true,
        _ => false,
    }
}
