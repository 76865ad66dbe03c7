//! Packing, and scanning what was packed.

use std::env::temp_dir;
use std::io::Read;
use std::sync::Arc;

use kiln_layer::compress::{Compression, Compressor, Format};
use kiln_layer::flatten::flatten;
use kiln_layer::handle::{BlobForm, LayerHandle};
use kiln_layer::index::{Kind, Mtime};
use kiln_layer::pack::{Content, Entries, PackEntry, PackError, pack, pack_layer, repack};
use kiln_layer::path::LayerPath;
use kiln_layer::tree::Root;
use kiln_layer::view::View;
use kiln_oci::digest::Digest;

use crate::support::{
    Rng, all_of, bare, blob, bytes, dir, entry, file, find, hardlink, link, names, packed, path, read_all,
    run, scanned, sh, whiteout,
};

/// All kinds, with everything that needs more than plain ustar.
fn random_layer(seed: u64) -> (Vec<PackEntry>, Vec<LayerPath>) {
    let mut rng = Rng(seed);
    let mut entries: Vec<PackEntry> = Vec::new();
    let mut dirs = vec![LayerPath::root()];
    let mut opaque = Vec::new();
    for number in 0..150 {
        let length = [3, 20, 98, 99, 100, 101, 140, 240][rng.below(8) as usize];
        let mut name: Vec<u8> = (0..length).map(|_| b'a' + rng.below(26) as u8).collect();
        if rng.below(4) == 0 {
            name = rng
                .bytes(length.min(80))
                .iter()
                .map(|b| if matches!(b, 0 | b'/') { 0xe9 } else { *b })
                .collect();
        }
        name.extend_from_slice(number.to_string().as_bytes());
        let at = dirs[rng.below(dirs.len() as u64) as usize].join(&name);
        if at.as_bytes().len() > 1500 {
            continue;
        }
        let mut made = match rng.below(10) {
            0 | 1 => {
                dirs.push(at.clone());
                if rng.below(3) == 0 {
                    opaque.push(at.clone());
                }
                dir(at.as_bytes())
            }
            2 => link(at.as_bytes(), &"x/".repeat(rng.below(70) as usize + 1)),
            3 => whiteout(at.as_bytes()),
            4 => PackEntry { entry: entry(at.as_bytes(), Kind::Fifo, 0o600), content: Content::None },
            5 => {
                let kind = Kind::CharDevice { major: 4095, minor: 1_048_575 };
                PackEntry { entry: entry(at.as_bytes(), kind, 0o666), content: Content::None }
            }
            _ => {
                let length = [0, 1, 511, 512, 513, 70_000][rng.below(6) as usize];
                let bytes = rng.bytes(length);
                file(at.as_bytes(), &bytes)
            }
        };
        if made.entry.kind != Kind::Whiteout {
            let entry = &mut made.entry;
            if !matches!(entry.kind, Kind::Symlink { .. }) {
                entry.mode = rng.below(0o10000) as u32;
            }
            entry.uid = [0, 1000, 2_097_151, 2_097_152, 4_000_000_000][rng.below(5) as usize];
            entry.gid = [0, 65_534, 2_097_152][rng.below(3) as usize];
            entry.mtime.secs = [0, -5, 1_700_000_000, 8_589_934_591, 8_589_934_592][rng.below(5) as usize];
            for _ in 0..rng.below(3) {
                entry
                    .xattrs
                    .insert([b"user.".as_slice(), &[b'a' + rng.below(20) as u8]].concat(), rng.bytes(30));
            }
        }
        entries.push(made);
    }
    entries.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let files: Vec<PackEntry> =
        entries.iter().filter(|e| matches!(e.entry.kind, Kind::File { .. })).cloned().collect();
    for (number, original) in files.iter().take(4).enumerate() {
        let at = format!("~link{number}");
        let kind = Kind::Hardlink { target: original.entry.path.clone() };
        let entry = kiln_layer::index::Entry { path: path(at), kind, ..original.entry.clone() };
        entries.push(PackEntry { entry, content: Content::None });
    }
    entries.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    opaque.sort();
    (entries, opaque)
}

