//! Layout directories.

use std::io::{self, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Export, ExportError, was_interrupted};
use crate::descriptor::Descriptor;
use crate::error::{StoreError, at};
use crate::layout::Layout;

/// How blobs get into a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    /// As a reflink, else as a hard link, else as a copy. Whoever changes a hard-linked blob in place changes the
    /// store's too (it is found by its digest when it is read).
    #[default]
    Share,
    /// As a reflink, else as a copy.
    Copy,
}

pub(super) fn write(
    export: &Export<'_>,
    destination: &Path,
    placement: Placement,
) -> Result<(), ExportError> {
    match state(destination)? {
        State::Layout => return merge(export, destination, placement),
        State::Occupied => return Err(ExportError::Occupied { path: destination.to_path_buf() }),
        State::Free => {}
    }
    let (parent, name) = split(destination)?;
    fs_err::create_dir_all(&parent)?;
    let mode = fs_err::metadata(destination).map_or(0o755, |m| m.permissions().mode() & 0o7777);
    let building = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempdir_in(&parent)?;
    merge(export, building.path(), placement)?;
    match rustix::fs::rename(building.path(), destination) {
        Ok(()) => {
            // It has another name now; there is nothing left to remove.
            let _ = building.keep();
            Ok(())
        }
        // A mount point, or somebody else was faster: then in place, where `index.json` still comes last.
        Err(_) if matches!(state(destination)?, State::Free | State::Layout) => {
            merge(export, destination, placement)
        }
        Err(error) => Err(at(destination)(error.into()).into()),
    }
}

enum State {
    Free,
    Layout,
    Occupied,
}

fn state(path: &Path) -> io::Result<State> {
    let mut entries = match fs_err::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Free),
        Err(error) => return Err(error),
    };
    Ok(if entries.next().is_none() {
        State::Free
    } else if Layout::is_layout(path) {
        State::Layout
    } else {
        State::Occupied
    })
}

/// The parent and the last name of a path; `.` and `..` are resolved first.
fn split(path: &Path) -> io::Result<(PathBuf, String)> {
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned());
    match (name(path), path.parent()) {
        (Some(name), Some(parent)) if parent.as_os_str().is_empty() => Ok((PathBuf::from("."), name)),
        (Some(name), Some(parent)) => Ok((parent.to_path_buf(), name)),
        _ => {
            let real = fs_err::canonicalize(path)?;
            let parent = real.parent().unwrap_or(Path::new("/")).to_path_buf();
            Ok((parent, name(&real).unwrap_or_default()))
        }
    }
}

fn merge(export: &Export<'_>, destination: &Path, placement: Placement) -> Result<(), ExportError> {
    let layout = Layout::create(destination, destination)?;
    let blobs = layout.blobs();
    // Children before parents: a kill leaves no document whose parts are missing.
    for blob in export.graph()?.blobs.iter().rev() {
        if blobs.size_of(&blob.digest) != Some(blob.size) {
            place(export, blob, &layout, placement)?;
        }
    }
    layout.put(&export.entry_names(), export.root)?;
    Ok(())
}

fn place(
    export: &Export<'_>,
    blob: &Descriptor,
    layout: &Layout,
    placement: Placement,
) -> Result<(), ExportError> {
    // A damaged blob never leaves the store unnoticed: one that is not known to be whole is read before it is shared.
    if export.store.open_known(blob)?.is_none() {
        let mut unknown = BufReader::with_capacity(256 << 10, export.store.open_verified(blob)?);
        export.copy(&mut unknown, &mut io::sink()).map_err(damaged)?;
    }
    let mut source = export.store.open_sized(blob)?;
    let path = layout.blobs().path_of(&blob.digest);
    let mut file = tempfile::Builder::new()
        .prefix(".blob-")
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(layout.root())?;
    if rustix::fs::ioctl_ficlone(file.as_file(), source.file()).is_err() {
        // A torn blob of the same name is no reason to copy, so it is not asked why linking failed.
        if placement == Placement::Share && fs_err::hard_link(source.path(), &path).is_ok() {
            return Ok(());
        }
        let copied =
            export.copy(source.file_mut(), file.as_file_mut()).map_err(|error| {
                match was_interrupted(&error) {
                    true => ExportError::Interrupted,
                    false => at(file.path())(error).into(),
                }
            })?;
        if copied != blob.size {
            let (expected, got) = (format!("{} bytes", blob.size), format!("{copied} bytes"));
            return Err(StoreError::Damaged { path: source.path().to_path_buf(), expected, got }.into());
        }
        file.as_file_mut().flush()?;
    }
    file.persist(&path).map_err(|e| at(&path)(e.error))?;
    Ok(())
}

fn damaged(error: io::Error) -> ExportError {
    if was_interrupted(&error) {
        return ExportError::Interrupted;
    }
    error.downcast::<StoreError>().unwrap_or_else(StoreError::Io).into()
}
