//! From what git has made on this machine to files that are the same on every machine.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::command::Runner;
use crate::error::GitError;

/// What stays of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The files alone.
    Files,
    /// `.git` too, those of submodules as well.
    GitDir,
}

/// Files in a `.git` that tell of this run and not of the repository.
const TRACES: [&str; 6] =
    ["FETCH_HEAD", "ORIG_HEAD", "COMMIT_EDITMSG", "description", "gc.log", "index.lock"];

/// The same, folders.
const TRACE_FOLDERS: [&str; 3] = ["hooks", "logs", "branches"];

/// Makes the `.git` of `repository`, and those of its submodules, what it would be elsewhere: one pack, the reference that was asked for,
/// an index without times and inode numbers (`git status` looks again and finds nothing changed).
pub(crate) fn history(
    runner: &Runner<'_>,
    repository: &Path,
    (reference, object): (Option<&str>, &str),
) -> Result<(), GitError> {
    if let Some(reference) = reference {
        runner.run(repository, "update-ref", &["update-ref", "--no-deref", "--", reference, object])?;
    }
    for tree in work_trees(repository)? {
        // One thread, nothing reused: how a server has packed its objects does not show.
        let arguments = [
            "-c",
            "pack.threads=1",
            "-c",
            "repack.writeBitmaps=false",
            "repack",
            "-q",
            "-a",
            "-d",
            "-F",
            "-n",
        ];
        runner.run(&tree, "repack", &arguments)?;
        let dir = runner.word(&tree, "rev-parse", &["rev-parse", "--absolute-git-dir"])?;
        let dir = PathBuf::from(dir);
        let real = fs_err::canonicalize(&dir)?;
        if !real.starts_with(fs_err::canonicalize(runner.place())?) {
            return Err(GitError::Failed {
                step: "rev-parse",
                said: "a submodule lies elsewhere".to_owned(),
            });
        }
        remove_file(&dir.join("index"))?;
        runner.run(&tree, "read-tree", &["read-tree", "HEAD"])?;
        for name in TRACES {
            remove_file(&dir.join(name))?;
        }
        for name in TRACE_FOLDERS {
            remove_folder(&dir.join(name))?;
        }
    }
    Ok(())
}

/// The repository and its submodules that have been checked out: directories with a `.git`.
fn work_trees(repository: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![repository.to_owned()];
    let mut pending = vec![repository.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs_err::read_dir(&dir)? {
            let entry = entry?;
            let path = entry.path();
            if !entry.file_type()?.is_dir() || entry.file_name() == ".git" {
                continue;
            }
            if fs_err::symlink_metadata(path.join(".git")).is_ok_and(|meta| meta.is_file()) {
                found.push(path.clone());
            }
            pending.push(path);
        }
    }
    found[1..].sort();
    Ok(found)
}

/// The directory `subdir` of the repository; every part of it must be a directory and no link.
pub(crate) fn take(repository: &Path, subdir: &str) -> Result<PathBuf, GitError> {
    let mut at = repository.to_owned();
    for part in subdir.split('/').filter(|part| !part.is_empty()) {
        at.push(part);
        let is_directory = fs_err::symlink_metadata(&at).is_ok_and(|meta| meta.is_dir());
        if !is_directory || part == ".git" || part == ".." {
            return Err(GitError::NoDirectory { path: subdir.to_owned() });
        }
    }
    Ok(at)
}

/// Gives everything in `tree` the modes 755 and 644 and, if there is one, the time `mtime`; takes every `.git` out unless it is kept.
/// Idempotent.
pub(crate) fn settle(tree: &Path, mtime: Option<i64>, keep: Keep) -> io::Result<()> {
    for entry in fs_err::read_dir(tree)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if entry.file_name() == ".git" && keep == Keep::Files {
            if kind.is_dir() {
                remove_folder(&path)?
            } else {
                remove_file(&path)?
            }
            continue;
        }
        if kind.is_dir() {
            settle(&path, mtime, keep)?;
            continue;
        }
        if kind.is_file() {
            let runs = entry.metadata()?.permissions().mode() & 0o100 != 0;
            fs_err::set_permissions(&path, PermissionsExt::from_mode(if runs { 0o755 } else { 0o644 }))?;
        }
        stamp(&path, mtime)?;
    }
    fs_err::set_permissions(tree, PermissionsExt::from_mode(0o755))?;
    stamp(tree, mtime)
}

/// Sets the time of `path` itself, be it a link.
fn stamp(path: &Path, mtime: Option<i64>) -> io::Result<()> {
    let Some(seconds) = mtime else { return Ok(()) };
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("cannot set the time of {}: {error}", path.display()))
    })
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