#[test]
fn a_scan_finds_what_was_packed() {
    for seed in 1..=20 {
        let (entries, opaque) = random_layer(seed);
        let mut tar = Vec::new();
        let packed = pack(&entries, &opaque, &mut tar, None).unwrap();
        let scanned = scanned(&tar);
        assert_eq!(scanned.size, packed.size, "seed {seed}");
        assert_eq!(scanned.diff_id, packed.diff_id, "seed {seed}");
        assert_eq!(all_of(&scanned.index), all_of(&packed.index), "seed {seed}");
        assert_eq!(bytes(&scanned.index), bytes(&packed.index), "seed {seed}");
        // What repacking does to a normal form is nothing.
        let mut again = Vec::new();
        let repacked = repack(tar.as_slice(), &mut again, None, &temp_dir()).unwrap();
        assert!(again == tar, "seed {seed}");
        assert_eq!(bytes(&repacked.index), bytes(&packed.index), "seed {seed}");
        assert_eq!((repacked.diff_id, repacked.size), (packed.diff_id, packed.size), "seed {seed}");
    }
}

/// The digests of layers are part of what a build promises.
#[test]
fn golden_diff_id() {
    let (entries, opaque) = random_layer(1234);
    let packed = pack(&entries, &opaque, std::io::sink(), None).unwrap();
    assert_eq!(packed.diff_id.0.hex(), "8ca2ded429f5bcc906e6d9cd828eb465fc0126923fa00117e2b9b9900b475a47");
}

#[test]
fn gnu_tar_agrees() {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    let long = "d".repeat(120);
    let mut capability = file("bin/ping", b"ping");
    capability.entry.mode = 0o4755;
    capability.entry.uid = 3_000_000;
    capability.entry.xattrs.insert(b"user.note".to_vec(), b"a\nb\0c".to_vec());
    let mut entries = vec![
        dir("bin"),
        capability,
        file("bin/\u{e9}clair \n newline", b"x"),
        dir(&long),
        dir(format!("{long}/{long}")),
        file(format!("{long}/{long}/{long}"), b"deep"),
        hardlink("hard", &format!("{long}/{long}/{long}")),
        link("sym", &"t".repeat(150)),
        PackEntry { entry: entry("pipe", Kind::Fifo, 0o600), content: Content::None },
    ];
    entries.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    entries.iter_mut().for_each(|e| e.entry.mtime = Mtime { secs: -86_400, nanos: 0 });
    let mut tar = Vec::new();
    pack(&entries, &[], &mut tar, None).unwrap();
    fs_err::write(at.join("a.tar"), &tar).unwrap();
    let list = run("tar", &["--numeric-owner", "--quoting-style=literal", "-tf", "a.tar"], at);
    let want: Vec<u8> = entries
        .iter()
        .flat_map(|e| {
            let slash: &[u8] = if e.entry.kind == Kind::Directory { b"/\n" } else { b"\n" };
            [e.entry.path.as_bytes(), slash].concat()
        })
        .collect();
    assert_eq!(String::from_utf8_lossy(&list), String::from_utf8_lossy(&want));
    let verbose = sh("TZ=UTC tar --numeric-owner -tvf a.tar", at);
    assert!(verbose.contains("-rwsr-xr-x 3000000/0"), "{verbose}");
    assert!(verbose.contains("1969-12-31"), "{verbose}");
    sh("mkdir out; tar --no-same-owner --xattrs -xf a.tar -C out", at);
    assert_eq!(fs_err::read(at.join(format!("out/{long}/{long}/{long}"))).unwrap(), b"deep");
    assert_eq!(sh("stat -c %h out/hard; readlink out/sym", at), format!("2\n{}\n", "t".repeat(150)));
    assert_eq!(
        sh("getfattr --only-values -n user.note out/bin/ping | od -An -tx1", at).trim(),
        "61 0a 62 00 63"
    );
}

#[test]
fn times_are_clamped_and_cut_to_seconds() {
    let mut late = file("late", b"");
    late.entry.mtime = Mtime { secs: 2_000, nanos: 5 };
    let mut early = file("early", b"");
    early.entry.mtime = Mtime { secs: 10, nanos: 999_999_999 };
    let mut tar = Vec::new();
    let packed = pack(&[early, late], &[], &mut tar, Some(1_000)).unwrap();
    let times: Vec<Mtime> = all_of(&packed.index).iter().map(|e| e.mtime).collect();
    assert_eq!(times, [Mtime { secs: 10, nanos: 0 }, Mtime { secs: 1_000, nanos: 0 }]);
    assert_eq!(bytes(&scanned(&tar).index), bytes(&packed.index));
    let mut again = Vec::new();
    let repacked = repack(tar.as_slice(), &mut again, Some(5), &temp_dir()).unwrap();
    assert!(all_of(&repacked.index).iter().all(|e| e.mtime.secs == 5));
    assert_eq!(bytes(&scanned(&again).index), bytes(&repacked.index));
}

