//! Why steps were not taken from the cache, in words.

use std::time::Duration;

use kiln_build::history::StepReport;
use kiln_build::record::{StepOutcome, Uncached};
use kiln_build::why::{BaseId, Change, FileState, How, Why};
use kiln_oci::digest::Digest;

use crate::render::text::{seconds, tame};

/// Files that are told one by one; JSON has some thousands.
const FILES: usize = 10;

/// A row for each step, and below it why it was not a hit.
pub(crate) fn steps(reports: &[StepReport]) -> String {
    let mut out = String::new();
    for report in reports {
        let took = match report.outcome {
            StepOutcome::Same | StepOutcome::Miss | StepOutcome::Failed => {
                format!("  {}", seconds(Duration::from_micros(report.micros)))
            }
            _ => String::new(),
        };
        let text = tame(report.text.replace('\n', " ").as_bytes());
        out.push_str(&format!("{:9} {} {text}{took}\n", word(report.outcome), report.label));
        for line in report.why.as_ref().map(reasons).unwrap_or_default() {
            out.push_str(&format!("            {line}\n"));
        }
    }
    out
}

/// What became of a step.
pub(crate) fn word(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Skipped => "not begun",
        StepOutcome::Hit => "hit",
        StepOutcome::Same => "same",
        StepOutcome::Miss => "miss",
        StepOutcome::Failed => "failed",
        StepOutcome::Cancelled => "stopped",
        StepOutcome::WouldRun => "would run",
        StepOutcome::Depends => "depends",
    }
}

/// Each reason a line.
pub(crate) fn reasons(why: &Why) -> Vec<String> {
    let one = |line: String| vec![line];
    match why {
        Why::NotAsked { by: Uncached::NoCache } => one("--no-cache: the cache was not asked".to_owned()),
        Why::NotAsked { by: Uncached::NoCacheFilter } => {
            one("--no-cache-filter names its stage: the cache was not asked".to_owned())
        }
        Why::New => one("no recorded build had this step".to_owned()),
        Why::Pruned { built } => {
            one(format!("{built} made this very step, but its result is not in the store any more"))
        }
        Why::Unfinished { tried, outcome: StepOutcome::Failed } => {
            one(format!("{tried} began this very step, and it failed"))
        }
        Why::Unfinished { tried, .. } => one(format!("{tried} began this very step, and was stopped")),
        Why::Forgotten { earlier } => {
            one(format!("{earlier} had this step, but what it was made of is not in the store any more"))
        }
        Why::NotPulled => one("its image is not in the store and would be pulled".to_owned()),
        Why::Depends { on, changes } => {
            let mut lines = one(format!("it builds on what would run: {}", on.join(", ")));
            lines.extend(lines_of(changes));
            lines
        }
        Why::Changed { earlier, changes } => {
            let mut lines = one(format!("since {earlier}:"));
            lines.extend(lines_of(changes));
            lines
        }
        _ => Vec::new(),
    }
}

fn lines_of(changes: &[Change]) -> Vec<String> {
    let is_file = |change: &&Change| matches!(change, Change::File { .. } | Change::MoreFiles { .. });
    let files: usize = changes.iter().filter(is_file).map(Change::count).sum();
    let mut told = 0;
    let mut lines = Vec::new();
    for change in changes {
        if is_file(&change) {
            told += 1;
            // A lone last line is no longer than the one that would stand for it.
            if told > FILES && files > FILES + 1 {
                continue;
            }
        }
        lines.push(line(change));
    }
    if files > FILES + 1 {
        lines.push(format!("and {} more files", files - FILES));
    }
    lines
}

