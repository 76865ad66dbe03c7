//! Long lists against short ones: what goes by way of files is what would have been held.

use std::collections::BTreeMap;

use kiln_layer::index::{Entry, Index, Kind, Mtime};
use kiln_layer::path::LayerPath;
use kiln_layer::stop::Stop;
use kiln_oci::digest::Digest;

use crate::copy::archive::are_entangled;
use crate::copy::place::{Attributes, Placement};
use crate::copy::runs::{Bytes, Planned, Runs};
use crate::copy::source::{Gathered, Item};
use crate::copy::walk::{Spot, walk};
use crate::error::{BuildErrorKind, IgnoredBy};
use crate::files::{Content, Files, Names, Node, NodeKind, Xattrs};

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Files that are nowhere.
#[derive(Default)]
struct Imagined(BTreeMap<LayerPath, NodeKind>);

impl Imagined {
    /// Adds what is called `path`, and the directories above it where nothing is.
    fn add(&mut self, path: &LayerPath, kind: NodeKind) {
        for dir in std::iter::successors(path.parent(), LayerPath::parent) {
            self.0.entry(dir).or_insert(NodeKind::Directory);
        }
        self.0.entry(path.clone()).or_insert(kind);
    }
}

fn node(kind: NodeKind) -> Node {
    let mtime = Mtime::default();
    Node {
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime,
        xattrs: Xattrs::new(),
        unread: false,
        link: None,
        stamp: None,
        digest: None,
    }
}

impl Files for Imagined {
    fn node(&self, path: &LayerPath) -> Result<Option<Node>, BuildErrorKind> {
        let above = std::iter::successors(path.parent(), LayerPath::parent);
        let reachable = above.into_iter().all(|dir| self.0.get(&dir) == Some(&NodeKind::Directory));
        Ok(self.0.get(path).filter(|_| reachable).cloned().map(node))
    }

    fn children(&self, dir: &LayerPath) -> Result<Names, BuildErrorKind> {
        let children = self.0.keys().rev().filter(|path| dir.is_parent_of(path));
        Names::sorted(children.map(|path| Ok(path.name())))
    }

    fn read(&self, path: &LayerPath, _: &Node, _: Stop<'_>) -> Result<Content, BuildErrorKind> {
        Ok(Content { digest: Digest::of(path.as_bytes()), xattrs: None })
    }

    fn whence(&self) -> &'static str {
        "nowhere"
    }

    fn hidden_by(&self, _: &LayerPath) -> Option<IgnoredBy> {
        None
    }
}

const NAMES: [&str; 9] = ["a", "a-x", "a.b", "a0", "b", "b!", "ü", "\u{1}", "z z"];

#[test]
fn a_walk_meets_everything_once_and_in_order() {
    let mut random = Random(1);
    for round in 0..60 {
        let mut files = Imagined::default();
        for _ in 0..random.below(120) {
            let depth = 1 + random.below(5);
            let path: Vec<&str> = (0..depth).map(|_| random.pick(&NAMES)).collect();
            let kind = if random.below(3) == 0 { NodeKind::Directory } else { NodeKind::File { size: 1 } };
            files.add(&LayerPath::clean(path.join("/")), kind);
        }
        // Directories that are listed ahead, and one that is looked at in parts.
        for i in 0..if round == 0 { 100 } else { 0 } {
            files.add(&LayerPath::clean(format!("many/{i:02}/x")), NodeKind::Fifo);
            files.add(&LayerPath::clean(format!("many/{i:02}-x")), NodeKind::Fifo);
            files.add(&LayerPath::clean(format!("wide/{i:02}")), NodeKind::Fifo);
            (0..4).for_each(|j| files.add(&LayerPath::clean(format!("wide/x{i:02}{j}")), NodeKind::Fifo));
        }
        let shut = |path: &LayerPath| path.name() == b"b";
        let look = |real: LayerPath, below: LayerPath| {
            let Some(node) = files.node(&real)? else { return Ok(None) };
            let (taken, deeper) = (below.name() != b"a0", node.is_dir() && !shut(&below));
            Ok(Some(Spot { item: Item { name: None, below, real, node, digest: None }, taken, deeper }))
        };
        let mut met = Vec::new();
        walk((&files, &LayerPath::root()), &look, Stop::NEVER, &mut |item, taken| {
            assert_eq!(taken, item.below.name() != b"a0");
            met.push(item.below);
            Ok(())
        })
        .expect("walks");
        let is_open = |path: &&LayerPath| {
            !path.is_root() && !std::iter::successors(path.parent(), LayerPath::parent).any(|dir| shut(&dir))
        };
        let is_there = |path: &&LayerPath| files.node(path).is_ok_and(|node| node.is_some());
        let want: Vec<LayerPath> = files.0.keys().filter(is_open).filter(is_there).cloned().collect();
        assert_eq!(met, want, "round {round}");
    }
}

