//! `RUN --mount`: from the plan's mounts to the sandbox's, and what of them belongs to the key.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kiln_layer::pack::write_tree;
use kiln_layer::path::LayerPath;
use kiln_layer::unpack::{Form, Owners, Unpacker};
use kiln_plan::CopiedPath;
use kiln_plan::model::{CacheSharing, Origin, RunMount, RunMountKind, RunOp};
use kiln_sandbox::{Mount, MountKind, Scratch as MountScratch};

use crate::copy::From;
use crate::copy::entries::as_tree;
use crate::copy::gather::{Gathered, Linked, Looking, add_to_key as add_gathered, gather};
use crate::error::BuildErrorKind;
use crate::key::KeyParts;
use crate::request::SecretSource;
use crate::run::cache::{self, CacheDir};
use crate::run::ssh::Forward;
use crate::work::Work;

/// The files that a mount shows, as they went into the key; `None` where the key names all of a stage or image, or there are none.
pub(crate) type Bound = Option<(From, Gathered)>;

/// Adds what `op` mounts to its key: the content of what it binds, of secrets and caches only how they are mounted. For each mount
/// the files that were looked at are the result.
pub(crate) fn add_to_key(
    work: &Work<'_>,
    op: &RunOp,
    parts: &mut KeyParts,
) -> Result<Vec<Bound>, BuildErrorKind> {
    let mut linked = Linked::default();
    let mut all = Vec::with_capacity(op.mounts.len());
    for mount in &op.mounts {
        let mut bound = None;
        let how = match &mount.kind {
            RunMountKind::Bind { from, source, readwrite } => {
                bound = add_bound(work, (from, source), parts, &mut linked)?;
                format!("bind {source:?} {readwrite}")
            }
            RunMountKind::Cache { id, from, source, readonly, mode, uid, gid, .. } => {
                if let Some(from) = from {
                    bound = add_bound(work, (from, source), parts, &mut linked)?;
                }
                format!("cache {id:?} {source:?} {readonly} {mode:o} {uid}:{gid}")
            }
            RunMountKind::Tmpfs { size } => format!("tmpfs {size:?}"),
            RunMountKind::Secret { id, env, mode, uid, gid, .. } => {
                format!("secret {id:?} {env:?} {mode:o} {uid}:{gid}")
            }
            RunMountKind::Ssh { id, mode, uid, gid, .. } => format!("ssh {id:?} {mode:o} {uid}:{gid}"),
        };
        parts.add("mount", &mount.target, how);
        all.push(bound);
    }
    Ok(all)
}

fn add_bound(
    work: &Work<'_>,
    (from, source): (&Origin, &str),
    parts: &mut KeyParts,
    linked: &mut Linked,
) -> Result<Bound, BuildErrorKind> {
    // All of a stage or image: its identity is known without a look at its files.
    if LayerPath::clean(source).is_root()
        && let Some((rootfs, _)) = work.rootfs_of(from)?
    {
        parts.add("bound", source, rootfs.chain(work.puller())?.to_string());
        return Ok(None);
    }
    let opened = work.open(from)?;
    let found = gather(opened.files(), &CopiedPath::whole(source), looking(work, &work.store.tmp()))?;
    add_gathered(parts, source, (&found, work.reporter.stop()), (opened.keeps_owners(), linked))?;
    Ok(Some((opened, found)))
}

/// Mounts ready for the sandbox, and what has to live as long as they do.
#[derive(Default)]
pub(crate) struct Mounts {
    pub(crate) mounts: Vec<Mount>,
    /// Variables that mounts bring (secrets, the agent's socket).
    pub(crate) env: Vec<(String, String)>,
    /// Values of the secrets that the command gets.
    pub(crate) secrets: Vec<Vec<u8>>,
    caches: BTreeMap<String, CacheDir>,
    agents: Vec<Forward>,
}

impl Mounts {
    /// Prepares everything below `scratch`; `bound` is what [`add_to_key`] gave.
    pub(crate) fn prepare(
        work: &Work<'_>,
        op: &RunOp,
        bound: &[Bound],
        scratch: &Path,
    ) -> Result<Self, BuildErrorKind> {
        let mut mounts = Self { caches: open_caches(work, op)?, ..Self::default() };
        for script in &op.scripts {
            let bytes = script.content.clone().into_bytes();
            let kind = MountKind::File { bytes, mode: 0o755, uid: 0, gid: 0 };
            mounts.mounts.push(Mount { target: script.path.clone(), kind });
        }
        for (i, mount) in op.mounts.iter().enumerate() {
            let bound = bound.get(i).and_then(Option::as_ref);
            let preparing = Preparing { work, mount, bound, scratch: scratch.join(format!("mount-{i}")) };
            preparing.add(&mut mounts)?;
        }
        Ok(mounts)
    }

