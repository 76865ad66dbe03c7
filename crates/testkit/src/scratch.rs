//! Folders of one test, and the trees in them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::actor::Actor;
use crate::machine::Machine;

/// The mtime of everything that [`Scratch::tree`] makes: 2020-09-13T12:26:40Z.
pub const MTIME: u64 = 1_600_000_000;

/// A folder that belongs to one actor and goes when it is dropped.
#[derive(Debug)]
pub struct Scratch {
    dir: tempfile::TempDir,
    actor: Actor,
}

impl Scratch {
    /// A new empty folder which `actor` owns and everybody may look into.
    pub fn new(actor: Actor) -> Self {
        let work = Machine::get().work();
        fs_err::create_dir_all(&work).expect("the state folder is writable");
        fs_err::set_permissions(&work, std::fs::Permissions::from_mode(0o755)).expect("we own it");
        let dir =
            tempfile::Builder::new().prefix("t.").tempdir_in(work).expect("the work folder is writable");
        fs_err::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).expect("we own it");
        let scratch = Self { dir, actor };
        scratch.give(scratch.path());
        scratch
    }

    /// Whose it is.
    pub fn actor(&self) -> Actor {
        self.actor
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a tree of files into the folder `name`, all with the same mtime and the actor's own; returns its
    /// path. A file's name may end in `:MODE`, octal; `a -> b` makes a symbolic link.
    pub fn tree(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = self.join(name);
        fs_err::create_dir_all(&root).expect("scratch is writable");
        for (entry, content) in files {
            write_entry(&root, entry, content);
        }
        self.settle(&root);
        root
    }

    /// Copies a folder of the repository into the folder `name`, as [`Scratch::tree`] would make it.
    pub fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.join(name);
        let status = Command::new("cp").args(["-rT", "--no-preserve=all"]).args([from, &to]).status();
        assert!(status.is_ok_and(|s| s.success()), "cp {} {}", from.display(), to.display());
        self.settle(&to);
        to
    }

    /// Gives a path and all below it to the actor.
    pub fn give(&self, path: &Path) {
        let account = self.actor.account();
        let status = Command::new("chown").args(["-hR", &format!("{account}:{account}")]).arg(path).status();
        assert!(status.is_ok_and(|s| s.success()), "chown {}", path.display());
    }

    fn settle(&self, root: &Path) {
        let status = Command::new("find")
            .arg(root)
            .args(["-exec", "touch", "-h", "-d"])
            .arg(format!("@{MTIME}"))
            .args(["{}", "+"])
            .status();
        assert!(status.is_ok_and(|s| s.success()), "touch {}", root.display());
        self.give(root);
    }
}

fn write_entry(root: &Path, entry: &str, content: &str) {
    if let Some((link, target)) = entry.split_once(" -> ") {
        let link = root.join(link);
        fs_err::create_dir_all(link.parent().expect("below the root")).expect("scratch is writable");
        fs_err::os::unix::fs::symlink(target, link).expect("scratch is writable");
        return;
    }
    let (name, mode) = match entry.rsplit_once(':') {
        Some((name, mode)) => (name, u32::from_str_radix(mode, 8).expect("an octal mode")),
        None => (entry, 0o644),
    };
    let path = root.join(name);
    fs_err::create_dir_all(path.parent().expect("below the root")).expect("scratch is writable");
    fs_err::write(&path, content).expect("scratch is writable");
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("we own it");
}
