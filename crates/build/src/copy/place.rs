//! Where a COPY puts what it took: destination rules, parents, merging.
//!
//! Works on metadata only: the root filesystem below is asked through [`Files`], never unpacked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use kiln_dockerfile::chmod::ChmodSpec;
use kiln_layer::index::{Entry, Kind, Mtime};
use kiln_layer::pack::{Content, PackEntry};
use kiln_layer::path::LayerPath;
use kiln_layer::rows::Rows;
use kiln_layer::stop::Stop;
use kiln_oci::digest::Digest;

use crate::copy::runs::{Bytes, Planned, Runs};
use crate::copy::source::{Gathered, Item};
use crate::error::BuildErrorKind;
use crate::files::{Files, Node, NodeKind};

/// Owners and modes asked for by flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) chmod: Option<ChmodSpec>,
    /// For what no source gives a time: directories that have to be made.
    pub(crate) made: Mtime,
}

/// A layer in the making.
///
/// Directories, links and whatever later sources may have to know of are held; of plain files there may be very many, and they go
/// to [`Runs`]. So does all of a source that is alone.
pub(crate) struct Placement<'a> {
    below: Option<&'a dyn Files>,
    attributes: Attributes,
    /// What is planned for a path; the paths of the entries themselves are set in the end, so that none is kept twice.
    held: BTreeMap<LayerPath, Planned>,
    files: Runs,
    /// Whether files are held, too: what an archive brings may take the place of anything.
    hold_files: bool,
    /// How many entries were put.
    turn: u64,
    /// Directories in which the root filesystem below has nothing, since they are new: it need not be asked for every file in them.
    new: HashSet<LayerPath>,
    /// The directory that was asked for last, and where it is with links followed, as long as nothing was put that could change that.
    latest: Option<(LayerPath, LayerPath)>,
    /// The commit whose files are being put.
    checkout: Option<usize>,
    /// Where the archive is unpacked whose members are being put.
    unpacking: Option<LayerPath>,
    /// The numbers in [`Planned::link`] of the source that is being put, by inode.
    links: HashMap<(u64, u64), u64>,
    /// How many such numbers there are.
    linked: u64,
}

impl<'a> Placement<'a> {
    /// `below` is the root filesystem that the layer will lie on; `None` if it must not be looked at (`--link`). Long lists are kept in `tmp`.
    pub(crate) fn new(below: Option<&'a dyn Files>, attributes: Attributes, tmp: &Path) -> Self {
        Self {
            below,
            attributes,
            held: BTreeMap::new(),
            files: Runs::new(tmp),
            hold_files: false,
            turn: 0,
            new: HashSet::new(),
            latest: None,
            checkout: None,
            unpacking: None,
            links: HashMap::new(),
            linked: 0,
        }
    }

    /// Makes the directory `dest` and unpacks into it from now on, as tar does: to links on the way `dest` is the root, and a member takes the place
    /// of whatever has its name. [`Placement::unpacked`] ends that. Returns `dest` with links followed.
    pub(crate) fn unpack_into(&mut self, dest: &LayerPath) -> Result<LayerPath, BuildErrorKind> {
        self.next_source();
        let dest = self.make_directory(dest)?;
        self.unpacking = Some(dest.clone());
        self.latest = None;
        Ok(dest)
    }

    /// Says that members of archives may take the place of what was put, which must be known before anything is. It is not needed where
    /// nothing else is put and [`are_entangled`](crate::copy::archive::are_entangled) says no.
    pub(crate) fn hold_files(&mut self) {
        self.hold_files = true;
    }

    /// Whether a symbolic link stands at `path`; links on the way are not followed.
    pub(crate) fn is_link(&self, path: &LayerPath) -> Result<bool, BuildErrorKind> {
        Ok(matches!(self.node(path)?, Some(NodeKind::Symlink { .. })))
    }

    /// The archive is unpacked.
    pub(crate) fn unpacked(&mut self) {
        self.unpacking = None;
        self.latest = None;
    }

    /// What is put from now on is of another source. Names of one file stay one file within a source only, as with BuildKit: `COPY a b /d/`
    /// makes two files of two names.
    pub(crate) fn next_source(&mut self) {
        self.links.clear();
    }

    fn link_number(&mut self, inode: (u64, u64)) -> u64 {
        let next = self.linked;
        let number = *self.links.entry(inode).or_insert(next);
        self.linked += u64::from(number == next);
        number
    }

    /// What is put from now on is of this commit; with `None`, of the file system that is read.
    pub(crate) fn take_from(&mut self, checkout: Option<usize>) {
        self.checkout = checkout;
    }

