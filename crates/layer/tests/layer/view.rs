//! Stacks of indexes seen as one filesystem.

use std::sync::Arc;

use kiln_layer::handle::LayerHandle;
use kiln_layer::index::Kind;
use kiln_layer::path::LayerPath;
use kiln_layer::view::{Found, View, ViewError};

use crate::support::{Rng, all_of, bare, blob, dir, file, hardlink, index, link, path, spilled, whiteout};

fn text(found: impl IntoIterator<Item = Found>) -> Vec<String> {
    found.into_iter().map(|f| format!("{}@{}", &f.entry.path.display()[1..], f.layer)).collect()
}

/// Every rule at once: three layers and what shows.
fn stack() -> View {
    let mut own = dir("etc");
    own.entry.mode = 0o700;
    View::new(vec![
        bare(
            &[
                own,
                file("etc/a", b"0"),
                file("etc/b", b"0"),
                dir("gone"),
                file("gone/x", b"0"),
                dir("op"),
                file("op/old", b"0"),
                dir("op/sub"),
                file("op/sub/old", b"0"),
                file("etc-x", b"0"),
                dir("was-dir"),
                file("was-dir/x", b"0"),
                file("was-file", b"0"),
            ],
            &[],
        ),
        bare(
            &[
                file("etc/b", b"1"),
                whiteout("gone"),
                file("op/new", b"1"),
                file("was-dir", b"1"),
                dir("was-file"),
                file("was-file/x", b"1"),
                file("implied/deep/x", b"1"),
            ],
            &["op"],
        ),
        bare(
            &[file("etc/c", b"2"), whiteout("etc/a"), dir("gone"), file("gone/y", b"2"), whiteout("nothing")],
            &[],
        ),
    ])
}

#[test]
fn walk() {
    let view = stack();
    let want = [
        "etc@0",
        "etc-x@0",
        "etc/b@1",
        "etc/c@2",
        "gone@2",
        "gone/y@2",
        "implied@1",
        "implied/deep@1",
        "implied/deep/x@1",
        "op@0",
        "op/new@1",
        "was-dir@1",
        "was-file@1",
        "was-file/x@1",
    ];
    assert_eq!(text(view.walk(&LayerPath::root()).map(Result::unwrap)), want);
    assert_eq!(text(view.walk(&path("etc")).map(Result::unwrap)), ["etc/b@1", "etc/c@2"]);
    assert_eq!(text(view.walk(&path("op")).map(Result::unwrap)), ["op/new@1"]);
    assert!(view.walk(&path("was-dir")).next().is_none());
    assert!(view.walk(&path("missing")).next().is_none());
    let top = ["etc", "etc-x", "gone", "implied", "op", "was-dir", "was-file"];
    assert!(view.names(&LayerPath::root()).unwrap().eq(top.map(|name| name.as_bytes().to_vec())));
}

#[test]
fn lookup() {
    let view = stack();
    let cases = [
        ("", Some(0)),
        ("etc", Some(0)),
        ("etc/a", None),
        ("etc/b", Some(1)),
        ("gone", Some(2)),
        ("gone/x", None),
        ("op", Some(0)),
        ("op/old", None),
        ("op/sub", None),
        ("op/sub/old", None),
        ("was-dir", Some(1)),
        ("was-dir/x", None),
        ("was-file/x", Some(1)),
        ("implied", Some(1)),
        ("implied/deep", Some(1)),
        ("nothing", None),
        ("et", None),
    ];
    for (name, layer) in cases {
        assert_eq!(view.lookup(&path(name)).unwrap().map(|found| found.layer), layer, "{name}");
    }
    assert_eq!(view.lookup(&path("etc")).unwrap().unwrap().entry.mode, 0o700);
    assert_eq!(view.lookup(&path("implied")).unwrap().unwrap().entry.mode, 0o755);
    assert_eq!(view.lookup(&path("implied")).unwrap().unwrap().entry.kind, Kind::Directory);
}

/// A small layer over few names, as a scan would leave it.
pub(crate) fn random_layer(rng: &mut Rng) -> Arc<LayerHandle> {
    let mut made = std::collections::BTreeMap::new();
    for _ in 0..rng.below(12) {
        let depth = rng.below(4) + 1;
        let at: Vec<String> =
            (0..depth).map(|_| ["a", "b", "a-b", "c"][rng.below(4) as usize].into()).collect();
        let at = at.join("/");
        let item = match rng.below(5) {
            0 => file(&at, &rng.bytes(2)),
            1 => whiteout(&at),
            2 => link(&at, "a"),
            _ => dir(&at),
        };
        made.insert(path(at), item);
    }
    // As a scan would leave it: nothing stands below what is no directory.
    let closed: Vec<LayerPath> = made
        .iter()
        .filter(|(_, item)| item.entry.kind != Kind::Directory)
        .map(|(path, _)| path.clone())
        .collect();
    made.retain(|at, _| !closed.iter().any(|top| top != at && at.is_within(top)));
    let dirs = made.iter().filter(|(_, item)| item.entry.kind == Kind::Directory);
    // Marks are also found where the layer has no entry for the directory.
    let parents = made.keys().filter_map(LayerPath::parent);
    let opaque: Vec<String> = dirs
        .map(|(at, _)| at.clone())
        .chain(parents)
        .filter(|_| rng.below(6) == 0)
        .map(|at| at.display())
        .collect();
    let opaque: Vec<&str> = opaque.iter().map(String::as_str).collect();
    let held = index(&made.into_values().collect::<Vec<_>>(), &opaque);
    let index = if rng.below(2) == 0 { spilled(&held) } else { held };
    Arc::new(LayerHandle::of(Arc::new(index)))
}

