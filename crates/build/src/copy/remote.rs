//! What ADD takes from elsewhere: files by URL, and commits. The key is made of as little as will do; what that did not need is fetched
//! when the layer has to be made.

use std::path::Path;
use std::sync::Arc;

use kiln_dockerfile::source::{GitSource, Source, classify, shown};
use kiln_oci::digest::Digest;
use kiln_plan::CopiedPath;
use kiln_plan::model::CopyOp;

use crate::copy::archive::Archive;
use crate::copy::gather::{Gathered, Looking, gather};
use crate::error::{BuildErrorKind, RemoteError};
use crate::files::context::ContextFiles;
use crate::files::statcache::StatCache;
use crate::key::KeyParts;
use crate::remote::{HttpFile, Pinned, Sources};

/// A file by URL.
pub(crate) struct Download {
    url: String,
    name: String,
    checksum: Option<Digest>,
    /// `None` until it is needed.
    file: Option<HttpFile>,
}

impl Download {
    /// Asks for the file, unless a checksum says already what it is.
    pub(super) fn of(url: &str, op: &CopyOp, sources: &Sources<'_>) -> Result<Self, BuildErrorKind> {
        let checksum = match op.checksum.as_deref().map(str::parse::<Digest>).transpose() {
            Ok(checksum) => checksum,
            Err(error) => {
                return Err(BuildErrorKind::Copy { message: format!("--checksum: {error}"), help: None });
            }
        };
        let name = match classify(url) {
            Ok(Source::Http(http)) => http.file_name,
            _ => "__unnamed__".to_owned(),
        };
        let mut download = Self { url: url.to_owned(), name, checksum, file: None };
        // Whether it is to be unpacked shows in its bytes.
        if checksum.is_none() || op.unpack == Some(true) {
            download.fetch(sources)?;
        }
        Ok(download)
    }

    /// Its name at a destination that is a directory.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn fetch(&mut self, sources: &Sources<'_>) -> Result<(), BuildErrorKind> {
        if self.file.is_none() {
            self.file = Some(sources.file(&self.url, self.checksum)?);
        }
        Ok(())
    }

    /// The file, once it was fetched.
    pub(crate) fn file(&self) -> Result<HttpFile, BuildErrorKind> {
        self.file.ok_or_else(|| not_here(shown(&self.url)))
    }

    /// The archive that it is, if it is one.
    pub(super) fn archive(&self, sources: &Sources<'_>) -> Result<Option<Archive>, BuildErrorKind> {
        let file = self.file()?;
        Archive::of_file(&sources.store().content().path_of(&file.digest), file.digest)
    }

    /// A digest that was given says all; else the time that the server tells counts, too, as in BuildKit.
    pub(super) fn add_to_key(&self, parts: &mut KeyParts) {
        let value = match (self.checksum, self.file) {
            (Some(checksum), _) => checksum.to_string(),
            (None, Some(file)) => format!("{} {}", file.digest, file.last_modified.unwrap_or_default()),
            (None, None) => String::new(),
        };
        parts.add("download", &self.name, value);
    }
}

/// The files of a commit.
pub(crate) struct Checkout {
    pinned: Pinned,
    /// `None` until they are needed.
    files: Option<(Arc<ContextFiles>, Gathered)>,
}

impl Checkout {
    /// Finds out which commit it is.
    pub(super) fn of(url: &str, op: &CopyOp, sources: &Sources<'_>) -> Result<Self, BuildErrorKind> {
        let source = match classify(url) {
            Ok(Source::Git(source)) => source,
            Ok(_) => return Err(not_here(shown(url))),
            Err(error) => return Err(BuildErrorKind::fetch(shown(url), error.into())),
        };
        let checksum =
            source.checksum.clone().or_else(|| op.checksum.as_deref().map(str::to_ascii_lowercase));
        let pinned = sources.pin(&GitSource { checksum, ..source }, op.keep_git_dir)?;
        Ok(Self { pinned, files: None })
    }

    pub(super) fn fetch(&mut self, op: &CopyOp, sources: &Sources<'_>) -> Result<(), BuildErrorKind> {
        let tree = sources.checkout(&self.pinned)?;
        let cache = StatCache::load(
            sources.store().context_path(&Digest::of(tree.root.as_os_str().as_encoded_bytes())),
            &tree.root,
            0,
            sources.store().tmp(),
        );
        let files = Arc::new(ContextFiles::open(&tree.root, self.pinned.shown(), None, cache)?);
        let all = CopiedPath { excludes: op.excludes.clone(), ..CopiedPath::whole("/") };
        let looking = Looking { tmp: &sources.store().tmp(), stop: sources.stop() };
        let found = gather(files.as_ref(), &all, looking)?;
        self.files = Some((files, found));
        Ok(())
    }

    /// The files, once they were fetched.
    pub(super) fn found(&self) -> Result<&Gathered, BuildErrorKind> {
        self.files.as_ref().map(|(_, found)| found).ok_or_else(|| not_here(self.pinned.shown()))
    }

    /// Where they are, once they were fetched.
    pub(crate) fn root(&self) -> Result<&Path, BuildErrorKind> {
        self.files.as_ref().map(|(files, _)| files.root()).ok_or_else(|| not_here(self.pinned.shown()))
    }

    /// A commit's id says all about its files.
    pub(super) fn add_to_key(&self, parts: &mut KeyParts) {
        parts.add("commit", self.pinned.short_name(), self.pinned.identity());
    }
}

fn not_here(url: String) -> BuildErrorKind {
    let what = "reading it".to_owned();
    BuildErrorKind::fetch(url, RemoteError::Failed { what, detail: "it was not fetched".to_owned() })
}
