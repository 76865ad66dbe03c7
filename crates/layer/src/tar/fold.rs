//! What a sequence of members adds up to. An archive may name a path twice, stand members behind its own symbolic links, or
//! remove and make the same path; [`Fold`] settles all of that while the members pass, so that the index and every receiver
//! downstream (the unpacker above all) see the same plain truth.
//!
//! The rules are those of the unpackers that Docker and containerd have, made independent of the lower layers:
//! the later of two members wins; a whiteout speaks of lower layers only, so one beside a directory of the same archive makes that
//! directory opaque and one beside any other file of it says nothing; links are followed inside the root.

use std::collections::BTreeMap;
use std::io;

use kiln_oci::digest::Digest;

use super::TarError;
use super::error::shown;
use super::member::{Body, Member};
use crate::index::{Entry, Index, Kind};
use crate::path::LayerPath;
use crate::places::{Place, Places, forget_below};
use crate::rows::HELD;

/// Symbolic links followed on the way to one member; Linux has the same limit.
const HOPS: usize = 40;

pub(crate) struct Fold {
    places: Places,
    /// Files that have several names, or had.
    shared: Vec<Entry>,
    opaque: BTreeMap<LayerPath, ()>,
    /// The file that came last, of which it is not known yet what it holds.
    empty: Option<Entry>,
    /// A directory that was just found to be one: members come directory by directory. It is among the places.
    parent: Option<LayerPath>,
    /// Whether something is below the root.
    begun: bool,
}

impl Fold {
    /// Nothing yet, and to be kept in `places`, in which nothing is.
    pub(crate) fn new(places: Places) -> Self {
        let (shared, opaque) = (Vec::new(), BTreeMap::new());
        Self { places, shared, opaque, empty: None, parent: None, begun: false }
    }

    /// Takes a member in. Returns what to do to a tree, in order: mostly just the member, at its real path. If the member
    /// is a file, it comes last, and [`Fold::filled`] is to be called when its bytes are known.
    pub(crate) fn admit(&mut self, mut member: Member) -> Result<Vec<Member>, TarError> {
        let mut ops = Vec::new();
        member.path = match member.body {
            Body::Opaque => self.directory_at(&member.path, &member.path, &mut ops)?,
            _ => self.locate(member.path, &mut ops)?,
        };
        match &member.body {
            Body::Whiteout => self.whiteout(member, &mut ops)?,
            Body::Opaque => self.make_opaque(member.path, &mut ops)?,
            Body::Hardlink { .. } => self.hardlink(member, &mut ops)?,
            Body::Directory => self.directory(member, &mut ops)?,
            _ if member.path.is_root() => {
                return Err(TarError::Name { name: "/".to_owned() });
            }
            _ => {
                self.clear(&member.path);
                self.put(member, &mut ops)?;
            }
        }
        Ok(ops)
    }

    /// Tells what the file that was admitted last holds.
    pub(crate) fn filled(&mut self, digest: Digest, offset: Option<u64>) -> Result<(), TarError> {
        let Some(mut entry) = self.empty.take() else { return Ok(()) };
        if let Kind::File { digest: known, .. } = &mut entry.kind {
            *known = digest;
        }
        entry.offset = offset;
        self.settle(entry.path.clone(), Place::Inode(entry))
    }

    /// Everything, sorted. Of several names of one file the first in order carries the content.
    pub(crate) fn finish(self) -> Result<Index, TarError> {
        let Self { places, shared, opaque, .. } = self;
        let mut carriers: BTreeMap<u64, LayerPath> = BTreeMap::new();
        let mut index = Index::builder_in(places.dir(), HELD);
        let mut add = |path: LayerPath, place| {
            let entry = match place {
                Place::Implied => return Ok(()),
                Place::Whiteout => Member::mark(path, Body::Whiteout).into_entry(),
                Place::Inode(entry) => Entry { path, ..entry },
                Place::Shared(number) => {
                    let file = shared_file(&shared, number)?;
                    match carriers.get(&number).cloned() {
                        Some(target) => {
                            Entry { path, kind: Kind::Hardlink { target }, offset: None, ..file.clone() }
                        }
                        None => {
                            carriers.insert(number, path.clone());
                            Entry { path, ..file.clone() }
                        }
                    }
                }
            };
            index.push(&entry);
            Ok(())
        };
        places.drain(&mut add).map_err(lost)?;
        Ok(index.finish(opaque.into_keys().collect()))
    }

    /// What is at `path`, whose parents are directories.
    fn place(&mut self, path: &LayerPath) -> Result<Option<Place>, TarError> {
        self.places.get(path).map_err(lost)
    }

    fn settle(&mut self, path: LayerPath, place: Place) -> Result<(), TarError> {
        self.places.put(path, place).map_err(lost)
    }

