//! `RUN`: what is started, with which environment, and how the history spells it.

use std::borrow::Cow;

use kiln_dockerfile::ast::{CommandLine, Heredoc, Run, Word};
use kiln_dockerfile::suggest;

use crate::model::{NetworkMode, Op, RunMount, RunMountKind, RunOp, Script};
use crate::mounts;
use crate::state::State;
use crate::turn::{Outcome, Turn};
use crate::variables::{Variables, proxies};
use crate::words::Expander;

/// Where a here-document that names its own interpreter is put.
const SCRIPTS: &str = "/dev/pipes";

/// Plans one RUN.
pub(crate) fn run(run: &Run, turn: &mut Turn<'_>) -> Option<Outcome> {
    for device in &run.devices {
        let message = format!(
            "`RUN --device={}` asks for a device of the host (CDI), and kiln gives steps none",
            device.value
        );
        turn.notes.error(device.span, message);
    }
    let mounts = mounts::plan(&run.mounts, turn);
    let network = network(run.network.as_ref(), turn);
    let insecure = insecure(run.security.as_ref(), turn);
    let (argv, scripts) = command(run, turn);
    let line = history(&argv, turn);
    turn.notes.saw_environment = true;
    let (mounts, network, insecure) = (mounts?, network?, insecure?);
    if !run.devices.is_empty() {
        return None;
    }
    let op = RunOp {
        argv,
        environment: turn.state.variables.environment().clone(),
        unkeyed_env: proxies(&turn.site.graph.inputs, &turn.state.variables),
        user: turn.state.config.config.user.clone(),
        cwd: turn.state.directory(),
        mounts,
        network,
        insecure,
        scripts,
    };
    Outcome::layer(line, Op::Run(Box::new(op)))
}

/// The instruction for people: variables filled in, those from secrets masked, the first line of a lone here-document.
pub(crate) fn shown(
    text: &str,
    run: &Run,
    mounts: &[RunMount],
    variables: &Variables,
    escape: char,
) -> String {
    let mut variables = Cow::Borrowed(variables);
    for mount in mounts {
        if let RunMountKind::Secret { env: Some(name), .. } = &mount.kind {
            variables.to_mut().set(name, "****");
        }
    }
    let line = Expander::new(&variables, escape).shown(text);
    match lone_heredoc(run) {
        Some(heredoc) => format!("{line} ({})", summary(&heredoc.body)),
        None => line,
    }
}

/// The command and the script files that it needs. A lone here-document is the command itself, or a script if it begins with
/// `#!`; any other is left to the shell.
fn command(run: &Run, turn: &Turn<'_>) -> (Vec<String>, Vec<Script>) {
    let line = match &run.command {
        CommandLine::Exec(argv) => return (argv.clone(), Vec::new()),
        CommandLine::Shell(line) => line,
    };
    if let Some(heredoc) = lone_heredoc(run) {
        if !heredoc.body.starts_with("#!") {
            return (turn.state.with_shell(heredoc.body.clone()), Vec::new());
        }
        let path = format!("{SCRIPTS}/{}", heredoc.name);
        let script = Script { path: path.clone(), content: heredoc.body.clone() };
        return (turn.state.with_shell(path), vec![script]);
    }
    let mut whole = line.clone();
    for heredoc in &run.heredocs {
        whole = format!("{whole}\n{}{}", heredoc.body, heredoc.name);
    }
    (turn.state.with_shell(whole), Vec::new())
}

/// The here-document if the command is nothing else.
fn lone_heredoc(run: &Run) -> Option<&Heredoc> {
    let (CommandLine::Shell(line), [heredoc]) = (&run.command, run.heredocs.as_slice()) else { return None };
    let rest = line.trim().trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let word = rest.strip_prefix('-').unwrap_or(rest).trim_start();
    let bare: String = word.chars().filter(|c| !"'\"\\".contains(*c)).collect();
    (bare == heredoc.name).then_some(heredoc)
}

/// The first line, with dots if there are more.
fn summary(body: &str) -> String {
    match body.trim().split_once('\n') {
        Some((first, _)) => format!("{}...", first.trim_end_matches('\r')),
        None => body.trim().to_owned(),
    }
}

/// `RUN |2 A=1 B=2 /bin/sh -c echo hi # buildkit`: each declared argument once, where it was first declared, with the value
/// that it has now.
fn history(argv: &[String], turn: &Turn<'_>) -> String {
    let State { variables, arguments: declared, .. } = &*turn.state;
    let mut arguments = String::new();
    for (name, value) in declared.iter() {
        let value = variables.get(name).or(value).unwrap_or_default();
        arguments.extend([" ", name, "=", value]);
    }
    let count = match declared.iter().len() {
        0 => String::new(),
        count => format!("|{count}{arguments} "),
    };
    format!("RUN {count}{} # buildkit", argv.join(" "))
}

fn network(word: Option<&Word>, turn: &mut Turn<'_>) -> Option<Option<NetworkMode>> {
    let Some(word) = word else { return Some(None) };
    match word.value.as_str() {
        "default" => Some(Some(NetworkMode::Default)),
        "none" => Some(Some(NetworkMode::None)),
        "host" => Some(Some(NetworkMode::Host)),
        other => unknown(word, &format!("network mode `{other}`"), &["default", "none", "host"], turn),
    }
}

fn insecure(word: Option<&Word>, turn: &mut Turn<'_>) -> Option<bool> {
    let Some(word) = word else { return Some(false) };
    match word.value.as_str() {
        "sandbox" => Some(false),
        "insecure" => Some(true),
        other => unknown(word, &format!("security mode `{other}`"), &["sandbox", "insecure"], turn),
    }
}

fn unknown<T>(word: &Word, what: &str, known: &[&str], turn: &mut Turn<'_>) -> Option<T> {
    turn.notes.error(word.span, format!("unknown {what}"));
    turn.notes.help(match suggest::nearest(&word.value, known.iter().copied(), false) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it is one of {}", known.join(", ")),
    });
    None
}
