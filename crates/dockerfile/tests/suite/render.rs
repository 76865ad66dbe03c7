//! A syntax tree as text that is easy to read and to compare.

use std::fmt::Write;

use kiln_dockerfile::ast::{
    ArgDecl, CommandLine, Copy, Healthcheck, Heredoc, Instruction, KeyValue, Kind, MountFlag, Run, Word,
};
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::parse;
use kiln_dockerfile::span::{Span, line_column};

/// The tree and the diagnostics of a Dockerfile.
pub(crate) fn render(text: &str) -> String {
    let parsed = parse(text);
    let file = &parsed.dockerfile;
    let mut out = String::new();
    let directives = &file.directives;
    for (name, value) in [("syntax", &directives.syntax), ("check", &directives.check)] {
        if let Some(value) = value {
            line(&mut out, format_args!("# {name} = {}", word(text, value)));
        }
    }
    if directives.escape != '\\' {
        line(&mut out, format_args!("# escape = {}", directives.escape));
    }
    for arg in &file.global_args {
        instruction(&mut out, text, arg);
    }
    for stage in &file.stages {
        let from = &stage.from;
        let platform = option(text, "platform", from.platform.as_ref());
        let name = from.name.as_ref().map(|n| format!(" as {}", word(text, n))).unwrap_or_default();
        let image = word(text, &from.image);
        line(&mut out, format_args!("{} FROM {image}{platform}{name}{}", from.line, comment(&from.comment)));
        for one in &stage.instructions {
            instruction(&mut out, text, one);
        }
    }
    for found in &parsed.diagnostics {
        diagnostic(&mut out, text, found);
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing to a string");
}

fn comment(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" // {text:?}") }
}

/// The value, and the raw text behind it where that is another.
fn word(text: &str, word: &Word) -> String {
    let raw = &text[word.span.start..word.span.end];
    if raw == word.value { format!("{raw:?}") } else { format!("{:?}<{raw:?}>", word.value) }
}

fn words(text: &str, list: &[Word]) -> String {
    list.iter().map(|w| word(text, w)).collect::<Vec<_>>().join(" ")
}

fn instruction(out: &mut String, text: &str, one: &Instruction) {
    line(out, format_args!("{} {:?}{}", one.line, one.text, comment(&one.comment)));
    line(out, format_args!("    {}", kind(text, &one.kind)));
    let raw = &text[one.span.start..one.span.end];
    let keyword = one.text.split(' ').next().expect("a keyword");
    assert!(raw.to_uppercase().starts_with(keyword), "{raw:?}");
}

