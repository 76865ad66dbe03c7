//! The root filesystem of a stage or an image as a source of COPY: metadata from the layers' indexes, nothing unpacked.

use std::collections::HashSet;
use std::io;
use std::sync::OnceLock;

use kiln_layer::index::Kind;
use kiln_layer::path::LayerPath;
use kiln_layer::stop::Stop;
use kiln_layer::view::{Found, View};

use crate::error::{BuildErrorKind, IgnoredBy};
use crate::files::{Content, Files, Names, Node, NodeKind};

/// A view with a name.
pub(crate) struct RootfsFiles {
    view: View,
    whence: String,
    /// The files of each layer that have several names, once somebody asks.
    several: OnceLock<Vec<HashSet<LayerPath>>>,
}

impl RootfsFiles {
    /// `whence` is what messages call it: `stage "build"`.
    pub(crate) fn new(view: View, whence: String) -> Self {
        Self { view, whence, several: OnceLock::new() }
    }

    /// For who only asks what stands where, not which names are of one file.
    pub(crate) fn places(view: View) -> Self {
        Self { view, whence: String::new(), several: OnceLock::from(Vec::new()) }
    }

    /// The view.
    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Which layer has the bytes of the regular file at `path`, and under which name.
    pub(crate) fn carrier(&self, path: &LayerPath) -> io::Result<Option<(usize, LayerPath)>> {
        let Some(found) = self.view.lookup(path)? else { return Ok(None) };
        Ok(self.view.carrier(&found)?.map(|carrier| (found.layer, carrier.path)))
    }

    fn describe(&self, found: Found) -> io::Result<Option<Node>> {
        // A hard link's own header may disagree with the file's; there is one inode, the file's.
        let entry = match &found.entry.kind {
            Kind::Hardlink { .. } => match self.view.carrier(&found)? {
                Some(carrier) => carrier,
                None => return Ok(None),
            },
            _ => found.entry,
        };
        let (kind, link) = match entry.kind {
            Kind::File { size, .. } => (NodeKind::File { size }, self.link_id(found.layer, &entry.path)?),
            Kind::Directory => (NodeKind::Directory, None),
            Kind::Symlink { target } => (NodeKind::Symlink { target }, None),
            Kind::CharDevice { major, minor } => (NodeKind::CharDevice { major, minor }, None),
            Kind::BlockDevice { major, minor } => (NodeKind::BlockDevice { major, minor }, None),
            Kind::Fifo => (NodeKind::Fifo, None),
            Kind::Hardlink { .. } | Kind::Whiteout => return Ok(None),
        };
        Ok(Some(Node {
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs,
            unread: false,
            link,
            stamp: None,
            digest: None,
        }))
    }

    /// The same number for all names of one file, if it has several: its layer and the place of its carrier there.
    fn link_id(&self, layer: usize, carrier: &LayerPath) -> io::Result<Option<(u64, u64)>> {
        let several = match self.several.get() {
            Some(several) => several,
            None => {
                let layers = self.view.layers().iter().map(|layer| layer.index.hard_linked());
                let several = layers.collect::<Result<_, _>>()?;
                self.several.get_or_init(|| several)
            }
        };
        let linked = several.get(layer).is_some_and(|several| several.contains(carrier));
        let Some(handle) = self.view.layers().get(layer).filter(|_| linked) else { return Ok(None) };
        Ok(handle.index.position(carrier)?.map(|place| (layer as u64, place as u64)))
    }
}

impl Files for RootfsFiles {
    fn node(&self, path: &LayerPath) -> Result<Option<Node>, BuildErrorKind> {
        Ok(self.view.lookup(path)?.map_or(Ok(None), |found| self.describe(found))?)
    }

    fn children(&self, dir: &LayerPath) -> Result<Names, BuildErrorKind> {
        Names::sorted(self.view.names(dir)?.map(Ok))
    }

    fn read(&self, path: &LayerPath, _: &Node, _: Stop<'_>) -> Result<Content, BuildErrorKind> {
        let found = self.view.lookup(path)?;
        let carrier = found.map_or(Ok(None), |found| self.view.carrier(&found))?;
        match carrier.map(|entry| entry.kind) {
            Some(Kind::File { digest, .. }) => Ok(Content { digest, xattrs: None }),
            _ => Err(BuildErrorKind::Copy {
                message: format!("{} is not a regular file", path.display()),
                help: None,
            }),
        }
    }

    fn whence(&self) -> &str {
        &self.whence
    }

    fn hidden_by(&self, _: &LayerPath) -> Option<IgnoredBy> {
        None
    }
}
