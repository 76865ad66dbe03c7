//! `kiln why`, `kiln history`, `kiln log`: what is known of past builds.

use std::io::{self, IsTerminal, Read, Write};
use std::time::Duration;

use kiln_build::engine::Engine;
use kiln_build::history::{BuildId, History, HistoryError, Kept, StepReport};
use kiln_build::record::{BuildOutcome, BuildRecord, StepOutcome};
use kiln_sandbox::Rung;
use serde_json::{Value, json};

use crate::args::Format;
use crate::args::history::{HistoryArgs, LogArgs, WhyArgs};
use crate::commands::{Setting, answer, answer_json, broken_pipe, table};
use crate::errors::CliError;
use crate::render::text::{Lines, seconds, tame};
use crate::render::why::{self, short_digest};

/// An engine that only looks.
pub(super) fn looking(setting: &Setting<'_>) -> Result<Engine, CliError> {
    setting.engine(setting.client(&[]), Rung::None)
}

/// A build if the first word is one, else the last; and the other words.
pub(super) fn build_and_rest<'a>(
    history: &History<'_>,
    words: &'a [String],
) -> Result<(Kept, &'a [String]), CliError> {
    match words.split_first() {
        Some((first, rest)) if first.parse::<BuildId>().is_ok() => {
            Ok((history.load(first.parse().unwrap_or(BuildId(0)))?, rest))
        }
        _ => Ok((history.last()?, words)),
    }
}

/// `kiln why`
pub(super) fn why(args: &WhyArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let engine = looking(setting)?;
    let history = engine.history();
    let (build, rest) = build_and_rest(&history, &args.what)?;
    let mut reports = history.explain(&build)?;
    match rest {
        [] => {}
        [step] => {
            let wanted = build.record.name_of(build.record.find_step(step)?);
            reports.retain(|report| report.step == wanted);
        }
        [_, other, ..] => {
            return Err(CliError::usage("BUILD|STEP", format!("{other}: one build and one step are enough")));
        }
    }
    match args.list.format {
        Format::Json => answer_json(&json!({ "build": head_json(&build), "steps": reports })),
        Format::Text => answer(&format!("{}\n{}", head(&build), why::steps(&reports))),
    }
}

/// `kiln build --dry-run`: what it would do.
pub(super) fn foreseen(reports: &[StepReport], format: Format) -> Result<(), CliError> {
    if format == Format::Json {
        return answer_json(&json!({ "steps": reports }));
    }
    let count = |outcome| reports.iter().filter(|report| report.outcome == outcome).count();
    let (hits, run) = (count(StepOutcome::Hit), count(StepOutcome::WouldRun));
    let depend = count(StepOutcome::Depends);
    let counts = format!("{hits} in the cache, {run} would run, {depend} depend on these\n");
    answer(&(why::steps(reports) + &counts))
}

fn head(build: &Kept) -> String {
    let record = &build.record;
    let took = seconds(Duration::from_micros(record.micros));
    let mut text = format!(
        "{} of {}{}, {}, {} after {took}",
        build.id,
        record.asked.dockerfile,
        record.asked.target.as_ref().map(|target| format!(", target {target}")).unwrap_or_default(),
        when(record),
        ended(record.outcome),
    );
    if let Some(digest) = &record.digest {
        text.push_str(&format!(": {}", short_digest(digest)));
    }
    if !record.names.is_empty() {
        text.push_str(&format!(" as {}", record.names.join(", ")));
    }
    if let Some(error) = &record.error {
        text.push_str(&format!(": {}", tame(error.replace('\n', " ").as_bytes())));
    }
    text
}

fn when(record: &BuildRecord) -> String {
    record.began.get(..19).unwrap_or(&record.began).replace('T', " ")
}

fn ended(outcome: BuildOutcome) -> &'static str {
    match outcome {
        BuildOutcome::Done => "done",
        BuildOutcome::Failed => "failed",
        BuildOutcome::Cancelled => "stopped",
    }
}

/// Steps with a layer, by what became of them.
fn counts(record: &BuildRecord) -> [usize; 3] {
    let mut counts = [0; 3];
    let steps = record.places().filter(|place| place.step > 0).filter_map(|place| record.step(place));
    for step in steps {
        match step.outcome {
            StepOutcome::Hit => counts[0] += 1,
            StepOutcome::Same => counts[1] += 1,
            StepOutcome::Miss => counts[2] += 1,
            _ => {}
        }
    }
    counts
}

fn head_json(build: &Kept) -> Value {
    let record = &build.record;
    let [hit, same, miss] = counts(record);
    json!({
        "id": build.id,
        "began": record.began,
        "micros": record.micros,
        "outcome": record.outcome,
        "error": record.error,
        "dockerfile": record.asked.dockerfile,
        "context": record.asked.context,
        "target": record.asked.target,
        "platforms": record.plans.iter().map(|plan| plan.platform.to_string()).collect::<Vec<_>>(),
        "names": record.names,
        "digest": record.digest,
        "steps": { "hit": hit, "same": same, "miss": miss },
    })
}

