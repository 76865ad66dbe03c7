//! Why steps were not taken from the cache: the nearest earlier record of each is looked up and compared.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::folder::{History, HistoryError, Kept};
use crate::key::KeyParts;
use crate::record::{BaseRecord, BuildId, BuildRecord, Place, Recording, StepOutcome, StepRecord};
use crate::why::{Change, Side, Why, base_change, changes, counterpart};

/// How many earlier forms of a step are compared; the nearest is the one with the fewest differences.
const COMPARED: usize = 4;

/// What is to be said of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepReport {
    /// What it is called on the command line: `build:3`.
    pub step: String,
    /// What it is called on the screen: `[build 3/5]`.
    pub label: String,
    /// 1-based line of the Dockerfile.
    pub line: usize,
    /// The instruction.
    pub text: String,
    /// What became of it. FROM is a hit if its base is what it was in the build before.
    pub outcome: StepOutcome,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// Why it was not a hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

impl History<'_> {
    /// What is to be said of each step of a build, compared with the builds before it.
    ///
    /// # Errors
    /// If the folder cannot be read; earlier records that are damaged are passed over.
    pub fn explain(&self, build: &Kept) -> Result<Vec<StepReport>, HistoryError> {
        let mut explainer = Explainer::new(*self, Some(build.id))?;
        explainer.reports(&build.record, &HashMap::new())
    }

    /// The same for a build that has no record yet: one that only foresaw what it would do.
    ///
    /// # Errors
    /// As [`History::explain`].
    pub fn foresee(&self, recording: &Recording) -> Result<Vec<StepReport>, HistoryError> {
        let mut explainer = Explainer::new(*self, None)?;
        explainer.reports(&recording.record(), &recording.parts())
    }
}

/// Looks up earlier builds, each once.
pub(crate) struct Explainer<'a> {
    history: History<'a>,
    /// Newest first.
    ids: Vec<BuildId>,
    loaded: HashMap<BuildId, Option<Arc<Kept>>>,
}

impl<'a> Explainer<'a> {
    /// Compares with all builds, or with those before one.
    pub(crate) fn new(history: History<'a>, before: Option<BuildId>) -> Result<Self, HistoryError> {
        let mut ids = history.ids()?;
        ids.retain(|id| before.is_none_or(|end| *id < end));
        ids.reverse();
        Ok(Self { history, ids, loaded: HashMap::new() })
    }

    fn reports(
        &mut self,
        record: &BuildRecord,
        parts: &HashMap<Place, Arc<KeyParts>>,
    ) -> Result<Vec<StepReport>, HistoryError> {
        let mut all = Vec::new();
        for place in record.places() {
            let plan = &record.plans[place.plan];
            let stage = &plan.stages[place.stage];
            let step = &stage.steps[place.step];
            let why = self.why(record, place, parts.get(&place).map(Arc::as_ref))?;
            let mut outcome = step.outcome;
            if place.step == 0 && step.key.is_none() {
                // Nothing is done for a FROM; what can be said is whether its base is the same.
                if !matches!(stage.base, BaseRecord::Image { .. }) {
                    continue;
                }
                if why.is_none() && outcome.is_done() {
                    outcome = StepOutcome::Hit;
                }
            }
            all.push(StepReport {
                step: record.name_of(place),
                label: stage.label(place.step + 1, plan.stages.len() == 1),
                line: step.line,
                text: step.text.clone(),
                outcome,
                micros: step.micros,
                why,
            });
        }
        Ok(all)
    }

