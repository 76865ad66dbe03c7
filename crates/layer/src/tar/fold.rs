//! What a sequence of members adds up to. An archive may name a path twice, stand members behind its own symbolic links, or
//! remove and make the same path; [`Fold`] settles all of that while the members pass, so that the index and every receiver
//! downstream (the unpacker above all) see the same plain truth.
//!
//! The rules are those of the unpackers that Docker and containerd have, made independent of the lower layers:
//! the later of two members wins; a whiteout speaks of lower layers only, so one beside a directory of the same archive makes that
//! directory opaque and one beside any other file of it says nothing; links are followed inside the root.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use kiln_oci::digest::Digest;

use super::TarError;
use super::error::shown;
use super::member::{Body, Member};
use crate::bytes::Cursor;
use crate::encoded::{Encoded, put_entry};
use crate::index::{Entry, Index, Kind};
use crate::path::LayerPath;

/// Symbolic links followed on the way to one member; Linux has the same limit.
const HOPS: usize = 40;

#[derive(Default)]
pub(crate) struct Fold {
    places: BTreeMap<LayerPath, Place>,
    /// What paths name, one after the other as an index has it: layers of very many files exist.
    inodes: Vec<u8>,
    /// The inode that came last, if it is a file of which it is not known yet what it holds.
    empty: Option<(usize, Entry)>,
    /// Inodes that have several names, or had.
    shared: HashSet<usize>,
    opaque: BTreeSet<LayerPath>,
    /// A directory that was just found to be one: members come directory by directory.
    parent: Option<LayerPath>,
}

#[derive(Clone, Copy)]
enum Place {
    Whiteout,
    /// Where in the inodes it starts.
    Inode(usize),
}

impl Fold {
    /// Takes a member in. Returns what to do to a tree, in order: mostly just the member, at its real path. If the member
    /// is a file, it comes last, and [`Fold::filled`] is to be called when its bytes are known.
    pub(crate) fn admit(&mut self, mut member: Member) -> Result<Vec<Member>, TarError> {
        let mut ops = Vec::new();
        member.path = match member.body {
            Body::Opaque => self.directory_at(&member.path, &member.path, &mut ops)?,
            _ => self.locate(member.path, &mut ops)?,
        };
        match &member.body {
            Body::Whiteout => self.whiteout(member, &mut ops),
            Body::Opaque => self.make_opaque(member.path, &mut ops),
            Body::Hardlink { .. } => self.hardlink(member, &mut ops)?,
            Body::Directory => self.directory(member, &mut ops),
            _ if member.path.is_root() => {
                return Err(TarError::Name { name: "/".to_owned() });
            }
            _ => {
                self.clear(&member.path);
                self.put(&member, &mut ops);
            }
        }
        Ok(ops)
    }

    /// Tells what the file that was admitted last holds.
    pub(crate) fn filled(&mut self, digest: Digest, offset: Option<u64>) {
        let Some((at, mut entry)) = self.empty.take() else { return };
        if let Kind::File { digest: known, .. } = &mut entry.kind {
            *known = digest;
        }
        self.inodes.truncate(at);
        put_entry(&mut self.inodes, &Entry { offset, ..entry });
    }

    /// Everything, sorted. Of several names of one file the first in order carries the content.
    pub(crate) fn finish(self) -> Index {
        let mut carriers: HashMap<usize, LayerPath> = HashMap::new();
        let mut index = Index::builder();
        for (path, place) in self.places {
            let Place::Inode(at) = place else {
                index.push(&entry_of(Member::mark(path, Body::Whiteout)));
                continue;
            };
            // What was put there can be read back.
            let Some(mut entry) = inode(&self.inodes, at).and_then(|inode| inode.entry(path)) else {
                continue;
            };
            if matches!(entry.kind, Kind::File { .. }) && self.shared.contains(&at) {
                match carriers.get(&at).cloned() {
                    Some(target) => (entry.kind, entry.offset) = (Kind::Hardlink { target }, None),
                    None => drop(carriers.insert(at, entry.path.clone())),
                }
            }
            index.push(&entry);
        }
        index.finish(self.opaque.into_iter().collect())
    }

