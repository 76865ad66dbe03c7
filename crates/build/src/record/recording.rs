//! Gathers a record while a build goes on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kiln_oci::digest::Digest;
use kiln_plan::model::{BaseKey, Op, Origin, Plan, RunMountKind, StageBase, StagePlan, Step};

use crate::key::KeyParts;

use super::{
    Asked, BaseRecord, BuildOutcome, BuildRecord, FORMAT, LayerRecord, Place, PlanRecord, StageRecord,
    StepOutcome, StepRecord, Uncached,
};

/// A record in the making; shared by all threads of a build. It costs a lock and a few copies a step, and touches no disk.
pub struct Recording {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    record: BuildRecord,
    /// Where the step of a task is: plan, stage, place among its steps.
    tasks: HashMap<u32, Place>,
    /// What the keys of steps are made of that would have to run, for as long as nothing of them is in the store.
    parts: HashMap<Place, Arc<KeyParts>>,
}

/// How a build ended, as its caller knows it.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// How.
    pub outcome: BuildOutcome,
    /// Why it failed.
    pub error: Option<String>,
    /// The names that the image was given.
    pub names: Vec<String>,
    /// Digest of its manifest or index.
    pub digest: Option<Digest>,
}

/// The tasks of a stage and whether the cache may be used for it.
pub(crate) struct PlanTasks {
    /// Of FROM.
    pub(crate) from: u32,
    /// Of its instructions; `None` for those that make no layer.
    pub(crate) steps: Vec<Option<u32>>,
    pub(crate) uncached: Option<Uncached>,
}

impl Default for Recording {
    fn default() -> Self {
        Self::new()
    }
}

