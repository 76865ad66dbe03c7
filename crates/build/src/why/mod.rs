//! Why a step was not taken from the cache, as plain data: two records and the parts of two keys are compared, and nothing of the store is read.
//!
//! `pairing` finds the same step in an earlier build, `inputs` says what the two keys differ in, `files` which of the files that they name, `below` what
//! their root filesystems differ in.

mod below;
mod files;
mod inputs;
mod pairing;

use kiln_oci::digest::Digest;
use serde::Serialize;

use crate::record::{
    BuildId, BuildRecord, Place, PlanRecord, StageRecord, StepOutcome, StepRecord, Uncached,
};

pub(crate) use below::base_change;
pub(crate) use inputs::{Inputs, Sorting, changes};
pub(crate) use pairing::counterpart;

/// Why a step is not simply a hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// The cache was not asked.
    NotAsked {
        /// Which flag says so.
        by: Uncached,
    },
    /// No build that is remembered had such a step.
    New,
    /// The very same step was done before, but its result is not in the store any more.
    Pruned {
        /// By which build.
        built: BuildId,
    },
    /// The very same step was begun before and never finished.
    Unfinished {
        /// By which build.
        tried: BuildId,
        /// How that ended.
        outcome: StepOutcome,
    },
    /// Something is not as it was.
    Changed {
        /// When the step was last done.
        earlier: BuildId,
        /// What is not as it was then; never empty.
        changes: Vec<Change>,
    },
    /// Such a step was done before, but what went into its key is not in the store any more.
    Forgotten {
        /// By which build.
        earlier: BuildId,
    },
    /// What the base image is made of is not in the store.
    NotPulled,
    /// It cannot be foreseen: it builds on steps that would have to run.
    Depends {
        /// Their names, such as `build:3`.
        on: Vec<String>,
        /// What else is not as it was when the step was last done.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        changes: Vec<Change>,
    },
}

/// One difference between a step and its earlier self.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// What the instruction says, or the shell that it is given to.
    Instruction {
        /// As it was.
        old: String,
        /// As it is.
        new: String,
    },
    /// The platform that it is built for; nearer earlier builds are there none.
    Platform {
        /// As it was.
        old: String,
        /// As it is.
        new: String,
    },
    /// The base image of the stage, or of one below.
    Base {
        /// As it was.
        old: BaseId,
        /// As it is.
        new: BaseId,
    },
    /// Files that a step below leaves, in this stage or in one that it starts from.
    Below {
        /// The step's name, such as `build:3`.
        step: String,
        /// Its instruction.
        text: String,
        /// What about it.
        how: How,
    },
    /// A variable that it sees.
    Variable {
        /// Its name.
        name: String,
        /// Whether it is a build argument rather than an `ENV`.
        argument: bool,
        /// Its value then; `None` if it was not set.
        old: Option<String>,
        /// Its value now.
        new: Option<String>,
        /// Whether the name sounds like that of a secret; the values are left out then.
        hidden: bool,
    },
    /// A setting of the command: `USER`, `WORKDIR`, `--network`, `--add-host NAME`, `--ulimit NAME`, `--shm-size`, `--security`.
    Setting {
        /// Which.
        name: String,
        /// Its value then.
        old: Option<String>,
        /// Its value now.
        new: Option<String>,
    },
    /// The files of a stage or image that is mounted whole.
    MountSource {
        /// Where it is mounted.
        target: String,
        /// What is mounted: `stage build`, `image alpine:3`.
        from: String,
    },
    /// A file that it reads.
    File {
        /// Path in the context, stage or image that it is read from.
        path: String,
        /// What it was; `None` if it was not there.
        old: Option<FileState>,
        /// What it is; `None` if it is gone.
        new: Option<FileState>,
    },
    /// Files more that are not as they were: of very many, only the first by path are told one by one.
    MoreFiles {
        /// How many.
        count: usize,
    },
    /// Something that ADD fetches or unpacks.
    Fetched {
        /// Its name, or the archive's.
        name: String,
        /// Digest of what it was.
        old: Option<String>,
        /// Digest of what it is.
        new: Option<String>,
    },
    /// Nothing that can be seen: the kiln that made the earlier key made keys in another way.
    OtherKiln,
}

impl Change {
    /// How many differences it stands for.
    pub fn count(&self) -> usize {
        if let Self::MoreFiles { count } = self { *count } else { 1 }
    }
}

/// A base image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BaseId {
    /// As written; `scratch` for none.
    pub reference: String,
    /// Digest of its manifest.
    pub digest: Option<Digest>,
}

/// What is different about a step below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It leaves other files.
    OtherFiles,
}

/// What a key says of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileState {
    /// `file`, `directory`, `symlink`, `char`, `block`, `fifo`.
    pub kind: String,
    /// Bytes, of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a file's content, or of a link's target, as `sha256:...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Permission bits, octal.
    pub mode: String,
    /// `uid:gid` where owners are copied along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// All else: extended attributes, device numbers, which names are of one file.
    #[serde(skip)]
    pub(crate) rest: String,
}

/// One side of a comparison: a step of a build, and the parts of its key.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) record: &'a BuildRecord,
    pub(crate) place: Place,
    pub(crate) inputs: &'a Inputs,
}

impl<'a> Side<'a> {
    fn plan(&self) -> &'a PlanRecord {
        &self.record.plans[self.place.plan]
    }

    fn stage(&self) -> &'a StageRecord {
        &self.plan().stages[self.place.stage]
    }

    fn step(&self) -> &'a StepRecord {
        &self.stage().steps[self.place.step]
    }
}
