//! The mounts of a step, once more: every one with its writes thrown away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use kiln_layer::pack::write_tree;
use kiln_layer::stop::Stop;
use kiln_layer::unpack::{Form, Unpacker};
use kiln_oci::digest::Digest;
use kiln_plan::CopiedPath;
use kiln_plan::model::{Origin, RunMount, RunMountKind, RunOp};
use kiln_sandbox::{Mount, MountKind, Scratch};

use crate::contexts::Contexts;
use crate::copy::From;
use crate::copy::entries::as_tree;
use crate::copy::gather::{Looking, gather};
use crate::engine::Engine;
use crate::enter::{EnterError, Visit, secret};
use crate::error::BuildErrorKind;
use crate::layers::thin::Squashes;
use crate::remote::Sources;
use crate::report::Reporter;
use crate::request::{Context, NamedContext, Request};
use crate::run;

/// Makes the mounts of a visit.
pub(super) struct Again<'a> {
    pub(super) engine: &'a Engine,
    pub(super) visit: &'a Visit<'a>,
    pub(super) scratch: &'a Path,
    pub(super) squashes: &'a Squashes,
}

/// They, and what could not be had.
#[derive(Default)]
pub(super) struct Mounted {
    pub(super) mounts: Vec<Mount>,
    pub(super) env: Vec<(String, String)>,
    pub(super) missing: Vec<String>,
    pub(super) agents: Vec<run::Forward>,
}

