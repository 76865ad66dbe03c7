//! Which folder holds what.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use kiln_layer::unpack::Owners;
use kiln_oci::crash::around;
use kiln_oci::digest::Digest;
use kiln_oci::store::{ContentStore, SyncPolicy};
use rustix::fs::{XattrFlags, setxattr};
use rustix::io::Errno;

use crate::error::{BuildError, BuildErrorKind};
use crate::store::imports::Imports;
use crate::store::lock::Lock;
use crate::store::opening::{self, Found};
use crate::store::temporary::{Sweeper, Temporary};

/// The lock that builds share and collection takes alone.
pub(crate) const COLLECT: &str = "collect";

/// Held for a moment by a build that is about to take its lease, and by a collection that has waited long enough.
pub(crate) const GATE: &str = "gate";

/// The file whose time is that of the last look whether the store takes too much of its disk.
pub(crate) const STAMP: &str = "tended";

/// What comes after the id in the name of the folder of a tree that is changes to another.
pub(crate) const AMENDED: &str = ".amended";

/// How many failed commands' files are kept.
const FAILED: usize = 3;

/// How long a build stands at a closed gate. It is only for the sake of order: what keeps collection away is the lease.
const QUEUE: Duration = Duration::from_secs(5);

/// How often a lock that somebody else holds is tried again.
const LOOK: Duration = Duration::from_millis(20);

/// A store on disk. Clones are the same store.
///
/// ```text
/// oci/      an OCI image layout: blobs, index.json
/// layer/    ID.index: layer indexes; ID.json: the blobs made of a layer
/// tree/     ID: unpacked layers, ready to be an overlay's lower directory; ID.amended: changes to another's
/// latest/   NAME.json: what a COPY made last
/// step/     KEY.json: what a step made; KEY.parts.json: what its key is of
/// chain/    CHAIN.json: which layer first led to this content (early cutoff)
/// base/     DIGEST.json: pulled layer blobs; NAME.json: what a reference last resolved to
/// context/  stat caches of contexts
/// cache/    cache mounts
/// source/   ID.json: what a URL last gave, or of what a folder is; ID: the files of a commit or of a remote context
/// log/      the output of steps: TIME-KEY.log
/// build/    N.json: the record of build number N
/// failed/   KEY: what the latest failed commands had written, to be looked at
/// locks/    lock files
/// tmp/      what is not finished
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    content: ContentStore,
    owners: Owners,
    /// The format that it had when it was opened, if that was an older one.
    older: Option<u32>,
    /// The lease of this process, while there is one.
    lease: Arc<Mutex<Weak<Lock>>>,
    imports: Arc<Imports>,
    sweeper: Arc<Sweeper>,
}

const FOLDERS: [&str; 13] = [
    "layer", "tree", "latest", "step", "chain", "base", "context", "cache", "source", "locks", "log",
    "build", "failed",
];

/// Whether something of this name may be in a folder that another process is just making a store of.
fn is_ours(name: &OsStr) -> bool {
    // The sandbox tries an overlay on the store's file system, in a folder called `.kiln-probe-` and a number.
    let probe = name.as_encoded_bytes().starts_with(b".kiln-probe-");
    probe || opening::is_mark(name) || FOLDERS.into_iter().chain(["tmp", STAMP]).any(|known| name == known)
}

impl Store {
    /// Whether there is something at `root` that a collection could free: a store, and not only the beginnings of one, which a full disk may
    /// have ended.
    ///
    /// # Errors
    /// If it cannot be read, or if the folder holds something else.
    pub fn is_at(root: &Path) -> Result<bool, BuildError> {
        Ok(opening::look(root, is_ours)? != Found::Nothing || opening::is_marked(root))
    }

    /// Opens the store at `root`; makes it if there is none. A folder that holds something else is refused.
    /// `owners` is whether trees can have other owners than who runs kiln.
    pub fn open(root: &Path, owners: Owners) -> Result<Self, BuildError> {
        let found = opening::look(root, is_ours)?;
        opening::begin(root)?;
        let (tmp, collect) = (root.join("tmp"), root.join("locks").join(COLLECT));
        let prepare = || {
            for folder in FOLDERS.into_iter().chain(["tmp"]) {
                let path = root.join(folder);
                if !path.is_dir() {
                    fs_err::create_dir_all(path).map_err(BuildErrorKind::Io)?;
                }
            }
            Ok::<_, BuildError>(())
        };
        prepare()?;
        if let Found::Older(_) = found {
            opening::renew(root, &tmp, &collect)?;
            prepare()?;
        }
        // A collection takes what is in `tmp`, and a new store's first files come from there.
        let _lease = (found == Found::Nothing)
            .then(|| Lock::shared(&collect))
            .transpose()
            .map_err(|error| opening::lock_error(root, error))?;
        let content = ContentStore::open_with(&root.join("oci"), &tmp, SyncPolicy::Deferred)
            .map_err(BuildErrorKind::Content)?;
        if found == Found::Nothing {
            opening::mark(root, &tmp).map_err(BuildErrorKind::Io)?;
            // A new store has a day before its size is looked at.
            fs_err::write(root.join(STAMP), "").map_err(BuildErrorKind::Io)?;
        }
        let older = if let Found::Older(format) = found { Some(format) } else { None };
        Ok(Self {
            root: root.to_owned(),
            content,
            owners,
            older,
            lease: Arc::default(),
            imports: Arc::default(),
            sweeper: Arc::default(),
        })
    }