#[test]
fn a_file_that_changed_is_noticed() {
    let temporary = tempfile::tempdir().unwrap();
    let root = Arc::new(Root::open(temporary.path()).unwrap());
    for (now, why) in
        [(&b"same size!"[..], "content"), (b"longer than before", "longer"), (b"short", "shorter")]
    {
        let mut item = file("f", b"as it was.");
        item.content = Content::File { root: Arc::clone(&root), path: path("f") };
        fs_err::write(temporary.path().join("f"), now).unwrap();
        let error = pack(std::slice::from_ref(&item), &[], std::io::sink(), None).unwrap_err();
        assert!(matches!(error, PackError::Changed { .. }), "{why}: {error}");
    }
    // A link that took its place is not followed.
    fs_err::remove_file(temporary.path().join("f")).unwrap();
    fs_err::write(temporary.path().join("g"), b"as it was.").unwrap();
    sh("ln -s g f", temporary.path());
    let mut item = file("f", b"as it was.");
    item.content = Content::File { root, path: path("f") };
    let error = pack(&[item], &[], std::io::sink(), None).unwrap_err();
    assert!(matches!(error, PackError::Open { .. }), "{error}");
}

/// A root that knows what its files hash to is believed, as long as the file stays as it is to its end.
#[test]
fn what_is_known_is_not_hashed_again() {
    /// Touches the file as soon as it gets its bytes.
    struct Meddler(std::path::PathBuf);
    impl std::io::Write for Meddler {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if bytes.starts_with(b"other") {
                let file = fs_err::File::options().write(true).open(&self.0)?;
                file.file().set_modified(std::time::UNIX_EPOCH)?;
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path().join("f");
    fs_err::write(&at, "other bytes").unwrap();
    let knowing = |bytes: &'static [u8]| {
        let root = Root::open(temporary.path()).unwrap().knowing(move |_, _| Some(Digest::of(bytes)));
        let mut item = file("f", b"known bytes");
        item.content = Content::File { root: Arc::new(root), path: path("f") };
        [item]
    };
    let believed = knowing(b"known bytes");
    pack(&believed, &[], std::io::sink(), None).unwrap();
    let meddled = pack(&believed, &[], Meddler(at), None).unwrap_err();
    assert!(matches!(meddled, PackError::Changed { .. }), "{meddled}");
    // What is known of another content is of no use.
    let other = pack(&knowing(b"something else"), &[], std::io::sink(), None).unwrap_err();
    assert!(matches!(other, PackError::Changed { .. }), "{other}");
}

#[test]
fn misuse_is_refused() {
    let twice = [file("a", b"1"), file("a", b"1")];
    assert!(matches!(pack(&twice, &[], std::io::sink(), None), Err(PackError::Order { .. })));
    let mut lost = file("a", b"1");
    lost.content = Content::None;
    assert!(matches!(pack(&[lost], &[], std::io::sink(), None), Err(PackError::Missing { .. })));
    let mut elsewhere = file("a", b"1");
    elsewhere.content = Content::Layer { layer: bare(&[file("a", b"1")], &[]), path: path("a") };
    assert!(matches!(pack(&[elsewhere], &[], std::io::sink(), None), Err(PackError::Content(_))));
    let mut odd = file("a", b"1");
    odd.entry.xattrs.insert(b"user.a=b".to_vec(), Vec::new());
    assert!(matches!(pack(&[odd], &[], std::io::sink(), None), Err(PackError::Tar(_))));
}

/// Bytes out of a layer in each of its forms, wanted in the archive's order and against it.
#[test]
fn content_of_other_layers() {
    let temporary = tempfile::tempdir().unwrap();
    let originals = [file("a", b"AAAA"), file("b", &[7; 100_000]), file("c", b""), file("e", b"last")];
    let plain = blob(temporary.path(), &originals);
    let tar = fs_err::read(&plain.blob.as_ref().unwrap().path).unwrap();
    let mut forms = vec![LayerHandle::clone(&plain)];
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let mut out = Compressor::new(Vec::new(), compression, 2).unwrap();
        std::io::Write::write_all(&mut out, &tar).unwrap();
        let file = temporary.path().join(format!("{:?}", compression.format()));
        fs_err::write(&file, out.finish().unwrap()).unwrap();
        let blob = Some(BlobForm { path: file, format: compression.format() });
        forms.push(LayerHandle { blob, ..LayerHandle::clone(&plain) });
    }
    let tree = temporary.path().join("tree");
    sh(
        "mkdir tree; printf AAAA >tree/a; head -c 100000 /dev/zero | tr '\\0' '\\7' >tree/b; printf last >tree/e",
        temporary.path(),
    );
    sh("touch tree/c", temporary.path());
    forms.push(LayerHandle { blob: None, trees: vec![tree], ..LayerHandle::clone(&plain) });
    for form in forms {
        let layer = Arc::new(form);
        let pick = |dest: &str, source: &str| {
            let mut entry = layer.carrier(&path(source)).unwrap().unwrap();
            entry.path = path(dest);
            PackEntry { entry, content: Content::Layer { layer: Arc::clone(&layer), path: path(source) } }
        };
        let orders = [
            vec![pick("1", "a"), pick("2", "b"), pick("3", "c"), pick("4", "e")],
            vec![pick("1", "e"), pick("2", "c"), pick("3", "b"), pick("4", "a")],
            vec![pick("1", "b"), pick("2", "b"), pick("3", "a")],
        ];
        for order in orders {
            let mut tar = Vec::new();
            let packed = pack(&order, &[], &mut tar, None).unwrap();
            assert_eq!(bytes(&scanned(&tar).index), bytes(&packed.index));
        }
        let mut seen = Vec::new();
        let wanted = [path("e"), path("a"), path("b")];
        layer
            .contents(&wanted, &mut |entry, reader| {
                seen.push((entry.path.clone(), Digest::of(&read_all(reader)?)));
                Ok(())
            })
            .unwrap();
        let want = [(path("a"), &b"AAAA"[..]), (path("b"), &[7; 100_000]), (path("e"), b"last")];
        assert_eq!(seen, want.map(|(path, bytes)| (path, Digest::of(bytes))));
        let whole = pack_layer(&layer, std::io::sink(), None).unwrap();
        assert_eq!(bytes(&whole.index), bytes(&plain.index));
    }
}

