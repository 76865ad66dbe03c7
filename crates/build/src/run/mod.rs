//! RUN: the only instruction that needs a root filesystem.

pub(crate) mod cache;
pub(crate) mod etc;
mod mounts;
mod process;
mod redact;
mod ssh;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kiln_layer::diff::diff_upper;
use kiln_layer::handle::LayerHandle;
use kiln_layer::index::Index;
use kiln_layer::passwd::Identity;
use kiln_layer::path::LayerPath;
use kiln_layer::stop::Stop;
use kiln_layer::unpack::{Form, Owners, Unpacker};
use kiln_layer::view::View;
use kiln_oci::digest::Digest;
use kiln_plan::model::{NetworkMode, RunOp};
use kiln_sandbox::{Exit, Network, Security, Spec, Ulimit};

use crate::error::BuildErrorKind;
use crate::event::SpanKind;
use crate::files::rootfs::RootfsFiles;
use crate::key::KeyParts;
use crate::layers::thin::Squashes;
use crate::layers::{Layer, Rootfs, forms, view_of};
use crate::request::Network as AskedNetwork;
use crate::run::mounts::Mounts;
use crate::run::process::Outcome;
use crate::run::redact::Redactor;
pub(crate) use crate::run::ssh::Forward;
use crate::schedule::side_by_side;
use crate::store::Store;
use crate::users;
use crate::work::{Made, Turn, Work};

/// The program that RUN's shell form needs is looked for here if the image sets no `PATH`.
pub(crate) const PATH: &str = kiln_oci::config::DEFAULT_PATH;

/// Does one RUN on `rootfs`.
pub(crate) fn step(
    work: &Work<'_>,
    op: &RunOp,
    turn: &Turn<'_>,
    rootfs: &Rootfs,
) -> Result<Made, BuildErrorKind> {
    if op.insecure && !work.request.run.allow_insecure {
        return Err(BuildErrorKind::NotAllowed {
            what: "RUN --security=insecure".to_owned(),
            flag: "--allow security.insecure".to_owned(),
        });
    }
    let mut parts = text_key(work, op);
    let bound = mounts::add_to_key(work, op, &mut parts)?;
    let below = rootfs.chain(work.puller())?;
    parts.add("rootfs", "", below.to_string());
    let key = parts.key();
    work.layer_of(parts, &below, turn, |log| {
        if !work.can_run {
            work.wants_namespace.store(true, Ordering::Relaxed);
            return Err(BuildErrorKind::NeedsNamespace);
        }
        Execution { work, op, turn, rootfs, bound: &bound, key: &key }.run(log)
    })
}

/// The parts of the key that the instruction and the settings of the build give.
fn text_key(work: &Work<'_>, op: &RunOp) -> KeyParts {
    let mut parts = KeyParts::new(work.store.tmp());
    parts.add("operation", "", "RUN");
    for (i, argument) in op.argv.iter().enumerate() {
        parts.add("argument", i.to_string(), argument);
    }
    for (name, value) in op.environment.pairs() {
        parts.add("env", name, value);
    }
    parts.add("user", "", &op.user);
    parts.add("directory", "", &op.cwd);
    parts.add("network", "", if network(work, op) == Network::None { "none" } else { "host" });
    if op.insecure {
        parts.add("security", "", "insecure");
    }
    for script in &op.scripts {
        parts.add("script", &script.path, &script.content);
    }
    if etc::hostname(work.request) != etc::HOSTNAME {
        parts.add("hostname", "", etc::hostname(work.request));
    }
    for (name, address) in &work.request.run.hosts {
        parts.add("host", name, address);
    }
    for (name, soft, hard) in &work.request.run.ulimits {
        parts.add("ulimit", name, format!("{soft}:{hard}"));
    }
    if let Some(size) = work.request.run.shm_size {
        parts.add("shm-size", "", size.to_string());
    }
    parts
}