    /// What is at `path`, if there is something.
    fn inode(&self, path: &LayerPath) -> Option<Encoded<'_>> {
        match self.places.get(path)? {
            Place::Inode(at) => inode(&self.inodes, *at),
            Place::Whiteout => None,
        }
    }

    /// The place that a name means; what its last component may stand for is left alone.
    fn locate(&mut self, path: LayerPath, ops: &mut Vec<Member>) -> Result<LayerPath, TarError> {
        let Some(parent) = path.parent() else { return Ok(path) };
        if self.parent.as_ref() == Some(&parent) {
            return Ok(path);
        }
        let real = self.directory_at(&parent, &path, ops)?;
        let located = real.join(path.name());
        self.parent = Some(real);
        Ok(located)
    }

    /// The directory that `path` means: symbolic links of the archive are followed inside the root, a whiteout becomes an
    /// opaque directory.
    fn directory_at(
        &mut self,
        path: &LayerPath,
        wanted_for: &LayerPath,
        ops: &mut Vec<Member>,
    ) -> Result<LayerPath, TarError> {
        let mut real = LayerPath::root();
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        todo.reverse();
        let mut hops = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                real = real.parent().unwrap_or_default();
                continue;
            }
            let next = real.join(&name);
            let Some(inode) = self.inode(&next) else {
                if self.places.contains_key(&next) {
                    self.make_opaque(next.clone(), ops);
                }
                real = next;
                continue;
            };
            if inode.is_directory() {
                real = next;
                continue;
            }
            let Some(target) = inode.link() else {
                let (path, ancestor) = (wanted_for.display(), next.display());
                return Err(TarError::NotADirectory { path, ancestor });
            };
            hops += 1;
            if hops > HOPS {
                return Err(TarError::Loop { path: wanted_for.display() });
            }
            if target.starts_with(b"/") {
                real = LayerPath::root();
            }
            let parts = target.split(|b| *b == b'/').rev();
            todo.extend(parts.filter(|p| !p.is_empty() && *p != b".").map(<[u8]>::to_vec));
        }
        Ok(real)
    }

    fn whiteout(&mut self, member: Member, ops: &mut Vec<Member>) {
        match self.inode(&member.path).map(|inode| inode.is_directory()) {
            Some(true) => self.make_opaque(member.path, ops),
            Some(false) => {}
            None if self.has_children(&member.path) => {
                self.put(&Member::implicit_directory(member.path.clone()), ops);
                self.make_opaque(member.path, ops);
            }
            None => {
                self.places.insert(member.path.clone(), Place::Whiteout);
                ops.push(Member::mark(member.path, Body::Whiteout));
            }
        }
    }

    /// Marks a directory; one that is whited out or has no entry of its own gets one, since what lower layers say about it
    /// no longer counts. An opaque mark alone (`dir` never named) leaves the directory's own metadata to the lower layers.
    fn make_opaque(&mut self, path: LayerPath, ops: &mut Vec<Member>) {
        if matches!(self.places.get(&path), Some(Place::Whiteout)) {
            self.put(&Member::implicit_directory(path.clone()), ops);
        }
        if self.opaque.insert(path.clone()) {
            ops.push(Member::mark(path, Body::Opaque));
        }
    }

    fn hardlink(&mut self, member: Member, ops: &mut Vec<Member>) -> Result<(), TarError> {
        let Body::Hardlink { target } = &member.body else { return Ok(()) };
        let shown_path = member.path.display();
        let bad = TarError::Hardlink { path: shown_path, target: target.display() };
        let known = self.parent.clone();
        let real = self.locate(target.clone(), ops)?;
        self.parent = known;
        let Some(Place::Inode(at)) = self.places.get(&real).copied() else { return Err(bad) };
        if real == member.path || member.path.is_root() {
            return Ok(());
        }
        let linked = inode(&self.inodes, at).filter(|inode| !inode.is_directory());
        let Some(linked) = linked.and_then(|inode| inode.entry(member.path.clone())) else { return Err(bad) };
        self.clear(&member.path);
        self.places.insert(member.path, Place::Inode(at));
        self.shared.insert(at);
        ops.push(Member { body: Body::Hardlink { target: real }, ..Member::from(&linked) });
        Ok(())
    }

    fn directory(&mut self, member: Member, ops: &mut Vec<Member>) {
        let path = member.path.clone();
        let hidden = matches!(self.places.get(&path), Some(Place::Whiteout));
        if self.inode(&path).is_some_and(|inode| !inode.is_directory()) {
            self.clear(&path);
        }
        self.put(&member, ops);
        if hidden {
            self.make_opaque(path, ops);
        }
    }

    fn put(&mut self, member: &Member, ops: &mut Vec<Member>) {
        let at = self.inodes.len();
        self.places.insert(member.path.clone(), Place::Inode(at));
        let entry = entry_of(member.clone());
        put_entry(&mut self.inodes, &entry);
        self.empty = matches!(entry.kind, Kind::File { .. }).then_some((at, entry));
        ops.push(member.clone());
    }

    fn has_children(&self, path: &LayerPath) -> bool {
        below(path, |from| self.places.range(from..).next().map(|(found, _)| found)).is_some()
    }

    /// Forgets what stands at and below `path`, since something that is no directory comes there.
    fn clear(&mut self, path: &LayerPath) {
        while let Some(found) =
            below(path, |from| self.places.range(from..).next().map(|(found, _)| found)).cloned()
        {
            self.places.remove(&found);
        }
        self.opaque.remove(path);
        while let Some(found) = below(path, |from| self.opaque.range(from..).next()).cloned() {
            self.opaque.remove(&found);
        }
        if self.parent.as_ref().is_some_and(|dir| dir.is_within(path)) {
            self.parent = None;
        }
    }
}