/// Sparse files have no offset in the archive that they come from.
#[test]
fn content_of_sparse_files() {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    sh(
        "printf x >s; truncate -s 300000 s; printf y >>s; ln s z; printf plain >p; tar -S --format=pax -cf a.tar z s p",
        at,
    );
    let tar = fs_err::read(at.join("a.tar")).unwrap();
    let index = scanned(&tar).index;
    assert_eq!(names(&index), ["p", "s", "z"]);
    assert_eq!(find(&index, "s").offset, None);
    let blob = Some(BlobForm { path: at.join("a.tar"), format: Format::None });
    let layer = Arc::new(LayerHandle { index: Arc::new(index), trees: Vec::new(), blob, later: None });
    let mut out = Vec::new();
    let packed = pack_layer(&layer, &mut out, None).unwrap();
    assert_eq!(bytes(&scanned(&out).index), bytes(&packed.index));
    let start = find(&packed.index, "s").offset.unwrap() as usize;
    assert_eq!((out[start], out[start + 1], out[start + 300_000]), (b'x', 0, b'y'));
}

#[test]
fn hard_links_across_selections() {
    let layer = bare(&[file("a", b"1"), hardlink("b", "a"), hardlink("c", "a"), file("z", b"")], &[]);
    let view = View::new(vec![layer, bare(&[whiteout("a")], &[])]);
    let mut all = Vec::new();
    flatten(&view)
        .unwrap()
        .each(&mut |item| {
            all.push((item.entry.path.display(), matches!(item.entry.kind, Kind::Hardlink { .. })));
            Ok(())
        })
        .unwrap();
    let want = [("/b", false), ("/c", true), ("/z", false)];
    assert_eq!(all, want.map(|(name, linked)| (name.to_owned(), linked)));
}

#[test]
fn hard_links_take_the_content_of_their_first_name() {
    // The archive's order is not the index's.
    let temporary = tempfile::tempdir().unwrap();
    sh("printf content >z; ln z m; ln z a; tar -cf t.tar z m a", temporary.path());
    let tar = fs_err::read(temporary.path().join("t.tar")).unwrap();
    let index = scanned(&tar).index;
    assert!(matches!(find(&index, "a").kind, Kind::File { size: 7, .. }));
    for name in ["m", "z"] {
        assert_eq!(find(&index, name).kind, Kind::Hardlink { target: path("a") });
    }
    let offset = find(&index, "a").offset.unwrap() as usize;
    assert_eq!(&tar[offset..offset + 7], b"content");
}

#[test]
fn a_layer_of_nothing() {
    let (packed, tar) = packed(&[], &[]);
    assert_eq!(tar, [0; 1024]);
    // The well-known digest of Docker's empty layer.
    assert_eq!(
        packed.diff_id.to_string(),
        "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    );
    let mut rest = Vec::new();
    (&tar[..]).read_to_end(&mut rest).unwrap();
}