    /// The place that a name means; what its last component may stand for is left alone.
    fn locate(&mut self, path: LayerPath, ops: &mut Vec<Member>) -> Result<LayerPath, TarError> {
        let Some(parent) = path.parent() else { return Ok(path) };
        self.begun = true;
        if self.parent.as_ref() == Some(&parent) {
            return Ok(path);
        }
        let real = self.directory_at(&parent, &path, ops)?;
        let mut missing = Some(real.clone());
        while let Some(dir) = missing.filter(|dir| !dir.is_root())
            && self.place(&dir)?.is_none()
        {
            missing = dir.parent();
            self.settle(dir, Place::Implied)?;
        }
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
            let is_known = self.parent.as_ref().is_some_and(|dir| dir.is_within(&next));
            let target = match if is_known { None } else { self.place(&next)? } {
                None | Some(Place::Implied | Place::Inode(Entry { kind: Kind::Directory, .. })) => {
                    real = next;
                    continue;
                }
                Some(Place::Whiteout) => {
                    self.make_opaque(next.clone(), ops)?;
                    real = next;
                    continue;
                }
                Some(Place::Inode(Entry { kind: Kind::Symlink { target }, .. })) => target,
                Some(Place::Inode(_) | Place::Shared(_)) => {
                    let (path, ancestor) = (wanted_for.display(), next.display());
                    return Err(TarError::NotADirectory { path, ancestor });
                }
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

    fn whiteout(&mut self, member: Member, ops: &mut Vec<Member>) -> Result<(), TarError> {
        let is_implied = match self.place(&member.path)? {
            Some(Place::Inode(Entry { kind: Kind::Directory, .. })) => {
                return self.make_opaque(member.path, ops);
            }
            Some(Place::Inode(_) | Place::Shared(_)) => return Ok(()),
            Some(Place::Implied) => true,
            Some(Place::Whiteout) | None => member.path.is_root() && self.begun,
        };
        if is_implied {
            self.put(Member::implicit_directory(member.path.clone()), ops)?;
            return self.make_opaque(member.path, ops);
        }
        self.settle(member.path.clone(), Place::Whiteout)?;
        ops.push(Member::mark(member.path, Body::Whiteout));
        Ok(())
    }

    /// Marks a directory; one that is whited out or has no entry of its own gets one, since what lower layers say about it
    /// no longer counts. An opaque mark alone (`dir` never named) leaves the directory's own metadata to the lower layers.
    fn make_opaque(&mut self, path: LayerPath, ops: &mut Vec<Member>) -> Result<(), TarError> {
        if self.place(&path)? == Some(Place::Whiteout) {
            self.put(Member::implicit_directory(path.clone()), ops)?;
        }
        if self.opaque.insert(path.clone(), ()).is_none() {
            ops.push(Member::mark(path, Body::Opaque));
        }
        Ok(())
    }

    fn hardlink(&mut self, member: Member, ops: &mut Vec<Member>) -> Result<(), TarError> {
        let Body::Hardlink { target } = &member.body else { return Ok(()) };
        let shown_path = member.path.display();
        let bad = TarError::Hardlink { path: shown_path, target: target.display() };
        let known = self.parent.clone();
        let real = self.locate(target.clone(), ops)?;
        self.parent = known;
        let found = self.place(&real)?;
        if matches!(found, None | Some(Place::Whiteout | Place::Implied)) {
            return Err(bad);
        }
        if real == member.path || member.path.is_root() {
            return Ok(());
        }
        let (linked, place) = match found {
            Some(Place::Shared(number)) => {
                (shared_file(&self.shared, number).map_err(lost)?.clone(), Place::Shared(number))
            }
            Some(Place::Inode(file)) if matches!(file.kind, Kind::File { .. }) => {
                let place = Place::Shared(self.shared.len() as u64);
                self.shared.push(file.clone());
                self.settle(real.clone(), place.clone())?;
                (file, place)
            }
            Some(Place::Inode(other)) if other.kind != Kind::Directory => {
                (other.clone(), Place::Inode(other))
            }
            _ => return Err(bad),
        };
        self.clear(&member.path);
        self.settle(member.path.clone(), place)?;
        let op = Member::from(&Entry { path: member.path, ..linked });
        ops.push(Member { body: Body::Hardlink { target: real }, ..op });
        Ok(())
    }

    fn directory(&mut self, member: Member, ops: &mut Vec<Member>) -> Result<(), TarError> {
        let path = member.path.clone();
        let found = self.place(&path)?;
        if found.as_ref().is_some_and(Place::is_leaf) {
            self.clear(&path);
            self.places.renew(&path);
        }
        self.put(member, ops)?;
        match found {
            Some(Place::Whiteout) => self.make_opaque(path, ops),
            _ => Ok(()),
        }
    }

    /// Hands a member on; unless it is a file, of which more is to be known, it is settled.
    fn put(&mut self, member: Member, ops: &mut Vec<Member>) -> Result<(), TarError> {
        let entry = member.clone().into_entry();
        ops.push(member);
        if matches!(entry.kind, Kind::File { .. }) {
            self.empty = Some(entry);
            return Ok(());
        }
        self.settle(entry.path.clone(), Place::Inode(entry))
    }

    /// Forgets what was known of `path` and below it, since something that is no directory comes there.
    fn clear(&mut self, path: &LayerPath) {
        self.opaque.remove(path);
        forget_below(&mut self.opaque, path);
        if self.parent.as_ref().is_some_and(|dir| dir.is_within(path)) {
            self.parent = None;
        }
    }
}

/// The file with this number.
fn shared_file(shared: &[Entry], number: u64) -> io::Result<&Entry> {
    let file = usize::try_from(number).ok().and_then(|number| shared.get(number));
    file.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no file has this number"))
}

fn lost(source: io::Error) -> TarError {
    TarError::List { source }
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
