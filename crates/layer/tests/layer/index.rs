//! The index as it is held: against a list of entries that is searched from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kiln_layer::codec::{CodecError, decode, encode, load, receive};
use kiln_layer::handle::LayerHandle;
use kiln_layer::index::{Entry, Identifier, Index, Kind, Mtime};
use kiln_layer::path::LayerPath;
use kiln_layer::view::{View, implicit_directory};
use kiln_oci::digest::Digest;

use crate::support::{Rng, bytes, entry, path, spilled};

/// Names that sort in between each other's children, or are no text.
const NAMES: [&[u8]; 14] = [
    b"a",
    b"a-x",
    b"a.",
    b"a0",
    b"aa",
    b"b",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff\xfe",
    b"A",
    b" ",
    b"node_modules",
    b"node_modules-of-somebody-else",
];

fn random_path(rng: &mut Rng) -> LayerPath {
    let mut name = || NAMES[rng.below(NAMES.len() as u64) as usize];
    let parts: Vec<&[u8]> = (0..=name().len() % 5).map(|_| name()).collect();
    path(parts.join(&b'/'))
}

fn random_kind(rng: &mut Rng) -> Kind {
    match rng.below(8) {
        0 => Kind::Symlink { target: rng.bytes(5) },
        1 => Kind::Hardlink { target: random_path(rng) },
        2 => Kind::CharDevice { major: rng.next() as u32, minor: 0 },
        3 => Kind::Fifo,
        _ => Kind::File { size: rng.next() >> rng.below(64), digest: Digest::of(&rng.bytes(4)) },
    }
}

/// Files, and some of the directories that they are in.
fn random_tree(rng: &mut Rng, count: u64) -> BTreeMap<LayerPath, Entry> {
    let leaves: BTreeSet<LayerPath> = (0..count).map(|_| random_path(rng)).collect();
    let above =
        |path: &LayerPath| std::iter::successors(path.parent(), LayerPath::parent).collect::<Vec<_>>();
    let inner: BTreeSet<LayerPath> = leaves.iter().flat_map(above).collect();
    let mut all = BTreeMap::new();
    for at in leaves.union(&inner) {
        let kind = match inner.contains(at) {
            true if rng.below(3) == 0 => continue,
            true => Kind::Directory,
            false => random_kind(rng),
        };
        let mut made = entry(at.as_bytes(), kind, rng.below(0o10000) as u32);
        made.uid = rng.next() as u32;
        made.mtime = Mtime { secs: rng.next().cast_signed() >> rng.below(60), nanos: rng.below(2) as u32 };
        made.xattrs = (0..rng.below(3)).map(|_| (rng.bytes(2), rng.bytes(3))).collect();
        made.offset = (rng.below(2) == 0).then(|| rng.below(1 << 40));
        all.insert(at.clone(), made);
    }
    all
}

/// What is in `dir` of a layer that has `all`, as the only one.
fn children(all: &BTreeMap<LayerPath, Entry>, dir: &LayerPath) -> Vec<Entry> {
    let below = all.keys().filter_map(|at| at.below(dir)).filter(|rest| !rest.is_root());
    let names: BTreeSet<Vec<u8>> = below.map(|rest| rest.components().next().unwrap().to_vec()).collect();
    let paths = names.iter().map(|name| dir.join(name));
    paths.map(|at| all.get(&at).cloned().unwrap_or_else(|| implicit_directory(at))).collect()
}

fn compare(index: Index, all: &BTreeMap<LayerPath, Entry>, probes: &[LayerPath]) {
    assert_eq!(index.len(), all.len());
    assert!(index.iter().map(Result::unwrap).eq(all.values().cloned()));
    for at in probes {
        let found = all.get(at);
        assert_eq!(index.get(at).unwrap().as_ref(), found, "{at:?}");
        assert_eq!(index.position(at).unwrap(), found.map(|_| all.range(..at).count()), "{at:?}");
        assert_eq!(
            index.is_directory(at).unwrap(),
            found.map(|entry| entry.kind == Kind::Directory),
            "{at:?}"
        );
    }
    let view = View::new(vec![Arc::new(LayerHandle::of(Arc::new(index)))]);
    for at in probes {
        let implied = all.keys().any(|other| other.is_within(at)).then(|| implicit_directory(at.clone()));
        let want =
            all.get(at).cloned().or(implied).or_else(|| at.is_root().then(|| implicit_directory(at.clone())));
        assert_eq!(view.lookup(at).unwrap().map(|found| found.entry), want, "{at:?}");
        if want.is_none_or(|entry| entry.kind == Kind::Directory) {
            let want = children(all, at);
            assert!(view.names(at).unwrap().eq(want.iter().map(|entry| entry.path.name())), "in {at:?}");
            let below = view.walk(at).map(|found| found.unwrap().entry);
            assert!(below.filter(|entry| at.is_parent_of(&entry.path)).eq(want), "in {at:?}");
        }
    }
}

