//! Mount points that the image lacks, made so that no trace of them gets into the upper directory.
//!
//! The bottom-most lower directory holds a stub for every mount point, so that a missing one shows
//! through. That fails where a whiteout hides the stub or the path leads through a symbolic link;
//! such a point is made in the merged tree, and taken away when the process is gone.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;

use crate::beneath::{self, Kind, Made};
use crate::error::Error;
use crate::spec::{MountKind, Spec};

/// A place that something will be mounted on.
pub(crate) struct Point {
    /// Path beneath the root, lexically normal.
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
}

/// Every mount point of the sandbox.
pub(crate) fn points(spec: &Spec) -> Result<Vec<Point>, Error> {
    let point = |path: &str, kind| Point { path: beneath::normal(path), kind };
    let mut points = vec![
        point("/proc", Kind::Directory),
        point("/sys", Kind::Directory),
        point("/dev", Kind::Directory),
        point("/etc/hosts", Kind::File),
    ];
    if spec.resolv_conf.is_some() {
        points.push(point("/etc/resolv.conf", Kind::File));
    }
    for mount in &spec.mounts {
        points.push(point(&mount.target, kind(&mount.kind)?));
    }
    Ok(points)
}

/// Whether a mount is of a directory or of a file. An overlay's subpath cannot be looked at before
/// it is mounted; a file there makes its mount point later.
fn kind(mount: &MountKind) -> Result<Kind, Error> {
    match mount {
        MountKind::Bind { source, subpath, .. } => {
            let look = || beneath::kind_of(beneath::open_host_sub(source, subpath.as_deref())?.as_fd());
            look().map_err(|error| Error::Source {
                path: source_name(source, subpath.as_deref()),
                source: error,
            })
        }
        MountKind::Overlay { lower, subpath: Some(subpath), .. } => {
            let look = |layer: &PathBuf| {
                beneath::kind_of(beneath::open_host_sub(layer, Some(subpath)).ok()?.as_fd()).ok()
            };
            Ok(lower.iter().find_map(look).unwrap_or(Kind::Directory))
        }
        MountKind::Overlay { subpath: None, .. } | MountKind::Tmpfs { .. } => Ok(Kind::Directory),
        MountKind::File { .. } | MountKind::Socket { .. } => Ok(Kind::File),
    }
}

/// A mount's source, for messages.
pub(crate) fn source_name(source: &Path, subpath: Option<&str>) -> String {
    match subpath {
        Some(subpath) => beneath::shown(&source.join(beneath::normal(subpath))),
        None => beneath::shown(source),
    }
}

/// Makes the bottom-most layer at `layer`.
pub(crate) fn make_layer(layer: &Path, points: &[Point]) -> io::Result<()> {
    fs_err::create_dir(layer)?;
    for point in points {
        let path = layer.join(&point.path);
        // Points may contradict each other (a file above a directory); whatever cannot be made here
        // is looked at again in the merged tree.
        let _ = match (point.kind, path.parent()) {
            (Kind::Directory, _) => fs_err::create_dir_all(&path),
            (Kind::File, Some(parent)) => {
                fs_err::create_dir_all(parent).and_then(|()| fs_err::File::create_new(&path).map(drop))
            }
            (Kind::File, None) => Ok(()),
        };
    }
    Ok(())
}

/// What was made in the tree itself and has to go again.
#[derive(Default)]
pub(crate) struct Leftovers {
    made: Vec<Made>,
    upper: Option<OwnedFd>,
    /// Directories that came into the upper directory only because something was made in them.
    copied: Vec<Copied>,
}

/// A directory of the upper directory, as it was before the process ran.
struct Copied {
    path: PathBuf,
    state: Option<State>,
}

/// Mode, owners and change time: every change by the process alters one of them.
type State = (u32, u32, u32, i64, u64);

/// Makes what the tree under `root` still lacks. `upper` is its upper directory, if it has one.
pub(crate) fn fill(root: BorrowedFd<'_>, points: &[Point], upper: Option<&Path>) -> Result<Leftovers, Error> {
    let open = |path: &Path| {
        beneath::open_host(path).map_err(|source| Error::Source { path: beneath::shown(path), source })
    };
    let mut left = Leftovers { upper: upper.map(open).transpose()?, ..Leftovers::default() };
    for point in points {
        beneath::ensure(root, &point.path, point.kind, &mut |made| left.note(made)).map_err(|source| {
            Error::Target { target: format!("/{}", beneath::shown(&point.path)), source }
        })?;
    }
    let states: Vec<_> = left.copied.iter().map(|copied| left.state(&copied.path)).collect();
    for (copied, state) in left.copied.iter_mut().zip(states) {
        copied.state = state;
    }
    Ok(left)
}

impl Leftovers {
    /// Remembers what is about to be made, and which directories overlayfs will copy up for it.
    fn note(&mut self, made: Made) {
        if self.upper.is_some() {
            for parent in made.parent_path.ancestors().filter(|parent| !parent.as_os_str().is_empty()) {
                let noted = self.copied.iter().any(|copied| copied.path == parent);
                if !noted && self.state(parent).is_none() {
                    self.copied.push(Copied { path: parent.to_owned(), state: None });
                }
            }
        }
        self.made.push(made);
    }

    /// Takes everything away again that the process left as it was made. To be called when no
    /// process of the sandbox is left and nothing is mounted. What cannot be removed was changed by
    /// the process, so errors end it silently.
    pub(crate) fn clean(self) {
        let untouched = |copied: &&Copied| self.state(&copied.path) == copied.state;
        let mut untouched: Vec<_> = self.copied.iter().filter(untouched).map(|copied| &copied.path).collect();
        // The deepest first.
        untouched.sort_by(|a, b| b.cmp(a));
        for made in self.made.iter().rev() {
            let _ = remove(made.parent.as_fd(), &made.name, made.kind);
        }
        for path in untouched {
            let _ = self.remove_copied(path);
        }
    }

    /// The directory in the upper directory, if it is one.
    fn state(&self, path: &Path) -> Option<State> {
        let directory = beneath::open_exactly(self.upper.as_ref()?.as_fd(), path).ok()?;
        let stat = rustix::fs::fstat(&directory).ok()?;
        Some((stat.st_mode, stat.st_uid, stat.st_gid, stat.st_ctime, stat.st_ctime_nsec))
    }

    fn remove_copied(&self, path: &Path) -> io::Result<()> {
        let (Some(upper), Some(parent), Some(name)) = (&self.upper, path.parent(), path.file_name()) else {
            return Ok(());
        };
        remove(beneath::open_exactly(upper.as_fd(), parent)?.as_fd(), name, Kind::Directory)
    }
}

/// Removes an empty directory, or a file that is still empty.
fn remove(parent: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> io::Result<()> {
    let flags = match kind {
        Kind::Directory => AtFlags::REMOVEDIR,
        Kind::File if rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_size == 0 => {
            AtFlags::empty()
        }
        Kind::File => return Ok(()),
    };
    Ok(rustix::fs::unlinkat(parent, name, flags)?)
}
