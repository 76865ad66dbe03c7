//! Directories that cache mounts keep across builds.

use std::path::{Path, PathBuf};

use kiln_oci::digest::Digest;
use kiln_plan::model::CacheSharing;

use crate::error::BuildErrorKind;
use crate::store::{Lock, Store};

/// A cache directory in use.
pub(crate) struct CacheDir {
    pub(crate) path: PathBuf,
    /// Whether it was made just now and has to be filled.
    pub(crate) fresh: bool,
    _turn: Option<Lock>,
}

/// Finds or makes the directory of cache `id`. `locked` waits until nobody else uses it, `private` takes another one if somebody
/// does, `shared` does not mind.
pub(crate) fn open(store: &Store, id: &str, sharing: CacheSharing) -> Result<CacheDir, BuildErrorKind> {
    let digest = Digest::of(id.as_bytes());
    let lock_name = |n: usize| format!("cache-{}-{n}", digest.hex());
    let (n, turn) = match sharing {
        CacheSharing::Shared => (0, None),
        CacheSharing::Locked => (0, Some(store.lock(&lock_name(0)).map_err(|e| e.kind)?)),
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
    let data = path.join("data");
    let fresh = !data.exists();
    if fresh {
        fs_err::create_dir_all(&path)?;
        fs_err::write(path.join("id"), id)?;
    }
    Ok(CacheDir { path: data, fresh, _turn: turn })
}

/// Gives a finished directory `unfinished` the place of the cache; if another build was faster, its directory stays.
pub(crate) fn install(unfinished: &Path, cache: &CacheDir) -> Result<(), BuildErrorKind> {
    match fs_err::rename(unfinished, &cache.path) {
        Ok(()) => Ok(()),
        Err(_) if cache.path.exists() => Ok(crate::remove::remove_tree(unfinished)?),
        Err(error) => Err(error.into()),
    }
}
