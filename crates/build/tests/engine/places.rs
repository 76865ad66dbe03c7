//! Where COPY and WORKDIR put things, and that the same things always become the same bytes.

use std::os::unix::fs::PermissionsExt;

use kiln_build::error::BuildErrorKind;
use kiln_build::request::{Compression, LayerForm};

use crate::Case;
use crate::ground::{EPOCH, Ground, settle, touch};
use crate::shelf::Tape;

pub(crate) const CASES: &[Case] = &[
    ("place: destinations", destinations),
    ("place: what cannot be is refused", refusals),
    ("place: working directories", working_directories),
    ("place: a later COPY replaces and adds", later),
    ("place: a layer is the same whatever host and folder", same_bytes),
    ("place: every compression has the same tar", forms),
    ("place: only what leaves is compressed, nothing is unpacked", lazy),
    ("place: times are clamped when asked", clamped),
    ("place: a file system leaves as a tree and as a tar", rootfs),
    ("place: ten thousand files", many),
];

fn base() -> Vec<u8> {
    Tape::new()
        .with("d/", b"", (0o750, 4))
        .with("d/old", b"old", (0o600, 4))
        .with("file", b"", (0o644, 0))
        .link("to-d", "d", tar::EntryType::Symlink)
        .link("abs", "/d", tar::EntryType::Symlink)
        .link("nowhere", "gone/deep", tar::EntryType::Symlink)
        .link("out", "../../d", tar::EntryType::Symlink)
        .bytes()
}

fn destinations() {
    let ground = Ground::new();
    ground.shelf.put("base", &[base()], |_| {});
    ground.write("f", "new");
    ground.write("s/a", "");
    ground.write("s/b/c", "");
    let table: &[(&str, &[&str])] = &[
        ("COPY f /x", &["x"]),
        ("COPY f /x/", &["x/f"]),
        ("COPY f /d", &["d/f"]),
        ("COPY f /to-d", &["d/f"]),
        ("COPY f /abs/", &["d/f"]),
        ("COPY f /abs/g", &["d/g"]),
        ("COPY f /out/g", &["d/g"]),
        ("COPY f /nowhere/", &["gone/deep/f"]),
        ("COPY f /file", &["file"]),
        ("COPY f .", &["f"]),
        ("WORKDIR /w\nCOPY f sub/", &["w/sub/f"]),
        ("WORKDIR /d\nCOPY f ./", &["d/f"]),
        ("COPY s /", &["a", "b/c"]),
        ("COPY s/ /d", &["d/a", "d/b/c"]),
        ("COPY s f /o/", &["o/a", "o/b/c", "o/f"]),
        ("COPY s/. /o/.", &["o/a", "o/b/c"]),
    ];
    for (lines, names) in table {
        let done = ground.build(&format!("FROM base\n{lines}\n"));
        let top = done.image.layer(done.image.layers().last().unwrap());
        let files: Vec<_> = top.iter().filter(|(_, e)| e.kind != tar::EntryType::Directory).collect();
        assert_eq!(files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), *names, "{lines}");
        if let Some(d) = top.get("d") {
            assert_eq!((d.mode, d.uid), (0o750, 4), "{lines}: an existing directory keeps its looks");
        }
    }
}

fn refusals() {
    let ground = Ground::new();
    ground.shelf.put("base", &[base()], |_| {});
    ground.write("f", "");
    ground.write("g", "");
    ground.write("s/a", "");
    for line in ["COPY f g /x", "COPY f /file/x", "COPY s /file", "COPY s/a /d/old/"] {
        let error = ground.fails(&format!("FROM base\n{line}\n"));
        assert!(matches!(error, BuildErrorKind::Copy { .. }), "{line}: {error:?}");
    }
}