/// The first thing below `dir`, if `first` gives the first at or after a path. No name is a single NUL, so that one stands
/// before all names.
fn below<'a>(
    dir: &LayerPath,
    first: impl FnOnce(LayerPath) -> Option<&'a LayerPath>,
) -> Option<&'a LayerPath> {
    first(dir.join([0])).filter(|found| found.is_within(dir))
}

fn inode(inodes: &[u8], at: usize) -> Option<Encoded<'_>> {
    Encoded::take(&mut Cursor::new(inodes, at))
}

/// A member as an entry, without what a file holds.
fn entry_of(member: Member) -> Entry {
    let Member { path, body, mode, uid, gid, mtime, xattrs } = member;
    let kind = match body {
        Body::File { size } => Kind::File { size, digest: Digest::from_bytes([0; 32]) },
        Body::Symlink { target } => Kind::Symlink { target },
        Body::CharDevice { major, minor } => Kind::CharDevice { major, minor },
        Body::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
        Body::Fifo => Kind::Fifo,
        Body::Directory => Kind::Directory,
        // No inode is ever made of the others.
        Body::Whiteout | Body::Hardlink { .. } | Body::Opaque => Kind::Whiteout,
    };
    Entry { path, kind, mode, uid, gid, mtime, xattrs, offset: None }
}

/// Checks a raw name and makes it a path. `..` may not climb out of the root.
pub(crate) fn clean_name(raw: &[u8]) -> Result<LayerPath, TarError> {
    let mut depth = 0usize;
    for part in raw.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                depth = depth.checked_sub(1).ok_or_else(|| TarError::Escapes { name: shown(raw) })?;
            }
            name if name.len() > 255 || name.contains(&0) => {
                return Err(TarError::Name { name: shown(raw) });
            }
            _ => depth += 1,
        }
    }
    if raw.is_empty() || raw.len() > 4096 {
        return Err(TarError::Name { name: shown(raw) });
    }
    Ok(LayerPath::clean(raw))
}
