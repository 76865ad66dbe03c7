//! One stage from its FROM to its last instruction.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln_layer::pack::{Entries, Until};
use kiln_layer::view::View;
use kiln_oci::config::History;
use kiln_oci::digest::Digest;
use kiln_plan::model::{CopyOp, CopySource, Op, Origin, RunMountKind, StageBase, StagePlan, Step, WorkdirOp};

use crate::blame;
use crate::copy::From;
use crate::copy::entries::CopyEntries;
use crate::copy::place::{Attributes, Placement};
use crate::error::{At, BuildError, BuildErrorKind};
use crate::event::{SpanKind, TaskId, TaskKind, TaskOutcome};
use crate::files::rootfs::RootfsFiles;
use crate::key::{self, KeyParts};
use crate::layers::base::Base;
use crate::layers::{Layer, Rootfs, forms};
use crate::needs;
use crate::report::failure_outcome;
use crate::request::{Compression, LayerForm, Mode};
use crate::schedule::Permits;
use crate::users;
use crate::work::{Made, StageResult, Turn, Work};

/// A stage in progress.
pub(crate) struct Stage<'a> {
    pub(crate) work: &'a Work<'a>,
    pub(crate) plan: &'a StagePlan,
    pub(crate) index: usize,
    /// Whether the cache may be used for it.
    pub(crate) cached: bool,
}