impl Again<'_> {
    pub(super) fn prepare(&self, op: &RunOp) -> Result<Mounted, EnterError> {
        let mut all = Mounted::default();
        for script in &op.scripts {
            let bytes = script.content.clone().into_bytes();
            let kind = MountKind::File { bytes, mode: 0o755, uid: 0, gid: 0 };
            all.mounts.push(Mount { target: script.path.clone(), kind });
        }
        for (i, mount) in op.mounts.iter().enumerate() {
            let place = self.scratch.join(format!("mount-{i}"));
            match self.mount(mount, &place, &mut all) {
                Ok(Some(kind)) => all.mounts.push(Mount { target: mount.target.clone(), kind }),
                Ok(None) => {}
                // A step can be looked at without one of its mounts; that it lacks is said.
                Err(EnterError::Build(error)) => all.missing.push(format!("{}: {error}", mount.target)),
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    fn mount(
        &self,
        mount: &RunMount,
        place: &Path,
        all: &mut Mounted,
    ) -> Result<Option<MountKind>, EnterError> {
        Ok(match &mount.kind {
            RunMountKind::Bind { from, source, .. } => Some(self.bind(from, source, place)?),
            RunMountKind::Tmpfs { size } => Some(MountKind::Tmpfs { size: *size, mode: 0o755 }),
            RunMountKind::Cache { id, mode, .. } => {
                let cache = self.engine.store().cache_path(&Digest::of(id.as_bytes())).join("data");
                if cache.is_dir() {
                    let scratch = Some(scratch_pair(place)?);
                    Some(MountKind::Overlay { lower: vec![cache], scratch, subpath: None })
                } else {
                    Some(MountKind::Tmpfs { size: None, mode: *mode })
                }
            }
            RunMountKind::Secret { id, env, mode, uid, gid, .. } => {
                let Some(source) = self.visit.secrets.get(id) else {
                    all.missing.push(format!("the secret {id:?} (give it again: --secret id={id},src=FILE)"));
                    return Ok(None);
                };
                let bytes = secret(source).map_err(BuildErrorKind::Io)?;
                if let (Some(name), Ok(text)) = (env, String::from_utf8(bytes.clone())) {
                    all.env.push((name.clone(), text));
                }
                let file = MountKind::File { bytes, mode: *mode, uid: *uid, gid: *gid };
                (!mount.target.is_empty()).then_some(file)
            }
            RunMountKind::Ssh { id, mode, uid, gid, .. } => {
                let Some(socket) = self.visit.ssh.get(id) else {
                    all.missing.push(format!("the ssh agent {id:?} (give it again: --ssh {id})"));
                    return Ok(None);
                };
                let owner = self.engine.store().keeps_owners().then_some((*uid, *gid));
                let forward = run::Forward::start(socket, &directory(place)?.join("agent"), (*mode, owner))
                    .map_err(BuildErrorKind::Io)?;
                let kind = MountKind::Socket { source: forward.path().to_owned() };
                all.agents.push(forward);
                all.env.push(("SSH_AUTH_SOCK".to_owned(), mount.target.clone()));
                Some(kind)
            }
        })
    }

    fn bind(&self, from: &Origin, source: &str, place: &Path) -> Result<MountKind, EnterError> {
        let scratch = Some(scratch_pair(place)?);
        let plan = self.visit.plan;
        let layers = match from {
            Origin::Stage(stage) => plan.layers_after(*stage),
            Origin::Image(key) => plan.images.iter().find(|(known, _)| known == key).map(|(_, l)| l.clone()),
            Origin::Scratch => Some(Vec::new()),
            Origin::Context | Origin::Named(_) => {
                let (tree, subpath) = self.context_tree(from, source, &place.join("tree"))?;
                return Ok(MountKind::Overlay { lower: vec![tree], scratch, subpath });
            }
        };
        let gone = || EnterError::Gone { step: format!("--mount from={from:?}") };
        let layers = self.engine.layers_of(&layers.ok_or_else(gone)?, "--mount")?;
        let (mut lower, _) = run::lower_directories(
            (self.engine.store(), self.squashes),
            &layers,
            (super::JOBS, Stop::NEVER),
        )?;
        if lower.is_empty() {
            lower.push(directory(&place.join("empty"))?);
        }
        Ok(MountKind::Overlay { lower, scratch, subpath: Some(source.to_owned()) })
    }

    /// The files of a context as they are now.
    fn context_tree(
        &self,
        from: &Origin,
        source: &str,
        tree: &Path,
    ) -> Result<(PathBuf, Option<String>), EnterError> {
        let asked = self.visit.asked;
        let place = match from {
            Origin::Named(name) => asked.contexts.get(name),
            _ => asked.fetched.as_ref().or(asked.context.as_ref()),
        };
        // What was fetched for a step goes when it is not used for long; an address is no place at all.
        if let Some(place) = place.filter(|place| !Path::new(place).is_dir()) {
            let place = if asked.fetched.as_ref() == Some(place) { asked.context.as_ref() } else { None }
                .unwrap_or(place);
            let message = format!("the files of the build context {place} are not here any more");
            return Err(BuildErrorKind::Copy { message, help: None }.into());
        }
        let context = asked.fetched.as_ref().or(asked.context.as_ref());
        let context = context.map_or(Context::Empty, |path| Context::Directory(path.into()));
        let named = |(name, path): (&String, &String)| (name.clone(), NamedContext::Directory(path.into()));
        let request = Request {
            contexts: asked.contexts.iter().map(named).collect::<BTreeMap<_, _>>(),
            dockerfile_path: asked.dockerfile_path.as_ref().map(PathBuf::from),
            ..Request::new("", context)
        };
        let (nobody, cancel) = (|_| {}, AtomicBool::new(false));
        let reporter = Reporter::new(&nobody, &cancel);
        let sources = Sources::new(self.engine.store(), request.access(), &reporter);
        let contexts = Contexts::new(self.engine.store(), &request, &sources);
        let files = match from {
            Origin::Named(name) => contexts.named(name)?,
            _ => contexts.main()?,
        };
        let tmp = self.engine.store().tmp();
        let looking = Looking { tmp: &tmp, stop: Stop::NEVER };
        let found = gather(files.as_ref(), &CopiedPath::whole(source), looking)?;
        let entries = as_tree(&found, &From::Context(files), &tmp)?;
        directory(tree)?;
        let unpacker = Unpacker::new(tree, Form::Overlay, self.engine.store().owners());
        write_tree(&entries, &[], unpacker.map_err(BuildErrorKind::from)?).map_err(BuildErrorKind::from)?;
        let is_file = !found.only_directories();
        Ok((tree.to_owned(), is_file.then(|| "file".to_owned())))
    }
}

fn directory(path: &Path) -> Result<PathBuf, BuildErrorKind> {
    fs_err::create_dir_all(path)?;
    Ok(path.to_owned())
}

fn scratch_pair(place: &Path) -> Result<Scratch, BuildErrorKind> {
    Ok(Scratch { upper: directory(&place.join("upper"))?, work: directory(&place.join("work"))? })
}
