//! The instructions that change the configuration: how, and what they leave in the history.

use std::collections::BTreeSet;

use kiln_dockerfile::ast::{self, ArgDecl, CommandLine, KeyValue, Word};
use kiln_dockerfile::{expose, signal};
use kiln_oci::config::Healthcheck;
use serde_json::{Map, Value};

use crate::go;
use crate::model::{Op, WorkdirOp};
use crate::turn::{Outcome, Turn};
use crate::variables::{set_in_image, stays_out_of_environment};

/// `ARG`: `--build-arg`, else the default, else the value of the global scope.
pub(crate) fn arg(declarations: &[ArgDecl], turn: &mut Turn<'_>) -> Option<Outcome> {
    let mut line = "ARG".to_owned();
    for declaration in declarations {
        let name = &declaration.name.value;
        let graph = turn.site.graph;
        let value = match (graph.inputs.build_args.get(name), &declaration.default) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(turn.word(default)?),
            (None, None) => graph.globals.get(name).map(str::to_owned),
        };
        line = format!("{line} {name}");
        if let Some(value) = &value {
            line = format!("{line}={value}");
            if !stays_out_of_environment(name) {
                turn.state.variables.set(name, value);
            }
        }
        turn.state.arguments.declare(name, value);
    }
    Outcome::metadata(line)
}

/// `ENV`: all values are expanded with what stood before the instruction.
pub(crate) fn env(pairs: &[KeyValue], turn: &mut Turn<'_>) -> Option<Outcome> {
    let pairs = expand_pairs(pairs, turn)?;
    let mut line = "ENV".to_owned();
    for (name, value) in &pairs {
        line = format!("{line} {name}={value}");
        turn.state.variables.set_of_image(name, value);
        set_in_image(&mut turn.state.config.config.env, name, value);
    }
    Outcome::metadata(line)
}

/// `LABEL`.
pub(crate) fn label(pairs: &[KeyValue], turn: &mut Turn<'_>) -> Option<Outcome> {
    let pairs = expand_pairs(pairs, turn)?;
    let mut line = "LABEL".to_owned();
    for (name, value) in pairs {
        line = format!("{line} {name}={value}");
        turn.state.config.config.labels.insert(name, value);
    }
    Outcome::metadata(line)
}

fn expand_pairs(pairs: &[KeyValue], turn: &mut Turn<'_>) -> Option<Vec<(String, String)>> {
    let mut expand = |pair: &KeyValue| {
        let (key, value) = (turn.word(&pair.key), turn.word(&pair.value));
        Some((key?, value?))
    };
    let all: Vec<Option<(String, String)>> = pairs.iter().map(&mut expand).collect();
    all.into_iter().collect()
}

/// `CMD`.
pub(crate) fn cmd(command: &CommandLine, turn: &mut Turn<'_>) -> Option<Outcome> {
    let argv = turn.command(command);
    let line = format!("CMD {}", go::quoted_list(&argv));
    turn.state.config.config.cmd = Some(argv).filter(|argv| !argv.is_empty());
    turn.state.command_is_own = true;
    Outcome::metadata(line)
}

/// `ENTRYPOINT`: takes away a CMD that came from below.
pub(crate) fn entrypoint(command: &CommandLine, turn: &mut Turn<'_>) -> Option<Outcome> {
    let argv = turn.command(command);
    let line = format!("ENTRYPOINT {}", go::quoted_list(&argv));
    turn.state.config.config.entrypoint = Some(argv).filter(|argv| !argv.is_empty());
    if !turn.state.command_is_own {
        turn.state.config.config.cmd = None;
    }
    Outcome::metadata(line)
}

/// `SHELL`.
pub(crate) fn shell(argv: &[String], turn: &mut Turn<'_>) -> Option<Outcome> {
    turn.state.config.config.shell = Some(argv.to_vec());
    Outcome::metadata(format!("SHELL {}", go::list(argv)))
}