impl Stage<'_> {
    /// Does it all.
    pub(crate) fn run(&self, from: TaskId, tasks: &[Option<TaskId>]) -> Result<StageResult, BuildError> {
        let done = self.run_all(from, tasks);
        // A step may have wanted what FROM could do without.
        if let StageBase::Image(key) = &self.plan.base
            && let Ok(base) = self.work.bases.find(key)
            && base.fetched().is_some()
        {
            self.record_base(from, &base);
        }
        done
    }

    fn record_base(&self, from: TaskId, base: &Arc<Base>) {
        self.work.reporter.record(|recording| {
            let layers = base.told().iter().map(|layer| layer.record()).collect();
            let here = base.fetched().is_some();
            recording.base(from.0, base.image().manifest_digest, (layers, here));
        });
    }

    fn run_all(&self, from: TaskId, tasks: &[Option<TaskId>]) -> Result<StageResult, BuildError> {
        let mut result = match self.start(from) {
            Err(BuildErrorKind::Unforeseen { .. }) => self.unforeseen(),
            started => started.map_err(|kind| self.at_from(kind))?,
        };
        for (i, step) in self.plan.steps.iter().enumerate() {
            let created = match (&step.op, tasks[i]) {
                (Some(op), Some(task)) => {
                    let made = match self.step(op, task, i, &result) {
                        Err(BuildErrorKind::Unforeseen { .. }) => {
                            self.work.unforeseen.fetch_add(1, Ordering::Relaxed);
                            result.foreseen = false;
                            continue;
                        }
                        made => made.map_err(|kind| self.at_step(kind, i))?,
                    };
                    if self.is_exported() && self.work.request.mode == Mode::Build {
                        self.work.ahead.offer(&made.layer);
                    }
                    result.rootfs.push(made.layer);
                    result.made_anew = made.outcome == TaskOutcome::Done;
                    result.created = Some(made.created.clone());
                    Some(made.created)
                }
                _ => result.created.clone(),
            };
            if step.in_history {
                result.history.push(History {
                    // Of what comes before the first layer nobody knows yet; see `datings`.
                    created,
                    created_by: Some(step.created_by.clone()),
                    comment: Some("buildkit.dockerfile.v0".to_owned()),
                    empty_layer: step.op.is_none(),
                    author: None,
                });
            }
        }
        Ok(result)
    }

    /// A stage whose base is not in the store.
    fn unforeseen(&self) -> StageResult {
        self.work.unforeseen.fetch_add(1, Ordering::Relaxed);
        StageResult {
            rootfs: Rootfs::empty(),
            history: Vec::new(),
            created: None,
            made_anew: false,
            foreseen: false,
        }
    }

    /// FROM.
    fn start(&self, task: TaskId) -> Result<StageResult, BuildErrorKind> {
        let history = self.plan.config.history.clone();
        let empty =
            |rootfs: Rootfs| StageResult { rootfs, history, created: None, made_anew: false, foreseen: true };
        // A stage that starts from another says so by waiting for it, not by a task of its own.
        if let StageBase::Stage(i) = &self.plan.base {
            let parent = self.work.slots.wait(*i)?;
            self.work.reporter.started(task);
            self.work.reporter.finished(task, TaskOutcome::Done);
            return Ok(StageResult {
                rootfs: parent.rootfs.clone(),
                history: parent.history.clone(),
                created: parent.created.clone(),
                made_anew: false,
                foreseen: parent.foreseen,
            });
        }
        self.timed((task, &self.work.permits), || match &self.plan.base {
            StageBase::Image(key) => {
                let base = self.work.bases.find(key)?;
                let rootfs = Rootfs::on(base.clone());
                // Pulled here rather than when its first step asks, so that the image's line is the one to blame; unless a cache
                // tells what is in it.
                if self.plan.steps.iter().filter_map(|s| s.op.as_ref()).any(needs::looks_below) {
                    rootfs.outline(self.work.puller())?;
                }
                self.record_base(task, &base);
                Ok((empty(rootfs), TaskOutcome::Done))
            }
            StageBase::Context(name) => {
                let made = self.context_as_base(name, task)?;
                let mut start = empty(Rootfs::empty());
                start.rootfs.push(made.layer);
                // Each layer has a line of history, or programs that pair them go wrong.
                start.history.push(History {
                    created: Some(made.created.clone()),
                    created_by: Some(self.plan.text.clone()),
                    comment: Some("buildkit.dockerfile.v0".to_owned()),
                    empty_layer: false,
                    author: None,
                });
                start.created = Some(made.created);
                Ok((start, made.outcome))
            }
            StageBase::Scratch | StageBase::Stage(_) => Ok((empty(Rootfs::empty()), TaskOutcome::Done)),
        })
    }

    fn timed<T>(
        &self,
        (task, permits): (TaskId, &Permits),
        work: impl FnOnce() -> Result<(T, TaskOutcome), BuildErrorKind>,
    ) -> Result<T, BuildErrorKind> {
        let _permit = permits.take();
        self.work
            .reporter
            .check()
            .inspect_err(|_| self.work.reporter.finished(task, TaskOutcome::Cancelled))?;
        self.work.reporter.started(task);
        let done = work().map_err(|error| self.work.reporter.judged(error));
        let outcome = match &done {
            Ok((_, outcome)) => outcome.clone(),
            Err(error) => failure_outcome(error),
        };
        self.work.reporter.finished(task, outcome);
        done.map(|(value, _)| value)
    }

    fn step(&self, op: &Op, task: TaskId, i: usize, so_far: &StageResult) -> Result<Made, BuildErrorKind> {
        let rootfs = &so_far.rootfs;
        self.await_inputs(op)?;
        let later = self.plan.steps[i + 1..].iter().filter_map(|step| step.op.as_ref());
        let runs_later = later.clone().any(|op| matches!(op, Op::Run(_)));
        let after = later.count();
        let step = &self.plan.steps[i];
        let turn = Turn { task, step, cached: self.cached, foreseen: so_far.foreseen, after, runs_later };
        let permits = if matches!(op, Op::Run(_)) { &self.work.runs } else { &self.work.permits };
        self.timed((task, permits), || {
            let made = match op {
                Op::Run(run) => crate::run::step(self.work, run, &turn, rootfs),
                Op::Copy(copy) => self.copy(copy, &turn, rootfs),
                Op::Workdir(workdir) => self.workdir(workdir, &turn, rootfs),
            }?;
            let outcome = made.outcome.clone();
            if so_far.made_anew && outcome == TaskOutcome::Cached && needs::looks_below(op) {
                let same =
                    "the step before it has made what was there before: from here on all may stay cached";
                self.work.reporter.notice(Some(task), same.to_owned());
            }
            Ok((made, outcome))
        })
    }

    /// Waits for the stages that `op` reads, before a permit is taken.
    fn await_inputs(&self, op: &Op) -> Result<(), BuildErrorKind> {
        let wait = |origin: &Origin| match origin {
            Origin::Stage(i) => self.work.slots.wait(*i).map(|_| ()),
            _ => Ok(()),
        };
        match op {
            Op::Copy(copy) => wait(&copy.from),
            Op::Run(run) => run.mounts.iter().try_for_each(|mount| match &mount.kind {
                RunMountKind::Bind { from, .. } | RunMountKind::Cache { from: Some(from), .. } => wait(from),
                _ => Ok(()),
            }),
            Op::Workdir(_) => Ok(()),
        }
    }

    fn copy(&self, op: &CopyOp, turn: &Turn<'_>, rootfs: &Rootfs) -> Result<Made, BuildErrorKind> {
        let work = self.work;
        let span = work.reporter.span(SpanKind::Scan, || turn.step.text.clone());
        let whole = Cell::new(true);
        let open = || {
            let (from, readable) = work.outline(&op.from)?;
            whole.set(readable);
            Ok(from)
        };
        let mut reading = crate::copy::read(op, &work.contexts.foreseen, open, work.sources)?;
        drop(span);
        let mut parts = crate::copy::text_key(op, work.store.tmp());
        reading.add_to_key(&mut parts, work.reporter.stop())?;
        let name = name_of(&parts, reading.from.as_ref());
        let independent = needs::is_independent(op);
        let below = if independent { key::empty_chain() } else { rootfs.chain(work.puller())? };
        if !independent {
            parts.add("rootfs", "", below.to_string());
        }
        let ran = work.rootfs_of(&op.from)?.is_some_and(|(from, _)| from.parts().1.iter().any(|l| l.ran));
        work.layer_of(parts, &below, turn, |_| {
            // What is told of a base was enough for the key.
            if !whole.get() {
                reading =
                    crate::copy::read(op, &work.contexts.foreseen, || work.open(&op.from), work.sources)?;
            }
            reading.fetch(op, work.sources)?;
            // The base of an independent layer need not even be here, unless a command will run on both.
            let unseen = independent && !self.makes_trees(turn.after);
            let view = if unseen { View::default() } else { rootfs.view(work.puller())? };
            let owner = op.chown.as_deref().map(|spec| users::owner(&view, spec)).transpose()?;
            let below = RootfsFiles::places(view.clone());
            let planned = crate::copy::place(
                op,
                &mut reading,
                (&below, owner.as_ref()),
                (&work.store.tmp(), work.reporter.stop()),
            )?;
            let entries = CopyEntries::new(work.store, planned, &reading)?;
            self.new_layer((&entries, ran), &view, turn, Some(&name))
        })
    }

    /// Makes the layer in the form that is needed first: a tree if a later step may run on it, else the blob that will be exported.
    /// `name` is what the instruction is called, whatever it reads.
    fn new_layer(
        &self,
        (entries, ran): (&dyn Entries, bool),
        below: &View,
        turn: &Turn<'_>,
        name: Option<&Digest>,
    ) -> Result<Layer, BuildErrorKind> {
        let (store, stop) = (self.work.store, self.work.reporter.stop());
        let entries = &Until { entries, stop };
        if self.makes_trees(turn.after) {
            return Ok(forms::new_tree(store, entries, below, (name, stop))?.times_of_run(ran));
        }
        let plain =
            LayerForm { compression: Compression::Uncompressed, force: false, clamp: None, rewrite: false };
        let wanted = self.work.request.wanted.filter(|_| self.is_exported());
        let form = wanted.map_or(plain, |form| LayerForm { clamp: self.work.epoch, ..form });
        let packing =
            forms::Packing { threads: self.work.request.jobs, reporter: self.work.reporter, task: turn.task };
        forms::new_blob(store, (entries, ran), &form, &packing)
    }

    /// Whether new layers become trees, with `after` steps still to come.
    fn makes_trees(&self, after: usize) -> bool {
        self.work.can_run && self.runs_later(after)
    }

    /// Whether a RUN comes among the last `after` steps of this stage, or in a stage that needs this one's files.
    fn runs_later(&self, after: usize) -> bool {
        let ops: Vec<&Op> = self.plan.steps.iter().filter_map(|s| s.op.as_ref()).collect();
        ops[ops.len() - after..].iter().any(|op| matches!(op, Op::Run(_)))
            || needs::runs_on(self.work.plan, self.index)
    }

    /// Whether its layers are part of the target.
    fn is_exported(&self) -> bool {
        let plan = self.work.plan;
        let parent = |i: usize| match plan.stages.get(i).map(|s| &s.base) {
            Some(StageBase::Stage(parent)) => Some(*parent),
            _ => None,
        };
        std::iter::successors(Some(plan.target), |i| parent(*i)).any(|i| i == self.index)
    }

    fn workdir(&self, op: &WorkdirOp, turn: &Turn<'_>, rootfs: &Rootfs) -> Result<Made, BuildErrorKind> {
        let mut parts = KeyParts::new(self.work.store.tmp());
        parts.add("operation", "", "WORKDIR");
        parts.add("path", "", &op.path);
        parts.add("user", "", &op.user);
        let below = rootfs.chain(self.work.puller())?;
        parts.add("rootfs", "", below.to_string());
        self.work.layer_of(parts, &below, turn, |_| {
            let view = rootfs.view(self.work.puller())?;
            let ids = users::owner_of_workdir(&view, &op.user)?;
            let files = RootfsFiles::places(view.clone());
            let path = kiln_layer::path::LayerPath::clean(&op.path);
            let attributes = Attributes { owner: Some((ids.uid, ids.gid)), ..Attributes::default() };
            let mut placement = Placement::new(Some(&files), attributes, &self.work.store.tmp());
            // One that is there already makes an empty layer.
            let entries = if placement.is_directory(&path)? {
                Vec::new()
            } else {
                placement.make_directory(&path)?;
                placement.finish_directories()?
            };
            self.new_layer((&entries, false), &view, turn, None)
        })
    }

    /// `FROM name` where the name is a directory given with `--build-context`.
    fn context_as_base(&self, name: &str, task: TaskId) -> Result<Made, BuildErrorKind> {
        let op = CopyOp {
            add: false,
            sources: vec![CopySource::Path { pattern: "/".to_owned(), span: self.plan.span }],
            from: Origin::Named(name.to_owned()),
            dest: "/".to_owned(),
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            excludes: Vec::new(),
            checksum: None,
            unpack: None,
            keep_git_dir: false,
        };
        let step = Step {
            span: self.plan.span,
            line: self.plan.line,
            text: self.plan.text.clone(),
            created_by: String::new(),
            op: None,
            in_history: false,
            seen: std::collections::BTreeMap::new(),
        };
        let after = self.plan.steps.iter().filter(|s| s.op.is_some()).count();
        let turn = Turn { task, step: &step, cached: self.cached, foreseen: true, after, runs_later: false };
        self.copy(&op, &turn, &Rootfs::empty())
    }

    /// The stage's name and the number of a step in it, as on the screen.
    pub(crate) fn label(&self, position: usize) -> String {
        let total = 1 + self.plan.steps.iter().filter(|s| s.op.is_some()).count();
        if self.work.plan.stages.len() == 1 && self.plan.name.is_none() {
            return format!("[{position}/{total}]");
        }
        format!("[{} {position}/{total}]", self.work.stage_name(self.index))
    }

    /// Announces FROM and every step that makes a layer.
    pub(crate) fn announce(&self) -> (TaskId, Vec<Option<TaskId>>) {
        let reporter = self.work.reporter;
        let from = format!("{} {}", self.label(1), self.plan.text);
        let from = reporter.announce(TaskKind::Step, from, Some(self.plan.line));
        let mut position = 1;
        let steps = self.plan.steps.iter().map(|step| {
            step.op.as_ref()?;
            position += 1;
            let name = format!("{} {}", self.label(position), step.text);
            Some(reporter.announce(TaskKind::Step, name, Some(step.line)))
        });
        let steps = steps.collect();
        (from, steps)
    }

    fn at_from(&self, kind: BuildErrorKind) -> BuildError {
        let step = format!("{} {}", self.label(1), self.plan.text);
        BuildError::new(Some(At { span: self.plan.span, line: self.plan.line, step }), kind)
    }

    /// An error of the step `i`.
    pub(crate) fn at_step(&self, kind: BuildErrorKind, i: usize) -> BuildError {
        let position = 1 + self.plan.steps[..=i].iter().filter(|s| s.op.is_some()).count();
        let step = &self.plan.steps[i];
        let name = format!("{} {}", self.label(position), step.text);
        let span = blame::span(step, &kind);
        BuildError::new(Some(At { span, line: step.line, step: name }), kind)
    }
}

/// What a COPY is called, whatever the files are that it reads: the same instruction on the same context again.
fn name_of(parts: &KeyParts, from: Option<&From>) -> Digest {
    let context = match from {
        Some(From::Context(context)) => context.root().as_os_str().as_encoded_bytes(),
        _ => b"",
    };
    key::chain(&parts.instruction(), &Digest::of(context))
}