impl Recording {
    /// Begins now.
    pub fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began =
            jiff::Timestamp::new(now.as_secs().cast_signed(), now.subsec_micros().cast_signed() * 1000);
        let began = began.map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |t| t.to_string());
        let record = BuildRecord { format: FORMAT, began, ..BuildRecord::default() };
        Self { began: Instant::now(), inner: Mutex::new(Inner { record, ..Inner::default() }) }
    }

    /// The build begins once more, in this process: what was done so far is not what will be told.
    pub fn begin_again(&self) {
        let mut inner = self.lock();
        inner.record.plans.clear();
        inner.tasks.clear();
    }

    /// What is known by now; the outcome is that of a build that ends here, unfinished.
    pub fn record(&self) -> BuildRecord {
        self.lock().record.clone()
    }

    /// What is known by now, ended.
    pub(crate) fn ended(&self, ending: Ending) -> BuildRecord {
        let mut inner = self.lock();
        let record = &mut inner.record;
        record.micros = micros(self.began.elapsed());
        record.outcome = ending.outcome;
        record.error = ending.error;
        record.names = ending.names;
        record.digest = ending.digest;
        record.clone()
    }

    pub(crate) fn asked(&self, asked: Asked) {
        self.lock().record.asked = asked;
    }

    /// Adds what will be done for one platform; `tasks` by stage.
    pub(crate) fn plan(&self, plan: &Plan, tasks: &[PlanTasks]) {
        let mut inner = self.lock();
        let number = inner.record.plans.len();
        let stages = plan.stages.iter().enumerate().map(|(i, stage)| {
            let PlanTasks { from, steps: ids, uncached } = &tasks[i];
            let ids = stage.steps.iter().zip(ids).filter_map(|(step, id)| Some((step, (*id)?)));
            let from_step =
                StepRecord { line: stage.line, text: stage.text.clone(), ..StepRecord::default() };
            let mut steps = vec![from_step];
            inner.tasks.insert(*from, Place { plan: number, stage: i, step: 0 });
            for (step, id) in ids {
                inner.tasks.insert(id, Place { plan: number, stage: i, step: steps.len() });
                let record = of_step(stage, step);
                steps.push(StepRecord { uncached: *uncached, ..record });
            }
            of_stage(stage, steps)
        });
        let stages = stages.collect();
        let platform = plan.stages[plan.target].config.platform();
        inner.record.plans.push(PlanRecord { platform, target: plan.target, stages, images: Vec::new() });
    }

    pub(crate) fn started(&self, task: u32, elapsed: Duration) {
        self.step(task, |step| step.began = Some(micros(elapsed)));
    }

    pub(crate) fn finished(&self, task: u32, elapsed: Duration, outcome: StepOutcome) {
        self.step(task, |step| {
            step.micros = micros(elapsed).saturating_sub(step.began.unwrap_or_else(|| micros(elapsed)));
            step.outcome = outcome;
        });
    }

    pub(crate) fn keyed(&self, task: u32, key: Digest) {
        self.step(task, |step| step.key = Some(key));
    }

    pub(crate) fn made(&self, task: u32, layer: LayerRecord, log: Option<String>) {
        self.step(task, |step| {
            step.layer = Some(layer);
            if log.is_some() {
                step.log = log;
            }
        });
    }

    pub(crate) fn log(&self, task: u32, name: String) {
        self.step(task, |step| step.log = Some(name));
    }

    /// The image that the stage of FROM's `task` starts from has come to be known, with what is known of its layers, and whether they are
    /// in the store.
    pub(crate) fn base(&self, task: u32, manifest: Digest, (layers, here): (Vec<LayerRecord>, bool)) {
        let mut inner = self.lock();
        let Some(Place { plan, stage, .. }) = inner.tasks.get(&task).copied() else { return };
        if let BaseRecord::Image { digest, layers: known, passed_on, .. } =
            &mut inner.record.plans[plan].stages[stage].base
        {
            *digest = Some(manifest);
            *passed_on = !here;
            *known = layers;
        }
    }

    /// A step of plan number `plan` reads an image.
    pub(crate) fn image(&self, plan: usize, key: &BaseKey, layers: impl FnOnce() -> Vec<LayerRecord>) {
        let mut inner = self.lock();
        let Some(plan) = inner.record.plans.get_mut(plan) else { return };
        let images = &mut plan.images;
        if images.iter().all(|(known, _)| known != key) {
            images.push((key.clone(), layers()));
        }
    }

    /// The step of `task` would have to run, and this is what its key is made of, as far as that is known.
    pub(crate) fn would_run(&self, task: u32, parts: KeyParts) {
        let mut inner = self.lock();
        if let Some(place) = inner.tasks.get(&task).copied() {
            inner.parts.insert(place, Arc::new(parts));
        }
    }

    /// Where the step of `task` is.
    pub(crate) fn place(&self, task: u32) -> Option<Place> {
        self.lock().tasks.get(&task).copied()
    }

    /// What the keys are made of that [`Recording::would_run`] was told.
    pub(crate) fn parts(&self) -> HashMap<Place, Arc<KeyParts>> {
        self.lock().parts.clone()
    }

    fn step(&self, task: u32, change: impl FnOnce(&mut StepRecord)) {
        let mut inner = self.lock();
        // Tasks that are no steps (pulls, exports) have no place in a record.
        let Some(place) = inner.tasks.get(&task).copied() else { return };
        change(&mut inner.record.plans[place.plan].stages[place.stage].steps[place.step]);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn of_stage(stage: &StagePlan, steps: Vec<StepRecord>) -> StageRecord {
    let base = match &stage.base {
        StageBase::Scratch => BaseRecord::Scratch,
        StageBase::Image(key) => {
            let reference = BaseRecord::reference_of(key);
            BaseRecord::Image { reference, digest: None, layers: Vec::new(), passed_on: false }
        }
        StageBase::Stage(index) => BaseRecord::Stage { index: *index },
        StageBase::Context(name) => BaseRecord::Context { name: name.clone() },
    };
    let named = stage.name.is_some();
    let name = stage.name.clone().unwrap_or_else(|| format!("stage-{}", stage.number));
    StageRecord { name, named, platform: stage.platform.clone(), base, steps }
}

fn of_step(stage: &StagePlan, step: &Step) -> StepRecord {
    let record = StepRecord { line: step.line, text: step.text.clone(), ..StepRecord::default() };
    let mut reads = Vec::new();
    let mut read = |origin: &Origin| {
        if let Origin::Stage(index) = origin {
            reads.push(*index);
        }
    };
    match &step.op {
        Some(Op::Run(run)) => {
            for mount in &run.mounts {
                match &mount.kind {
                    RunMountKind::Bind { from, .. } | RunMountKind::Cache { from: Some(from), .. } => {
                        read(from)
                    }
                    _ => {}
                }
            }
            StepRecord { run: Some(run.clone()), reads, ..record }
        }
        Some(Op::Copy(copy)) => {
            read(&copy.from);
            StepRecord { seen: step.seen.clone(), arguments: arguments(stage, step), reads, ..record }
        }
        _ => StepRecord { seen: step.seen.clone(), arguments: arguments(stage, step), ..record },
    }
}

/// Of the variables that were filled in, those that the image does not have.
fn arguments(stage: &StagePlan, step: &Step) -> Vec<String> {
    let env = &stage.config.config.env;
    let is_set = |name: &str| env.iter().any(|pair| pair.split_once('=').is_some_and(|(n, _)| n == name));
    step.seen.keys().filter(|name| !is_set(name)).cloned().collect()
}