    /// Why the step at `place` is not a hit; nothing if it is one or did not get far enough to tell. `own` is what its key is made of
    /// if the store does not know that.
    pub(crate) fn why(
        &mut self,
        record: &BuildRecord,
        place: Place,
        own: Option<&KeyParts>,
    ) -> Result<Option<Why>, HistoryError> {
        let Some(step) = record.step(place) else { return Ok(None) };
        if place.step == 0 && step.key.is_none() {
            return self.base(record, place, step);
        }
        if step.outcome == StepOutcome::WouldRun && step.key.is_none() {
            return Ok(Some(Why::NotPulled));
        }
        let foreseen = step.outcome != StepOutcome::Depends;
        if step.outcome == StepOutcome::Hit || foreseen && step.key.is_none() {
            return Ok(None);
        }
        if let Some(by) = step.uncached {
            return Ok(Some(Why::NotAsked { by }));
        }
        let earlier = self.earlier(record, place, step);
        if let Some(built) = earlier.built {
            return Ok(Some(Why::Pruned { built }));
        }
        let inputs = match (own, step.key) {
            _ if earlier.others.is_empty() => None,
            (Some(parts), _) => Some(self.history.sorted(parts)?),
            (None, Some(key)) => self.history.inputs(&key)?,
            (None, None) => None,
        };
        let compared = match &inputs {
            Some(inputs) => self.nearest(Side { record, place, inputs }, &earlier.others)?,
            None => None,
        };
        if !foreseen {
            let changes = compared.map(|(_, changes)| changes).unwrap_or_default();
            return Ok(Some(Why::Depends { on: depends_on(record, place), changes }));
        }
        Ok(Some(match (compared, earlier.tried, earlier.others.first()) {
            (Some((earlier, changes)), _, _) => Why::Changed { earlier, changes },
            (None, Some((tried, outcome)), _) => Why::Unfinished { tried, outcome },
            (None, None, Some((kept, _))) => Why::Forgotten { earlier: kept.id },
            (None, None, None) => Why::New,
        }))
    }

    fn base(
        &mut self,
        record: &BuildRecord,
        place: Place,
        step: &StepRecord,
    ) -> Result<Option<Why>, HistoryError> {
        if step.outcome == StepOutcome::WouldRun {
            return Ok(Some(Why::NotPulled));
        }
        if step.outcome == StepOutcome::Depends {
            return Ok(Some(Why::Depends { on: depends_on(record, place), changes: Vec::new() }));
        }
        if !step.outcome.is_done() || !matches!(base_of(record, place), BaseRecord::Image { .. }) {
            return Ok(None);
        }
        let found = self.first(record, |kept| {
            let there = counterpart(record, place, &kept.record)?;
            let done = kept.record.step(there).is_some_and(|step| step.outcome.is_done());
            done.then(|| (kept.id, base_change((record, place), (&kept.record, there))))
        });
        Ok(match found {
            Some((earlier, change)) => change.map(|change| Why::Changed { earlier, changes: vec![change] }),
            None => Some(Why::New),
        })
    }

    /// The first answer to a question about earlier builds, in the order of [`Explainer::ranked`]; no more of them are read than it takes.
    fn first<T>(&mut self, record: &BuildRecord, ask: impl Fn(&Kept) -> Option<T>) -> Option<T> {
        let mut others = Vec::new();
        for id in self.ids.clone() {
            let Some(kept) = self.load(id) else { continue };
            if project(&kept.record) != project(record) {
                others.push(kept);
            } else if let Some(answer) = ask(&kept) {
                return Some(answer);
            }
        }
        others.iter().find_map(|kept| ask(kept))
    }

    fn load(&mut self, id: BuildId) -> Option<Arc<Kept>> {
        let history = self.history;
        self.loaded.entry(id).or_insert_with(|| history.load(id).ok().map(Arc::new)).clone()
    }

    /// The earlier builds that can be read: those of the same Dockerfile and context first, of these the newest first.
    fn ranked(&mut self, record: &BuildRecord) -> Vec<Arc<Kept>> {
        let mut all: Vec<Arc<Kept>> = self.ids.clone().into_iter().filter_map(|id| self.load(id)).collect();
        all.sort_by_key(|kept| project(&kept.record) != project(record));
        all
    }

