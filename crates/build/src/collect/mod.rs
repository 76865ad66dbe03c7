//! What the store holds, and taking away what nobody needs.
//!
//! `survey` looks at the disk, `stock` reads who needs what, `choice` decides, this module carries it out. A collection keeps builds
//! waiting only while it decides and renames: what is chosen moves to `tmp/` under the lock, and is removed after it.

mod choice;
mod stock;
mod survey;
mod upkeep;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use kiln_oci::crash::around;
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_oci::manifest::Document;
use kiln_oci::store::ContentStore;

pub use self::choice::{Filter, PruneOptions, Subject};
pub use self::stock::CacheKind;
pub use self::upkeep::{Disk, Limit, is_due, note_upkeep};

use crate::collect::stock::Stock;
use crate::collect::survey::{BLOBS, Object, Survey};
use crate::engine::Engine;
use crate::error::{BuildError, BuildErrorKind};
use crate::remove::remove_tree;
use crate::store::Lock;

/// How long a collection waits for a moment without a build before it keeps new ones waiting.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long it keeps them waiting; then it lets them go first for [`PATIENCE`] again.
const INSISTENCE: Duration = Duration::from_secs(2);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(10);

/// Bytes on disk, by kind. Blocks are counted, each inode once, so the sum is what `du` says of the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    /// Blobs of images that have a name.
    pub images: u64,
    /// Other blobs: layers of steps and of base images.
    pub blobs: u64,
    /// Unpacked layers.
    pub trees: u64,
    /// Cache mounts.
    pub caches: u64,
    /// Remote sources: files by URL, commits, remote contexts.
    pub sources: u64,
    /// Output of steps.
    pub logs: u64,
    /// Indexes, step records, stat caches, and the folders themselves.
    pub records: u64,
    /// Unfinished things; if no build is running, what killed ones left.
    pub unfinished: u64,
    /// How many files and folders these are, each tree as one.
    pub objects: u64,
}

impl Usage {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.images
            + self.blobs
            + self.trees
            + self.caches
            + self.sources
            + self.logs
            + self.records
            + self.unfinished
    }

    fn of(survey: &Survey, named: &HashSet<Digest>) -> Self {
        let mut usage =
            Self { records: survey.frame, objects: survey.objects.len() as u64, ..Self::default() };
        let fetched = stock::fetched_blobs(&survey.objects);
        for object in &survey.objects {
            let is_one_of = |digests: &HashSet<Digest>| {
                format!("sha256:{}", object.name).parse().is_ok_and(|digest| digests.contains(&digest))
            };
            *match object.folder.as_str() {
                BLOBS if is_one_of(named) => &mut usage.images,
                BLOBS if is_one_of(&fetched) => &mut usage.sources,
                BLOBS => &mut usage.blobs,
                "tree" => &mut usage.trees,
                "cache" => &mut usage.caches,
                "source" => &mut usage.sources,
                "log" => &mut usage.logs,
                "tmp" | "failed" | "" => &mut usage.unfinished,
                _ => &mut usage.records,
            } += object.bytes;
        }
        usage
    }
}

/// What was taken away, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// Bytes freed.
    pub bytes: u64,
    /// Files and folders removed, each tree as one.
    pub objects: u64,
    /// Parts of the cache that went, longest unused first. What nothing needed any more is not among them.
    pub removed: Vec<Removed>,
}

/// A part of the cache that went.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// What it was.
    pub kind: CacheKind,
    /// A key or a digest; a cache mount's id.
    pub id: String,
    /// When it was last used, in seconds since 1970.
    pub last_used: u64,
}

impl Engine {
    /// Counts the store's bytes.
    pub fn usage(&self) -> Result<Usage, BuildError> {
        let named = self.named_blobs().unwrap_or_default();
        let survey = Survey::of(self.store.root()).map_err(BuildErrorKind::from)?;
        Ok(Usage::of(&survey, &named))
    }

    /// Takes away what `options` choose. Waits until no build is running; while it waits `go_on` is asked again and again, and if
    /// it says no the result is [`BuildErrorKind::Interrupted`].
    pub fn prune(&self, options: &PruneOptions, go_on: &dyn Fn() -> bool) -> Result<Pruned, BuildError> {
        let alone = self.wait_alone(go_on)?;
        Ok(self.prune_alone(options, alone)?)
    }

    /// The same if no build is running; else `None`, at once.
    pub fn prune_if_idle(&self, options: &PruneOptions) -> Result<Option<Pruned>, BuildError> {
        let Some(alone) = self.store.try_collection()? else { return Ok(None) };
        Ok(Some(self.prune_alone(options, alone)?))
    }