#[test]
fn as_a_list_would() {
    let dir = tempfile::tempdir().unwrap();
    for (seed, count) in [(1, 0), (2, 1), (3, 2), (4, 8), (5, 30), (6, 200), (7, 2000)] {
        let mut rng = Rng(seed);
        let all = random_tree(&mut rng, count);
        let mut probes: Vec<LayerPath> = (0..200).map(|_| random_path(&mut rng)).collect();
        probes.extend(all.keys().step_by(1 + all.len() / 300).cloned());
        probes.push(LayerPath::root());
        let index = Index::from_sorted(all.values().cloned(), Vec::new());
        let mut identifier = Identifier::new(dir.path());
        all.values().for_each(|entry| identifier.add(entry).unwrap());
        let identity = identifier.finish(&[]).unwrap();
        let stored = dir.path().join("index");
        fs_err::write(&stored, bytes(&index)).unwrap();
        let mut forms = vec![spilled(&index), decode(bytes(&index)).unwrap()];
        for held in [0, 40, 1000, 1 << 20] {
            forms.push(load(&stored, held).unwrap());
            let mut encoded = &bytes(&index)[..];
            forms.push(receive(&mut encoded, 1 << 20, (dir.path(), held)).unwrap());
        }
        for index in forms.into_iter().chain([index]) {
            assert_eq!(index.identity().unwrap(), identity, "seed {seed}");
            assert_eq!(bytes(&index), fs_err::read(&stored).unwrap(), "seed {seed}");
            compare(index, &all, &probes);
        }
    }
}

/// One of each, and what they are called: stores have both.
#[test]
fn bytes_and_names_stay() {
    let kinds = [
        Kind::File { size: 300, digest: Digest::of(b"x") },
        Kind::Hardlink { target: path("dir/0") },
        Kind::Directory,
        Kind::Symlink { target: b"../\xff".to_vec() },
        Kind::CharDevice { major: 5, minor: 300 },
        Kind::BlockDevice { major: 8, minor: 0 },
        Kind::Fifo,
        Kind::Whiteout,
    ];
    let entries = kinds.into_iter().enumerate().map(|(number, kind)| {
        let mut made = entry(format!("dir/{number}"), kind, 0o4755);
        (made.uid, made.gid) = (1000, 70_000);
        made.mtime = Mtime { secs: -3, nanos: 999_999_999 };
        made.xattrs = [(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), vec![0; 200])].into();
        made.offset = (number % 2 == 0).then_some(number as u64 * 1000);
        made
    });
    let index = Index::from_unsorted(entries.collect(), vec![path("dir/2"), path("dir")]);
    let got = [Digest::of(&bytes(&index)), index.content_id().unwrap(), index.layer_id().unwrap()];
    let got = got.map(|digest| digest.hex());
    assert_eq!(
        got,
        [
            "3a2d5c989822490574aaa5712b5c4482d39fe0dae2ec8ce3ba974af7b53eac41",
            "927ce4318f643638abfa619bbd42c7041e71a89d25d57179ebf797b90bf795bf",
            "06cf02b58c51927823cc6f634028c39b7314d3a7254bcbf3f5aadb55b6560648"
        ]
    );
}

/// There is one way only to write something: else equal layers could have unequal bytes.
#[test]
fn other_ways_to_say_the_same_are_refused() {
    let entry = |path: &[u8], rest: &[u8]| [path, b"d\xed\x03", rest, b"\0"].concat();
    let plain = b"\0\0\0\0\0";
    let cases: [(&str, Vec<u8>, bool); 9] = [
        ("as it should be", entry(b"\x01\x01c", plain), true),
        ("shares less than it could", entry(b"\0\x02ac", plain), false),
        ("the same path", entry(b"\x02\0", plain), false),
        ("sorts before", entry(b"\0\x01a", plain), false),
        ("shares more than there is", entry(b"\x03\x01c", plain), false),
        ("a name that is a dot", entry(b"\x02\x02/.", plain), false),
        ("a longer number", entry(b"\x81\0\x01c", plain), false),
        ("two attributes", entry(b"\x01\x01c", b"\0\0\0\0\x02\x01a\0\x01b\0"), true),
        ("out of order", entry(b"\x01\x01c", b"\0\0\0\0\x02\x01b\0\x01a\0"), false),
    ];
    for (name, second, good) in cases {
        let first = entry(b"\0\x02ab", plain);
        let mut bytes = [b"KILNIDX\x01\x02", first.as_slice(), &second, b"\0"].concat();
        bytes.extend_from_slice(Digest::of(&bytes).as_bytes());
        let read = decode(bytes.clone());
        assert_eq!(read.as_ref().map(|read| encode(read).unwrap()).ok(), good.then_some(bytes), "{name}");
        let refused = matches!(read, Err(CodecError::Invalid { .. }));
        assert_eq!(refused, !good, "{name}");
    }
}