fn kind(text: &str, kind: &Kind) -> String {
    match kind {
        Kind::Arg(list) => {
            let one = |d: &ArgDecl| match &d.default {
                Some(default) => format!("{}={}", word(text, &d.name), word(text, default)),
                None => word(text, &d.name),
            };
            format!("arg {}", list.iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Kind::Env(list) => format!("env {}", pairs(text, list)),
        Kind::Label(list) => format!("label {}", pairs(text, list)),
        Kind::Run(inner) => run(text, inner),
        Kind::Copy(inner) => format!("copy {}", copy(text, inner)),
        Kind::Add(inner) => format!("add {}", copy(text, inner)),
        Kind::Cmd(c) => format!("cmd {}", command(c)),
        Kind::Entrypoint(c) => format!("entrypoint {}", command(c)),
        Kind::Shell(list) => format!("shell {list:?}"),
        Kind::Workdir(w) => format!("workdir {}", word(text, w)),
        Kind::User(w) => format!("user {}", word(text, w)),
        Kind::Expose(list) => format!("expose {}", words(text, list)),
        Kind::Volume(list) => format!("volume {}", words(text, list)),
        Kind::StopSignal(w) => format!("stopsignal {}", word(text, w)),
        Kind::Healthcheck(check) => healthcheck(check),
        Kind::Onbuild(raw, inner) => {
            let inner = inner.as_ref().map_or("nothing".to_owned(), |inner| self::kind(text, &inner.kind));
            format!("onbuild {raw:?} {inner}")
        }
        Kind::Maintainer(w) => format!("maintainer {}", word(text, w)),
    }
}

fn healthcheck(check: &Healthcheck) -> String {
    match check {
        Healthcheck::None => "healthcheck none".to_owned(),
        Healthcheck::Cmd { command: c, interval, timeout, start_period, start_interval, retries } => {
            let c = command(c);
            format!("healthcheck {c} {interval} {timeout} {start_period} {start_interval} {retries}")
        }
    }
}

fn pairs(text: &str, list: &[KeyValue]) -> String {
    let one = |p: &KeyValue| {
        let sign = if p.legacy { " " } else { "=" };
        format!("{}{sign}{}", word(text, &p.key), word(text, &p.value))
    };
    list.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn command(command: &CommandLine) -> String {
    match command {
        CommandLine::Exec(list) => format!("exec {list:?}"),
        CommandLine::Shell(text) => format!("shell {text:?}"),
    }
}

fn run(text: &str, run: &Run) -> String {
    let mut out = format!("run {}", command(&run.command));
    for one in &run.mounts {
        write!(out, " mount({})", mount(text, one)).expect("writing to a string");
    }
    for (name, value) in [("network", &run.network), ("security", &run.security)] {
        out.push_str(&option(text, name, value.as_ref()));
    }
    for device in &run.devices {
        out.push_str(&option(text, "device", Some(device)));
    }
    out + &heredocs(text, &run.heredocs)
}

fn mount(text: &str, mount: &MountFlag) -> String {
    let mut parts = vec![format!("{:?}", mount.kind)];
    for (key, value) in &mount.options {
        parts.push(match value {
            Some(value) => format!("{}={}", key.value, word(text, value)),
            None => key.value.to_owned(),
        });
    }
    parts.join(" ")
}

fn option(text: &str, name: &str, value: Option<&Word>) -> String {
    value.map(|value| format!(" {name}={}", word(text, value))).unwrap_or_default()
}

fn copy(text: &str, copy: &Copy) -> String {
    let mut out = format!("{} -> {}", words(text, &copy.sources), word(text, &copy.dest));
    let values =
        [("from", &copy.from), ("chown", &copy.chown), ("chmod", &copy.chmod), ("checksum", &copy.checksum)];
    for (name, value) in values {
        out.push_str(&option(text, name, value.as_ref()));
    }
    for exclude in &copy.excludes {
        out.push_str(&option(text, "exclude", Some(exclude)));
    }
    for (name, on) in [("json", copy.json), ("link", copy.link), ("parents", copy.parents)] {
        if on {
            out.push(' ');
            out.push_str(name);
        }
    }
    for (name, value) in [("unpack", copy.unpack), ("keep-git-dir", copy.keep_git_dir)] {
        if let Some(value) = value {
            write!(out, " {name}={value}").expect("writing to a string");
        }
    }
    out + &heredocs(text, &copy.heredocs)
}

fn heredocs(text: &str, list: &[Heredoc]) -> String {
    let one = |h: &Heredoc| {
        let raw = &text[h.body_span.start..h.body_span.end];
        assert!(h.strip_tabs || raw == h.body, "{h:?}");
        let dash = if h.strip_tabs { "-" } else { "" };
        let keep = if h.expand { "" } else { " raw" };
        let opened = &text[h.span.start..h.span.end];
        format!(" heredoc({}<<{dash}{:?}{keep} {:?} at {opened:?})", h.fd, h.name, h.body)
    };
    list.iter().map(one).collect()
}

fn diagnostic(out: &mut String, text: &str, found: &Diagnostic) {
    let severity = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let rule = found.rule.map(|rule| format!("[{rule}]")).unwrap_or_default();
    let Span { start, end } = found.span;
    let (row, column) = line_column(text, start);
    line(out, format_args!("{severity}{rule} {row}:{column} {:?}: {}", &text[start..end], found.message));
    if let Some(help) = &found.help {
        line(out, format_args!("    help: {help}"));
    }
    if let Some(fix) = &found.fix {
        line(out, format_args!("    fix: {fix:?}"));
    }
}
