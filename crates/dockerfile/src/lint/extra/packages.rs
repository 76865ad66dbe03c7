//! Package managers: versions, and what they leave in the layer.

use crate::ast::Run;

use super::super::rule;
use super::shell::Command;
use super::{Place, State};
use crate::lint::sink::Sink;

pub(super) fn check(place: &Place<'_>, run: &Run, all: &[Command], state: &State, sink: &mut Sink) {
    for command in all {
        match command.name() {
            "apt-get" | "apt" => apt(place, command, sink),
            "apk" => apk(place, run, command, sink),
            "npm" | "yarn" | "pnpm" => npm(place, command, sink),
            "gem" => gem(place, command, sink),
            _ => {}
        }
        if let Some(arguments) = pip_install(command) {
            pip(place, run, arguments, state, sink);
        }
    }
    apt_lists(place, run, all, sink);
}

/// The first word that is no flag, and those behind it.
fn verb(arguments: &[String]) -> Option<(&str, &[String])> {
    let at = arguments.iter().position(|word| !word.starts_with('-'))?;
    Some((arguments[at].as_str(), &arguments[at + 1..]))
}

/// The words that are neither flags nor values of the flags in `valued`, up to a redirection.
fn names<'a>(words: &'a [String], valued: &'a [&str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut words = words.iter().take_while(|word| !word.contains(['<', '>']) || word.contains(['=', '~']));
    while let Some(word) = words.next() {
        if valued.contains(&word.as_str()) {
            words.next();
        } else if !word.starts_with('-') {
            found.push(word.as_str());
        }
    }
    found
}

/// Whether something of the machine is mounted where `part` occurs in the path.
fn is_mounted(run: &Run, part: &str) -> bool {
    run.mounts.iter().any(|mount| {
        let target = mount.options.iter().find(|(key, _)| key.value == "target");
        target.and_then(|(_, value)| value.as_ref()).is_some_and(|path| path.value.contains(part))
    })
}

/// A name that stands for itself: no variable, path or address.
fn is_plain(name: &str) -> bool {
    !name.contains(['$', '/', '*', '{', '`']) && !name.starts_with('.')
}

fn is_apt(command: &Command) -> bool {
    matches!(command.name(), "apt-get" | "apt" | "aptitude")
}

fn apt(place: &Place<'_>, command: &Command, sink: &mut Sink) {
    let Some((verb, rest)) = verb(command.arguments()) else { return };
    let changes =
        matches!(verb, "install" | "upgrade" | "dist-upgrade" | "full-upgrade" | "remove" | "purge");
    if command.name() == "apt" && (changes || verb == "update") {
        let message = format!("`apt {verb}` in a script");
        place.at("apt").say(&rule::APT_IN_SCRIPT, message, "write `apt-get`", sink);
    }
    let short =
        |word: &str, letter: char| word.starts_with('-') && !word.starts_with("--") && word.contains(letter);
    let assumes = command.arguments().iter().any(|word| {
        matches!(word.as_str(), "--yes" | "--assume-yes" | "-qq" | "-q=2" | "--force-yes") || short(word, 'y')
    });
    if changes && !assumes {
        let message = format!("`{} {verb}` asks a question that nobody answers", command.name());
        place.at(verb).say(&rule::APT_ASSUME_YES, message, "add -y", sink);
    }
    if verb != "install" {
        return;
    }
    let lean = |word: &String| word == "--no-install-recommends" || word.contains("Install-Recommends=");
    if !command.arguments().iter().any(lean) {
        let message = format!("`{} install` takes along what is only recommended", command.name());
        place.at(verb).say(&rule::APT_NO_RECOMMENDS, message, "add --no-install-recommends", sink);
    }
    for name in names(rest, &["-t", "-o", "-c", "--target-release"]) {
        if is_plain(name) && !name.contains('=') && !name.ends_with(['-', '+']) {
            let message = format!("`{name}` without a version");
            place.at(name).say(&rule::PIN_APT_VERSIONS, message, &format!("write `{name}=VERSION`"), sink);
        }
    }
}

fn apt_lists(place: &Place<'_>, run: &Run, all: &[Command], sink: &mut Sink) {
    let has = |wanted: &[&str]| {
        all.iter().any(|c| is_apt(c) && verb(c.arguments()).is_some_and(|(verb, _)| wanted.contains(&verb)))
    };
    if !has(&["update"]) {
        return;
    }
    if !has(&["install", "upgrade", "dist-upgrade", "full-upgrade", "build-dep", "satisfy"]) {
        let help = "put the installation into the same RUN: `apt-get update && apt-get install ...`";
        let message = "the lists of this step are used by later ones however old they are".to_owned();
        place.at("update").say(&rule::APT_UPDATE_ALONE, message, help, sink);
    }
    let removed = all.iter().any(|c| {
        c.name() == "rm"
            && c.arguments()
                .iter()
                .any(|path| path.starts_with("/var/lib/apt") || path == "/var/lib/apt/lists/*")
    });
    if !removed && !is_mounted(run, "/var/lib/apt") {
        let help = "end the RUN with `rm -rf /var/lib/apt/lists/*`, or mount a cache at /var/lib/apt/lists";
        let message = "the package lists stay in the layer".to_owned();
        place.at("update").say(&rule::APT_LISTS_LEFT, message, help, sink);
    }
}

