//! The rules of [`Fold`] once more, written down as plainly as can be: everything is in memory, nothing is remembered to save a look. Random
//! archives have to come out of both alike.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use kiln_oci::digest::Digest;

use super::TarError;
use super::fold::Fold;
use super::member::{Body, Member};
use crate::index::{Entry, Index, Kind, Mtime};
use crate::path::LayerPath;
use crate::places::{Limits, Places};

#[derive(Clone, Default)]
struct Plain {
    /// What paths name, by number; `None` is a whiteout.
    places: BTreeMap<LayerPath, Option<usize>>,
    inodes: Vec<Entry>,
    opaque: BTreeSet<LayerPath>,
}

type Ops = Vec<Member>;

impl Plain {
    fn admit(&mut self, mut member: Member) -> Result<Ops, TarError> {
        let mut ops = Ops::new();
        member.path = match (&member.body, member.path.parent()) {
            (Body::Opaque, _) => self.resolve(&member.path, &member.path, &mut ops)?,
            (_, Some(parent)) => self.resolve(&parent, &member.path, &mut ops)?.join(member.path.name()),
            (_, None) => member.path,
        };
        let path = member.path.clone();
        match member.body.clone() {
            Body::Whiteout => self.whiteout(path, &mut ops),
            Body::Opaque => self.make_opaque(path, &mut ops),
            Body::Hardlink { target } => self.hardlink(member, &target, &mut ops)?,
            Body::Directory => {
                let was_hidden = self.places.get(&path) == Some(&None);
                if self.inode(&path).is_some_and(|inode| inode.kind != Kind::Directory) {
                    self.clear(&path);
                }
                self.put(member, &mut ops);
                if was_hidden {
                    self.make_opaque(path, &mut ops);
                }
            }
            _ if path.is_root() => return Err(TarError::Name { name: "/".to_owned() }),
            _ => {
                self.clear(&path);
                self.put(member, &mut ops);
            }
        }
        Ok(ops)
    }

    fn inode(&self, path: &LayerPath) -> Option<&Entry> {
        (*self.places.get(path)?).map(|number| &self.inodes[number])
    }

    fn resolve(
        &mut self,
        path: &LayerPath,
        wanted_for: &LayerPath,
        ops: &mut Ops,
    ) -> Result<LayerPath, TarError> {
        let (mut real, mut hops) = (LayerPath::root(), 0);
        let mut todo: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        while !todo.is_empty() {
            let name = todo.remove(0);
            if name == b".." {
                real = real.parent().unwrap_or_default();
                continue;
            }
            let next = real.join(&name);
            match self.inode(&next).map(|inode| inode.kind.clone()) {
                Some(Kind::Symlink { target }) => {
                    hops += 1;
                    if hops > 40 {
                        return Err(TarError::Loop { path: wanted_for.display() });
                    }
                    if target.starts_with(b"/") {
                        real = LayerPath::root();
                    }
                    let parts = target.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b"."));
                    todo.splice(0..0, parts.map(<[u8]>::to_vec).collect::<Vec<_>>());
                    continue;
                }
                None if self.places.contains_key(&next) => self.make_opaque(next.clone(), ops),
                None | Some(Kind::Directory) => {}
                Some(_) => {
                    let (path, ancestor) = (wanted_for.display(), next.display());
                    return Err(TarError::NotADirectory { path, ancestor });
                }
            }
            real = next;
        }
        Ok(real)
    }

    fn whiteout(&mut self, path: LayerPath, ops: &mut Ops) {
        let has_children = self.places.keys().any(|at| *at != path && at.is_within(&path));
        match self.inode(&path).map(|inode| &inode.kind) {
            Some(Kind::Directory) => self.make_opaque(path, ops),
            Some(_) => {}
            None if has_children => {
                self.put(Member::implicit_directory(path.clone()), ops);
                self.make_opaque(path, ops);
            }
            None => {
                self.places.insert(path.clone(), None);
                ops.push(Member::mark(path, Body::Whiteout));
            }
        }
    }

    fn make_opaque(&mut self, path: LayerPath, ops: &mut Ops) {
        if self.places.get(&path) == Some(&None) {
            self.put(Member::implicit_directory(path.clone()), ops);
        }
        if self.opaque.insert(path.clone()) {
            ops.push(Member::mark(path, Body::Opaque));
        }
    }

    fn hardlink(&mut self, member: Member, target: &LayerPath, ops: &mut Ops) -> Result<(), TarError> {
        let bad = TarError::Hardlink { path: member.path.display(), target: target.display() };
        let real = match target.parent() {
            Some(parent) => self.resolve(&parent, target, ops)?.join(target.name()),
            None => LayerPath::root(),
        };
        let Some(Some(number)) = self.places.get(&real).copied() else { return Err(bad) };
        if real == member.path || member.path.is_root() {
            return Ok(());
        }
        let linked = Member::from(&self.inodes[number]);
        if linked.body == Body::Directory {
            return Err(bad);
        }
        self.clear(&member.path);
        self.places.insert(member.path.clone(), Some(number));
        ops.push(Member { path: member.path, body: Body::Hardlink { target: real }, ..linked });
        Ok(())
    }

    fn put(&mut self, member: Member, ops: &mut Ops) {
        self.places.insert(member.path.clone(), Some(self.inodes.len()));
        self.inodes.push(member.clone().into_entry());
        ops.push(member);
    }

    fn clear(&mut self, path: &LayerPath) {
        self.places.retain(|at, _| !at.is_within(path));
        self.opaque.retain(|at| !at.is_within(path));
    }

    fn fill(&mut self, with: Digest, at: u64) {
        let file = self.inodes.last_mut().expect("a file");
        file.offset = Some(at);
        if let Kind::File { digest, .. } = &mut file.kind {
            *digest = with;
        }
    }

    fn finish(&self) -> (Vec<Entry>, Vec<LayerPath>) {
        let mut first: HashMap<usize, LayerPath> = HashMap::new();
        let entries = self.places.iter().map(|(path, number)| {
            let Some(number) = *number else {
                return Member::mark(path.clone(), Body::Whiteout).into_entry();
            };
            let entry = Entry { path: path.clone(), ..self.inodes[number].clone() };
            let target = first.entry(number).or_insert_with(|| path.clone());
            if target == path || !matches!(entry.kind, Kind::File { .. }) {
                return entry;
            }
            Entry { kind: Kind::Hardlink { target: target.clone() }, offset: None, ..entry }
        });
        (entries.collect(), self.opaque.iter().cloned().collect())
    }
}