fn network(work: &Work<'_>, op: &RunOp) -> Network {
    match (op.network, work.request.run.network) {
        (Some(NetworkMode::None), _) | (None | Some(NetworkMode::Default), AskedNetwork::None) => {
            Network::None
        }
        _ => Network::Host,
    }
}

/// One RUN that was not in the store.
struct Execution<'a> {
    work: &'a Work<'a>,
    op: &'a RunOp,
    turn: &'a Turn<'a>,
    rootfs: &'a Rootfs,
    bound: &'a [mounts::Bound],
    key: &'a Digest,
}

impl Execution<'_> {
    fn run(&self, log: &str) -> Result<Layer, BuildErrorKind> {
        let (work, op) = (self.work, self.op);
        let scratch = work.scratches.take(work.store)?;
        let span = work.reporter.span(SpanKind::Unpack, || "layers".to_owned());
        let on = (work.request.jobs, work.reporter.stop());
        let layers = self.rootfs.layers(work.puller())?;
        let (lower, view) = lower_directories((work.store, &work.squashes), &layers, on)?;
        drop(span);
        let identity = users::identity(&view, &op.user)?;
        let upper = scratch.path().join("upper");
        prepare_upper(&view, &upper, &op.cwd, work.store.owners())?;
        let mut mounts = Mounts::prepare(work, op, self.bound, scratch.path())?;
        let stubs = work.scratches.stubs(work.store)?;
        let spec = self.spec((lower, identity), &mut mounts, (scratch.path(), stubs));
        work.reporter.record(|recording| recording.log(self.turn.task.0, log.to_owned()));
        let log = work.store.log_path(log);
        let command = self.turn.step.text.strip_prefix("RUN ").unwrap_or(&self.turn.step.text);
        let hidden = Redactor::new(mounts.secrets.iter().map(Vec::as_slice));
        let span = work.reporter.span(SpanKind::Command, || command.to_owned());
        let exit = match process::run(work, self.turn, &spec, (command, &log, &hidden))? {
            Outcome::Ended(exit) => exit,
            Outcome::Stopped(reason, running) => {
                scratch.abandon((running, mounts));
                return Err(reason);
            }
        };
        drop(span);
        if exit != Exit::Code(0) {
            work.store.keep_failed(self.key, &upper, scratch.path())?;
            let command = command.to_owned();
            return Err(match exit {
                Exit::Code(code) => BuildErrorKind::Exit { command, code, log },
                Exit::Signal(signal) => BuildErrorKind::Signal { command, signal, log },
            });
        }
        mounts.finish()?;
        let _span = work.reporter.span(SpanKind::Diff, || command.to_owned());
        let index = diff_upper(&upper, &view, work.store.owners(), on, &work.store.tmp())?;
        Ok(forms::keep_tree(work.store, index, &upper)?.times_of_run(true))
    }

    fn spec(
        &self,
        (lower, identity): (Vec<PathBuf>, Identity),
        mounts: &mut Mounts,
        (scratch, stubs): (&Path, PathBuf),
    ) -> Spec {
        let Self { work, op, .. } = self;
        let settings = &work.request.run;
        let mut env = op.environment.pairs();
        env.extend(op.unkeyed_env.iter().cloned());
        env.append(&mut mounts.env);
        etc::default_variable(&mut env, "PATH", PATH);
        etc::default_variable(&mut env, "HOME", identity.home.as_deref().unwrap_or("/"));
        Spec {
            rootfs: kiln_sandbox::Rootfs::Overlay {
                lower,
                upper: scratch.join("upper"),
                work: scratch.join("work"),
            },
            argv: op.argv.clone(),
            env,
            cwd: op.cwd.clone(),
            uid: identity.uid,
            gid: identity.gid,
            groups: identity.groups,
            hostname: etc::hostname(work.request).to_owned(),
            mounts: std::mem::take(&mut mounts.mounts),
            network: network(work, op),
            security: if op.insecure { Security::Insecure } else { Security::Sandbox },
            resolv_conf: Some(settings.resolv_conf.clone()),
            hosts: etc::hosts(work.request),
            ulimits: settings
                .ulimits
                .iter()
                .map(|(name, soft, hard)| Ulimit { name: name.clone(), soft: *soft, hard: *hard })
                .collect(),
            shm_size: settings.shm_size,
            stubs,
        }
    }
}