/// `WORKDIR`: a relative path continues the one before. The configuration keeps the spelling of an absolute path.
pub(crate) fn workdir(path: &Word, turn: &mut Turn<'_>) -> Option<Outcome> {
    let path = turn.word(path)?;
    let path = if path.starts_with('/') { path } else { go::absolute(&turn.state.directory(), &path) };
    let line = format!("WORKDIR {path}");
    turn.state.config.config.working_dir.clone_from(&path);
    let path = go::clean(&path);
    if path == "/" {
        return Outcome::metadata(line);
    }
    let user = turn.state.config.config.user.clone();
    Outcome::layer(line, Op::Workdir(WorkdirOp { path, user }))
}

/// `USER`.
pub(crate) fn user(user: &Word, turn: &mut Turn<'_>) -> Option<Outcome> {
    let user = turn.word(user)?;
    let line = format!("USER {user}");
    turn.state.config.config.user = user;
    Outcome::metadata(line)
}

/// `EXPOSE`: each port once, in the order of their text.
pub(crate) fn expose(words: &[Word], turn: &mut Turn<'_>) -> Option<Outcome> {
    let mut ports = BTreeSet::new();
    let mut failed = false;
    for word in words {
        for spec in turn.split(word)? {
            match expose::parse(&spec) {
                Ok(found) => ports.extend(found),
                Err(error) => {
                    turn.notes.error(word.span, error.to_string());
                    failed = true;
                }
            }
        }
    }
    if failed {
        return None;
    }
    let ports: Vec<String> = ports.into_iter().collect();
    let line = format!("EXPOSE {}", go::list(&ports));
    let empty = || Value::Object(Map::new());
    turn.state.config.config.exposed_ports.extend(ports.into_iter().map(|port| (port, empty())));
    Outcome::metadata(line)
}

/// `VOLUME`.
pub(crate) fn volume(words: &[Word], turn: &mut Turn<'_>) -> Option<Outcome> {
    let paths = turn.each(words)?;
    if let Some(empty) = paths.iter().position(String::is_empty) {
        return turn.error(words[empty].span, "a path of VOLUME is empty");
    }
    let line = format!("VOLUME {}", go::list(&paths));
    let empty = || Value::Object(Map::new());
    turn.state.config.config.volumes.extend(paths.into_iter().map(|path| (path, empty())));
    Outcome::metadata(line)
}

/// `STOPSIGNAL`.
pub(crate) fn stop_signal(word: &Word, turn: &mut Turn<'_>) -> Option<Outcome> {
    let text = turn.word(word)?;
    if let Err(error) = signal::check(&text) {
        turn.notes.error(word.span, error.to_string());
        turn.notes.help(error.way_out());
        return None;
    }
    let line = format!("STOPSIGNAL {text}");
    turn.state.config.config.stop_signal = Some(text);
    Outcome::metadata(line)
}

/// `HEALTHCHECK`: replaces all of what was there; what is left out is up to the runtime.
pub(crate) fn healthcheck(check: &ast::Healthcheck, turn: &mut Turn<'_>) -> Option<Outcome> {
    let check = match check {
        ast::Healthcheck::None => Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() },
        ast::Healthcheck::Cmd { command, interval, timeout, start_period, start_interval, retries } => {
            let test = match command {
                CommandLine::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
                CommandLine::Exec(argv) => [&["CMD".to_owned()], argv.as_slice()].concat(),
            };
            Healthcheck {
                test,
                interval: *interval,
                timeout: *timeout,
                start_period: *start_period,
                start_interval: *start_interval,
                retries: *retries,
            }
        }
    };
    let line = format!("HEALTHCHECK {}", go::healthcheck(&check));
    turn.state.config.config.healthcheck = Some(check);
    Outcome::metadata(line)
}

/// `ONBUILD`: only recorded.
pub(crate) fn onbuild(text: &str, turn: &mut Turn<'_>) -> Option<Outcome> {
    turn.state.config.config.on_build.push(text.to_owned());
    Outcome::metadata(format!("ONBUILD {text}"))
}

/// `MAINTAINER`.
pub(crate) fn maintainer(text: &Word, turn: &mut Turn<'_>) -> Option<Outcome> {
    turn.state.config.author = Some(text.value.clone());
    Outcome::metadata(format!("MAINTAINER {}", text.value))
}
