//! Archives that other tools write, and forms that only old tools wrote.

use kiln_layer::compress::decompressor;
use kiln_layer::index::{Entry, Kind, Mtime};
use kiln_layer::tar::looks_like_tar;
use kiln_oci::digest::{DiffId, Digest};

use crate::support::{Archive, all_of, find, names, path, scanned, sh};

const LONG: usize = 180;

/// The ways in which tars have told a name of more than 100 bytes, and some short ones that look odd.
#[test]
fn names_in_all_their_forms() {
    let long = "n".repeat(LONG);
    let deep = format!("{}/{}", "p".repeat(90), "n".repeat(90));
    let gnu_header = |archive: Archive| archive.add(b"short", b'0', b"", b"x");
    let bytes = long.as_bytes();
    let null_ended = [bytes, b"\0"].concat();
    let cases: Vec<(&str, Archive, &str)> = vec![
        (
            "GNU L, NUL-ended",
            gnu_header(Archive::default().add(b"././@LongLink", b'L', b"", &null_ended)),
            &long,
        ),
        ("GNU L, bare", gnu_header(Archive::default().add(b"././@LongLink", b'L', b"", bytes)), &long),
        ("PAX path", gnu_header(Archive::default().pax(&[("path", bytes)])), &long),
        (
            "PAX path after a global header",
            gnu_header(Archive::default().add(b"g", b'g', b"", b"13 comment=x\n").pax(&[("path", bytes)])),
            &long,
        ),
        (
            "GNU L wins over PAX",
            gnu_header(Archive::default().pax(&[("path", b"other")]).add(b"L", b'L', b"", bytes)),
            &long,
        ),
        (
            "PAX path taken back",
            gnu_header(Archive::default().pax(&[("path", b"other"), ("path", b"")])),
            "short",
        ),
        (
            "the last PAX header counts",
            gnu_header(Archive::default().pax(&[("path", b"other")]).pax(&[("path", bytes)])),
            &long,
        ),
        (
            "ustar prefix",
            Archive::default()
                .add("n".repeat(90).as_bytes(), b'0', b"", b"")
                .patch(345, "p".repeat(90).as_bytes()),
            &deep,
        ),
        (
            "star prefix",
            Archive::default()
                .add("n".repeat(90).as_bytes(), b'0', b"", b"")
                .patch(508, b"tar\0")
                .patch(345, "p".repeat(90).as_bytes())
                .patch(476, b"00000000000 "),
            &deep,
        ),
        ("name of exactly 100 bytes", Archive::default().add(&bytes[..100], b'0', b"", b""), &long[..100]),
        ("leading ./", Archive::default().file("./a//./b", b""), "a/b"),
        ("absolute", Archive::default().file("/a/b", b""), "a/b"),
        (".. that stays inside", Archive::default().file("a/c/../b", b""), "a/b"),
        ("v7", Archive::default().file("old", b"").patch(257, &[0; 8]).patch(156, &[0]), "old"),
        ("pre-POSIX directory", Archive::default().file("old/", b"").patch(156, &[0]), "old"),
        ("contiguous file", Archive::default().add(b"c", b'7', b"", b"x"), "c"),
    ];
    for (what, archive, want) in cases {
        let scanned = scanned(&archive.end());
        assert_eq!(names(&scanned.index), [want], "{what}");
    }
}

#[test]
fn numbers_in_all_their_forms() {
    let base256 = |n: i64, width: usize| {
        let mut bytes = vec![if n < 0 { 0xff } else { 0 }; width];
        bytes[width - 8..].copy_from_slice(&n.to_be_bytes());
        bytes[0] |= 0x80;
        bytes
    };
    let archive = Archive::default()
        .file("big-ids", b"")
        .patch(108, &base256(3_000_000_000, 8))
        .patch(116, &base256(2_097_152, 8))
        .file("before-1970", b"")
        .patch(136, &base256(-86_401, 12))
        .file("blanks", b"")
        .patch(100, b"   644 \0")
        .patch(108, b"       \0")
        .pax(&[
            ("mtime", b"-0.25"),
            ("uid", b"4294967294"),
            ("atime", b"1"),
            ("SCHILY.xattr.user.x", b"a=b\n\0"),
        ])
        .file("pax", b"");
    let index = scanned(&archive.end()).index;
    let get = |name: &str| -> Entry { find(&index, name) };
    assert_eq!((get("big-ids").uid, get("big-ids").gid), (3_000_000_000, 2_097_152));
    assert_eq!(get("before-1970").mtime.secs, -86_401);
    assert_eq!((get("blanks").mode, get("blanks").uid), (0o644, 0));
    assert_eq!(get("pax").mtime, Mtime { secs: -1, nanos: 750_000_000 });
    assert_eq!(get("pax").uid, u32::MAX - 1);
    assert_eq!(get("pax").xattrs[&b"user.x"[..]], b"a=b\n\0");
}