fn file(path: &str, turn: u64) -> Planned {
    let entry = Entry {
        path: LayerPath::clean(path),
        kind: Kind::File { size: turn, digest: Digest::of(path.as_bytes()) },
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: Xattrs::new(),
        offset: None,
    };
    Planned { entry, bytes: Bytes::Source(LayerPath::clean(path)), link: None, turn }
}

#[test]
fn runs_are_one_sorted_list_in_which_the_last_counts() {
    let tmp = tempfile::tempdir().expect("a directory");
    let mut random = Random(2);
    for _ in 0..100 {
        let (mut runs, mut want, mut held) = (Runs::new(tmp.path()), BTreeMap::new(), BTreeMap::new());
        let mut at = 0;
        for turn in 1..random.below(400) as u64 {
            // Upwards for the most part.
            at = if random.below(20) == 0 { random.below(500) } else { at + random.below(3) };
            let path = format!("{at:03}");
            if random.below(10) == 0 {
                held.insert(path.clone(), file(&path, turn));
            } else {
                runs.push(file(&path, turn)).expect("pushes");
            }
            want.insert(path, turn);
        }
        let mut got = Vec::new();
        runs.merged(held.into_values(), &mut |one| {
            got.push((String::from_utf8(one.entry.path.as_bytes().to_vec()).expect("text"), one.turn));
            Ok(())
        })
        .expect("merges");
        assert_eq!(got, want.into_iter().collect::<Vec<_>>());
    }
}

/// Some paths, none below what is no directory; sorted.
fn tree(random: &mut Random) -> Vec<(LayerPath, NodeKind)> {
    let mut all = Imagined::default();
    for _ in 0..random.below(12) {
        let depth = 1 + random.below(3);
        let path: Vec<&str> = (0..depth).map(|_| random.pick(&NAMES[..5])).collect();
        let kind = match random.below(6) {
            0 => NodeKind::Directory,
            1 => NodeKind::Symlink { target: random.pick(&["b", "/a", "../a0", "nowhere"]).into() },
            _ => NodeKind::File { size: 1 },
        };
        all.add(&LayerPath::clean(path.join("/")), kind);
    }
    all.0.retain(|path, _| !path.is_root());
    let reachable = |path: &LayerPath| {
        let mut above = std::iter::successors(path.parent(), LayerPath::parent);
        above.all(|dir| dir.is_root() || all.0[&dir] == NodeKind::Directory)
    };
    all.0
        .iter()
        .filter(|(path, _)| reachable(path))
        .map(|(path, kind)| (path.clone(), kind.clone()))
        .collect()
}

/// One to three sources, one of which may stand for a directory with something in it.
fn sources(random: &mut Random, tmp: &std::path::Path) -> Gathered {
    let mut gathered = Gathered::new(tmp);
    for number in 0..1 + random.below(3) {
        let name = random.pick(&NAMES).as_bytes().to_vec();
        let item = |name, below: LayerPath, kind| {
            let real = LayerPath::clean(format!("{number}")).join(below.as_bytes());
            let mut node = node(kind);
            node.mode = 0o711;
            let is_file = matches!(node.kind, NodeKind::File { .. });
            node.link = (is_file && below.as_bytes().ends_with(b"b")).then_some((number as u64, 7));
            let digest = is_file.then(|| Digest::of(real.as_bytes()));
            Item { name, below, real, node, digest }
        };
        if random.below(3) == 0 {
            let file = NodeKind::File { size: 1 };
            gathered.push(&item(Some(name), LayerPath::root(), file)).expect("pushes");
            continue;
        }
        let tree = tree(random);
        gathered.push(&item(Some(name), LayerPath::root(), NodeKind::Directory)).expect("pushes");
        // Of a directory that is left out something in it may be taken.
        for (path, kind) in tree {
            if kind != NodeKind::Directory || random.below(5) > 0 {
                gathered.push(&item(None, path, kind)).expect("pushes");
            }
        }
    }
    gathered
}

#[test]
fn files_that_are_not_held_find_the_same_places() {
    let tmp = tempfile::tempdir().expect("a directory");
    let (mut random, mut done, mut streamed, mut refused) = (Random(3), 0, 0, 0);
    for round in 0..4000 {
        let mut below = Imagined::default();
        below.add(&LayerPath::clean("d"), NodeKind::Directory);
        for _ in 0..random.below(6) {
            let kind = match random.below(4) {
                0 => NodeKind::File { size: 1 },
                1 => NodeKind::Directory,
                _ => NodeKind::Symlink { target: random.pick(&["b", "/d/a", "../e", "/d"]).into() },
            };
            below.add(&LayerPath::clean(format!("d/{}", random.pick(&NAMES[..5]))), kind);
        }
        let all: Vec<Gathered> = (0..1 + random.below(3)).map(|_| sources(&mut random, tmp.path())).collect();
        let alone = all.len() == 1 && all[0].sources == 1;
        let to = LayerPath::clean(random.pick(&["d", "d", "d", "d/a", "d/b", "n/m", ""]));
        let place = |held: bool| {
            let mut placement = Placement::new(Some(&below), Attributes::default(), tmp.path());
            if held {
                placement.hold_files();
            }
            for gathered in &all {
                let dest = |name: &[u8], is_dir| if is_dir { to.clone() } else { to.join(name) };
                if alone && !held {
                    placement.put_alone((gathered, Stop::NEVER), dest)?;
                } else {
                    placement.put((gathered, Stop::NEVER), dest)?;
                }
            }
            let rows = placement.finish(|_| Ok(()))?;
            let rows: Vec<_> = rows.iter().map(|row| row.expect("reads")).collect();
            Ok::<_, BuildErrorKind>(rows.into_iter().map(|row| (row.entry, row.bytes)).collect::<Vec<_>>())
        };
        match (place(true), place(false)) {
            (Ok(held), Ok(other)) => {
                assert_eq!(held, other, "round {round}");
                done += 1;
                streamed += usize::from(alone);
            }
            (Err(_), Err(_)) => refused += 1,
            (held, other) => panic!("round {round}: {held:?} or {other:?}"),
        }
    }
    assert!(
        streamed > 200 && done > 500 && refused > 200,
        "{done} placed, {streamed} alone, {refused} refused"
    );
}