    /// The command is over: agents are not forwarded any more, caches are free for others.
    pub(crate) fn finish(self) -> Result<(), BuildErrorKind> {
        drop(self.agents);
        drop(self.caches);
        Ok(())
    }
}

/// One mount being prepared, with a directory of its own for what it needs on disk.
struct Preparing<'a> {
    work: &'a Work<'a>,
    mount: &'a RunMount,
    /// What its key was made of, so that the command sees that and nothing later.
    bound: Option<&'a (From, Gathered)>,
    scratch: PathBuf,
}

/// Opens the caches that `op` mounts, each once and always in the order of their ids: two steps that want two caches for themselves
/// must not wait for each other.
fn open_caches(work: &Work<'_>, op: &RunOp) -> Result<BTreeMap<String, CacheDir>, BuildErrorKind> {
    let strictness = |sharing: CacheSharing| match sharing {
        CacheSharing::Shared => 0,
        CacheSharing::Private => 1,
        CacheSharing::Locked => 2,
    };
    let mut wanted: BTreeMap<&String, CacheSharing> = BTreeMap::new();
    for mount in &op.mounts {
        if let RunMountKind::Cache { id, sharing, .. } = &mount.kind {
            let entry = wanted.entry(id).or_insert(*sharing);
            if strictness(*sharing) > strictness(*entry) {
                *entry = *sharing;
            }
        }
    }
    let open = |(id, sharing): (&String, CacheSharing)| {
        Ok((id.clone(), cache::open(work.store, id, sharing, || work.reporter.check())?))
    };
    wanted.into_iter().map(open).collect()
}