#[test]
fn sparse_files_of_all_formats() {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    // More pieces than the four that a GNU header holds, and the 21 of each extension block; a hole at the end.
    sh(
        "for i in $(seq 1 60); do printf \"piece $i\" | dd of=s bs=1 seek=$((i * 65536)) conv=notrunc 2>/dev/null; done
         truncate -s 5000000 s; truncate -s 70000 hole; printf whole >plain",
        at,
    );
    let want = Digest::of(&fs_err::read(at.join("s")).unwrap());
    for options in [
        "--format=gnu",
        "--format=pax --sparse-version=0.0",
        "--format=pax --sparse-version=0.1",
        "--format=pax --sparse-version=1.0",
    ] {
        sh(&format!("tar -S {options} -cf a.tar s hole plain"), at);
        let tar = fs_err::read(at.join("a.tar")).unwrap();
        assert!(tar.len() < 1_000_000, "{options}: not sparse");
        let scanned = scanned(&tar);
        assert_eq!(names(&scanned.index), ["hole", "plain", "s"], "{options}");
        let kind = |name: &str| find(&scanned.index, name).kind;
        assert_eq!(kind("s"), Kind::File { size: 5_000_000, digest: want }, "{options}");
        assert_eq!(kind("hole"), Kind::File { size: 70_000, digest: Digest::of(&[0; 70_000]) }, "{options}");
        assert_eq!(scanned.diff_id, DiffId(Digest::of(&tar)));
    }
}

#[test]
fn whiteouts_and_marks() {
    // (members, entries, opaque)
    type Case = (&'static [&'static str], &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 14] = [
        (&["a/.wh.b"], &["a/b w"], &[]),
        (&[".wh.b"], &["b w"], &[]),
        (&["a/", "a/.wh..wh..opq", "a/x"], &["a d", "a/x f"], &["a"]),
        (&["a/x", "a/.wh..wh..opq"], &["a/x f"], &["a"]),
        (&[".wh..wh..opq"], &[], &[""]),
        // aufs's own
        (&[".wh..wh.plnk/", ".wh..wh.aufs", "x"], &["x f"], &[]),
        // A whiteout beside a file or directory of the same archive, in both orders.
        (&[".wh.a", "a"], &["a f"], &[]),
        (&["a", ".wh.a"], &["a f"], &[]),
        (&[".wh.a", "a/"], &["a d"], &["a"]),
        (&["a/", ".wh.a"], &["a d"], &["a"]),
        (&[".wh.a", "a/x"], &["a d", "a/x f"], &["a"]),
        (&["a/x", ".wh.a"], &["a d", "a/x f"], &["a"]),
        // Later wins.
        (&["a/", "a/x", "a/y/", "a/y/z", "a-b", "a"], &["a f", "a-b f"], &[]),
        (&["a", "a/", "a/x"], &["a d", "a/x f"], &[]),
    ];
    for (members, entries, opaque) in cases {
        let mut archive = Archive::default();
        for name in members {
            let flag = if name.ends_with('/') { b'5' } else { b'0' };
            archive = archive.add(name.as_bytes(), flag, b"", b"");
        }
        let index = scanned(&archive.end()).index;
        let letter = |entry: &Entry| match entry.kind {
            Kind::Directory => 'd',
            Kind::Whiteout => 'w',
            _ => 'f',
        };
        let got: Vec<String> = all_of(&index)
            .iter()
            .map(|entry| format!("{} {}", &entry.path.display()[1..], letter(entry)))
            .collect();
        assert_eq!(got, entries, "{members:?}");
        assert_eq!(index.opaque(), opaque.iter().map(path).collect::<Vec<_>>(), "{members:?}");
    }
}