fn working_directories() {
    let ground = Ground::new();
    ground.shelf.put("base", &[base()], |_| {});
    let done =
        ground.build("FROM base\nUSER 5:6\nWORKDIR /new/deep\nWORKDIR ../side\nWORKDIR /d\nVOLUME /v\n");
    let listing = done.listing();
    assert!(listing.contains("new/ 755 5:6\nnew/deep/ 755 5:6\nnew/side/ 755 5:6\n"), "{listing}");
    assert!(listing.contains("d/ 750 4:4\n") && !listing.contains("v/"), "{listing}");
    assert_eq!(done.image.config["config"]["WorkingDir"], "/d");
    // One that is there makes a layer with nothing in it, as Docker does.
    assert!(done.image.layer(done.image.layers().last().unwrap()).is_empty());
}

fn later() {
    let ground = Ground::new();
    ground.write("one/a", "1");
    ground.write("one/l", "1");
    ground.write("two/a", "2");
    ground.symlink("two/m", "a");
    ground.write("three", "3");
    let done = ground.build("FROM scratch\nCOPY one /x\nCOPY two /x\nCOPY three /x/m\n");
    assert_eq!(done.names(), ["x/a", "x/l", "x/m"]);
    assert_eq!(done.image.file("x/a"), "3", "a link that is the destination itself is written through");
    assert_eq!(done.image.files()["x/m"].kind, tar::EntryType::Symlink);
    let inside = ground.build("FROM scratch\nCOPY one two /x\n");
    assert_eq!(inside.image.file("x/a"), "2", "of two sources the later wins");
}

fn same_bytes() {
    let text = "FROM scratch AS a\nCOPY . /all\nFROM scratch\nCOPY --from=a /all /b\nCOPY --chown=1 d /c\nWORKDIR /w\n";
    let made = |order: &[&str], form: Option<LayerForm>| {
        let ground = Ground::new();
        order.iter().for_each(|name| ground.write(name, name));
        ground.symlink("d/s", "x");
        settle(&ground.context(""));
        touch(&ground.context("d/x"), 5);
        if form.is_some() {
            // Another owner, group and access time: what a host is like must not show.
            // (As an ordinary user it stays the same, which shows nothing.)
            let _ = std::os::unix::fs::chown(ground.context("d/y"), Some(12), Some(34));
        }
        let mut request = ground.request(text);
        request.wanted = form;
        request.jobs = if form.is_some() { 8 } else { 1 };
        ground.build_request(&request).image.digest
    };
    let names = ["d/x", "d/y", "d/e/z", "b"];
    let mut backwards = names;
    backwards.reverse();
    let zstd = LayerForm { compression: Compression::Zstd(3), force: false, clamp: None, rewrite: false };
    assert_eq!(made(&names, None), made(&backwards, Some(zstd)));
}

fn forms() {
    let mut ground = Ground::new();
    let text: String = (0..200_000).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
    ground.write("f", &text);
    let plain = ground.build("FROM scratch\nCOPY f /\n");
    let ids = plain.image.config["rootfs"]["diff_ids"].clone();
    drop(plain);
    for compression in
        [Compression::Gzip(0), Compression::Gzip(6), Compression::Gzip(9), Compression::Zstd(3)]
    {
        ground.form = LayerForm { compression, ..ground.form };
        let done = ground.build("FROM scratch\nCOPY f /\n");
        assert!(done.all_cached());
        assert_eq!(done.image.config["rootfs"]["diff_ids"], ids, "{compression:?}");
    }
}

fn lazy() {
    let mut ground = Ground::new();
    ground.form.compression = Compression::Gzip(1);
    ["f", "g", "h"].iter().for_each(|name| ground.write(name, name.repeat(5_000)));
    ground.shelf.put("base", &[base()], |_| {});
    let text = "FROM base AS tools\nCOPY f /\nCOPY --from=base /d /e\nFROM base AS never\nCOPY g /\n\
        FROM base\nCOPY --from=tools /f /\nCOPY h /\nWORKDIR /w\n";
    let done = ground.build(text);
    let blobs = ground.store().join("oci/blobs/sha256");
    let gzipped = fs_err::read_dir(blobs).unwrap().map(|blob| fs_err::read(blob.unwrap().path()).unwrap());
    let gzipped: Vec<_> = gzipped.filter(|bytes| bytes.starts_with(&[0x1f, 0x8b])).collect();
    assert_eq!(
        (gzipped.len(), done.image.layers().len()),
        (3, 4),
        "the base's layer is passed on as it came"
    );
    assert_eq!(fs_err::read_dir(ground.store().join("tree")).unwrap().count(), 0);
}

