//! Removing trees that a build made: whatever modes their directories have.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Removes `dir` and all below it; one that is not there is fine. Directories without write permission are opened up first.
pub(crate) fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(dir)?;
            fs_err::remove_dir_all(dir)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn open_up(dir: &Path) -> io::Result<()> {
    fs_err::set_permissions(dir, PermissionsExt::from_mode(0o700))?;
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
