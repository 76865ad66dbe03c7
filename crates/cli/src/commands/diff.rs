//! `kiln diff`: what a step changed, or what is different between two steps or two images.

use kiln_build::history::{BuildId, Delta, Difference, History, HistoryError, Kept, Kind};
use kiln_build::record::{LayerRecord, Place};

use crate::args::Format;
use crate::args::history::DiffArgs;
use crate::commands::past::{build_and_rest, looking};
use crate::commands::{Setting, answer, answer_json, names, table};
use crate::errors::CliError;
use crate::render::text::bytes;

pub(super) fn run(args: &DiffArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let engine = looking(setting)?;
    let history = engine.history();
    let delta = match args.what.as_slice() {
        [one] if one.parse::<BuildId>().is_ok() => {
            return Err(CliError::usage("STEP", format!("{one} is a build; say which of its steps")));
        }
        [_, second, _, ..] if !args.what[0].parse::<BuildId>().is_ok_and(|_| true) => {
            return Err(CliError::usage("STEP", format!("{second}: two steps are enough")));
        }
        words => {
            let (build, rest) = build_and_rest(&history, words)?;
            let looker = Looker { history, setting, build };
            match rest {
                [step] => {
                    let (build, place) = looker.step(step)?;
                    history
                        .delta(&layers(&build, place, place.step)?, &layers(&build, place, place.step + 1)?)?
                }
                [from, to] => history.delta(&looker.point(from)?, &looker.point(to)?)?,
                _ => return Err(CliError::usage("STEP", "two steps are enough")),
            }
        }
    };
    match args.list.format {
        Format::Json => answer_json(&delta),
        Format::Text => answer(&text(&delta)),
    }
}

/// The layers below the step number `count` of a stage (from 0).
fn layers(build: &Kept, place: Place, count: usize) -> Result<Vec<LayerRecord>, CliError> {
    let plan = &build.record.plans[place.plan];
    // What FROM brings is the difference to nothing.
    let layers = plan.layers_before(place.stage, count + 1);
    layers.ok_or_else(|| CliError::NotMade { build: build.id, step: build.record.name_of(place) })
}

/// Finds what words name.
struct Looker<'a> {
    history: History<'a>,
    setting: &'a Setting<'a>,
    build: Kept,
}

impl Looker<'_> {
    /// `3`, `build:3`, or `b12/build:3`.
    fn step(&self, text: &str) -> Result<(Kept, Place), CliError> {
        let build = match text.split_once('/').map(|(id, step)| (id.parse::<BuildId>(), step)) {
            Some((Ok(id), step)) => {
                let build = self.history.load(id)?;
                let place = build.record.find_step(step)?;
                return Ok((build, place));
            }
            _ => self.build.clone(),
        };
        let place = build.record.find_step(text)?;
        Ok((build, place))
    }

    /// The root filesystem after a step, or of an image.
    fn point(&self, text: &str) -> Result<Vec<LayerRecord>, CliError> {
        let unknown = match self.step(text) {
            Ok((build, place)) => return layers(&build, place, place.step + 1),
            Err(error @ CliError::History(HistoryError::UnknownStep { .. })) => error,
            Err(error) => return Err(error),
        };
        let store = self.setting.content()?;
        let Ok(image) = names::find(&store, text) else { return Err(unknown) };
        for id in self.history.ids()?.into_iter().rev() {
            // A damaged record is of no help here; the history tells of it.
            let Ok(build) = self.history.load(id) else { continue };
            if build.record.digest == Some(image.digest)
                && let Some(plan) = build.record.plans.first()
                && let Some(layers) = plan.layers_after(plan.target)
            {
                return Ok(layers);
            }
        }
        Err(CliError::NotRecorded { name: text.to_owned() })
    }
}

fn text(delta: &Delta) -> String {
    let mut out = table(&delta.differences.iter().map(row).collect::<Vec<_>>());
    let count = |kind| delta.differences.iter().filter(|d| d.kind == kind).count();
    out.push_str(&format!(
        "{} added, {} changed, {} removed; {} written, {} dropped\n",
        count(Kind::Added),
        count(Kind::Changed),
        count(Kind::Removed),
        bytes(delta.written),
        bytes(delta.dropped),
    ));
    out
}

fn row(difference: &Difference) -> Vec<String> {
    let size = |size: Option<u64>| size.map_or_else(|| difference.what.to_owned(), bytes);
    let (mark, size) = match difference.kind {
        Kind::Added => ("+", size(difference.new_size)),
        Kind::Removed => ("-", size(difference.old_size)),
        Kind::Changed if difference.old_size == difference.new_size => ("~", size(difference.new_size)),
        Kind::Changed => ("~", format!("{} -> {}", size(difference.old_size), size(difference.new_size))),
    };
    let aspects = difference.aspects.join(", ");
    let path = difference.path.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    vec![mark.to_owned(), size, path, aspects]
}