fn clamped() {
    let mut ground = Ground::new();
    ground.write("f", "");
    ground.write("old", "");
    touch(&ground.context("f"), 1_900_000_000);
    touch(&ground.context("old"), 1_000);
    let text = "FROM scratch\nCOPY f old /\n";
    let times = |ground: &Ground| {
        let files = ground.build(text).image.files();
        (files["f"].mtime, files["old"].mtime)
    };
    assert_eq!(times(&ground), (1_900_000_000, 1_000));
    ground.form.rewrite = true;
    assert_eq!(times(&ground), (EPOCH as u64, 1_000));
    let image = ground.build(text).image;
    assert_eq!(image.config["created"], "2023-11-14T22:13:20Z");
    assert_eq!(image.config["history"][0]["created"], "2023-11-14T22:13:20Z");
}

fn rootfs() {
    let ground = Ground::new();
    let base = Tape::new().with("d/", b"", (0o750, 4)).with("d/one", b"1", (0o600, 4));
    ground.shelf.put("base", &[base.link("d/two", "d/one", tar::EntryType::Link).bytes()], |_| {});
    ground.write("f", "1");
    let engine = ground.engine();
    let never = std::sync::atomic::AtomicBool::new(false);
    let mut request = ground.request("FROM base\nCOPY f /d/old\n");
    request.source_date_epoch = Some(7);
    let built = engine.build(&request, &|_| {}, &never).unwrap();
    let tree = ground.path("tree");
    fs_err::create_dir(&tree).unwrap();
    engine.write_rootfs(&built[0], &tree, &never).unwrap();
    assert_eq!(fs_err::read_to_string(tree.join("d/old")).unwrap(), "1");
    assert_eq!(fs_err::metadata(tree.join("d")).unwrap().permissions().mode() & 0o7777, 0o750);
    let mut tar = Vec::new();
    engine.write_rootfs_tar(&built[0], &mut tar, &never).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let entries: Vec<_> = entries
        .map(|e| {
            (e.path().unwrap().display().to_string(), e.header().uid().unwrap(), e.header().mtime().unwrap())
        })
        .collect();
    assert!(
        entries.contains(&("d/".to_owned(), 4, 7)) && entries.contains(&("d/old".to_owned(), 0, 7)),
        "{entries:?}"
    );
    let mut tar = Vec::new();
    let parts = [("linux_b".to_owned(), &built[0]), ("linux_a".to_owned(), &built[0])];
    engine.write_rootfs_folders(&parts, &mut tar, &never).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let names: Vec<_> = entries.map(|e| e.path().unwrap().display().to_string()).collect();
    for name in ["linux_a/", "linux_a/d/", "linux_a/d/old", "linux_b/", "linux_b/d/old"] {
        assert_eq!(names.iter().filter(|n| *n == name).count(), 1, "{name}: {names:?}");
    }
    let mut archive = tar::Archive::new(tar.as_slice());
    let links = archive.entries().unwrap().map(Result::unwrap).filter_map(|e| {
        let target = e.link_name().unwrap()?.display().to_string();
        Some((e.path().unwrap().display().to_string(), target))
    });
    let links: Vec<_> = links.collect();
    let folders = ["linux_a", "linux_b"];
    assert_eq!(links, folders.map(|folder| (format!("{folder}/d/two"), format!("{folder}/d/one"))));
}

fn many() {
    let ground = Ground::new();
    for dir in 0..100 {
        for file in 0..100 {
            ground.write(&format!("d{dir}/f{file}"), format!("{}", dir * file));
        }
    }
    ground.write(".dockerignore", "**/*7\n!d3/f7\n");
    let done = ground.build("FROM scratch\nCOPY . /x\n");
    // A tenth of the directories and of the files is ignored.
    assert_eq!(done.names().len(), 90 * 90 + 1 + 1);
    assert!(ground.build("FROM scratch\nCOPY . /x\n").all_cached());
}