fn line(change: &Change) -> String {
    let text = match change {
        Change::Instruction { old, new } => {
            let (old, new) = first_difference(old, new);
            format!("instruction: {old} -> {new}")
        }
        Change::Platform { old, new } => format!("platform: {old} -> {new}"),
        Change::Base { old, new } => format!("base image: {} -> {}", base(old), base(new)),
        Change::Below { step, text, how: How::OtherFiles } => {
            format!("step {step} below it left other files: {text}")
        }
        Change::Below { step, text, how: How::Added } => format!("step {step} below it is new: {text}"),
        Change::Below { text, how: How::Removed, .. } => format!("a step below it is gone: {text}"),
        Change::Variable { name, argument, hidden: true, .. } => {
            format!("{} {name}: another value (hidden, the name sounds like a secret)", variable(*argument))
        }
        Change::Variable { name, argument, old, new, .. } => {
            format!("{} {name}: {} -> {}", variable(*argument), quoted(old), quoted(new))
        }
        Change::Setting { name, old, new } => format!("{name}: {} -> {}", quoted(old), quoted(new)),
        Change::MountSource { target, from } => format!("mount at {target}: {from} has other files"),
        Change::File { path, old: None, new } => {
            format!("file {path}: new, {}", new.as_ref().map(whole).unwrap_or_default())
        }
        Change::File { path, new: None, .. } => format!("file {path}: gone"),
        Change::File { path, old: Some(old), new: Some(new) } => format!("file {path}: {}", states(old, new)),
        Change::MoreFiles { count } => format!("{count} more files"),
        Change::Fetched { name, old, new } => {
            let digest = |text: &Option<String>| text.as_deref().map_or("none".to_owned(), short);
            format!("{name}: {} -> {}", digest(old), digest(new))
        }
        Change::OtherKiln => "nothing that is recorded: another kiln made keys in another way".to_owned(),
        _ => String::new(),
    };
    tame(text.replace('\n', " ").as_bytes())
}

fn variable(argument: bool) -> &'static str {
    if argument { "ARG" } else { "ENV" }
}

fn quoted(value: &Option<String>) -> String {
    value.as_ref().map_or_else(|| "not set".to_owned(), |value| format!("{value:?}"))
}

/// Of two texts of several lines the first pair that differs.
fn first_difference<'t>(old: &'t str, new: &'t str) -> (&'t str, &'t str) {
    let pairs = old.lines().map(Some).chain(std::iter::repeat(None));
    let mut pairs = pairs.zip(new.lines().map(Some).chain(std::iter::repeat(None)));
    match pairs.find(|(a, b)| a != b || a.is_none()) {
        Some((a, b)) if a.is_some() || b.is_some() => (a.unwrap_or("nothing"), b.unwrap_or("nothing")),
        _ => (old, new),
    }
}

fn base(base: &BaseId) -> String {
    match &base.digest {
        Some(digest) => format!("{} ({})", base.reference, short_digest(digest)),
        None => base.reference.clone(),
    }
}

/// A digest, its first twelve digits.
pub(crate) fn short_digest(digest: &Digest) -> String {
    short(&digest.to_string())
}

fn short(digest: &str) -> String {
    match digest.split_once(':') {
        Some((algorithm, hex)) => format!("{algorithm}:{}", hex.get(..12).unwrap_or(hex)),
        None => digest.to_owned(),
    }
}

fn whole(state: &FileState) -> String {
    match &state.digest {
        Some(digest) if state.kind == "file" => format!("{} mode {}", short(digest), state.mode),
        _ => format!("{} mode {}", state.kind, state.mode),
    }
}

fn states(old: &FileState, new: &FileState) -> String {
    let mut all = Vec::new();
    if old.kind != new.kind {
        all.push(format!("{} -> {}", old.kind, new.kind));
    }
    if old.digest != new.digest && old.kind == new.kind {
        let digest = |state: &FileState| state.digest.as_deref().map(short).unwrap_or_default();
        let what = if new.kind == "symlink" { "target " } else { "" };
        all.push(format!("{what}{} -> {}", digest(old), digest(new)));
    }
    if old.mode != new.mode {
        all.push(format!("mode {} -> {}", old.mode, new.mode));
    }
    if old.owner != new.owner {
        let owner = |state: &FileState| state.owner.clone().unwrap_or_else(|| "none".to_owned());
        all.push(format!("owner {} -> {}", owner(old), owner(new)));
    }
    if all.is_empty() {
        all.push("other attributes".to_owned());
    }
    all.join(", ")
}