/// The trees of all layers, as overlayfs takes them, and the view of them. Thin ones share a directory if `squashes` has one, which lasts as
/// long as those do.
pub(crate) fn lower_directories(
    (store, squashes): (&Store, &Squashes),
    layers: &[Arc<Layer>],
    (jobs, stop): (usize, Stop<'_>),
) -> Result<(Vec<PathBuf>, View), BuildErrorKind> {
    let mut view = view_of(store, layers)?;
    let bare = |(i, layer): (usize, &Arc<LayerHandle>)| layer.trees.is_empty().then_some(i);
    let missing: Vec<usize> = view.layers().iter().enumerate().filter_map(bare).collect();
    if !missing.is_empty() {
        side_by_side(jobs, missing.len(), |n| {
            let i = missing[n];
            let below = View::new(view.layers()[..i].to_vec());
            forms::ensure_tree(store, &layers[i], &below, stop)
        })?;
        view = view_of(store, layers)?;
    }
    let mut trees = stack((store, squashes), layers, &view, stop)?;
    while trees.len() > MOST_DIRECTORIES && squashes.prepare(store)? {
        trees = stack((store, squashes), layers, &view, stop)?;
    }
    Ok((trees, view))
}

/// Overlayfs takes 500 directories; some are left to the sandbox, and to what is mounted upon these.
const MOST_DIRECTORIES: usize = 480;

/// The trees of `layers`, topmost first: layers that change nothing are left out, and of one that occurs twice (the same COPY again)
/// only the upper place counts, since it repeats everything that the lower one does. That holds for a tree that two layers are
/// changes to as well: no whiteout of changes hides what lies below their layer.
fn stack(
    (store, squashes): (&Store, &Squashes),
    layers: &[Arc<Layer>],
    view: &View,
    stop: Stop<'_>,
) -> Result<Vec<PathBuf>, BuildErrorKind> {
    let nothing = Index::default().content_id()?;
    let mut squashed = squashes.of(layers, view)?;
    let mut trees = Vec::new();
    let mut left = layers.len();
    while let Some(top) = left.checked_sub(1) {
        if let Some((row, dir)) = squashed.pop_if(|(row, _)| row.end == left) {
            trees.push(dir);
            left = row.start;
            continue;
        }
        left = top;
        if layers[top].content != nothing {
            let below = || View::new(view.layers()[..top].to_vec());
            trees.extend_from_slice(&forms::directories(
                store,
                (&layers[top], &view.layers()[top]),
                below,
                stop,
            )?);
        }
    }
    let mut known = HashSet::new();
    Ok(trees.into_iter().filter(|tree| known.insert(tree.clone())).collect())
}

/// Makes the working directory where the image lacks it, and gives the upper directory the face of the image's root.
pub(crate) fn prepare_upper(
    view: &View,
    upper: &Path,
    cwd: &str,
    owners: Owners,
) -> Result<(), BuildErrorKind> {
    use crate::copy::place::{Attributes, Placement};
    use kiln_layer::pack::write_tree;
    let files = RootfsFiles::places(view.clone());
    let mut placement = Placement::new(Some(&files), Attributes::default(), upper);
    let cwd = LayerPath::clean(cwd);
    let mut entries = Vec::new();
    if !placement.is_directory(&cwd)? {
        placement.make_directory(&cwd)?;
        entries = placement.finish_directories()?;
    }
    write_tree(&entries, &[], Unpacker::new(upper, Form::Overlay, owners)?.above(view))?;
    Ok(())
}