    /// The lock that no build shares. Where builds overlap all the time there is no moment without one, so now and then those that
    /// are about to begin are kept waiting, never for long: one that runs may take hours.
    fn wait_alone(&self, go_on: &dyn Fn() -> bool) -> Result<Lock, BuildErrorKind> {
        loop {
            let began = Instant::now();
            let mut gate = None;
            while began.elapsed() < PATIENCE + INSISTENCE {
                if let Some(alone) = self.store.try_collection().map_err(|e| e.kind)? {
                    return Ok(alone);
                }
                if !go_on() {
                    return Err(BuildErrorKind::Interrupted);
                }
                if gate.is_none() && began.elapsed() > PATIENCE {
                    gate = self.store.close_gate().map_err(|e| e.kind)?;
                }
                std::thread::sleep(LOOK);
            }
        }
    }

    fn named_blobs(&self) -> Result<HashSet<Digest>, BuildErrorKind> {
        let content = self.store.content();
        let mut named = HashSet::new();
        for entry in content.layout().list()? {
            add_reachable(content, &entry.descriptor, &mut named);
        }
        Ok(named)
    }

    fn prune_alone(&self, options: &PruneOptions, alone: Lock) -> Result<Pruned, BuildErrorKind> {
        let named = self.named_blobs()?;
        let survey = Survey::of(self.store.root())?;
        let stock = Stock::of(survey, &named, self.store.content());
        let choice = choice::choose(&stock, options, SystemTime::now());
        let mut pruned = Pruned::default();
        let mut doomed = Vec::new();
        for object in choice.objects.iter().map(|i| &stock.objects[*i]).filter(|o| !is_at_work(o)) {
            pruned.bytes += object.bytes;
            pruned.objects += 1;
            doomed.push(object.path.as_path());
        }
        pruned.removed = choice.units.iter().map(|unit| removed(&stock.units[*unit])).collect();
        if options.dry_run {
            return Ok(pruned);
        }
        let aside = put_aside(&self.store.tmp(), &doomed)?;
        if options.filters.is_empty() {
            crate::files::statcache::forget_deleted(&self.store.root().join("context"), &self.store.tmp())?;
        }
        drop(alone);
        aside.iter().try_for_each(|path| remove(path))?;
        Ok(pruned)
    }
}

/// Adds all that the image at `root` consists of. Of one that is damaged, what can still be reached: it may be all that is left of it.
fn add_reachable(content: &ContentStore, root: &Descriptor, named: &mut HashSet<Digest>) {
    let mut next = vec![root.clone()];
    while let Some(descriptor) = next.pop() {
        let document = named.insert(descriptor.digest).then(|| content.read_blob(&descriptor.digest));
        match document.and_then(Result::ok).and_then(|bytes| Document::parse(&bytes).ok()) {
            Some(Document::Index(index)) => next.extend(index.manifests),
            Some(Document::Manifest(manifest)) => {
                named.extend(manifest.layers.iter().chain([&manifest.config]).map(|d| d.digest));
            }
            None => {}
        }
    }
}

/// A trial of the sandbox that is under way right now: it holds a lock on its directory.
fn is_at_work(object: &Object) -> bool {
    object.folder.is_empty() && Lock::try_exclusive_directory(&object.path).is_ok_and(|lock| lock.is_none())
}

fn removed(unit: &stock::Unit) -> Removed {
    let since = unit.used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let id = if unit.label.is_empty() { unit.name.clone() } else { unit.label.clone() };
    Removed { kind: unit.kind, id, last_used: since.as_secs() }
}

/// Moves everything into a new directory in `tmp`, which is the result. What cannot be moved (a full disk may refuse the directory) is
/// removed on the spot.
fn put_aside(tmp: &Path, doomed: &[&Path]) -> io::Result<Option<PathBuf>> {
    let aside = tempfile::Builder::new().prefix("pruned-").tempdir_in(tmp).ok().map(|dir| dir.keep());
    for (i, path) in doomed.iter().enumerate() {
        let moved = aside
            .as_ref()
            .is_some_and(|dir| around(|| fs_err::rename(path, dir.join(i.to_string()))).is_ok());
        if !moved {
            remove(path)?;
        }
    }
    Ok(aside)
}

fn remove(path: &Path) -> io::Result<()> {
    let is_dir = fs_err::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    match if is_dir { remove_tree(path) } else { fs_err::remove_file(path) } {
        // Another collection was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
