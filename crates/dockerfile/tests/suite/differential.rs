//! The parser against two independent ones, on what those understand.
//!
//! Neither is the measure of all things: where one refuses a case, or is known to read it wrongly, the
//! case is listed with the reason, and the list must stay exact.

use dockerfile_parser as pest;
use kiln_dockerfile::ast::{CommandLine, Kind};
use kiln_dockerfile::parse;
use parse_dockerfile as other;

use crate::corpus::cases;

/// What all three can tell: the name, and the words where they agree on what words are.
#[derive(Debug, PartialEq)]
struct Seen {
    name: &'static str,
    words: Vec<String>,
}

fn seen(name: &'static str, words: impl IntoIterator<Item = impl Into<String>>) -> Seen {
    Seen { name, words: words.into_iter().map(Into::into).collect() }
}

fn bare(name: &'static str) -> Seen {
    Seen { name, words: Vec::new() }
}

fn ours(text: &str) -> Vec<Seen> {
    let file = parse(text).dockerfile;
    let mut all: Vec<Seen> = file.global_args.iter().map(|one| our_kind(&one.kind)).collect();
    for stage in &file.stages {
        let name = stage.from.name.as_ref().map(|name| name.value.clone());
        all.push(seen("FROM", [stage.from.image.value.clone()].into_iter().chain(name)));
        all.extend(stage.instructions.iter().map(|one| our_kind(&one.kind)));
    }
    all
}

fn our_kind(kind: &Kind) -> Seen {
    match kind {
        Kind::Arg(_) => bare("ARG"),
        Kind::Env(_) => bare("ENV"),
        Kind::Label(_) => bare("LABEL"),
        Kind::Run(run) => our_command("RUN", &run.command),
        Kind::Copy(copy) => {
            seen("COPY", copy.sources.iter().chain([&copy.dest]).map(|word| word.value.clone()))
        }
        Kind::Add(_) => bare("ADD"),
        Kind::Cmd(command) => our_command("CMD", command),
        Kind::Entrypoint(command) => our_command("ENTRYPOINT", command),
        Kind::Shell(_) => bare("SHELL"),
        Kind::Workdir(_) => bare("WORKDIR"),
        Kind::User(_) => bare("USER"),
        Kind::Expose(_) => bare("EXPOSE"),
        Kind::Volume(_) => bare("VOLUME"),
        Kind::StopSignal(_) => bare("STOPSIGNAL"),
        Kind::Healthcheck(_) => bare("HEALTHCHECK"),
        Kind::Onbuild(..) => bare("ONBUILD"),
        Kind::Maintainer(_) => bare("MAINTAINER"),
    }
}

/// The shell form's text differs in how continuations leave blanks; only the array is compared.
fn our_command(name: &'static str, command: &CommandLine) -> Seen {
    match command {
        CommandLine::Exec(words) => seen(name, words.clone()),
        CommandLine::Shell(_) => bare(name),
    }
}

fn theirs(file: &other::Dockerfile<'_>) -> Vec<Seen> {
    use other::Instruction as I;
    let word = |s: &other::UnescapedString<'_>| s.value.clone().into_owned();
    let command = |name, command: &other::Command<'_>| match command {
        other::Command::Exec(words) => seen(name, words.value.iter().map(word)),
        _ => bare(name),
    };
    let one = |instruction: &I<'_>| match instruction {
        I::From(from) => {
            let name = from.as_.as_ref().map(|(_, name)| word(name));
            seen("FROM", [word(&from.image)].into_iter().chain(name))
        }
        I::Copy(copy) => {
            let sources = copy.src.iter().filter_map(|source| match source {
                other::Source::Path(path) => Some(word(path)),
                _ => None,
            });
            seen("COPY", sources.chain([word(&copy.dest)]))
        }
        I::Run(run) => command("RUN", &run.arguments),
        I::Cmd(cmd) => command("CMD", &cmd.arguments),
        I::Entrypoint(entrypoint) => command("ENTRYPOINT", &entrypoint.arguments),
        I::Add(_) => bare("ADD"),
        I::Arg(_) => bare("ARG"),
        I::Env(_) => bare("ENV"),
        I::Expose(_) => bare("EXPOSE"),
        I::Healthcheck(_) => bare("HEALTHCHECK"),
        I::Label(_) => bare("LABEL"),
        I::Maintainer(_) => bare("MAINTAINER"),
        I::Onbuild(_) => bare("ONBUILD"),
        I::Shell(_) => bare("SHELL"),
        I::Stopsignal(_) => bare("STOPSIGNAL"),
        I::User(_) => bare("USER"),
        I::Volume(_) => bare("VOLUME"),
        I::Workdir(_) => bare("WORKDIR"),
        unknown => panic!("{unknown:?}"),
    };
    file.instructions.iter().map(one).collect()
}