    /// What stands at `path`, in the new layer or below it; links not followed.
    fn node(&self, path: &LayerPath) -> Result<Option<NodeKind>, BuildErrorKind> {
        if let Some(planned) = self.held.get(path) {
            return Ok(Some(match &planned.entry.kind {
                Kind::Directory => NodeKind::Directory,
                Kind::Symlink { target } => NodeKind::Symlink { target: target.clone() },
                _ => NodeKind::File { size: 0 },
            }));
        }
        match self.below {
            Some(_) if path.parent().is_some_and(|parent| self.new.contains(&parent)) => Ok(None),
            Some(files) => Ok(files.node(path)?.map(|n| n.kind)),
            None => Ok(path.is_root().then_some(NodeKind::Directory)),
        }
    }

    /// `path` with every link on the way followed inside the root, and a link at its end if `last`; what does not exist is taken
    /// as written.
    pub(crate) fn resolve(&self, path: &LayerPath, last: bool) -> Result<LayerPath, BuildErrorKind> {
        let root = self.unpacking.clone().filter(|root| path.is_within(root)).unwrap_or_default();
        let below = path.components().skip(root.components().count());
        let mut pending: Vec<Vec<u8>> = below.map(<[u8]>::to_vec).collect();
        pending.reverse();
        let mut at = root.clone();
        let mut hops = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                at = if at == root { at } else { at.parent().unwrap_or_default() };
                continue;
            }
            let next = at.join(&name);
            match self.node(&next)? {
                Some(NodeKind::Symlink { target }) if last || !pending.is_empty() => {
                    hops += 1;
                    if hops > 255 {
                        return Err(refuse(format!(
                            "too many symbolic links on the way to {}",
                            path.display()
                        )));
                    }
                    if target.starts_with(b"/") {
                        at = root.clone();
                    }
                    let parts = target.split(|b| *b == b'/').rev();
                    pending.extend(parts.filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec));
                }
                _ => at = next,
            }
        }
        Ok(at)
    }

    /// Makes the directory `path` and those above it where they are missing. Returns it with links followed.
    pub(crate) fn make_directory(&mut self, path: &LayerPath) -> Result<LayerPath, BuildErrorKind> {
        let path = self.resolve(path, true)?;
        let mut at = LayerPath::root();
        for component in path.components() {
            at = at.join(component);
            self.make_one(&at)?;
        }
        Ok(path)
    }

    /// Makes the directory `at`, in one that is there.
    fn make_one(&mut self, at: &LayerPath) -> Result<(), BuildErrorKind> {
        match self.node(at)? {
            Some(NodeKind::Directory) => self.restate(at),
            Some(_) => Err(refuse(format!("{} is in the way: it is not a directory", at.display()))),
            None => {
                let entry = self.made_directory();
                self.new.insert(at.clone());
                self.hold(at.clone(), entry);
                Ok(())
            }
        }
    }

    /// What is planned for `path` from now on, and has no bytes.
    fn hold(&mut self, path: LayerPath, entry: Entry) {
        self.turn += 1;
        self.held.insert(path, Planned { entry, bytes: Bytes::None, link: None, turn: self.turn });
    }

    /// Repeats the directory `path` of the root filesystem below in the new layer, as Docker's layers do: an unpacked layer then
    /// shows the right owner and mode for it whatever it lies on.
    fn restate(&mut self, path: &LayerPath) -> Result<(), BuildErrorKind> {
        let Some(files) = self.below.filter(|_| !self.held.contains_key(path)) else { return Ok(()) };
        if let Some(node) = files.node(path)? {
            self.hold(path.clone(), directory(&node));
        }
        Ok(())
    }

    fn made_directory(&self) -> Entry {
        let (uid, gid) = self.attributes.owner.unwrap_or_default();
        let path = LayerPath::root();
        let (kind, mtime) = (Kind::Directory, self.attributes.made);
        Entry { path, kind, mode: 0o755, uid, gid, mtime, xattrs: BTreeMap::new(), offset: None }
    }

    /// Whether `dest`, links followed, is a directory by now.
    pub(crate) fn is_directory(&self, dest: &LayerPath) -> Result<bool, BuildErrorKind> {
        let path = self.resolve(dest, true)?;
        Ok(self.node(&path)? == Some(NodeKind::Directory))
    }

    /// Puts sources where `dest` says, which is told the name of each and whether it is a directory.
    pub(crate) fn put(
        &mut self,
        (sources, stop): (&Gathered, Stop<'_>),
        dest: impl Fn(&[u8], bool) -> LayerPath,
    ) -> Result<(), BuildErrorKind> {
        let mut to = LayerPath::root();
        for item in sources.items() {
            stop.check().map_err(io::Error::from)?;
            let mut item = item?;
            if let Some(name) = &item.name {
                self.next_source();
                to = dest(name, item.node.is_dir());
            }
            let path = to.join(item.below.as_bytes());
            let bytes = self.bytes_of(&mut item);
            self.put_item(&item, &path, !item.below.is_root(), bytes)?;
        }
        Ok(())
    }

    /// As [`Placement::put`], for what is the only source: nothing of it can be in the way of the rest, but by a link that stands where it has a
    /// directory.
    pub(crate) fn put_alone(
        &mut self,
        (source, stop): (&Gathered, Stop<'_>),
        dest: impl Fn(&[u8], bool) -> LayerPath,
    ) -> Result<(), BuildErrorKind> {
        let mut items = source.items();
        let Some(mut top) = items.next().transpose()? else { return Ok(()) };
        if !top.node.is_dir() {
            return self.put((source, stop), dest);
        }
        let to = dest(top.name.as_deref().unwrap_or_default(), true);
        let base = self.resolve(&to, true)?;
        if self.meets_link((source, &base), stop)? {
            return self.put((source, stop), dest);
        }
        let bytes = self.bytes_of(&mut top);
        self.put_item(&top, &to, false, bytes)?;
        let mut open = Vec::new();
        for item in items {
            stop.check().map_err(io::Error::from)?;
            let mut item = item?;
            let at = base.join(item.below.as_bytes());
            let bytes = self.bytes_of(&mut item);
            self.put_in_order(&item, at, bytes, &mut open)?;
        }
        Ok(())
    }

    /// Whether a link stands where `source` has a directory that goes below `base`.
    fn meets_link(
        &self,
        (source, base): (&Gathered, &LayerPath),
        stop: Stop<'_>,
    ) -> Result<bool, BuildErrorKind> {
        // Where nothing is there is no link either.
        if self.below.is_none() || self.node(base)?.is_none() {
            return Ok(false);
        }
        let mut chain = Chain::default();
        for item in source.items() {
            stop.check().map_err(io::Error::from)?;
            let item = item?;
            if chain.any(&item.below, item.node.is_dir(), |dir| self.is_link(&base.join(dir.as_bytes())))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the root filesystem below has nothing in the directory `path`, as far as is known without a look.
    fn is_new(&self, path: &LayerPath) -> bool {
        self.below.is_none() || self.new.contains(path)
    }

    /// Puts what comes next in the order of paths. `open` is the directories that came before and may get something still.
    fn put_in_order(
        &mut self,
        item: &Item,
        at: LayerPath,
        bytes: Bytes,
        open: &mut Vec<Open>,
    ) -> Result<(), BuildErrorKind> {
        while open.pop_if(|dir| !at.may_lead_into(&dir.path)).is_some() {}
        let is_new = self.open(&at.parent().unwrap_or_default(), open)?;
        let in_place = if is_new { None } else { self.node(&at)? };
        let mut entry = entry_of(item);
        self.apply_flags(&mut entry, &item.node);
        may_stand(&at, item.node.is_dir(), in_place.as_ref())?;
        if item.node.is_dir() {
            open.push(Open { path: at.clone(), is_new: in_place.is_none() });
        }
        let link = item.node.link.map(|inode| self.link_number(inode));
        self.turn += 1;
        self.files.push(Planned { entry: Entry { path: at, ..entry }, bytes, link, turn: self.turn })
    }

    /// Makes the directory `path` unless it was put: it is where the source goes, or was not taken itself. Whether the root filesystem below
    /// has nothing in it.
    fn open(&mut self, path: &LayerPath, open: &mut Vec<Open>) -> Result<bool, BuildErrorKind> {
        let above = open.iter().rev().find(|dir| path.is_within(&dir.path));
        if let Some(dir) = above.filter(|dir| dir.path == *path) {
            return Ok(dir.is_new);
        }
        match above {
            None => drop(self.make_directory(path)?),
            // What was put is not held.
            Some(Open { path: above, .. }) => {
                let mut at = above.clone();
                for name in path.components().skip(above.components().count()) {
                    at = at.join(name);
                    self.make_one(&at)?;
                }
            }
        }
        let is_new = self.is_new(path);
        open.push(Open { path: path.clone(), is_new });
        Ok(is_new)
    }

    /// Where the bytes of `item` are, whose path is taken.
    fn bytes_of(&self, item: &mut Item) -> Bytes {
        match (&item.node.kind, self.checkout) {
            (NodeKind::File { .. }, Some(n)) => Bytes::Checkout(n, std::mem::take(&mut item.real)),
            (NodeKind::File { .. }, None) => Bytes::Source(std::mem::take(&mut item.real)),
            _ => Bytes::None,
        }
    }

    /// Puts one thing at `path`. An existing directory takes the attributes of a `nested` one and keeps its own otherwise.
    fn put_item(
        &mut self,
        item: &Item,
        path: &LayerPath,
        nested: bool,
        bytes: Bytes,
    ) -> Result<(), BuildErrorKind> {
        let mut entry = entry_of(item);
        self.apply_flags(&mut entry, &item.node);
        self.put_entry(entry, path, nested, (bytes, item.node.link))
    }

    /// Puts `entry` at `path` (its own `path` is overwritten), parents made, links on the way followed.
    pub(crate) fn put_entry(
        &mut self,
        entry: Entry,
        path: &LayerPath,
        nested: bool,
        (bytes, link): (Bytes, Option<(u64, u64)>),
    ) -> Result<(), BuildErrorKind> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        let is_dir = entry.kind == Kind::Directory;
        let parent = match &self.latest {
            Some((asked, found)) if *asked == parent => found.clone(),
            _ => {
                let found = self.make_directory(&parent)?;
                self.latest = Some((parent, found.clone()));
                found
            }
        };
        let at = parent.join(path.name());
        let (at, in_place) = self.stands_in(at, is_dir)?;
        match (is_dir, &in_place) {
            (true, Some(NodeKind::Directory)) if !nested => return Ok(()),
            (false, Some(NodeKind::Directory)) if self.unpacking.is_some() => {
                self.held.retain(|path, _| !path.is_within(&at));
            }
            _ if self.unpacking.is_none() => may_stand(&at, is_dir, in_place.as_ref())?,
            _ => {}
        }
        if is_dir && in_place != Some(NodeKind::Directory) {
            self.new.insert(at.clone());
        }
        if in_place.is_some() || matches!(entry.kind, Kind::Symlink { .. }) {
            self.latest = None;
        }
        let link = link.map(|inode| self.link_number(inode));
        self.turn += 1;
        let planned = Planned { entry, bytes, link, turn: self.turn };
        // What is below shows through until it is replaced: that must not be forgotten of a link, which may be followed.
        let replaces_link = matches!(in_place, Some(NodeKind::Symlink { .. }));
        if self.hold_files || replaces_link || !matches!(planned.entry.kind, Kind::File { .. }) {
            self.held.insert(at, planned);
            return Ok(());
        }
        self.held.remove(&at);
        self.files.push(Planned { entry: Entry { path: at, ..planned.entry }, ..planned })
    }

    /// Where something goes that is put at `at`, and what stands there: a directory goes into what a link to a directory leads to; for anything
    /// else a link is replaced, wherever it leads.
    fn stands_in(
        &self,
        at: LayerPath,
        is_dir: bool,
    ) -> Result<(LayerPath, Option<NodeKind>), BuildErrorKind> {
        let in_place = self.node(&at)?;
        if is_dir && matches!(in_place, Some(NodeKind::Symlink { .. })) {
            let followed = self.resolve(&at, true)?;
            if self.node(&followed)? == Some(NodeKind::Directory) {
                return Ok((followed, Some(NodeKind::Directory)));
            }
        }
        Ok((at, in_place))
    }

    /// `--chown`.
    pub(crate) fn apply_owner(&self, entry: &mut Entry) {
        if let Some((uid, gid)) = self.attributes.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
    }

    /// `--chown` and `--chmod`.
    pub(crate) fn apply_flags(&self, entry: &mut Entry, node: &Node) {
        self.apply_owner(entry);
        if let (Some(chmod), false) = (&self.attributes.chmod, matches!(node.kind, NodeKind::Symlink { .. }))
        {
            entry.mode = chmod.apply(entry.mode, node.is_dir());
        }
    }

    /// The finished entries in order. Of several names of one file the first carries the content. Then each is handed to `settle`.
    pub(crate) fn finish(
        self,
        mut settle: impl FnMut(&mut Planned) -> Result<(), BuildErrorKind>,
    ) -> Result<Rows<Planned>, BuildErrorKind> {
        let mut first: HashMap<u64, (LayerPath, Bytes)> = HashMap::new();
        let held = self.held.into_iter().map(|(path, mut planned)| {
            planned.entry.path = path;
            planned
        });
        let mut finished = Rows::new(self.files.tmp());
        self.files.merged(held, &mut |mut one: Planned| {
            if let Some(link) = one.link {
                match first.get(&link) {
                    // One name that was taken twice (by way of a symbolic link, say) is no second name.
                    Some((_, bytes)) if matches!(bytes, Bytes::Source(_)) && *bytes == one.bytes => {}
                    Some((target, _)) => {
                        one.entry.kind = Kind::Hardlink { target: target.clone() };
                        one.bytes = Bytes::None;
                    }
                    None => {
                        first.insert(link, (one.entry.path.clone(), one.bytes.clone()));
                    }
                }
            }
            settle(&mut one)?;
            Ok(finished.push(&one)?)
        })?;
        Ok(finished)
    }

    /// The finished entries, of which none has bytes.
    pub(crate) fn finish_directories(self) -> Result<Vec<PackEntry>, BuildErrorKind> {
        let finished = self.finish(|_| Ok(()))?;
        let entries = finished.iter().map(|one| Ok(PackEntry { entry: one?.entry, content: Content::None }));
        entries.collect()
    }
}

/// A directory that was put.
struct Open {
    path: LayerPath,
    /// Whether the root filesystem below has nothing in it.
    is_new: bool,
}

/// The directories on the way to what came last of what comes in the order of paths.
#[derive(Default)]
pub(crate) struct Chain(Vec<LayerPath>);

impl Chain {
    /// Whether `is_it` of a directory that is on the way to `path`, or of itself if that `is_dir`, and was not on the way to what came before.
    pub(crate) fn any(
        &mut self,
        path: &LayerPath,
        is_dir: bool,
        is_it: impl Fn(&LayerPath) -> Result<bool, BuildErrorKind>,
    ) -> Result<bool, BuildErrorKind> {
        let dir = if is_dir { path.clone() } else { path.parent().unwrap_or_default() };
        while self.0.pop_if(|above| !dir.is_within(above)).is_some() {}
        for name in dir.components().skip(self.0.len()) {
            let at = self.0.last().map_or_else(LayerPath::root, Clone::clone).join(name);
            if is_it(&at)? {
                return Ok(true);
            }
            self.0.push(at);
        }
        Ok(false)
    }
}

/// Refuses to let a directory and something else take each other's place at `at`, where there is `in_place`.
fn may_stand(at: &LayerPath, is_dir: bool, in_place: Option<&NodeKind>) -> Result<(), BuildErrorKind> {
    let at = || at.display();
    match (is_dir, in_place.map(|kind| *kind == NodeKind::Directory)) {
        (true, Some(false)) => Err(refuse(format!("a directory cannot replace {}, which is not one", at()))),
        (false, Some(true)) => Err(refuse(format!("a file cannot replace {}, which is a directory", at()))),
        _ => Ok(()),
    }
}

/// The entry that `item` becomes; its path is set when it is put. A file whose digest was not taken (there is none such among
/// the items of a source) would fail when it is packed, since its bytes are checked against the entry.
fn entry_of(item: &Item) -> Entry {
    let node = &item.node;
    let kind = match &node.kind {
        NodeKind::File { size } => {
            Kind::File { size: *size, digest: item.digest.unwrap_or_else(|| Digest::of(b"")) }
        }
        NodeKind::Directory => Kind::Directory,
        NodeKind::Symlink { target } => Kind::Symlink { target: target.clone() },
        NodeKind::CharDevice { major, minor } => Kind::CharDevice { major: *major, minor: *minor },
        NodeKind::BlockDevice { major, minor } => Kind::BlockDevice { major: *major, minor: *minor },
        NodeKind::Fifo => Kind::Fifo,
    };
    let mode = if matches!(kind, Kind::Symlink { .. }) { 0o777 } else { node.mode };
    let (path, xattrs) = (LayerPath::root(), node.xattrs.clone());
    Entry { path, kind, mode, uid: node.uid, gid: node.gid, mtime: node.mtime, xattrs, offset: None }
}

/// A directory entry with the attributes of `node`.
fn directory(node: &Node) -> Entry {
    let (kind, xattrs) = (Kind::Directory, node.xattrs.clone());
    let path = LayerPath::root();
    Entry {
        path,
        kind,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: node.mtime,
        xattrs,
        offset: None,
    }
}

fn refuse(message: String) -> BuildErrorKind {
    BuildErrorKind::Copy { message, help: None }
}
