//! What to write instead: proposals, since the image is not the same to the last bit.

use crate::ast::{Dockerfile, Instruction, Kind};

/// What a shell does itself: without one there is no such program.
const BUILTINS: [&str; 34] = [
    ".", ":", "[[", "alias", "bg", "break", "case", "cd", "command", "continue", "declare", "eval", "exec",
    "exit", "export", "fg", "for", "function", "if", "jobs", "let", "local", "read", "readonly", "return",
    "set", "shift", "source", "time", "trap", "ulimit", "umask", "unset", "while",
];

/// The JSON form of the shell form `line`, if a shell would do no more than to start it, and if what stands beside it
/// does not come to mean something else: an `ENTRYPOINT` in JSON form is given the `CMD`.
pub(super) fn argv(one: &Instruction, line: &str, file: &Dockerfile) -> Option<String> {
    let words: Vec<&str> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let first = words.first()?;
    let simple = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "_./:@%+,-=".contains(c));
    if !words.iter().all(simple) || first.contains('=') || BUILTINS.contains(first) {
        return None;
    }
    let meets = |kind: &Kind| match one.kind {
        Kind::Cmd(_) => matches!(kind, Kind::Entrypoint(_)),
        _ => matches!(kind, Kind::Cmd(_)),
    };
    if file.stages.iter().flat_map(|stage| &stage.instructions).any(|other| meets(&other.kind)) {
        return None;
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    Some(format!("[{}]", quoted.join(", ")))
}

/// The label for a `MAINTAINER`, whose text is taken as it is while that of a label is expanded.
pub(super) fn label(text: &str, one: &Instruction) -> Option<String> {
    let Kind::Maintainer(name) = &one.kind else { return None };
    let written = text.get(one.span.start..one.span.end)?;
    if written.contains(['\n', '"', '\'', '\\', '`', '$']) {
        return None;
    }
    let keyword = if written.starts_with("maintainer") { "label" } else { "LABEL" };
    Some(format!("{keyword} org.opencontainers.image.authors=\"{}\"", name.value))
}
