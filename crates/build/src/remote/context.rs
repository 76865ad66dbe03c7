//! Remote sources as build contexts: a commit's files, an archive's, or one file.

use std::io::Read;
use std::path::Path;

use kiln_dockerfile::source::shown;
use kiln_layer::compress::decompressor;
use kiln_layer::tar::looks_like_tar;
use kiln_oci::digest::Hasher;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::archive_context::unpack_dated;
use crate::error::{BuildErrorKind, RemoteError};
use crate::remote::http::HttpFile;
use crate::remote::port::RemoteContext;
use crate::remote::sources::{Sources, Tree, TreeRecord};

/// The name of a context's file that is no archive, as in BuildKit.
const FILE: &str = "context";

impl Sources<'_> {
    /// The files of a remote context.
    pub(crate) fn context(&self, context: &RemoteContext) -> Result<Tree, BuildErrorKind> {
        match context {
            RemoteContext::Git { source, keep_git_dir } => self.checkout(&self.pin(source, *keep_git_dir)?),
            RemoteContext::Http(url) => self.archive(url),
        }
    }

    /// The files of the archive at `url`, or the one file that it is.
    fn archive(&self, url: &str) -> Result<Tree, BuildErrorKind> {
        let file = self.file(url, None)?;
        let mut hasher = Hasher::new();
        hasher.part(b"kiln remote context 1");
        hasher.part(file.digest.as_bytes());
        hasher.part(&file.last_modified.unwrap_or_default().to_le_bytes());
        let mut tree = self.tree(&hasher.finish(), |place| {
            let dest = place.join("tree");
            fs_err::create_dir(&dest)?;
            let unpacked =
                self.unpack(&file, &dest).map_err(|error| BuildErrorKind::fetch(shown(url), error))?;
            let (time, name) = match unpacked {
                Some(newest) => (newest, None),
                None => (None, Some(FILE.to_owned())),
            };
            Ok((dest, TreeRecord { url: shown(url), commit: None, time, file: name }))
        })?;
        tree.time = file.last_modified.or(tree.time);
        Ok(tree)
    }

    /// Fills `dest`; gives the time of the newest regular file, or the outer `None` if it is no archive.
    fn unpack(&self, file: &HttpFile, dest: &Path) -> Result<Option<Option<i64>>, RemoteError> {
        let path = self.store.content().path_of(&file.digest);
        self.verify(file, &path)?;
        let open = || fs_err::File::open(&path).map(|file| file.into_parts().0);
        let mut head = Vec::new();
        // What cannot be decompressed is no archive, just a file that looks like one.
        let read = decompressor(open()?, None).and_then(|reader| reader.take(512).read_to_end(&mut head));
        if read.is_ok() && looks_like_tar(&head) {
            let unpacked = unpack_dated(open()?, dest);
            return unpacked.map(Some).map_err(|error| RemoteError::Archive { detail: said(&error) });
        }
        let target = dest.join(FILE);
        fs_err::copy(&path, &target)?;
        fs_err::set_permissions(&target, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let time = Timespec { tv_sec: file.last_modified.unwrap_or_default(), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &target, &times, AtFlags::empty()).map_err(std::io::Error::from)?;
        Ok(None)
    }

    /// A blob that is damaged must not become a context.
    fn verify(&self, file: &HttpFile, path: &Path) -> Result<(), RemoteError> {
        let mut input = fs_err::File::open(path)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = input.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        if hasher.finish() == file.digest {
            return Ok(());
        }
        // The next build fetches it anew.
        fs_err::remove_file(path)?;
        let what = format!("{} is damaged", path.display());
        Err(RemoteError::Failed { what, detail: "it was removed; try again".to_owned() })
    }
}

/// An error with its causes, on one line.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
