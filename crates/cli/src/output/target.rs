//! A file that appears under its name when it is finished, or standard output.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::args::output::Dest;
use crate::errors::CliError;

/// What an archive is written to.
pub(crate) enum Target {
    /// Standard output, as a file: data can then be copied inside the kernel.
    Stdout(File),
    /// A temporary file beside `path`.
    File {
        /// Where it will be.
        path: PathBuf,
        /// What is written.
        file: NamedTempFile,
    },
}

impl Target {
    /// Opens `dest`; directories above it are made.
    pub(crate) fn open(dest: &Dest) -> Result<Self, CliError> {
        let path = match dest {
            Dest::Stdout => return Ok(Self::Stdout(io::stdout().as_fd().try_clone_to_owned()?.into())),
            Dest::Path(path) => path,
        };
        if path.is_dir() {
            let problem = format!("{} is a directory; name a file in it", path.display());
            return Err(CliError::usage("--output", problem));
        }
        let parent = parent(path);
        fs_err::create_dir_all(&parent)?;
        let file = beside(path, &parent)?;
        Ok(Self::File { path: path.clone(), file })
    }

    /// The open file.
    pub(crate) fn file(&mut self) -> &mut File {
        match self {
            Self::Stdout(file) => file,
            Self::File { file, .. } => file.as_file_mut(),
        }
    }

    /// Gives the file its name.
    pub(crate) fn finish(self) -> Result<(), CliError> {
        match self {
            Self::Stdout(mut file) => Ok(file.flush()?),
            Self::File { path, file } => persist(file, &path),
        }
    }
}

/// Writes a small file in one step.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let parent = parent(path);
    fs_err::create_dir_all(&parent)?;
    let mut file = beside(path, &parent)?;
    file.write_all(bytes)?;
    persist(file, path)
}

/// The directory that `path` is in.
pub(super) fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    parent.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

fn beside(path: &Path, parent: &Path) -> Result<NamedTempFile, CliError> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(tempfile::Builder::new().prefix(&format!(".{name}.")).permissions(mode).tempfile_in(parent)?)
}

/// A rename, unless something that is no file stands there (`/dev/null`, a pipe): that gets the bytes.
fn persist(file: NamedTempFile, path: &Path) -> Result<(), CliError> {
    let special = fs_err::metadata(path).is_ok_and(|meta| !meta.is_file());
    if special {
        let mut from = file.reopen()?;
        let mut to = fs_err::OpenOptions::new().write(true).open(path)?;
        io::copy(&mut from, &mut to)?;
        return Ok(());
    }
    let named = |e: tempfile::PersistError| {
        io::Error::new(e.error.kind(), format!("{}: {}", path.display(), e.error))
    };
    file.persist(path).map_err(named)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn nothing_appears_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/a.tar");
        let mut target = Target::open(&Dest::Path(path.clone())).unwrap();
        target.file().write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(target);
        assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 0, "nothing is left behind");

        let mut target = Target::open(&Dest::Path(path.clone())).unwrap();
        target.file().write_all(b"whole").unwrap();
        target.finish().unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"whole");
        write_whole(&path, b"again").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"again");
        assert!(Target::open(&Dest::Path(dir.path().to_path_buf())).is_err());
        write_whole(Path::new("/dev/null"), b"x").unwrap();
        assert!(
            fs_err::metadata("/dev/null").unwrap().file_type()
                != fs_err::metadata(&path).unwrap().file_type()
        );
    }
}
