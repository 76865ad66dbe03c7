//! Directories that cache mounts keep across builds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::crash::around;
use kiln_oci::digest::Digest;
use kiln_plan::model::CacheSharing;

use crate::error::BuildErrorKind;
use crate::store::{Lock, Store, note_use};

/// A cache directory in use.
#[derive(Clone)]
pub(crate) struct CacheDir {
    pub(crate) path: PathBuf,
    /// Keeps exports and imports away.
    _use: Arc<Lock>,
    _turn: Option<Arc<Lock>>,
}

impl CacheDir {
    /// Whether it has to be filled first.
    pub(crate) fn is_fresh(&self) -> bool {
        !self.path.exists()
    }
}

/// The lock that every step shares which uses cache `digest`, whatever its way of sharing; who exports or imports takes it alone.
pub(crate) fn use_lock(digest: &Digest) -> String {
    format!("cache-use-{}", digest.hex())
}

/// Finds or makes the directory of cache `id`. `locked` waits until nobody else uses it, `private` takes another one if somebody
/// does, `shared` does not mind.
pub(crate) fn open(
    store: &Store,
    id: &str,
    sharing: CacheSharing,
    go_on: impl Fn() -> Result<(), BuildErrorKind>,
) -> Result<CacheDir, BuildErrorKind> {
    let digest = Digest::of(id.as_bytes());
    let in_use = Arc::new(store.share_while(&use_lock(&digest), &go_on)?);
    let lock_name = |n: usize| format!("cache-{}-{n}", digest.hex());
    let (n, turn) = match sharing {
        CacheSharing::Shared => (0, None),
        CacheSharing::Locked => (0, Some(store.lock_while(&lock_name(0), go_on)?)),
        CacheSharing::Private => {
            let mut n = 0;
            loop {
                if let Some(turn) = store.try_lock(&lock_name(n)).map_err(|e| e.kind)? {
                    break (n, Some(turn));
                }
                n += 1;
            }
        }
    };
    let base = store.cache_path(&digest);
    let path = if n == 0 { base } else { base.with_extension(n.to_string()) };
    let cache = CacheDir { path: path.join("data"), _use: in_use, _turn: turn.map(Arc::new) };
    if cache.is_fresh() {
        fs_err::create_dir_all(&path)?;
        fs_err::write(path.join("id"), id)?;
    } else {
        note_use(&path.join("id"));
    }
    Ok(cache)
}

/// Gives a finished directory `unfinished` the place of the cache; if another build was faster, its directory stays.
pub(crate) fn install(unfinished: &Path, cache: &CacheDir) -> Result<(), BuildErrorKind> {
    match around(|| fs_err::rename(unfinished, &cache.path)) {
        Ok(()) => Ok(()),
        Err(_) if cache.path.exists() => Ok(crate::remove::remove_tree(unfinished)?),
        Err(error) => Err(error.into()),
    }
}