    fn earlier(&mut self, record: &BuildRecord, place: Place, step: &StepRecord) -> Earlier {
        let mut found = Earlier::default();
        let mut keys = Vec::new();
        for kept in self.ranked(record) {
            // A key says more than names: the same step may have been built under another name.
            if let Some(key) = step.key
                && let Some(done) = with_key(&kept.record, &key)
            {
                if done.is_done() {
                    found.built.get_or_insert(kept.id);
                } else {
                    found.tried.get_or_insert((kept.id, done));
                }
                continue;
            }
            let Some(there) = counterpart(record, place, &kept.record) else { continue };
            let Some(other) = kept.record.step(there) else { continue };
            if let Some(key) = other.key
                && other.outcome.is_done()
                && found.others.len() < COMPARED
                && !keys.contains(&key)
            {
                keys.push(key);
                found.others.push((kept, there));
            }
        }
        found
    }

    /// Of the earlier forms of a step that with the fewest differences, and these; of several the first.
    fn nearest(
        &self,
        side: Side<'_>,
        others: &[(Arc<Kept>, Place)],
    ) -> Result<Option<(BuildId, Vec<Change>)>, HistoryError> {
        let mut best: Option<(BuildId, Vec<Change>)> = None;
        for (kept, place) in others {
            let Some(key) = kept.record.step(*place).and_then(|step| step.key) else { continue };
            if best.is_some() && self.history.has_many_parts(&key) {
                break;
            }
            let Some(inputs) = self.history.inputs(&key)? else { continue };
            let all = changes(side, Side { record: &kept.record, place: *place, inputs: &inputs })?;
            let count = |changes: &[Change]| changes.iter().map(Change::count).sum::<usize>();
            if best.as_ref().is_none_or(|(_, fewest)| count(&all) < count(fewest)) {
                best = Some((kept.id, all));
            }
        }
        Ok(best)
    }
}

/// What makes builds those of one project: their Dockerfile and context.
fn project(record: &BuildRecord) -> [Option<&str>; 3] {
    let asked = &record.asked;
    [asked.context.as_deref(), asked.dockerfile_path.as_deref(), Some(&asked.dockerfile)]
}

/// What the builds before say of a step.
#[derive(Default)]
struct Earlier {
    /// The newest that had a result for the very same key.
    built: Option<BuildId>,
    /// The newest that began it and had none.
    tried: Option<(BuildId, StepOutcome)>,
    /// Other forms of the step that have results.
    others: Vec<(Arc<Kept>, Place)>,
}

fn with_key(record: &BuildRecord, key: &kiln_oci::digest::Digest) -> Option<StepOutcome> {
    let found = record.places().filter_map(|place| record.step(place)).find(|step| step.key == Some(*key))?;
    // A prediction is no attempt.
    (found.outcome != StepOutcome::WouldRun).then_some(found.outcome)
}

fn base_of(record: &BuildRecord, place: Place) -> &BaseRecord {
    &record.plans[place.plan].stages[place.stage].base
}

/// The steps that would have to run before the one at `place` could be foreseen: the first of its stage, else those in stages
/// that this starts from or reads.
fn depends_on(record: &BuildRecord, place: Place) -> Vec<String> {
    let mut all = Vec::new();
    causes(record, place, &mut all);
    let reads = &record.plans[place.plan].stages[place.stage].steps[place.step].reads;
    for read in reads.iter().filter(|read| **read < place.stage) {
        causes(record, Place { stage: *read, step: usize::MAX, ..place }, &mut all);
    }
    all
}

/// The same for all that comes before `end` in its stage.
fn causes(record: &BuildRecord, end: Place, all: &mut Vec<String>) {
    let Some(stage) = record.plans[end.plan].stages.get(end.stage) else { return };
    let before = &stage.steps[..end.step.min(stage.steps.len())];
    if let Some(step) = before.iter().position(|step| step.outcome == StepOutcome::WouldRun) {
        let name = record.name_of(Place { step, ..end });
        if !all.contains(&name) {
            all.push(name);
        }
        return;
    }
    let base = match &stage.base {
        BaseRecord::Stage { index } => Some(*index),
        _ => None,
    };
    let read =
        before.iter().filter(|step| step.outcome == StepOutcome::Depends).flat_map(|s| s.reads.clone());
    // Stages only ever read earlier ones; a damaged record must not lead in a circle.
    for stage in base.into_iter().chain(read).filter(|stage| *stage < end.stage) {
        causes(record, Place { stage, step: usize::MAX, ..end }, all);
    }
}