/// `kiln history`
pub(super) fn history(args: &HistoryArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let engine = looking(setting)?;
    let history = engine.history();
    if let Some(text) = &args.build {
        let id = text.parse().map_err(|_| {
            CliError::usage("BUILD", format!("{text:?} is not the id of a build, such as b12"))
        })?;
        return one(&history.load(id)?, args.list.format);
    }
    let mut ids = history.ids()?;
    ids.reverse();
    let builds = ids.into_iter().map(|id| (id, history.load(id)));
    if args.list.format == Format::Json {
        let value = |(id, loaded): (BuildId, Result<Kept, HistoryError>)| match loaded {
            Ok(build) => head_json(&build),
            Err(error) => json!({ "id": id, "damaged": error.to_string() }),
        };
        return answer_json(&builds.map(value).collect::<Vec<_>>());
    }
    let heads = ["ID", "BEGAN", "TOOK", "ENDED", "HIT", "SAME", "MISS", "TARGET", "NAMES"];
    let rows = builds.map(|(id, loaded)| match loaded {
        Ok(build) => row(&build),
        // A damaged record is still listed: that is how one finds out.
        Err(error) => vec![id.to_string(), error.to_string()],
    });
    answer(&table(&std::iter::once(heads.map(str::to_owned).to_vec()).chain(rows).collect::<Vec<_>>()))
}

fn row(build: &Kept) -> Vec<String> {
    let record = &build.record;
    let [hit, same, miss] = counts(record).map(|count| count.to_string());
    vec![
        build.id.to_string(),
        when(record),
        seconds(Duration::from_micros(record.micros)),
        ended(record.outcome).to_owned(),
        hit,
        same,
        miss,
        record.asked.target.clone().unwrap_or_default(),
        record.names.join(" "),
    ]
}

fn one(build: &Kept, format: Format) -> Result<(), CliError> {
    if format == Format::Json {
        return answer_json(&json!({ "id": build.id, "record": build.record }));
    }
    let record = &build.record;
    let rows = record.places().filter_map(|place| {
        let step = record.step(place)?;
        let took = step.began.map(|_| seconds(Duration::from_micros(step.micros))).unwrap_or_default();
        let text = tame(step.text.replace('\n', " ").as_bytes());
        let log = if step.log.is_some() { "log" } else { "" };
        let outcome = if place.step == 0 && step.key.is_none() && step.outcome.is_done() {
            "base"
        } else {
            why::word(step.outcome)
        };
        Some(vec![record.name_of(place), outcome.to_owned(), took, log.to_owned(), text])
    });
    let heads = ["STEP", "OUTCOME", "TOOK", "", "INSTRUCTION"].map(str::to_owned).to_vec();
    let steps = table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>());
    answer(&format!("{}\n{steps}", head(build)))
}

/// `kiln log`: what a step wrote, whole.
pub(super) fn log(args: &LogArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let engine = looking(setting)?;
    let history = engine.history();
    let (build, rest) = build_and_rest(&history, &args.what)?;
    let record = &build.record;
    let place = match rest {
        [step] => record.find_step(step)?,
        [] => record.failed_step().ok_or_else(|| {
            CliError::usage("STEP", format!("no step of {} failed, so say which one is meant", build.id))
        })?,
        [_, other, ..] => {
            return Err(CliError::usage("STEP", format!("{other}: one step at a time")));
        }
    };
    let name = record.name_of(place);
    let Some(log) = record.step(place).and_then(|step| step.log.as_deref()) else {
        return Err(CliError::NoLog { build: build.id, step: name, gone: false });
    };
    let Some(path) = history.log(log) else {
        return Err(CliError::NoLog { build: build.id, step: name, gone: true });
    };
    copy(&mut fs_err::File::open(path)?)
}

/// Byte for byte, except that on a terminal nothing in it moves the cursor.
fn copy(file: &mut fs_err::File) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    if !out.is_terminal() {
        io::copy(file, &mut out).and_then(|_| out.flush()).map_err(broken_pipe)?;
        return Ok(());
    }
    let (mut lines, mut piece) = (Lines::default(), vec![0; 64 << 10]);
    loop {
        let count = file.read(&mut piece)?;
        let whole =
            if count == 0 { lines.finish().into_iter().collect() } else { lines.push(&piece[..count]) };
        let text: String = whole.into_iter().map(|line| line + "\n").collect();
        out.write_all(text.as_bytes()).map_err(broken_pipe)?;
        if count == 0 {
            return out.flush().map_err(broken_pipe);
        }
    }
}
