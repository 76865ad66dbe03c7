//! The entries of a COPY's layer with their bytes, as often as somebody goes through them.

use std::path::Path;
use std::sync::Arc;

use kiln_layer::handle::LayerHandle;
use kiln_layer::pack::{Content, Entries, PackEntry, PackError, Take};
use kiln_layer::path::LayerPath;
use kiln_layer::rows::Rows;
use kiln_layer::stop::Stop;
use kiln_layer::tree::Root;

use crate::copy::archive::Archive;
use crate::copy::gather::Gathered;
use crate::copy::place::{Attributes, Placement};
use crate::copy::runs::{Bytes, Planned};
use crate::copy::{From, Reading, settle};
use crate::error::BuildErrorKind;
use crate::store::Store;

/// What was planned, and where what was read is.
pub(crate) struct CopyEntries {
    planned: Rows<Planned>,
    from: Option<From>,
    context: Option<Arc<Root>>,
    archives: Vec<Option<Arc<LayerHandle>>>,
    checkouts: Vec<Arc<Root>>,
    /// The directory that a download is in, and its name there.
    downloads: Vec<(Arc<Root>, LayerPath)>,
}

impl CopyEntries {
    /// What was planned with files of `from` only.
    pub(crate) fn of(planned: Rows<Planned>, from: Option<&From>) -> Result<Self, BuildErrorKind> {
        let context = match from {
            Some(From::Context(context)) => {
                let known = context.clone();
                let root = Root::open(context.root())?;
                Some(Arc::new(root.knowing(move |path, stat| known.known_digest(path, stat))))
            }
            _ => None,
        };
        let from = from.cloned();
        Ok(Self {
            planned,
            from,
            context,
            archives: Vec::new(),
            checkouts: Vec::new(),
            downloads: Vec::new(),
        })
    }

    /// What was planned with all of `reading`.
    pub(crate) fn new(
        store: &Store,
        planned: Rows<Planned>,
        reading: &Reading,
    ) -> Result<Self, BuildErrorKind> {
        let mut entries = Self::of(planned, reading.from.as_ref())?;
        entries.archives.extend(reading.archives.iter().map(Archive::handle));
        for checkout in &reading.checkouts {
            entries.checkouts.push(Arc::new(Root::open(checkout.root()?)?));
        }
        for download in &reading.downloads {
            let path = store.content().path_of(&download.file()?.digest);
            let name = LayerPath::clean(path.file_name().unwrap_or_default().as_encoded_bytes());
            entries.downloads.push((Arc::new(Root::open(path.parent().unwrap_or(&path))?), name));
        }
        Ok(entries)
    }

    /// Where the bytes of an entry are; `None` if nobody knows.
    fn content(&self, bytes: Bytes) -> Option<Content> {
        let file = |root: &Arc<Root>, path| Content::File { root: root.clone(), path };
        Some(match (bytes, &self.from) {
            (Bytes::None, _) => Content::None,
            (Bytes::Inline(bytes), _) => Content::Bytes(bytes.into()),
            (Bytes::Source(path), _) => file(self.context.as_ref()?, path),
            (Bytes::Layer(n, path), Some(From::Rootfs(files))) => {
                Content::Layer { layer: files.view().layers().get(n)?.clone(), path }
            }
            (Bytes::Layer(..), _) => return None,
            (Bytes::Archive(n, path), _) => Content::Layer { layer: self.archives.get(n)?.clone()?, path },
            (Bytes::Download(n), _) => {
                let (root, name) = self.downloads.get(n)?;
                file(root, name.clone())
            }
            (Bytes::Checkout(n, path), _) => file(self.checkouts.get(n)?, path),
        })
    }
}

/// The entries of a tree that holds what was found in `from`: a directory's content at the root, a single file as `file`.
pub(crate) fn as_tree(found: &Gathered, from: &From, tmp: &Path) -> Result<CopyEntries, BuildErrorKind> {
    let mut placement = Placement::new(None, Attributes::default(), tmp);
    let dest = |_: &[u8], is_dir| if is_dir { LayerPath::root() } else { LayerPath::clean("file") };
    placement.put((found, Stop::NEVER), dest)?;
    CopyEntries::of(placement.finish(|planned| settle(planned, Some(from)))?, Some(from))
}

impl Entries for CopyEntries {
    fn count(&self) -> Result<usize, PackError> {
        Ok(self.planned.len())
    }

    fn each(&self, take: &mut Take<'_>) -> Result<(), PackError> {
        for planned in &self.planned {
            let Planned { entry, bytes, .. } = planned.map_err(|source| PackError::List { source })?;
            let missing = || PackError::Missing { path: entry.path.display() };
            let content = self.content(bytes).ok_or_else(missing)?;
            take(&PackEntry { entry, content })?;
        }
        Ok(())
    }
}
