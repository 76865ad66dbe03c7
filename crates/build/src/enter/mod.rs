//! Going into the root filesystem of a step of a past build.
//!
//! A build's record tells which layers a step began with and how it was set up; what is still in the store of that is mounted again, with
//! an upper directory that is thrown away. Nothing that happens inside changes a layer, a cache mount or a record.

mod mounts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_layer::stop::Stop;
use kiln_plan::environment::Environment;
use kiln_plan::model::{NetworkMode, RunOp};
use kiln_sandbox::{Network, Security, Spec, Ulimit};

use crate::engine::Engine;
use crate::error::{BuildError, BuildErrorKind};
use crate::layers::thin::Squashes;
use crate::layers::{Layer, Pulled, forms};
use crate::record::{Asked, BaseRecord, LayerRecord, PlanRecord, StepOutcome, StepRecord};
use crate::request::SecretSource;
use crate::run::{self, etc};
use crate::scratch::Scratch;
use crate::store::Lock;
use crate::users;

/// How many layers are unpacked at once, where that has to be done.
const JOBS: usize = 2;

/// Where to go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// What the step began with.
    Before,
    /// What it left.
    After,
    /// What a step that failed had made by then; what it began with, if it was no RUN or that is gone.
    Failed,
}

/// A step of a past build, and what is wanted there.
pub struct Visit<'a> {
    /// What the build was asked for.
    pub asked: &'a Asked,
    /// What was done for one platform.
    pub plan: &'a PlanRecord,
    /// Which of its stages.
    pub stage: usize,
    /// Which step of that stage, from 1 (FROM).
    pub position: usize,
    /// Before it, or after.
    pub moment: Moment,
    /// What to run; empty for the step's own shell.
    pub command: Vec<String>,
    /// Variables beside the step's own.
    pub env: Vec<(String, String)>,
    /// Secrets, by id: none is remembered.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Agents' sockets, by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// Content of `/etc/resolv.conf`.
    pub resolv_conf: Vec<u8>,
}

/// Ready to be run. What it mounts lives as long as this value.
pub struct Entered {
    /// For the sandbox.
    pub spec: Spec,
    /// What of the step is not there, one sentence each.
    pub missing: Vec<String>,
    _agents: Vec<run::Forward>,
    _scratch: Scratch,
    _squashes: Squashes,
    _lease: Arc<Lock>,
}

/// Why a step cannot be entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// The build has no such step.
    #[error("the build has no step {position} in stage {stage}; its last one is {last}")]
    NoStep {
        /// The stage's name.
        stage: String,
        /// Which.
        position: usize,
        /// The last there is.
        last: usize,
    },
    /// The build ended before.
    #[error("the build did not get as far as {step:?}")]
    NotReached {
        /// The instruction.
        step: String,
    },
    /// No step looked at the base image's files, so they were never fetched.
    #[error(
        "the files that {step:?} is on are not here: no step needed them, so the base image was only passed on"
    )]
    PassedOn {
        /// The instruction.
        step: String,
    },
    /// The store does not have the layers any more.
    #[error("the files of {step:?} are not in the store any more")]
    Gone {
        /// The instruction.
        step: String,
    },
    /// The build is one for another platform, or of FROM alone.
    #[error("there is nothing to go into before {step:?}")]
    Nothing {
        /// The instruction.
        step: String,
    },
    /// Something else.
    #[error(transparent)]
    Build(#[from] BuildErrorKind),
}

impl From<BuildError> for EnterError {
    fn from(error: BuildError) -> Self {
        Self::Build(error.kind)
    }
}

/// The first step that failed, as stage and position (from 1).
pub fn failed_step(plan: &PlanRecord) -> Option<(usize, usize)> {
    plan.stages.iter().enumerate().find_map(|(stage, found)| {
        let step = found.steps.iter().position(|step| step.outcome == StepOutcome::Failed)?;
        Some((stage, step + 1))
    })
}

