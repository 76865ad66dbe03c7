//! What is kept of a build: plain data, and how it is gathered while the build goes on.
//!
//! A record tells what was done and from what, in the order of the plan: stages, steps with their keys, layers, times and logs. It
//! holds no bytes of files and no output; those are in the store under the names that the record tells. Nothing secret is part
//! of it: values of secret mounts and the proxy arguments never come here.

mod recording;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{DiffId, Digest};
use kiln_oci::platform::Platform;
use kiln_plan::model::{BaseKey, ImageOrigin, RunOp};
use serde::{Deserialize, Serialize};

pub(crate) use recording::PlanTasks;
pub use recording::{Ending, Recording};

/// The form of records that this kiln writes and reads.
pub const FORMAT: u32 = 1;

/// The number of a build in its store; it counts up and is shown as `b12`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildId(pub u64);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl FromStr for BuildId {
    type Err = std::num::ParseIntError;

    /// Reads `b12`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('b').unwrap_or_default().parse().map(Self)
    }
}

impl Serialize for BuildId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where a step is in a build's record: indexes from 0; step 0 is FROM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Into [`BuildRecord::plans`].
    pub plan: usize,
    /// Into [`PlanRecord::stages`].
    pub stage: usize,
    /// Into [`StageRecord::steps`].
    pub step: usize,
}

/// One build, of one or more platforms.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BuildRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// When it began: RFC 3339, UTC.
    pub began: String,
    /// How long it took, in microseconds.
    pub micros: u64,
    /// How it ended.
    pub outcome: BuildOutcome,
    /// Why it failed: one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was built, and with which settings.
    pub asked: Asked,
    /// The names that the image was given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Digest of the image's manifest, or of its index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// One for each platform, in the order asked for.
    pub plans: Vec<PlanRecord>,
}

/// What a build was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The Dockerfile's name, as in messages.
    pub dockerfile: String,
    /// Digest of its text.
    pub text: Option<Digest>,
    /// Its path inside the context, if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dockerfile_path: Option<String>,
    /// The context's directory; its address, if it was fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The directory with the files of a context that was fetched. It is the store's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<String>,
    /// Directories of `--build-context`, and addresses, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contexts: BTreeMap<String, String>,
    /// `--target`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whether RUN has loopback only unless it asks for more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_network: bool,
    /// `--add-host` as `(name, address)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<(String, String)>,
    /// `--ulimit` as `(name, soft, hard)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<(String, u64, u64)>,
    /// `--shm-size` in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,
}

/// How a build ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildOutcome {
    /// It was done.
    Done,
    /// It failed.
    #[default]
    Failed,
    /// It was interrupted.
    Cancelled,
}

/// What was done for one platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Which.
    pub platform: Platform,
    /// Index into `stages` of the target.
    pub target: usize,
    /// The stages that the target needs, each after those that it needs itself; [`kiln_plan::model::Origin::Stage`] counts in them.
    pub stages: Vec<StageRecord>,
    /// Layers of images that steps read without starting from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<(BaseKey, Vec<LayerRecord>)>,
}

/// One stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StageRecord {
    /// `AS name`, or `stage-N`.
    pub name: String,
    /// Whether the Dockerfile gives it that name.
    pub named: bool,
    /// Of its base and of what runs in it.
    pub platform: Platform,
    /// What it starts from.
    pub base: BaseRecord,
    /// Its FROM first, then each instruction that makes a layer. A step's position is its place here, counted from 1.
    pub steps: Vec<StepRecord>,
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum BaseRecord {
    /// `FROM scratch`
    Scratch,
    /// An image.
    Image {
        /// As written, expanded.
        reference: String,
        /// Digest of its manifest, if it came to be known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<Digest>,
        /// Its layers, lowest first; empty if the build did not get that far, or if nobody asked what is in them.
        layers: Vec<LayerRecord>,
        /// Whether they stayed where they were, since no step needed their files.
        #[serde(default, skip_serializing_if = "is_false")]
        passed_on: bool,
    },
    /// An earlier stage.
    Stage {
        /// Index into [`PlanRecord::stages`].
        index: usize,
    },
    /// A directory of `--build-context`; its layer is that of the FROM.
    Context {
        /// Its name.
        name: String,
    },
}

/// A layer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Names its forms in the store.
    pub id: Digest,
    /// Identity of what it does to a root filesystem.
    pub content: Digest,
    /// Whether times in it are those of a command that ran.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ran: bool,
    /// If it came with an image: its blob, and the digest of the tar in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled: Option<(Descriptor, DiffId)>,
}