/// Only the instructions that this one tells apart.
fn pest_seen(file: &pest::Dockerfile) -> Vec<Seen> {
    use pest::Instruction as I;
    let one = |instruction: &I| match instruction {
        I::From(from) => {
            let name = from.alias.as_ref().map(|name| name.content.clone());
            seen("FROM", [from.image.content.clone()].into_iter().chain(name))
        }
        I::Copy(copy) => {
            seen("COPY", copy.sources.iter().chain([&copy.destination]).map(|word| word.content.clone()))
        }
        I::Arg(_) => bare("ARG"),
        I::Label(_) => bare("LABEL"),
        I::Run(_) => bare("RUN"),
        I::Entrypoint(_) => bare("ENTRYPOINT"),
        I::Cmd(_) => bare("CMD"),
        I::Env(_) => bare("ENV"),
        I::Misc(_) => bare("other"),
    };
    file.instructions.iter().map(one).collect()
}

fn as_pest_sees(mut all: Vec<Seen>) -> Vec<Seen> {
    for one in &mut all {
        match one.name {
            "FROM" | "COPY" => {}
            "ARG" | "LABEL" | "RUN" | "ENTRYPOINT" | "CMD" | "ENV" => one.words.clear(),
            _ => *one = bare("other"),
        }
    }
    all
}

/// The cases of the corpus without a mistake.
fn good() -> impl Iterator<Item = (String, String)> {
    let good = cases().into_iter().filter(|case| !parse(&case.text).has_errors());
    good.map(|case| (case.name, case.text))
}

fn compare(excused: &[(&str, &str)], check: impl Fn(&str) -> Result<(), String>) {
    let (mut compared, mut wrong) = (0, Vec::new());
    for (name, text) in good() {
        let excuse = excused.iter().any(|(excused, _)| *excused == name);
        match (check(&text), excuse) {
            (Ok(()), false) => compared += 1,
            (Err(_), true) => {}
            (Ok(()), true) => wrong.push(format!("{name}: agrees now, take it off the list")),
            (Err(difference), false) => wrong.push(format!("{name}: {difference}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 8, "only {compared} compared");
}

fn equal(ours: Vec<Seen>, theirs: Vec<Seen>) -> Result<(), String> {
    let first = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
    match first {
        Some((ours, theirs)) => Err(format!("{ours:?} against {theirs:?}")),
        None if ours.len() != theirs.len() => Err(format!("{} against {}", ours.len(), theirs.len())),
        None => Ok(()),
    }
}

#[test]
fn parse_dockerfile_agrees() {
    let excused = [
        ("heredocs", "it reads one here-document per RUN"),
        ("triggers", "it refuses what BuildKit only records"),
    ];
    compare(&excused, |text| {
        let file = other::parse(text).map_err(|e| e.to_string())?;
        equal(ours(text), theirs(&file))
    });
}

#[test]
fn dockerfile_parser_agrees() {
    let excused = [
        ("bom-and-crlf", "it knows no byte order mark"),
        ("directives", "it knows no escape directive"),
        ("heredocs", "it knows no here-documents"),
        ("triggers", "it knows no here-documents"),
        ("stages", "it allows no dot in a stage's name"),
    ];
    compare(&excused, |text| {
        let file = pest::Dockerfile::parse(text).map_err(|e| e.to_string())?;
        equal(as_pest_sees(ours(text)), pest_seen(&file))
    });
}