/// What archives have. Directories above a member may be left out, and files may be one.
fn members(random: &mut Random, archive: usize) -> Vec<Planned> {
    let mut members = tree(random);
    members.retain(|(_, kind)| *kind != NodeKind::Directory || random.below(3) > 0);
    let member = |(path, kind): (LayerPath, NodeKind)| {
        let mut one = file(std::str::from_utf8(path.as_bytes()).expect("text"), 0);
        one.bytes = Bytes::None;
        match kind {
            NodeKind::Directory => one.entry.kind = Kind::Directory,
            NodeKind::Symlink { target } => one.entry.kind = Kind::Symlink { target },
            _ => {
                one.bytes = Bytes::Archive(archive, path);
                one.link = (random.below(4) == 0).then_some(1);
            }
        }
        one
    };
    members.into_iter().map(member).collect()
}

#[test]
fn members_that_are_not_held_find_the_same_places() {
    let tmp = tempfile::tempdir().expect("a directory");
    let (mut random, mut done, mut entangled) = (Random(5), [0; 3], 0);
    for round in 0..4000 {
        let mut below = Imagined::default();
        below.add(&LayerPath::clean("d/e"), NodeKind::Directory);
        below.add(&LayerPath::clean("l"), NodeKind::Symlink { target: b"d/e".to_vec() });
        for _ in 0..random.below(6) {
            let kind = match random.below(5) {
                0 => NodeKind::Symlink { target: random.pick(&["b", "/d/a", "../e", "/d"]).into() },
                1 | 2 => NodeKind::Directory,
                _ => NodeKind::File { size: 1 },
            };
            let path = [random.pick(&NAMES[..5]), random.pick(&NAMES[..5])].join("/");
            let path = if random.below(2) == 0 { path } else { random.pick(&NAMES[..5]).to_owned() };
            below.add(&LayerPath::clean(format!("d/e/{path}")), kind);
        }
        let dest = LayerPath::clean(random.pick(&["d/e", "l", "l/new", "new/er", "d/e/.."]));
        let archives: Vec<_> = (0..1 + random.below(3)).map(|n| members(&mut random, n)).collect();
        let entries = |archive: &Vec<Planned>| {
            Index::from_sorted(archive.iter().map(|one| one.entry.clone()), Vec::new())
        };
        let indexes: Vec<Index> = archives.iter().map(entries).collect();
        let place = |held: bool| {
            let mut placement = Placement::new(Some(&below), Attributes::default(), tmp.path());
            let indexes: Vec<_> = indexes.iter().collect();
            if held {
                placement.hold_files();
            } else if are_entangled(&indexes, (&placement, &dest), Stop::NEVER)? {
                return Ok(None);
            }
            for (n, archive) in archives.iter().enumerate() {
                let dest = placement.unpack_into(&dest)?;
                for Planned { entry, bytes, link, .. } in archive {
                    let (to, link) = (dest.join(entry.path.as_bytes()), link.map(|link| (n as u64, link)));
                    placement.put_entry(entry.clone(), &to, true, (bytes.clone(), link))?;
                }
                placement.unpacked();
            }
            let rows = placement.finish(|_| Ok(()))?;
            let rows = rows.iter().map(|row| row.map(|row| (row.entry, row.bytes)));
            Ok::<_, BuildErrorKind>(Some(rows.collect::<Result<Vec<_>, _>>()?))
        };
        match (place(true), place(false)) {
            (_, Ok(None)) => entangled += 1,
            (Ok(held), Ok(other)) => {
                assert_eq!(held, other, "round {round}");
                done[archives.len() - 1] += 1;
            }
            (Err(_), Err(_)) => {}
            (held, other) => panic!("round {round}: {held:?} or {other:?}"),
        }
    }
    assert!(
        done.iter().all(|done| *done > 100) && entangled > 500,
        "{done:?} of 4000, {entangled} entangled"
    );
}
