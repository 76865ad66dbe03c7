//! Directories that cache mounts keep across builds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_oci::crash::around;
use kiln_oci::digest::Digest;
use kiln_plan::model::CacheSharing;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::error::{BuildError, BuildErrorKind};
use crate::store::{Lock, Store, note_use};

/// A cache directory in use.
#[derive(Clone)]
pub(crate) struct CacheDir {
    pub(crate) path: PathBuf,
    /// Keeps exports and imports away.
    _use: Arc<Lock>,
    _turn: Arc<Lock>,
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

/// Finds or makes the directory of cache `id`, as BuildKit would. `locked` waits until nobody else uses it. `private` takes another one
/// if somebody does. `shared` minds only those that want it for themselves, and then takes another one, too.
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
        CacheSharing::Shared => first_free(|n| store.try_share(&lock_name(n)))?,
        CacheSharing::Locked => (0, store.lock_while(&lock_name(0), go_on)?),
        CacheSharing::Private => first_free(|n| store.try_lock(&lock_name(n)))?,
    };
    let base = store.cache_path(&digest);
    let path = if n == 0 { base } else { base.with_extension(n.to_string()) };
    let cache = CacheDir { path: path.join("data"), _use: in_use, _turn: Arc::new(turn) };
    if cache.is_fresh() {
        fs_err::create_dir_all(&path)?;
        fs_err::write(path.join("id"), id)?;
    } else {
        note_use(&path.join("id"));
    }
    Ok(cache)
}

fn first_free(
    take: impl Fn(usize) -> Result<Option<Lock>, BuildError>,
) -> Result<(usize, Lock), BuildErrorKind> {
    let mut n = 0;
    loop {
        if let Some(turn) = take(n).map_err(|error| error.kind)? {
            return Ok((n, turn));
        }
        n += 1;
    }
}

/// Gives a finished directory `unfinished` the place of the cache; if another build was faster, its directory stays, also while it is empty:
/// a command may be about to write into it.
pub(crate) fn install(unfinished: &Path, cache: &CacheDir) -> Result<(), BuildErrorKind> {
    let (flags, path) = (RenameFlags::NOREPLACE, cache.path.as_path());
    match around(|| rustix::fs::renameat_with(CWD, unfinished, CWD, path, flags)) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) => Ok(crate::remove::remove_tree(unfinished)?),
        // The file system does not know this way, or there is trouble, which tells itself.
        Err(_) => match around(|| fs_err::rename(unfinished, path)) {
            Err(_) if path.exists() => Ok(crate::remove::remove_tree(unfinished)?),
            renamed => Ok(renamed?),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use kiln_layer::unpack::Owners;

    use super::*;

    #[test]
    fn whoever_is_first_to_fill_a_cache_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store"), Owners::Mine).expect("a store");
        let open = || open(&store, "id", CacheSharing::Shared, || Ok(())).expect("without waiting");
        let (one, other) = (open(), open());
        assert!(one.is_fresh() && other.is_fresh());
        let finished = |name| {
            let path = store.tmp().join(name);
            fs_err::create_dir(&path).expect("a directory");
            path
        };
        install(&finished("one"), &one).expect("installed");
        let first = fs_err::File::open(&one.path).expect("it is there").metadata().expect("a directory");
        let second = finished("other");
        install(&second, &other).expect("installed");
        let now = fs_err::metadata(&one.path).expect("it is there");
        assert!((now.ino(), second.exists()) == (first.ino(), false));
    }

    #[test]
    fn who_shares_with_whom() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store"), Owners::Mine).expect("a store");
        let open = |sharing| open(&store, "id", sharing, || Err(BuildErrorKind::Interrupted));
        let taken = |sharing| open(sharing).expect("without waiting");
        let first = taken(CacheSharing::Shared);
        assert_eq!(taken(CacheSharing::Shared).path, first.path);
        let private = taken(CacheSharing::Private);
        assert_ne!(private.path, first.path);
        assert!(matches!(open(CacheSharing::Locked), Err(BuildErrorKind::Interrupted)), "it waits");
        let path = first.path.clone();
        drop((first, private));
        let locked = taken(CacheSharing::Locked);
        assert_eq!(locked.path, path);
        let (second, third) = (taken(CacheSharing::Shared), taken(CacheSharing::Shared));
        assert!(second.path != path && second.path == third.path);
        assert!(matches!(open(CacheSharing::Locked), Err(BuildErrorKind::Interrupted)), "it waits");
        drop(locked);
        assert_eq!(taken(CacheSharing::Shared).path, path);
    }
}