    /// The format of the older kiln's store that it was before it was opened: its cache is gone, its images are there.
    pub fn was_older(&self) -> Option<u32> {
        self.older
    }

    /// Whether what commands write can be kept here: that takes extended attributes. `dir` is any directory of the store that
    /// will not be part of a layer.
    pub(crate) fn check_attributes(&self, dir: &Path) -> Result<(), BuildErrorKind> {
        match setxattr(dir, "user.kiln.trial", b"", XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => Err(opening::no_attributes(&self.root)),
            // Any other trouble tells itself better where it is met.
            _ => Ok(()),
        }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its blobs.
    pub fn content(&self) -> &ContentStore {
        &self.content
    }

    /// Unfinished things; each starts with a random name.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// A temporary directory whose name begins with `prefix`.
    pub(crate) fn temporary(&self, prefix: &str) -> io::Result<Temporary> {
        Temporary::new(&self.tmp(), prefix, &self.sweeper)
    }

    /// What caches elsewhere offer to the build under way.
    pub(crate) fn imports(&self) -> &Imports {
        &self.imports
    }

    /// The index of layer `id`.
    pub(crate) fn index_path(&self, id: &Digest) -> PathBuf {
        self.root.join("layer").join(format!("{}.index", id.hex()))
    }

    /// The record of the blobs that were made of layer `id`.
    pub(crate) fn blob_record(&self, id: &Digest) -> PathBuf {
        self.root.join("layer").join(format!("{}.json", id.hex()))
    }

    /// Whether trees have the owners that their layers tell.
    pub(crate) fn owners(&self) -> Owners {
        self.owners
    }

    /// Whether trees have the owners that their layers tell.
    pub(crate) fn keeps_owners(&self) -> bool {
        self.owners == Owners::Keep
    }

    /// The unpacked layer `id`. Trees whose files all belong to one user are kept apart: they serve on that rung only.
    pub(crate) fn tree_path(&self, id: &Digest) -> PathBuf {
        let suffix = if self.owners == Owners::Mine { ".mine" } else { "" };
        self.root.join("tree").join(format!("{}{suffix}", id.hex()))
    }

    /// The folder of the tree of layer `id` where that is changes to another's; see [`crate::layers::trees`].
    pub(crate) fn amended_path(&self, id: &Digest) -> PathBuf {
        let suffix = if self.owners == Owners::Mine { ".mine" } else { "" };
        self.root.join("tree").join(format!("{}{AMENDED}{suffix}", id.hex()))
    }

    /// The layer that the COPY called `name` made last.
    pub(crate) fn latest_path(&self, name: &Digest) -> PathBuf {
        self.root.join("latest").join(format!("{}.json", name.hex()))
    }

    /// The record of the step with key `key`.
    pub(crate) fn step_path(&self, key: &Digest) -> PathBuf {
        self.root.join("step").join(format!("{}.json", key.hex()))
    }

    /// The parts of that step's key.
    pub(crate) fn parts_path(&self, key: &Digest) -> PathBuf {
        self.root.join("step").join(format!("{}.parts.json", key.hex()))
    }

    /// The layer that first led to the root filesystem content `chain`.
    pub(crate) fn chain_path(&self, chain: &Digest) -> PathBuf {
        self.root.join("chain").join(format!("{}.json", chain.hex()))
    }

    /// A record about something pulled.
    pub(crate) fn base_path(&self, id: &Digest) -> PathBuf {
        self.root.join("base").join(format!("{}.json", id.hex()))
    }

    /// The stat cache of the context called `id`.
    pub(crate) fn context_path(&self, id: &Digest) -> PathBuf {
        self.root.join("context").join(id.hex())
    }

    /// The folder of cache mount `id`.
    pub(crate) fn cache_path(&self, id: &Digest) -> PathBuf {
        self.root.join("cache").join(id.hex())
    }

    /// The record of a remote source.
    pub(crate) fn source_record(&self, id: &Digest) -> PathBuf {
        self.root.join("source").join(format!("{}.json", id.hex()))
    }

    /// The files of a remote source.
    pub(crate) fn source_tree(&self, id: &Digest) -> PathBuf {
        self.root.join("source").join(id.hex())
    }

    /// The log called `name`.
    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.root.join("log").join(name)
    }

    /// What the command of the step with key `key` had written when it failed.
    pub(crate) fn failed_path(&self, key: &Digest) -> PathBuf {
        let suffix = if self.owners == Owners::Mine { ".mine" } else { "" };
        self.root.join("failed").join(format!("{}{suffix}", key.hex()))
    }