/// Members that stand behind the archive's own links end up where Docker's unpacker puts them.
#[test]
fn members_behind_links() {
    let archive = Archive::default()
        .add(b"usr/lib/", b'5', b"", b"")
        .add(b"lib", b'2', b"usr/lib", b"")
        .add(b"abs", b'2', b"/usr/lib", b"")
        .add(b"up", b'2', b"../../../usr", b"")
        .file("lib/a", b"")
        .file("abs/b", b"")
        .file("up/lib/c", b"")
        .add(b"d", b'1', b"lib/a", b"")
        .add(b"lib/.wh.gone", b'0', b"", b"");
    let index = scanned(&archive.end()).index;
    assert_eq!(
        names(&index),
        ["abs", "d", "lib", "up", "usr/lib", "usr/lib/a", "usr/lib/b", "usr/lib/c", "usr/lib/gone"]
    );
    assert_eq!(find(&index, "usr/lib/a").kind, Kind::Hardlink { target: path("d") });
}

#[test]
fn of_two_members_with_one_path_the_later_wins() {
    let archive = Archive::default().file("a", b"one").add(b"b", b'1', b"a", b"").file("a", b"two");
    let index = scanned(&archive.end()).index;
    let digest = |name: &str| match find(&index, name).kind {
        Kind::File { digest, .. } => digest,
        _ => panic!("{name} is no file"),
    };
    assert_eq!((digest("a"), digest("b")), (Digest::of(b"two"), Digest::of(b"one")));
}

#[test]
fn what_is_not_the_images_is_dropped() {
    let archive = Archive::default()
        .pax(&[("SCHILY.xattr.user.overlay.redirect", b"/x"), ("SCHILY.xattr.trusted.overlay.opaque", b"y")])
        .file("a", b"")
        .add(b"zero", b'3', b"", b"");
    let index = scanned(&archive.end()).index;
    assert!(find(&index, "a").xattrs.is_empty());
    assert_eq!(find(&index, "zero").kind, Kind::Whiteout);
}

/// The diff id covers what stands after the archive's end.
#[test]
fn the_whole_stream_counts() {
    let mut tar = Archive::default().file("a", b"x").end();
    tar.extend_from_slice(b"something behind the end");
    let with = scanned(&tar);
    assert_eq!(with.diff_id, DiffId(Digest::of(&tar)));
    assert_eq!(with.size, tar.len() as u64);
    // No end mark at all is fine too.
    let bare = Archive::default().file("a", b"x").0;
    assert_eq!(scanned(&bare).diff_id, DiffId(Digest::of(&bare)));
}

#[test]
fn gnu_tar_in_its_formats() {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    let long = "l".repeat(130);
    sh(
        &format!(
            "mkdir -p t/d; echo data >t/d/file; ln t/d/file t/hard; ln -s d/file t/sym; mkfifo t/pipe
             echo deep >t/{long}; ln -s {long}/{long} t/longlink; chmod 4751 t/d/file; touch -d @1234567890.5 t/d/file
             setfattr -n user.k -v v t/d/file"
        ),
        at,
    );
    for format in ["gnu", "oldgnu", "pax --xattrs", "ustar", "v7"] {
        let skip = if matches!(format, "ustar" | "v7") {
            format!("--exclude={long} --exclude=longlink")
        } else {
            String::new()
        };
        let quiet = if format == "v7" { "--exclude=pipe" } else { "" };
        sh(&format!("tar --format={format} {skip} {quiet} -C t -czf a.tgz ."), at);
        let packed = fs_err::read(at.join("a.tgz")).unwrap();
        let mut tar = Vec::new();
        std::io::Read::read_to_end(&mut decompressor(packed.as_slice(), None).unwrap(), &mut tar).unwrap();
        assert!(looks_like_tar(&tar), "{format}");
        let index = scanned(&tar).index;
        let carrier = find(&index, "d/file");
        assert_eq!(carrier.kind, Kind::File { size: 5, digest: Digest::of(b"data\n") }, "{format}");
        assert_eq!((carrier.mode, carrier.mtime.secs), (0o4751, 1_234_567_890), "{format}");
        assert_eq!(carrier.xattrs.len(), usize::from(format.contains("xattrs")), "{format}");
        assert_eq!(find(&index, "hard").kind, Kind::Hardlink { target: path("d/file") }, "{format}");
        assert_eq!(find(&index, "").kind, Kind::Directory, "{format}");
        assert_eq!(index.get(&path(&long)).unwrap().is_some(), skip.is_empty(), "{format}");
    }
}

#[test]
fn a_tar_is_known_by_its_first_block() {
    let tar = Archive::default().file("a", b"x").end();
    assert!(looks_like_tar(&tar));
    assert!(!looks_like_tar(&tar[..511]));
    assert!(!looks_like_tar(&[0; 512]));
    assert!(!looks_like_tar("some text ".repeat(100).as_bytes()));
    assert!(!looks_like_tar(&[0xff; 600]));
}