impl Engine {
    /// Prepares to go where `visit` says. Layers that exist only as blobs are unpacked.
    ///
    /// # Errors
    /// See [`EnterError`].
    pub fn enter(&self, visit: &Visit<'_>) -> Result<Entered, EnterError> {
        let lease = self.store().lease()?;
        let step = visit.step()?;
        let layers = self.layers_of(&visit.layers()?, &step.text)?;
        let squashes = Squashes::default();
        let (mut lower, view) =
            run::lower_directories((self.store(), &squashes), &layers, (JOBS, Stop::NEVER))?;
        lower.splice(0..0, self.failed_tree(visit, step));
        let op = visit.surroundings();
        let identity = users::identity(&view, &op.user)?;
        let scratch = Scratch::new(self.store())?;
        let (upper, stubs) = (scratch.path().join("upper"), scratch.path().join("stubs"));
        fs_err::create_dir(&stubs).map_err(BuildErrorKind::Io)?;
        run::prepare_upper(&view, &upper, &op.cwd, self.store().owners())?;
        let mounts = mounts::Again { engine: self, visit, scratch: scratch.path(), squashes: &squashes }
            .prepare(&op)?;
        let mut env = op.environment.pairs();
        env.extend(mounts.env);
        env.extend(visit.env.iter().cloned());
        etc::default_variable(&mut env, "PATH", run::PATH);
        etc::default_variable(&mut env, "HOME", identity.home.as_deref().unwrap_or("/"));
        let asked = visit.asked;
        let ulimits = asked.ulimits.iter();
        let spec = Spec {
            rootfs: kiln_sandbox::Rootfs::Overlay { lower, upper, work: scratch.path().join("work") },
            argv: visit.command_or_shell(&op),
            env,
            cwd: op.cwd.clone(),
            uid: identity.uid,
            gid: identity.gid,
            groups: identity.groups,
            hostname: etc::HOSTNAME.to_owned(),
            mounts: mounts.mounts,
            network: visit.network(&op),
            security: if op.insecure { Security::Insecure } else { Security::Sandbox },
            resolv_conf: Some(visit.resolv_conf.clone()),
            hosts: etc::hosts_of(etc::HOSTNAME, &asked.hosts),
            ulimits: ulimits
                .map(|(name, soft, hard)| Ulimit { name: name.clone(), soft: *soft, hard: *hard })
                .collect(),
            shm_size: asked.shm_size,
            stubs,
        };
        Ok(Entered {
            spec,
            missing: mounts.missing,
            _agents: mounts.agents,
            _scratch: scratch,
            _squashes: squashes,
            _lease: lease,
        })
    }

    /// These layers, if the store still has them all.
    fn layers_of(&self, layers: &[LayerRecord], step: &str) -> Result<Vec<Arc<Layer>>, EnterError> {
        let mut found = Vec::with_capacity(layers.len());
        for layer in layers {
            let there = match &layer.pulled {
                Some((blob, _)) => {
                    let is_whole = self.store().content().size_of(&blob.digest) == Some(blob.size);
                    self.store().index_path(&layer.id).exists()
                        && (is_whole || self.store().tree_path(&layer.id).exists())
                }
                None => forms::is_there(self.store(), &layer.id)?,
            };
            if !there {
                return Err(EnterError::Gone { step: step.to_owned() });
            }
            let pulled = layer.pulled.clone().map(|(descriptor, diff_id)| Pulled { descriptor, diff_id });
            found.push(Arc::new(Layer::new(layer.id, layer.content, pulled)));
        }
        Ok(found)
    }

    /// What a RUN had written when it failed.
    fn failed_tree(&self, visit: &Visit<'_>, step: &StepRecord) -> Option<PathBuf> {
        let key = step.key.filter(|_| visit.moment == Moment::Failed)?;
        Some(self.store().failed_path(&key)).filter(|path| path.is_dir())
    }
}

