//! Whether a folder is a store, whose, and of which format.
//!
//! The mark is a file `kiln-store` with a number. A store with a lower number was left by an older kiln: its images are taken over, since
//! an OCI layout is an OCI layout, and its cache is let go, since records that mean something else would be misread. A higher number
//! is refused, and so does an older kiln refuse ours.

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{BuildError, BuildErrorKind};
use crate::remove::remove_tree;
use crate::store::lock::Lock;
use crate::store::record::write_bytes;

/// The format of stores that this kiln makes and uses.
const FORMAT: u32 = 1;

/// What stands before the number.
const PREFIX: &str = "kiln store ";

/// The file that says that a folder is a store, and of which format.
const MARK: &str = "kiln-store";

/// The folder of images, which means the same in every format.
const IMAGES: &str = "oci";

/// The way out of most of this.
const ELSEWHERE: &str = "choose another place for the store with --root DIR";

/// What was found at a store's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A store that can be used as it is.
    Store,
    /// Nothing yet, or the beginnings of a store.
    Nothing,
    /// A store of this older format.
    Older(u32),
}

/// The error for a place that cannot be a store, with the way out.
fn misplaced(root: &Path, problem: String, remedy: &str) -> BuildError {
    BuildErrorKind::Place { path: root.to_owned(), problem, remedy: remedy.to_owned() }.into()
}

/// The error for a place that the system does not let us have.
fn refused(root: &Path, error: io::Error) -> BuildError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            misplaced(root, error.to_string(), ELSEWHERE)
        }
        _ => BuildErrorKind::Io(error).into(),
    }
}

/// Makes the folder of a store that is not there.
pub(super) fn begin(root: &Path) -> Result<(), BuildError> {
    fs_err::create_dir_all(root).map_err(|error| refused(root, error))
}

/// Looks at `root`, and makes nothing. `is_ours` tells which names a store may have in it.
pub(super) fn look(root: &Path, is_ours: impl Fn(&OsStr) -> bool) -> Result<Found, BuildError> {
    let mark = root.join(MARK);
    let place = |problem, remedy: &str| misplaced(root, problem, remedy);
    let refused = |error| refused(root, error);
    let text = match fs_err::read(&mark) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(refused(error)),
    };
    // An empty mark is what a power loss may leave of one that was just made.
    if text.is_empty() {
        let entries = match fs_err::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            entries => entries.map_err(refused)?,
        };
        if entries.flatten().any(|entry| !is_ours(&entry.file_name())) {
            return Err(place("is not empty and not a kiln store".to_owned(), ELSEWHERE));
        }
        return Ok(Found::Nothing);
    }
    let (owner, we) = (fs_err::metadata(&mark).map_err(refused)?.uid(), rustix::process::geteuid().as_raw());
    if owner != we {
        let problem = format!("the store belongs to user id {owner}, and this is user id {we}");
        return Err(place(problem, &format!("run kiln as its owner, or {ELSEWHERE}")));
    }
    match text.trim().strip_prefix(PREFIX).and_then(|number| number.parse().ok()) {
        Some(FORMAT) => Ok(Found::Store),
        Some(older) if older < FORMAT => Ok(Found::Older(older)),
        Some(newer) => {
            let problem = format!("holds {PREFIX}{newer}, a newer kiln's; this kiln knows {PREFIX}{FORMAT}");
            Err(place(problem, &format!("use the newer kiln, or {ELSEWHERE}")))
        }
        None => {
            let problem = format!("{MARK} holds {:?} and not {PREFIX}{FORMAT}", text.trim());
            let remedy = format!("if it is a kiln store, remove {}; or {ELSEWHERE}", mark.display());
            Err(place(problem, &remedy))
        }
    }
}

/// Makes `root` a store of our format. All that has to be there is there already.
pub(super) fn mark(root: &Path, tmp: &Path) -> io::Result<()> {
    write_bytes(tmp, &root.join(MARK), format!("{PREFIX}{FORMAT}\n").as_bytes())
}

/// Takes the images of an older kiln's store over, and lets go of the rest; `collect` is the lock that every build shares. A kill at any
/// instant leaves an older store with less in it.
pub(super) fn renew(root: &Path, tmp: &Path, collect: &Path) -> Result<(), BuildError> {
    let renew = || -> io::Result<_> {
        let _alone = Lock::exclusive(collect)?;
        let aside = tempfile::Builder::new().prefix("older-").tempdir_in(tmp)?.keep();
        for entry in fs_err::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type()?.is_dir() && name != IMAGES && name != "tmp" && name != "locks" {
                fs_err::rename(entry.path(), aside.join(&name))?;
            }
        }
        mark(root, tmp)?;
        Ok(aside)
    };
    let aside = renew().map_err(BuildErrorKind::Io)?;
    Ok(remove_tree(&aside).map_err(BuildErrorKind::Io)?)
}

/// Whether `root` has a mark, be it an empty one: then there may be all that makes a store.
pub(super) fn is_marked(root: &Path) -> bool {
    root.join(MARK).exists()
}

/// Whether `name` is that of the mark or of the folder of images.
pub(super) fn is_mark(name: &OsStr) -> bool {
    name == MARK || name == IMAGES
}

/// An error for a lock that could not be had; `root` is the store.
pub(super) fn lock_error(root: &Path, error: io::Error) -> BuildErrorKind {
    // ENOSYS, EOPNOTSUPP, ENOLCK: what network file systems answer that keep none.
    let no_locks = [38, 95, 37].contains(&error.raw_os_error().unwrap_or_default())
        || error.kind() == io::ErrorKind::Unsupported;
    if !no_locks {
        return BuildErrorKind::Io(error);
    }
    BuildErrorKind::Place {
        path: root.to_owned(),
        problem: format!("its file system keeps no locks ({error}), and builds would harm each other"),
        remedy: format!("{ELSEWHERE}, on a local file system"),
    }
}

/// The error for a file system that cannot hold what commands write.
pub(super) fn no_attributes(root: &Path) -> BuildErrorKind {
    BuildErrorKind::Place {
        path: root.to_owned(),
        problem: "its file system keeps no extended attributes of users, which the layers of RUN need"
            .to_owned(),
        remedy: format!("{ELSEWHERE}, on ext4, xfs, btrfs or (since Linux 6.6) tmpfs"),
    }
}
