//! Plans and diagnostics as text that shows every field, the usual ones in short.

use std::fmt::Write;

use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::span::{Span, line_column};
use kiln_oci::config::ImageConfig;
use kiln_plan::model::{CopyOp, CopySource, Op, Plan, RunMount, RunOp, StageBase, StagePlan, Step};

/// A line for each diagnostic: place, underlined text, message, help.
pub(crate) fn diagnostics(all: &[Diagnostic], text: &str) -> String {
    let mut out = String::new();
    for diagnostic in all {
        let (line, column) = line_column(text, diagnostic.span.start);
        let kind = match diagnostic.severity {
            Severity::Error => "error".to_owned(),
            Severity::Warning => format!("warning {}", diagnostic.rule.unwrap_or_default()),
        };
        let place =
            if diagnostic.span == Span::default() { "-".to_owned() } else { format!("{line}:{column}") };
        let marked = &text[diagnostic.span.start..diagnostic.span.end];
        put(&mut out, 0, &format!("{kind} {place} {marked:?}: {}", diagnostic.message));
        if let Some(help) = &diagnostic.help {
            put(&mut out, 1, &format!("help: {help}"));
        }
    }
    out
}

/// The whole plan.
pub(crate) fn plan(plan: &Plan, text: &str) -> String {
    let mut out = diagnostics(&plan.warnings, text);
    if !plan.unused_args.is_empty() {
        put(&mut out, 0, &format!("unused {:?}", plan.unused_args));
    }
    if let Some(epoch) = &plan.source_date_epoch {
        put(&mut out, 0, &format!("source date epoch {epoch}"));
    }
    for (index, one) in plan.stages.iter().enumerate() {
        let mark = if index == plan.target { "target" } else { "stage" };
        put(&mut out, 0, &format!("{mark} {index}, number {}, line {}: {}", one.number, one.line, one.text));
        stage(one, text, &mut out);
    }
    out
}

fn stage(stage: &StagePlan, text: &str, out: &mut String) {
    let base = match &stage.base {
        StageBase::Image(key) => format!("{:?} for {}", key.origin, key.platform),
        other => format!("{other:?}"),
    };
    put(out, 1, &format!("name {:?}, platform {}, base {base}", stage.name, stage.platform));
    for one in &stage.steps {
        step(one, text, out);
    }
    config(&stage.config, out);
}

/// A line for each field; the history, which the base image brings along, as a number of lines.
fn config(config: &ImageConfig, out: &mut String) {
    let mut value = serde_json::to_value(config).expect("a configuration is JSON");
    let own = value["config"].take();
    let outer = value.as_object().into_iter().flatten();
    let inner = own.as_object().into_iter().flatten();
    for (key, value) in
        inner.chain(outer.filter(|(key, _)| !["rootfs", "history", "config"].contains(&key.as_str())))
    {
        put(out, 1, &format!("{key}: {value}"));
    }
    put(out, 1, &format!("history: {} before", config.history.len()));
}

fn step(step: &Step, text: &str, out: &mut String) {
    put(out, 1, &format!("line {}: {:?}", step.line, step.text));
    let first = text[step.span.start..step.span.end].split_whitespace().next().unwrap_or_default();
    let history = if step.in_history { format!("{:?}", step.created_by) } else { "none".to_owned() };
    put(out, 2, &format!("at {first}, history {history}"));
    if !step.seen.is_empty() && !matches!(step.op, Some(Op::Run(_))) {
        put(out, 2, &format!("seen {:?}", step.seen));
    }
    match &step.op {
        None => {}
        Some(Op::Run(op)) => {
            let told = step
                .seen
                .iter()
                .all(|(name, value)| op.environment.pairs().contains(&(name.clone(), value.clone())));
            assert!(told, "what was filled in is part of the environment: {:?}", step.seen);
            run(op, text, out);
        }
        Some(Op::Copy(op)) => copy(op, text, out),
        Some(Op::Workdir(op)) => put(out, 2, &format!("make {:?} for user {:?}", op.path, op.user)),
    }
}

fn run(op: &RunOp, text: &str, out: &mut String) {
    put(out, 2, &format!("run {:?} in {:?} as user {:?}", op.argv, op.cwd, op.user));
    for (what, pairs) in [("env", op.environment.pairs()), ("unkeyed env", op.unkeyed_env.clone())] {
        let shown: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        if !shown.is_empty() {
            put(out, 3, &format!("{what} {}", shown.join(" ")));
        }
    }
    for RunMount { target, span, kind } in &op.mounts {
        put(out, 3, &format!("mount {target:?} ({}): {kind:?}", &text[span.start..span.end]));
    }
    for script in &op.scripts {
        put(out, 3, &format!("script {:?}: {:?}", script.path, script.content));
    }
    if op.network.is_some() || op.insecure {
        put(out, 3, &format!("network {:?}, insecure {}", op.network, op.insecure));
    }
}

fn copy(op: &CopyOp, text: &str, out: &mut String) {
    let name = if op.add { "add" } else { "copy" };
    put(out, 2, &format!("{name} to {:?} from {:?}", op.dest, op.from));
    for source in &op.sources {
        let shown = match source {
            CopySource::Path { pattern, span } => {
                format!("path {pattern:?} ({})", &text[span.start..span.end])
            }
            CopySource::Http { url, .. } => format!("http {url:?}"),
            CopySource::Git { url, .. } => format!("git {url:?}"),
            CopySource::Inline { name, content } => format!("inline {name:?}: {content:?}"),
        };
        put(out, 3, &shown);
    }
    let options = [
        ("chown", op.chown.clone()),
        ("chmod", op.chmod.clone()),
        ("checksum", op.checksum.clone()),
        ("link", op.link.then(String::new)),
        ("parents", op.parents.then(String::new)),
        ("unpack", op.unpack.map(|unpack| unpack.to_string())),
        ("keep-git-dir", op.keep_git_dir.then(String::new)),
        ("exclude", (!op.excludes.is_empty()).then(|| format!("{:?}", op.excludes))),
    ];
    for (key, value) in options {
        if let Some(value) = value {
            put(out, 3, format!("{key} {value}").trim_end());
        }
    }
}

fn put(out: &mut String, depth: usize, line: &str) {
    writeln!(out, "{}{line}", "  ".repeat(depth)).expect("a string takes all");
}