    /// Keeps what a failed command has written, for whoever wants to look at it; of earlier ones only the latest. None on a disk
    /// that is as good as full: what filled it is likely to be just that, and the next build needs the room. What is not kept any longer
    /// goes to the folder `away`, whose owner removes it.
    pub(crate) fn keep_failed(&self, key: &Digest, upper: &Path, away: &Path) -> io::Result<()> {
        let path = self.failed_path(key);
        let discard = |old: &Path| {
            let name = old.file_name().unwrap_or_default();
            fs_err::rename(old, away.join(name)).or_else(|_| crate::remove::remove_tree(old))
        };
        discard(&path)?;
        let disk = rustix::fs::statvfs(&self.root)?;
        if disk.f_bavail < disk.f_blocks / 20 {
            return Ok(());
        }
        around(|| fs_err::rename(upper, &path))?;
        let mut others = Vec::new();
        for entry in fs_err::read_dir(self.root.join("failed"))? {
            let entry = entry?;
            if entry.path() != path {
                others.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        others.sort_unstable();
        let too_many = (others.len() + 1).saturating_sub(FAILED);
        others[..too_many].iter().try_for_each(|(_, old)| discard(old))
    }

    /// The records of builds.
    pub(crate) fn builds(&self) -> PathBuf {
        self.root.join("build")
    }

    /// Takes the lock called `name`, waiting for whoever holds it.
    pub(crate) fn lock(&self, name: &str) -> Result<Lock, BuildError> {
        Ok(Lock::exclusive(&self.root.join("locks").join(name)).map_err(BuildErrorKind::Io)?)
    }

    /// Takes the lock called `name`, waiting for whoever holds it as long as `go_on` has nothing against it: holders may take as long as
    /// a step of another build, and who presses Ctrl-C does not want to wait for that.
    pub(crate) fn lock_while(
        &self,
        name: &str,
        go_on: impl Fn() -> Result<(), BuildErrorKind>,
    ) -> Result<Lock, BuildErrorKind> {
        let path = self.root.join("locks").join(name);
        loop {
            if let Some(lock) = Lock::try_exclusive(&path)? {
                return Ok(lock);
            }
            go_on()?;
            std::thread::sleep(LOOK);
        }
    }

    /// Shares the lock called `name`, waiting as [`Store::lock_while`] for whoever holds it alone.
    pub(crate) fn share_while(
        &self,
        name: &str,
        go_on: impl Fn() -> Result<(), BuildErrorKind>,
    ) -> Result<Lock, BuildErrorKind> {
        let path = self.root.join("locks").join(name);
        loop {
            if let Some(lock) = Lock::try_shared(&path)? {
                return Ok(lock);
            }
            go_on()?;
            std::thread::sleep(LOOK);
        }
    }

    /// Takes the lock called `name` if nobody holds it.
    pub(crate) fn try_lock(&self, name: &str) -> Result<Option<Lock>, BuildError> {
        Ok(Lock::try_exclusive(&self.root.join("locks").join(name)).map_err(BuildErrorKind::Io)?)
    }

    /// Shares the lock called `name` if nobody holds it alone.
    pub(crate) fn try_share(&self, name: &str) -> Result<Option<Lock>, BuildError> {
        Ok(Lock::try_shared(&self.root.join("locks").join(name)).map_err(BuildErrorKind::Io)?)
    }

    /// What a collection holds, if no build holds a lease; it keeps new ones waiting.
    pub(crate) fn try_collection(&self) -> Result<Option<Lock>, BuildError> {
        self.try_lock(COLLECT)
    }

    /// Keeps builds from beginning, for a few seconds at most.
    pub(crate) fn close_gate(&self) -> Result<Option<Lock>, BuildError> {
        self.try_lock(GATE)
    }

    /// Keeps collection away for as long as it is held; any number of builds hold it at once. All that ask in one process get the same
    /// one, so that whoever has it never waits for another.
    pub fn lease(&self) -> Result<Arc<Lock>, BuildError> {
        let mut current = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = current.upgrade() {
            return Ok(lease);
        }
        let lease = Arc::new(lease_of(&self.root)?);
        *current = Arc::downgrade(&lease);
        Ok(lease)
    }

    /// The same for those whose errors are those of the system.
    pub(crate) fn shared_lease(&self) -> io::Result<Arc<Lock>> {
        self.lease().map_err(|error| match error.kind {
            BuildErrorKind::Io(error) => error,
            other => io::Error::other(other),
        })
    }
}

/// A lease of the store in `root`, for those who change names of images and need no engine; see [`Store::lease`].
///
/// # Errors
/// If there is no store, or none that can be written.
pub fn lease_of(root: &Path) -> Result<Lock, BuildError> {
    let locks = root.join("locks");
    let began = Instant::now();
    while began.elapsed() < QUEUE {
        if Lock::try_shared(&locks.join(GATE)).map_err(|error| opening::lock_error(root, error))?.is_some() {
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(Lock::shared(&locks.join(COLLECT)).map_err(|error| opening::lock_error(root, error))?)
}
