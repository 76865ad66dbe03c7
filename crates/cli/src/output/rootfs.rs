//! Root filesystems: `type=local` and `type=tar`.

use std::fs::Permissions;
use std::io::{self, BufWriter};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use kiln_build::engine::Built;
use kiln_build::event::TaskKind;
use tempfile::TempDir;

use crate::args::output::Dest;
use crate::errors::{CliError, is_broken_pipe};
use crate::output::image::{Maker, place};
use crate::output::target::{Target, parent};

/// Whether each platform gets a directory of its own, such as `linux_arm64`: with several of them, where an index is asked for even
/// for one, or as `platform-split=` says.
fn is_split(maker: &Maker<'_>, asked: Option<bool>) -> Result<bool, CliError> {
    let several = maker.built.len() > 1;
    match asked {
        Some(false) if several => Err(CliError::usage(
            "--output",
            "several platforms cannot share one directory (platform-split=false)",
        )),
        asked => Ok(asked.unwrap_or(several || maker.index)),
    }
}

/// Writes the files as a directory. With `delete` what stood there before goes.
pub(crate) fn directory(
    maker: &Maker<'_>,
    dest: &Path,
    delete: bool,
    split: Option<bool>,
) -> Result<(), CliError> {
    let split = is_split(maker, split)?;
    maker.screen.during(TaskKind::Export, format!("export files to {}", dest.display()), |_| {
        let aside = aside(dest)?;
        for built in maker.built {
            let into = if split { aside.path().join(folder(built)) } else { aside.path().to_owned() };
            fs_err::create_dir_all(&into)?;
            maker.engine.write_rootfs(built, &into, maker.cancel)?;
        }
        install(aside, dest, delete)
    })
}

/// A directory on the file system of `dest` that will be moved there once everything is in it: whoever looks meanwhile finds what was
/// there before, and so does everybody if it fails.
fn aside(dest: &Path) -> Result<TempDir, CliError> {
    let place = if dest.is_dir() { dest.to_owned() } else { parent(dest) };
    fs_err::create_dir_all(&place)?;
    let aside = tempfile::Builder::new().prefix(".kiln-").tempdir_in(&place)?;
    fs_err::set_permissions(aside.path(), Permissions::from_mode(0o755))?;
    Ok(aside)
}

/// Gives what is in `aside` its place. A directory that is there is added to, as buildx does: a file replaces whatever had its name. With
/// `delete` what stood there before goes first.
fn install(aside: TempDir, dest: &Path, delete: bool) -> Result<(), CliError> {
    if !dest.exists() {
        return Ok(fs_err::rename(aside.keep(), dest)?);
    }
    if delete {
        for entry in fs_err::read_dir(dest)? {
            let path = entry?.path();
            if path != aside.path() {
                remove(&path)?;
            }
        }
    }
    move_all(aside.path(), dest)?;
    Ok(aside.close()?)
}

/// Moves everything in the directory `from` into the directory `to`.
fn move_all(from: &Path, to: &Path) -> Result<(), CliError> {
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let there = fs_err::symlink_metadata(&target).ok();
        if !entry.file_type()?.is_dir() {
            if there.is_some_and(|meta| meta.is_dir()) {
                remove(&target)?;
            }
            fs_err::rename(&source, &target)?;
            continue;
        }
        let meta = entry.metadata()?;
        // Moving a directory, or something out of it, takes the right to write to it.
        fs_err::set_permissions(&source, Permissions::from_mode(meta.mode() | 0o700))?;
        match there {
            Some(there) if there.is_dir() => {
                fs_err::set_permissions(&target, Permissions::from_mode(there.mode() | 0o700))?;
                move_all(&source, &target)?;
                fs_err::File::open(&target)?.file().set_modified(meta.modified()?)?;
            }
            Some(_) => {
                remove(&target)?;
                fs_err::rename(&source, &target)?;
            }
            None => fs_err::rename(&source, &target)?,
        }
        fs_err::set_permissions(&target, Permissions::from_mode(meta.mode()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    if fs_err::symlink_metadata(path)?.is_dir() {
        fs_err::remove_dir_all(path)
    } else {
        fs_err::remove_file(path)
    }
}

/// Writes the files as one tar.
pub(crate) fn tar(maker: &Maker<'_>, dest: &Dest, split: Option<bool>) -> Result<(), CliError> {
    let split = is_split(maker, split)?;
    maker.screen.during(TaskKind::Export, format!("export files to {}", place(dest)), |_| {
        let mut target = Target::open(dest)?;
        let mut out = BufWriter::with_capacity(1 << 20, target.file());
        let written = match maker.built {
            [built] if !split => maker.engine.write_rootfs_tar(built, &mut out, maker.cancel),
            all => {
                let parts: Vec<_> = all.iter().map(|built| (folder(built), built)).collect();
                maker.engine.write_rootfs_folders(&parts, &mut out, maker.cancel)
            }
        };
        written.map_err(|e| if is_broken_pipe(&e.kind) { CliError::BrokenPipe } else { e.into() })?;
        std::io::Write::flush(&mut out)?;
        drop(out);
        target.finish()
    })
}

fn folder(built: &Built) -> String {
    built.platform.to_string().replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_added_to_or_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = scratch.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        let read = |path: &str| fs_err::read_to_string(scratch.path().join("dest").join(path)).ok();
        let dest = scratch.path().join("dest");
        let put = |delete: bool| {
            let aside = aside(&dest).unwrap();
            for (path, text) in [("a", "new"), ("d/x", "new"), ("was-dir", "new"), ("was-file/y", "new")] {
                let path = aside.path().join(path);
                fs_err::create_dir_all(path.parent().unwrap()).unwrap();
                fs_err::write(path, text).unwrap();
            }
            fs_err::set_permissions(aside.path().join("d"), Permissions::from_mode(0o555)).unwrap();
            install(aside, &dest, delete).unwrap();
        };
        let all = |other: Option<&str>| {
            for path in ["a", "d/x", "was-dir", "was-file/y"] {
                assert_eq!(read(path).as_deref(), Some("new"), "{path}");
            }
            assert_eq!((read("d/other").as_deref(), read("other").as_deref()), (other, other));
            assert_eq!(fs_err::metadata(dest.join("d")).unwrap().mode() & 0o777, 0o555);
            let hidden =
                |e: io::Result<fs_err::DirEntry>| e.unwrap().file_name().to_string_lossy().starts_with('.');
            assert!(!fs_err::read_dir(&dest).unwrap().any(hidden), "nothing of ours stays");
        };
        put(false);
        all(None);
        fs_err::set_permissions(dest.join("d"), Permissions::from_mode(0o755)).unwrap();
        fs_err::remove_file(dest.join("was-dir")).unwrap();
        fs_err::remove_dir_all(dest.join("was-file")).unwrap();
        for path in ["d/other", "other", "a", "was-dir/z", "was-file"] {
            write(&format!("dest/{path}"), "old");
        }
        for path in ["d/other", "other"] {
            write(&format!("dest/{path}"), "kept");
        }
        put(false);
        all(Some("kept"));
        put(true);
        all(None);
    }
}