/// A few hundred kilobytes in which each path is the one before with a name more.
#[test]
fn paths_grow_no_faster_than_memory_allows() {
    let number = |mut number: usize| {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    for (count, good) in [(5_000, true), (70_000, false)] {
        let mut bytes = [b"KILNIDX\x01", number(count).as_slice(), b"\0\x01ad\xed\x03\0\0\0\0\0\0"].concat();
        for depth in 1..count {
            bytes.extend_from_slice(&number(2 * depth - 1));
            bytes.extend_from_slice(b"\x02/ad\xed\x03\0\0\0\0\0\0");
        }
        bytes.push(0);
        bytes.extend_from_slice(Digest::of(&bytes).as_bytes());
        assert_eq!(decode(bytes).is_ok(), good, "{count} names");
    }
}

/// An index that is read from a file, each time that it is asked: only what was checked at first is believed.
#[test]
fn a_file_that_changes_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let stored = dir.path().join("some.index");
    let all = random_tree(&mut Rng(8), 12);
    let good = bytes(&Index::from_sorted(all.values().cloned(), Vec::new()));
    let mut noticed = Vec::new();
    for at in 0..good.len() {
        fs_err::write(&stored, &good).unwrap();
        let index = load(&stored, 64).unwrap();
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        fs_err::write(&stored, changed).unwrap();
        let whole: Result<Vec<Entry>, _> = index.iter().collect();
        match whole {
            Ok(entries) => assert!(entries.iter().eq(all.values()), "byte {at}"),
            Err(error) => {
                assert!(error.to_string().contains("some.index"), "{error}");
                assert!(index.identity().is_err() && encode(&index).is_err(), "byte {at}");
                assert!(all.keys().any(|path| index.get(path).is_err()), "byte {at}");
                let view = View::new(vec![Arc::new(LayerHandle::of(Arc::new(index)))]);
                assert!(view.walk(&LayerPath::root()).any(|found| found.is_err()), "byte {at}");
                noticed.push(at);
            }
        }
    }
    // All but the head and the first path, which the table has, and what comes after the entries.
    let first = 8 + 1 + 2 + all.keys().next().unwrap().as_bytes().len();
    assert!(noticed.into_iter().eq(first..good.len() - 33));
    fs_err::write(&stored, &good).unwrap();
    let index = load(&stored, 64).unwrap();
    fs_err::write(&stored, &good[..good.len() / 2]).unwrap();
    let cut: Result<Vec<Entry>, _> = index.iter().collect();
    assert!(cut.unwrap_err().to_string().contains("some.index"));
}

/// As a store does it: what was opened stays.
#[test]
fn a_file_may_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let stored = dir.path().join("some.index");
    let good = bytes(&Index::from_sorted(random_tree(&mut Rng(8), 12).into_values(), Vec::new()));
    fs_err::write(&stored, &good).unwrap();
    let index = load(&stored, 64).unwrap();
    fs_err::remove_file(&stored).unwrap();
    fs_err::write(&stored, b"another").unwrap();
    assert_eq!(bytes(&index), good);
}

#[test]
fn a_damaged_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let stored = dir.path().join("some.index");
    let good = bytes(&Index::from_sorted(random_tree(&mut Rng(9), 12).into_values(), vec![path("a")]));
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        for bytes in [changed.as_slice(), &good[..at]] {
            fs_err::write(&stored, bytes).unwrap();
            let (loaded, decoded) = (load(&stored, 0).unwrap_err(), decode(bytes.to_vec()).unwrap_err());
            assert_eq!(loaded.to_string(), decoded.to_string(), "byte {at}");
            assert!(matches!(loaded, CodecError::Magic | CodecError::Checksum), "byte {at}: {loaded}");
        }
    }
    let received = receive(&mut good.as_slice(), good.len() as u64 - 1, (dir.path(), 64));
    assert!(matches!(received, Err(CodecError::Read(_))));
}

#[test]
fn memory_holds_what_no_file_takes() {
    let all = random_tree(&mut Rng(10), 200);
    let mut builder = Index::builder_in(std::path::PathBuf::from("/nowhere"), 100);
    all.values().for_each(|entry| builder.push(entry));
    assert!(builder.finish(Vec::new()).iter().map(Result::unwrap).eq(all.into_values()));
}