/// `lookup`, `children` and `walk` tell the same story, whatever the stack.
#[test]
fn the_three_ways_agree() {
    for seed in 1..=300 {
        let mut rng = Rng(seed);
        let mut layers = Vec::new();
        for _ in 0..=rng.below(4) {
            layers.push(random_layer(&mut rng));
        }
        let view = View::new(layers);
        let walked: Vec<Found> = view.walk(&LayerPath::root()).map(Result::unwrap).collect();
        for found in &walked {
            assert_eq!(view.lookup(&found.entry.path).unwrap().as_ref(), Some(found), "seed {seed}");
        }
        // Every name that any layer mentions is found by all or by none.
        for layer in view.layers() {
            for entry in all_of(&layer.index) {
                let found = view.lookup(&entry.path).unwrap();
                let listed = walked.iter().find(|f| f.entry.path == entry.path);
                assert_eq!(found.as_ref(), listed, "seed {seed}: {:?}", entry.path);
                let parent = entry.path.parent().unwrap();
                let is_child = view.names(&parent).unwrap().any(|name| name == entry.path.name());
                assert_eq!(found.is_some(), is_child, "seed {seed}: {:?}", entry.path);
            }
        }
    }
}

#[test]
fn resolve() {
    let view = View::new(vec![bare(
        &[
            dir("usr"),
            dir("usr/bin"),
            file("usr/bin/sh", b"x"),
            link("bin", "usr/bin"),
            link("abs", "/usr/bin/"),
            link("out", "../../../../usr"),
            link("usr/up", "../bin/sh"),
            link("dangling", "nowhere/at/all"),
            link("loop", "loop2"),
            link("loop2", "loop"),
            link("dot", "."),
        ],
        &[],
    )]);
    let cases = [
        ("bin/sh", true, "usr/bin/sh", true),
        ("abs/sh", true, "usr/bin/sh", true),
        ("out/bin/sh", true, "usr/bin/sh", true),
        ("usr/up", true, "usr/bin/sh", true),
        ("usr/up", false, "usr/up", true),
        ("bin", false, "bin", true),
        ("bin", true, "usr/bin", true),
        ("bin/new/file", true, "usr/bin/new/file", false),
        ("dangling", true, "nowhere/at/all", false),
        ("dangling/x", false, "nowhere/at/all/x", false),
        ("dot/dot/bin", false, "bin", true),
        ("", true, "", true),
    ];
    for (from, follow, to, exists) in cases {
        let resolved = view.resolve(&path(from), follow).unwrap();
        assert_eq!(resolved.path, path(to), "{from}");
        assert_eq!(resolved.found.is_some(), exists, "{from}");
        assert_eq!(resolved.obstacle, None, "{from}");
    }
    assert!(matches!(view.resolve(&path("loop/x"), false), Err(ViewError::Loop { .. })));
    assert!(view.resolve(&path("loop"), false).is_ok());
    let below = view.resolve(&path("bin/sh/x"), true).unwrap();
    assert_eq!((below.obstacle, below.found.is_some()), (Some(path("usr/bin/sh")), false));
}

#[test]
fn small_files() {
    let temporary = tempfile::tempdir().unwrap();
    let lower = blob(
        temporary.path(),
        &[file("etc/passwd", b"root:x:0:0\n"), link("link", "etc/passwd"), hardlink("name", "etc/passwd")],
    );
    let view = View::new(vec![lower, bare(&[whiteout("other")], &[])]);
    for name in ["etc/passwd", "link", "name"] {
        assert_eq!(view.read_small(&path(name), 100).unwrap().unwrap(), b"root:x:0:0\n", "{name}");
    }
    assert_eq!(view.read_small(&path("etc"), 100).unwrap(), None);
    assert_eq!(view.read_small(&path("etc/group"), 100).unwrap(), None);
    assert!(matches!(view.read_small(&path("link"), 10), Err(ViewError::TooLarge { size: 11, .. })));
    let empty = View::new(vec![Arc::new(LayerHandle::clone(&bare(&[file("f", b"x")], &[])))]);
    assert!(matches!(empty.read_small(&path("f"), 10), Err(ViewError::Content(_))));
}

#[test]
fn no_layers_at_all() {
    let view = View::default();
    assert_eq!(view.lookup(&LayerPath::root()).unwrap().unwrap().entry.mode, 0o755);
    assert!(view.walk(&LayerPath::root()).next().is_none());
    assert_eq!(view.resolve(&path("a/b"), true).unwrap().path, path("a/b"));
}