/// One step.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct StepRecord {
    /// 1-based line of the Dockerfile.
    pub line: usize,
    /// The instruction, variables filled in, those from secrets masked.
    pub text: String,
    /// What became of it.
    pub outcome: StepOutcome,
    /// Its key, if the build got that far. FROM has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// Why the cache was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncached: Option<Uncached>,
    /// The layer that it made or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<LayerRecord>,
    /// When it began, in microseconds since the build did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<u64>,
    /// How long it took, in microseconds.
    #[serde(default)]
    pub micros: u64,
    /// Name of its log in the store's folder `log`: of its own run, or of the run that made what it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Variables that were filled into the instruction, for those that do not run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seen: BTreeMap<String, String>,
    /// Which of them are build arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Stages whose files it reads: indexes into [`PlanRecord::stages`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<usize>,
    /// What a RUN runs, and in what: all but its root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Box<RunOp>>,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// The build ended before it began.
    #[default]
    Skipped,
    /// Its result was in the store.
    Hit,
    /// It ran and made what an earlier run had made.
    Same,
    /// It ran.
    Miss,
    /// It failed.
    Failed,
    /// It was stopped.
    Cancelled,
    /// It would have to run, which was not asked for.
    WouldRun,
    /// It builds on steps that would have to run, which was not asked for: it may be a hit or not.
    Depends,
}

/// Why the cache was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Uncached {
    /// `--no-cache`
    NoCache,
    /// `--no-cache-filter` names its stage.
    NoCacheFilter,
}

impl StepOutcome {
    /// Whether the step has a result.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Hit | Self::Same | Self::Miss)
    }
}

impl PlanRecord {
    /// The layers of the root filesystem that the step at `position` (from 1) of stage `stage` starts with, lowest first; position 1
    /// is FROM and starts with none. `None` if the build did not get that far, or did without the base's layers.
    pub fn layers_before(&self, stage: usize, position: usize) -> Option<Vec<LayerRecord>> {
        if position <= 1 {
            return Some(Vec::new());
        }
        let found = self.stages.get(stage)?;
        let mut layers = match &found.base {
            BaseRecord::Scratch | BaseRecord::Context { .. } => Vec::new(),
            BaseRecord::Image { passed_on: true, .. } => return None,
            BaseRecord::Image { layers, .. } => layers.clone(),
            // A stage only ever starts from an earlier one; a record that says otherwise is damaged.
            BaseRecord::Stage { index } if *index < stage => self.layers_after(*index)?,
            BaseRecord::Stage { .. } => return None,
        };
        if !found.steps.first()?.outcome.is_done() {
            return None;
        }
        for (i, step) in found.steps.iter().take(position - 1).enumerate() {
            match &step.layer {
                Some(layer) => layers.push(layer.clone()),
                None if i == 0 => {}
                None => return None,
            }
        }
        Some(layers)
    }

    /// What a step (from 0) is called among those of its platform.
    pub(crate) fn step_name(&self, stage: usize, step: usize) -> String {
        match self.stages.get(stage) {
            Some(found) if self.stages.len() > 1 || found.named => format!("{}:{}", found.name, step + 1),
            _ => (step + 1).to_string(),
        }
    }

    /// The layers of the root filesystem that stage `stage` ends with; `None` if the build did not get that far.
    pub fn layers_after(&self, stage: usize) -> Option<Vec<LayerRecord>> {
        self.layers_before(stage, self.stages.get(stage)?.steps.len() + 1)
    }
}

impl BuildRecord {
    /// Where all its steps are, in order.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.plans.iter().enumerate().flat_map(|(plan, p)| {
            p.stages
                .iter()
                .enumerate()
                .flat_map(move |(stage, s)| (0..s.steps.len()).map(move |step| Place { plan, stage, step }))
        })
    }

    /// The step at `place`, if there is one.
    pub fn step(&self, place: Place) -> Option<&StepRecord> {
        self.plans.get(place.plan)?.stages.get(place.stage)?.steps.get(place.step)
    }

    /// What a step is called on the command line: `build:3`, or `3` where there is one stage without a name; with several platforms
    /// `build:3@linux/arm64`.
    pub fn name_of(&self, place: Place) -> String {
        let Some(plan) = self.plans.get(place.plan) else { return String::new() };
        let name = plan.step_name(place.stage, place.step);
        if self.plans.len() > 1 { format!("{name}@{}", plan.platform) } else { name }
    }
}

impl BaseRecord {
    /// What the reference of an image looks like.
    pub(crate) fn reference_of(key: &BaseKey) -> String {
        match &key.origin {
            ImageOrigin::Registry(name) => name.clone(),
            ImageOrigin::Layout(spec) => format!("oci-layout://{spec}"),
        }
    }
}

impl StageRecord {
    /// What the screen calls the step at `position` (from 1): `[build 2/5]`; `alone` if the plan has no other stage.
    pub fn label(&self, position: usize, alone: bool) -> String {
        let total = self.steps.len();
        if alone && !self.named {
            format!("[{position}/{total}]")
        } else {
            format!("[{} {position}/{total}]", self.name)
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