impl Visit<'_> {
    fn step(&self) -> Result<&StepRecord, EnterError> {
        let no_step =
            |stage: &str, last| EnterError::NoStep { stage: stage.to_owned(), position: self.position, last };
        let stage = self.plan.stages.get(self.stage).ok_or_else(|| no_step("?", 0))?;
        let found = self.position.checked_sub(1).and_then(|i| stage.steps.get(i));
        found.ok_or_else(|| no_step(&stage.name, stage.steps.len()))
    }

    fn layers(&self) -> Result<Vec<LayerRecord>, EnterError> {
        let step = || self.step().map(|step| step.text.clone());
        let position = self.position + usize::from(self.moment == Moment::After);
        if position == 1 {
            return Err(EnterError::Nothing { step: step()? });
        }
        match self.plan.layers_before(self.stage, position) {
            Some(layers) => Ok(layers),
            None if self.is_passed_on() => Err(EnterError::PassedOn { step: step()? }),
            None => Err(EnterError::NotReached { step: step()? }),
        }
    }

    /// Whether the base image of a stage below stayed where it was.
    fn is_passed_on(&self) -> bool {
        let stages = self.plan.stages.iter().take(self.stage + 1);
        stages.into_iter().any(|stage| matches!(stage.base, BaseRecord::Image { passed_on: true, .. }))
    }

    /// How the step was set up. Instructions that do not run have no process; there it is as in the nearest RUN, first of those
    /// above, of stages below it too.
    fn surroundings(&self) -> RunOp {
        let of = |stage: usize, upto: usize| {
            let steps = self.plan.stages.get(stage)?.steps.get(..upto)?;
            steps.iter().rev().find_map(|step| step.run.as_deref())
        };
        let parent = |stage: &usize| match self.plan.stages.get(*stage)?.base {
            BaseRecord::Stage { index } if index < *stage => Some(index),
            _ => None,
        };
        let below = || {
            let parents = std::iter::successors(Some(self.stage), parent).skip(1);
            parents.into_iter().find_map(|i| of(i, self.plan.stages.get(i)?.steps.len()))
        };
        let next = || {
            let steps = self.plan.stages.get(self.stage)?.steps.get(self.position..)?;
            steps.iter().find_map(|step| step.run.as_deref())
        };
        let own = self.step().ok().and_then(|step| step.run.as_deref());
        if let Some(op) = own {
            return op.clone();
        }
        match of(self.stage, self.position).or_else(below).or_else(next) {
            Some(op) => RunOp { mounts: Vec::new(), scripts: Vec::new(), insecure: false, ..op.clone() },
            None => nobody_special(),
        }
    }

    fn network(&self, op: &RunOp) -> Network {
        match op.network {
            Some(NetworkMode::None) => Network::None,
            None | Some(NetworkMode::Default) if self.asked.no_network => Network::None,
            _ => Network::Host,
        }
    }

    /// The command, or the program that the step's own command line was given to.
    fn command_or_shell(&self, op: &RunOp) -> Vec<String> {
        if !self.command.is_empty() {
            return self.command.clone();
        }
        let shell = match op.argv.as_slice() {
            [shell, .., flag, _] if flag.starts_with('-') && flag.ends_with('c') => shell.as_str(),
            _ => "/bin/sh",
        };
        vec![shell.to_owned()]
    }
}

/// Root in an image that says nothing.
fn nobody_special() -> RunOp {
    RunOp {
        argv: Vec::new(),
        environment: Environment::default(),
        unkeyed_env: Vec::new(),
        user: String::new(),
        cwd: "/".to_owned(),
        mounts: Vec::new(),
        network: None,
        insecure: false,
        scripts: Vec::new(),
    }
}

/// Reads a secret's bytes.
fn secret(source: &SecretSource) -> std::io::Result<Vec<u8>> {
    match source {
        SecretSource::Bytes(bytes) => Ok(bytes.to_vec()),
        SecretSource::File(path) => fs_err::read(Path::new(path)),
    }
}