/// xorshift64, so that each run tries the same archives.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn path(&mut self, names: &[&str]) -> LayerPath {
        let depth = self.below(4).max(self.below(4));
        (0..depth)
            .fold(LayerPath::root(), |path, _| path.join(names[self.below(names.len() as u64) as usize]))
    }

    /// Few names, of which some sort between a directory and what is in it.
    fn member(&mut self, number: u64) -> Member {
        let names = &["a", "b", "a-", "a!b", "c0"][..2 + number as usize % 4];
        let body = match self.below(20) {
            0..6 => Body::File { size: number },
            6..10 => Body::Directory,
            10..12 => {
                let targets = ["a", "/b", "../a", "a/b", "..", "b/./a-"];
                Body::Symlink { target: targets[self.below(6) as usize].into() }
            }
            12..15 => Body::Hardlink { target: self.path(names) },
            15..18 => Body::Whiteout,
            18 => Body::Opaque,
            _ => Body::Fifo,
        };
        let xattrs = (0..number % 2).map(|n| (b"user.x".to_vec(), vec![n as u8; 3])).collect();
        let mtime = Mtime { secs: number as i64, nanos: 0 };
        Member { path: self.path(names), body, mode: 0o644, uid: number as u32, gid: 7, mtime, xattrs }
    }
}

/// Runs members through both, of those that fail only the last. Returns how many were let in.
fn compare(random: &mut Random, dir: &Path, limits: Limits) -> usize {
    let (mut plain, mut fold, mut taken) = (Plain::default(), Fold::new(Places::with_limits(dir, limits)), 0);
    for number in 0..random.below(120) {
        let member = random.member(number);
        let mut next = plain.clone();
        let expected = next.admit(member.clone());
        if expected.is_err() && random.below(40) > 0 {
            continue;
        }
        let got = fold.admit(member.clone());
        let (expected, got) = (expected.map_err(|e| e.to_string()), got.map_err(|e| e.to_string()));
        assert_eq!(got, expected, "{member:?} after {:?}", plain.finish());
        let Ok(ops) = got else { return taken };
        if let Some(Member { body: Body::File { .. }, .. }) = ops.last() {
            let digest = Digest::of(&number.to_le_bytes());
            next.fill(digest, number);
            fold.filled(digest, Some(number)).expect("kept");
        }
        (plain, taken) = (next, taken + 1);
    }
    let (entries, opaque) = plain.finish();
    let found: Index = fold.finish().expect("read back");
    assert_eq!(found.iter().collect::<Result<Vec<_>, _>>().expect("entries"), entries);
    assert_eq!(found.opaque(), opaque);
    taken
}

#[test]
fn archives_add_up_to_the_same_however_little_memory_there_is() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (dir, mut taken) = (tempfile::tempdir().expect("a directory"), 0);
    for round in 0..3000 {
        let (held, tail) = [(1, 64), (700, 0), (3000, 300), (1 << 20, 0)][round % 4];
        taken += compare(&mut random, dir.path(), Limits { held, runs: 2 + round / 4 % 3, tail });
    }
    assert!(taken > 60_000, "{taken} members say little");
}