impl Preparing<'_> {
    fn add(&self, to: &mut Mounts) -> Result<(), BuildErrorKind> {
        match &self.mount.kind {
            RunMountKind::Bind { from, source, readwrite } => {
                let kind = self.bind(from, source, *readwrite)?;
                self.push(to, kind);
            }
            RunMountKind::Tmpfs { size } => self.push(to, MountKind::Tmpfs { size: *size, mode: 0o755 }),
            RunMountKind::Cache { .. } => self.cache(to)?,
            RunMountKind::Secret { .. } => self.secret(to)?,
            RunMountKind::Ssh { .. } => self.ssh(to)?,
        }
        Ok(())
    }

    fn push(&self, to: &mut Mounts, kind: MountKind) {
        to.mounts.push(Mount { target: self.mount.target.clone(), kind });
    }

    fn bind(&self, from: &Origin, source: &str, readwrite: bool) -> Result<MountKind, BuildErrorKind> {
        let scratch = if readwrite { Some(self.scratch_pair()?) } else { None };
        if let Some((rootfs, _)) = self.work.rootfs_of(from)? {
            let on = (self.work.request.jobs, self.work.reporter.stop());
            let layers = rootfs.layers(self.work.puller())?;
            let (mut lower, _) =
                super::lower_directories((self.work.store, &self.work.squashes), &layers, on)?;
            if lower.is_empty() {
                lower.push(self.directory("empty")?);
            }
            return Ok(MountKind::Overlay { lower, scratch, subpath: Some(source.to_owned()) });
        }
        let (tree, subpath) = self.context_tree(source)?;
        Ok(match scratch {
            None => MountKind::Bind { source: tree, subpath, readonly: true },
            Some(_) => MountKind::Overlay { lower: vec![tree], scratch, subpath },
        })
    }

    /// The files of a context that `source` names, as an image has them: what is ignored left out, owned by root. Bytes are
    /// shared with the context where the file system can.
    fn context_tree(&self, source: &str) -> Result<(PathBuf, Option<String>), BuildErrorKind> {
        let Some((from @ From::Context(_), found)) = self.bound else {
            return Err(BuildErrorKind::Copy { message: format!("{source:?} is in no context"), help: None });
        };
        let tree = self.directory("tree")?;
        self.write(from, found, &tree)?;
        let is_file = !found.only_directories();
        Ok((tree, is_file.then(|| "file".to_owned())))
    }

    /// Writes what was found in `from` as a tree.
    fn write(&self, from: &From, found: &Gathered, dest: &Path) -> Result<(), BuildErrorKind> {
        let entries = as_tree(found, from, &self.work.store.tmp())?;
        let unpacker = Unpacker::new(dest, Form::Overlay, self.work.store.owners())?;
        write_tree(&entries, &[], unpacker.until(self.work.reporter.stop()))?;
        Ok(())
    }

    fn directory(&self, name: &str) -> Result<PathBuf, BuildErrorKind> {
        let path = self.scratch.join(name);
        fs_err::create_dir_all(&path)?;
        Ok(path)
    }

    fn scratch_pair(&self) -> Result<MountScratch, BuildErrorKind> {
        Ok(MountScratch { upper: self.directory("upper")?, work: self.directory("work")? })
    }

    fn cache(&self, to: &mut Mounts) -> Result<(), BuildErrorKind> {
        let RunMountKind::Cache { id, from, source, readonly, mode, uid, gid, .. } = &self.mount.kind else {
            return Ok(());
        };
        let Some(cache) = to.caches.get(id).cloned() else { return Ok(()) };
        if cache.is_fresh() {
            let unfinished = self.directory("cache")?;
            match (self.bound, from) {
                (Some((opened, found)), _) => self.write(opened, found, &unfinished)?,
                (None, Some(from)) => {
                    let opened = self.work.open(from)?;
                    let tmp = self.work.store.tmp();
                    let looking = looking(self.work, &tmp);
                    let found = gather(opened.files(), &CopiedPath::whole(source), looking)?;
                    self.write(&opened, &found, &unfinished)?;
                }
                (None, None) => {}
            }
            fs_err::set_permissions(&unfinished, PermissionsExt::from_mode(*mode))?;
            if (*uid, *gid) != (0, 0) && self.work.store.owners() == Owners::Keep {
                std::os::unix::fs::chown(&unfinished, Some(*uid), Some(*gid))?;
            }
            cache::install(&unfinished, &cache)?;
        }
        let kind = MountKind::Bind { source: cache.path.clone(), subpath: None, readonly: *readonly };
        self.push(to, kind);
        Ok(())
    }

    fn secret(&self, to: &mut Mounts) -> Result<(), BuildErrorKind> {
        let RunMountKind::Secret { id, env, required, mode, uid, gid } = &self.mount.kind else {
            return Ok(());
        };
        let failed = |reason: String| BuildErrorKind::Secret { id: id.clone(), reason };
        let bytes = match self.work.request.secrets.get(id) {
            None if *required => {
                return Err(failed("it is required and was not given".to_owned()));
            }
            None => return Ok(()),
            Some(SecretSource::Bytes(bytes)) => bytes.to_vec(),
            Some(SecretSource::File(path)) => fs_err::read(path).map_err(|e| failed(e.to_string()))?,
        };
        to.secrets.push(bytes.clone());
        if let Some(name) = env {
            let text = String::from_utf8(bytes.clone());
            let text =
                text.map_err(|_| failed("it is not UTF-8 text, so it cannot be a variable".to_owned()))?;
            to.env.push((name.clone(), text));
        }
        if !self.mount.target.is_empty() {
            self.push(to, MountKind::File { bytes, mode: *mode, uid: *uid, gid: *gid });
        }
        Ok(())
    }

    fn ssh(&self, to: &mut Mounts) -> Result<(), BuildErrorKind> {
        let RunMountKind::Ssh { id, required, mode, uid, gid } = &self.mount.kind else { return Ok(()) };
        let Some(socket) = self.work.request.ssh.get(id) else {
            if *required {
                return Err(BuildErrorKind::Agent { id: id.clone() });
            }
            return Ok(());
        };
        let owner = (self.work.store.owners() == Owners::Keep).then_some((*uid, *gid));
        let forward = Forward::start(socket, &self.directory("ssh")?.join("agent"), (*mode, owner))?;
        self.push(to, MountKind::Socket { source: forward.path().to_owned() });
        to.agents.push(forward);
        to.env.push(("SSH_AUTH_SOCK".to_owned(), self.mount.target.clone()));
        Ok(())
    }
}

/// How the files that are mounted are looked for.
fn looking<'a>(work: &'a Work<'_>, tmp: &'a Path) -> Looking<'a> {
    Looking { tmp, stop: work.reporter.stop() }
}
