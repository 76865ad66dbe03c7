//! Commits: what a reference stands for now, and the folder with a commit's files.

use kiln_dockerfile::source::{GitSource, is_commit, shown};
use kiln_oci::digest::{Digest, Hasher};

use crate::error::{BuildErrorKind, RemoteError};
use crate::remote::port::{CheckoutOrder, Resolved, Within, shown_source};
use crate::remote::secrets;
use crate::remote::sources::{Sources, Tree, TreeRecord};

/// A git source whose commit is known.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    source: GitSource,
    found: Resolved,
    keep_git_dir: bool,
}

impl Pinned {
    /// As messages name it.
    pub(crate) fn shown(&self) -> String {
        shown_source(&self.source)
    }

    /// What the repository is called.
    pub(crate) fn short_name(&self) -> &str {
        &self.source.short_name
    }

    /// The commit; or the annotated tag whose commit nobody has told yet.
    fn commit(&self) -> &str {
        self.found.peeled.as_deref().unwrap_or(&self.found.object)
    }

    /// All that decides about the files, and nothing else: two addresses of one commit are the same.
    pub(crate) fn identity(&self) -> String {
        let mut text = self.commit().to_owned();
        let mut add = |part: &str| {
            text.push(' ');
            text.push_str(part);
        };
        if !self.source.subdir.is_empty() {
            add(&format!(":{:?}", self.source.subdir));
        }
        if self.source.submodules == Some(false) {
            add("without submodules");
        }
        if self.source.mtime.as_deref() == Some("checkout") {
            add("times of the checkout");
        }
        if self.keeps_git_dir() {
            // Its configuration names the repository, its references what was asked for.
            let reference = self.found.reference.as_deref().unwrap_or_default();
            add(&format!(".git {} {reference} {}", self.found.object, shown(&self.source.remote)));
        }
        text
    }

    fn keeps_git_dir(&self) -> bool {
        self.keep_git_dir && self.source.subdir.is_empty()
    }

    fn id(&self) -> Digest {
        let mut hasher = Hasher::new();
        hasher.part(b"kiln commit 1");
        hasher.part(self.identity().as_bytes());
        hasher.finish()
    }
}

impl Sources<'_> {
    /// Finds out which commit `source` means: the remote is asked, once per build, unless the source says it itself.
    pub(crate) fn pin(&self, source: &GitSource, keep_git_dir: bool) -> Result<Pinned, BuildErrorKind> {
        let failed = |error| BuildErrorKind::fetch(shown_source(source), error);
        let keep_git_dir = source.keep_git_dir.unwrap_or(keep_git_dir);
        let found = match written(source).map_err(failed)? {
            Some(found) => found,
            None => self.ask(source).map_err(|error| match error {
                Asking::Remote(error) => failed(error),
                Asking::Stopped(kind) => kind,
            })?,
        };
        if let Some(expected) = &source.checksum {
            let ids = [Some(&found.object), found.peeled.as_ref()];
            // What is only the id of a tag may still have the right commit: that is looked at when it is here.
            let unknown = found.peeled.is_none()
                && found.reference.as_ref().is_none_or(|r| r.starts_with("refs/tags/"));
            if !unknown && !ids.into_iter().flatten().any(|id| id.starts_with(expected.as_str())) {
                let got = ids.into_iter().flatten().cloned().collect::<Vec<_>>().join(" (a tag of it ");
                let got = if found.peeled.is_some() { got + ")" } else { got };
                return Err(failed(RemoteError::Checksum { expected: expected.clone(), got }));
            }
        }
        Ok(Pinned { source: source.clone(), found, keep_git_dir })
    }

    /// The commit's files, fetched if the store does not have them.
    pub(crate) fn checkout(&self, pinned: &Pinned) -> Result<Tree, BuildErrorKind> {
        let failed = |error| BuildErrorKind::fetch(pinned.shown(), error);
        self.tree(&pinned.id(), |place| {
            let source = &pinned.source;
            let repository = secrets::of_repository(&self.access, source).map_err(failed)?;
            let repositories = self.repositories().map_err(failed)?;
            let order = CheckoutOrder {
                object: &pinned.found.object,
                reference: pinned.found.reference.as_deref(),
                checksum: source.checksum.as_deref(),
                subdir: &source.subdir,
                submodules: source.submodules != Some(false),
                keep_git_dir: pinned.keeps_git_dir(),
                commit_times: source.mtime.as_deref() != Some("checkout"),
            };
            let within = Within { place, stop: self.stop() };
            let made = repositories.check_out(&repository, &order, within).map_err(failed)?;
            let record = TreeRecord {
                url: pinned.shown(),
                commit: Some(made.commit),
                time: Some(made.time),
                file: None,
            };
            Ok((made.tree, record))
        })
    }

    fn ask(&self, source: &GitSource) -> Result<Resolved, Asking> {
        let mut hasher = Hasher::new();
        hasher.part(b"kiln reference 1");
        hasher.part(source.remote.as_bytes());
        hasher.part(source.reference.as_bytes());
        let id = hasher.finish();
        // Two steps that want the same at once ask once.
        let turn = self.store.lock_while(&format!("source-{}", id.hex()), || self.reporter.check());
        let _turn = turn.map_err(Asking::Stopped)?;
        if let Some(found) = self.resolved(&id) {
            return Ok(found);
        }
        let repository = secrets::of_repository(&self.access, source)?;
        let place = self.place().map_err(RemoteError::Io)?;
        let within = Within { place: place.path(), stop: self.stop() };
        let found = self.repositories()?.resolve(&repository, &source.reference, within)?;
        self.note_resolved(id, found.clone());
        Ok(found)
    }
}

/// Why a remote could not be asked.
enum Asking {
    Remote(RemoteError),
    Stopped(BuildErrorKind),
}

impl From<RemoteError> for Asking {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

/// What the source itself says about its commit.
fn written(source: &GitSource) -> Result<Option<Resolved>, RemoteError> {
    if is_commit(&source.reference) {
        return Ok(Some(Resolved { object: source.reference.clone(), reference: None, peeled: None }));
    }
    if !source.fetch_by_commit {
        return Ok(None);
    }
    let commit = source.checksum.clone().filter(|text| is_commit(text)).ok_or(RemoteError::NeedsCommit)?;
    let reference = match source.reference.as_str() {
        "" => None,
        full if full.starts_with("refs/") => Some(full.to_owned()),
        short => Some(format!("refs/heads/{short}")),
    };
    Ok(Some(Resolved { object: commit, reference, peeled: None }))
}