fn apk(place: &Place<'_>, run: &Run, command: &Command, sink: &mut Sink) {
    let Some((verb, rest)) = verb(command.arguments()) else { return };
    if !matches!(verb, "add" | "update" | "upgrade") {
        return;
    }
    let keeps = !command.arguments().iter().any(|word| word == "--no-cache");
    if keeps && !is_mounted(run, "apk") {
        let help = "write `apk add --no-cache ...`, or mount a cache at /var/cache/apk";
        place.at(verb).say(
            &rule::APK_NO_CACHE,
            format!("`apk {verb}` leaves its index in the layer"),
            help,
            sink,
        );
    }
    if verb == "add" {
        for name in names(rest, &["-t", "--virtual", "-X", "--repository"]) {
            if is_plain(name) && !name.contains(['=', '<', '>', '~']) {
                let message = format!("`{name}` without a version");
                place.at(name).say(
                    &rule::PIN_APK_VERSIONS,
                    message,
                    &format!("write `{name}=VERSION` or `{name}~VERSION`"),
                    sink,
                );
            }
        }
    }
}

/// What follows `install`, if the command is pip's.
fn pip_install(command: &Command) -> Option<&[String]> {
    let arguments = match (command.name(), command.arguments()) {
        (name, [module, pip, rest @ ..]) if name.starts_with("python") && module == "-m" && pip == "pip" => {
            rest
        }
        (name, rest)
            if name
                .strip_prefix("pip")
                .is_some_and(|v| v.chars().all(|c| c == '.' || c.is_ascii_digit())) =>
        {
            rest
        }
        _ => return None,
    };
    verb(arguments).is_some_and(|(verb, _)| verb == "install").then_some(arguments)
}

fn pip(place: &Place<'_>, run: &Run, arguments: &[String], state: &State, sink: &mut Sink) {
    let keeps = !arguments.iter().any(|word| word == "--no-cache-dir");
    if keeps && !state.pip_keeps_nothing && !is_mounted(run, ".cache") && !is_mounted(run, "pip") {
        let help = "add --no-cache-dir, or mount a cache at /root/.cache/pip";
        place.at("install").say(
            &rule::PIP_NO_CACHE_DIR,
            "`pip install` leaves its cache in the layer".to_owned(),
            help,
            sink,
        );
    }
    let valued = [
        "-r",
        "--requirement",
        "-c",
        "--constraint",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-t",
        "--target",
        "--prefix",
        "-f",
        "--find-links",
        "-e",
        "--editable",
        "--platform",
        "--python-version",
        "--trusted-host",
        "--root",
    ];
    for name in names(arguments, &valued).into_iter().filter(|name| *name != "install") {
        let local = name.ends_with(".whl") || name.ends_with(".tar.gz") || name.ends_with(".zip");
        if is_plain(name) && !local && !name.contains(['=', '<', '>', '~', '@', '!']) {
            let help = format!("write `{name}==VERSION`, or read a list with -r");
            place.at(name).say(&rule::PIN_PIP_VERSIONS, format!("`{name}` without a version"), &help, sink);
        }
    }
}

fn npm(place: &Place<'_>, command: &Command, sink: &mut Sink) {
    let Some((verb_word, mut rest)) = verb(command.arguments()) else { return };
    match (command.name(), verb_word) {
        ("npm" | "pnpm", "install" | "i" | "add") | ("yarn", "add") => {}
        ("yarn", "global") if rest.first().is_some_and(|word| word == "add") => rest = &rest[1..],
        _ => return,
    }
    for name in names(rest, &["--registry", "--prefix", "-C", "--dir", "--cache"]) {
        let scoped = name.strip_prefix('@').unwrap_or(name);
        let version = scoped.split_once('@').map(|(_, version)| version);
        let elsewhere = name.contains([':', '$'])
            || name.starts_with(['.', '/'])
            || (!name.starts_with('@') && name.contains('/'));
        if !elsewhere
            && !name.ends_with(".tgz")
            && version.is_none_or(|version| version.is_empty() || version == "latest")
        {
            let help = format!("write `{}@VERSION`", name.trim_end_matches("@latest"));
            place.at(name).say(&rule::PIN_NPM_VERSIONS, format!("`{name}` without a version"), &help, sink);
        }
    }
}

fn gem(place: &Place<'_>, command: &Command, sink: &mut Sink) {
    let Some(("install" | "i", rest)) = verb(command.arguments()) else { return };
    if rest.iter().any(|word| word.starts_with("-v") || word.starts_with("--version")) {
        return;
    }
    for name in names(rest, &["-s", "--source", "-i", "--install-dir", "-n", "--bindir"]) {
        if is_plain(name) && !name.contains(':') && !name.ends_with(".gem") {
            let help = format!("write `{name}:VERSION`");
            place.at(name).say(&rule::PIN_GEM_VERSIONS, format!("`{name}` without a version"), &help, sink);
        }
    }
}
