//! Archives that mean harm or are broken.

use kiln_layer::tar::TarError;
use kiln_layer::tar::scan::{NullSink, scan};
use kiln_layer::unpack::{Form, Owners, Unpacker};
use std::env::temp_dir;

use crate::support::{Archive, Rng, is_root, sh};

#[test]
fn refused_with_the_name_of_the_member() {
    let a = Archive::default;
    let too_long = [b"a/".repeat(3000), b"x".to_vec()].concat();
    let cases: Vec<(&str, Archive, &str)> = vec![
        ("climbs out", a().file("../etc/passwd", b""), "../etc/passwd"),
        ("climbs out later", a().file("a/../../x", b""), "a/../../x"),
        ("climbs out of an absolute path", a().file("/../x", b""), "/../x"),
        ("hard link that climbs out", a().add(b"l", b'1', b"../../etc/shadow", b""), "../../etc/shadow"),
        ("hard link to nothing", a().add(b"l", b'1', b"etc/shadow", b""), "/etc/shadow"),
        ("hard link to a directory", a().add(b"d/", b'5', b"", b"").add(b"l", b'1', b"d", b""), "/l"),
        ("hard link to a whiteout", a().file(".wh.w", b"").add(b"l", b'1', b"w", b""), "/w"),
        ("whiteout of nothing", a().file("d/.wh.", b""), "d/.wh."),
        ("whiteout of .", a().file("d/.wh..", b""), "d/.wh.."),
        ("whiteout of ..", a().file("d/.wh...", b""), "d/.wh..."),
        ("below a file", a().file("f", b"").file("f/x", b""), "/f/x"),
        ("below a fifo", a().add(b"f", b'6', b"", b"").add(b"f/.wh..wh..opq", b'0', b"", b""), "/f"),
        (
            "links in a circle",
            a().add(b"l", b'2', b"m", b"").add(b"m", b'2', b"l", b"").file("l/x", b""),
            "/l/x",
        ),
        ("the root as a file", a().file("./", b""), "/"),
        ("the root as a link", a().add(b"./", b'2', b"/etc", b""), "/"),
        ("an unknown type", a().add(b"odd", b'Z', b"", b""), "/odd"),
        ("a name without end", a().pax(&[("path", &too_long)]).file("x", b""), "a/a/a"),
        ("a component too long", a().pax(&[("path", &[b'c'; 256])]).file("x", b""), "ccc"),
        ("a name with a NUL", a().pax(&[("path", b"a\0b")]).file("x", b""), "a\\0b"),
        ("an empty name", a().file("", b""), "\"\""),
        ("an empty link", a().add(b"l", b'2', b"", b""), "\"\""),
        ("owner -1", a().pax(&[("uid", b"4294967295")]).file("x", b""), "/x"),
        ("a huge owner", a().pax(&[("gid", b"99999999999")]).file("x", b""), "/x"),
    ];
    for (what, archive, word) in cases {
        let error = scan(archive.end().as_slice(), &temp_dir(), &mut NullSink).expect_err(what).to_string();
        assert!(error.contains(word), "{what}: {error}");
    }
}

#[test]
fn malformed_headers() {
    let a = Archive::default;
    let cases: Vec<(&str, Archive)> = vec![
        ("letters for a number", a().file("x", b"").patch(124, b"zzzzzzzzzzz")),
        (
            "size 2^63",
            a().file("x", b"").patch(124, &[0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        ("size below zero", a().file("x", b"").patch(124, &[0xff; 12])),
        ("PAX size beyond everything", a().pax(&[("size", b"18446744073709551615")]).file("x", b"")),
        ("PAX record that lies", a().add(b"p", b'x', b"", b"99 path=a\n").file("x", b"")),
        ("PAX header of a gigabyte", a().add(b"p", b'x', b"", b"").patch(124, b"10000000000")),
        ("sparse map out of order", sparse(b"2\n100\n1\n50\n1\n", b"200")),
        ("sparse map beyond the end", sparse(b"1\n300\n2\n", b"200")),
        ("sparse map of 2^60 zeros", sparse(b"1\n0\n2\n", b"1152921504606846976")),
        ("sparse map with too much data", sparse(b"1\n0\n1\n", b"200")),
        ("sparse map without end", sparse(b"1000000\n", b"200")),
        ("sparse map of 2^64 pieces", sparse(b"18446744073709551615\n", b"200")),
        ("sparse map that overflows", sparse(b"2\n18446744073709551615\n2\n0\n0\n", b"200")),
    ];
    for (what, archive) in cases {
        let error = scan(archive.end().as_slice(), &temp_dir(), &mut NullSink).expect_err(what);
        let told = matches!(error, TarError::Header { .. } | TarError::Extended { .. });
        assert!(told, "{what}: {error}");
    }
    let mut broken = Archive::default().file("x", b"").end();
    broken[3] ^= 1;
    assert!(matches!(
        scan(broken.as_slice(), &temp_dir(), &mut NullSink),
        Err(TarError::Header { field: "checksum", .. })
    ));
}

fn sparse(map: &[u8], real: &[u8]) -> Archive {
    let mut data = map.to_vec();
    data.resize(512, 0);
    data.extend_from_slice(b"xy");
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", real),
    ];
    Archive::default().pax(&records).file("GNUSparseFile.0/s", &data)
}

#[test]
fn cut_off_anywhere() {
    let tar = Archive::default().pax(&[("path", b"some/name")]).file("x", &[1; 700]).file("y", b"z").0;
    let whole = [0, 2560, 3584];
    for length in (0..tar.len()).step_by(37).chain([512, 1024, 1536, 2049]) {
        let result = scan(&tar[..length], &temp_dir(), &mut NullSink);
        if whole.contains(&length) {
            continue;
        }
        // At a header's edge an archive may end, but not within what belongs to a member.
        let error = result.expect_err(&format!("cut at {length}"));
        assert!(matches!(error, TarError::Truncated { .. }), "cut at {length}: {error}");
    }
}

/// Whatever the bytes are, a scan ends, with an error or a valid index.
#[test]
fn mutants() {
    let tar = Archive::default()
        .pax(&[("path", b"some/name"), ("mtime", b"1.5"), ("SCHILY.xattr.user.a", b"b")])
        .file("x", b"data")
        .add(b"d/", b'5', b"", b"")
        .add(b"l", b'2', b"d", b"")
        .file("l/x", b"12345")
        .add(b"h", b'1', b"l/x", b"")
        .add(b"././@LongLink", b'L', b"", b"long-name")
        .file("y", b"")
        .0;
    let tar = [tar, sparse(b"1\n100\n2\n", b"300").end()].concat();
    let mut rng = Rng(11);
    for round in 0..6000 {
        let mut mutant = tar.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(mutant.len() as u64) as usize;
            mutant[at] = [0, b'/', b'.', b'9', 0xff, rng.next() as u8][rng.below(6) as usize];
        }
        // Most of the time, make the checksums right again, so that the change is looked at.
        if round % 4 != 0 {
            for start in (0..mutant.len() - 512).step_by(512) {
                if &mutant[start + 257..start + 262] == b"ustar" {
                    let block = &mut mutant[start..start + 512];
                    block[148..156].copy_from_slice(b"        ");
                    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
                    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
                }
            }
        }
        if let Ok(scanned) = scan(mutant.as_slice(), &temp_dir(), &mut NullSink) {
            assert!(
                scanned.index.iter().map(Result::unwrap).is_sorted_by(|a, b| a.path < b.path),
                "round {round}"
            );
        }
    }
}

/// Unpacks into `out/tree` with something to protect beside it, and lists what is outside of the tree afterwards.
fn attack(archive: Archive, owners: Owners, prepare: &str) -> (String, Result<(), TarError>) {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    sh("mkdir -p out/tree outside; echo secret >outside/file; echo secret >out/file", at);
    sh(prepare, at);
    let mut unpacker = Unpacker::new(&at.join("out/tree"), Form::Overlay, owners).unwrap();
    let result = scan(archive.end().as_slice(), &temp_dir(), &mut unpacker).map(|_| ());
    if result.is_ok() {
        unpacker.finish().unwrap();
    }
    sh("chmod -R u+rwX out/tree", at);
    let outside = sh("find outside out -path out/tree -prune -o -type f -printf '%p %s %m %n\\n' | sort", at);
    let inside = sh("cd out/tree; find . | sort", at);
    assert_eq!(outside, "out/file 7 644 1\noutside/file 7 644 1\n", "something outside was touched");
    (inside, result)
}

#[test]
fn nothing_leaves_the_tree() {
    let a = Archive::default;
    let target = b"../../outside";
    let umask = "chmod 644 outside/file out/file";
    let cases: Vec<(&str, Archive, &str)> = vec![
        ("file behind a link", a().add(b"l", b'2', target, b"").file("l/file", b"PWNED"), umask),
        (
            "file behind an absolute link",
            a().add(b"l", b'2', b"/", b"").file("l/tmp/kiln-pwned", b"PWNED"),
            umask,
        ),
        ("file over a link", a().add(b"file", b'2', b"../file", b"").file("file", b"PWNED"), umask),
        (
            "directory over a link",
            a().add(b"l", b'2', target, b"").add(b"l/", b'5', b"", b"").file("l/file", b"PWNED"),
            umask,
        ),
        (
            "hard link behind a link",
            a().add(b"l", b'2', target, b"").add(b"h", b'1', b"l/file", b"").file("h", b"PWNED"),
            umask,
        ),
        (
            "hard link to a link, then written",
            a().add(b"l", b'2', b"../file", b"").add(b"h", b'1', b"l", b"").file("h", b"PWNED"),
            umask,
        ),
        ("whiteout behind a link", a().add(b"l", b'2', target, b"").file("l/.wh.file", b""), umask),
        ("opaque mark behind a link", a().add(b"l", b'2', target, b"").file("l/.wh..wh..opq", b""), umask),
        (
            "chmod through a link",
            a().add(b"file", b'2', b"../file", b"").add(b"file/", b'5', b"", b"").patch(100, b"0000777"),
            umask,
        ),
        (
            "links that the tree holds already",
            a().file("old/file", b"PWNED"),
            "chmod 644 outside/file out/file; ln -s ../../outside out/tree/old",
        ),
        (
            "hard links through links that the tree holds",
            a().file("old", b"").add(b"h", b'1', b"old", b""),
            "chmod 644 outside/file out/file; ln -s ../../outside out/tree/old",
        ),
    ];
    for (what, archive, prepare) in cases {
        for owners in [Owners::Mine, Owners::Keep] {
            if owners == Owners::Keep && !is_root() {
                continue;
            }
            let copy = Archive(archive.0.clone());
            let (inside, result) = attack(copy, owners, prepare);
            let refused = ["links that the tree holds already", "hard link behind a link"].contains(&what);
            assert_eq!(result.is_err(), refused, "{what}: {inside} {result:?}");
        }
    }
    assert!(!std::path::Path::new("/tmp/kiln-pwned").exists());
}

/// A device node is the image's affair; one that reaches the host's disk must at least not come into being for somebody who
/// may not make it, and 0:0 is a whiteout to overlayfs.
#[test]
fn devices() {
    let archive = || {
        Archive::default()
            .add(b"disk", b'4', b"", b"")
            .patch(329, b"0000010")
            .patch(337, b"0000000")
            .add(b"null", b'3', b"", b"")
            .patch(329, b"0000001")
            .patch(337, b"0000003")
            .file("after", b"x")
    };
    let (inside, result) = attack(archive(), Owners::Mine, "chmod 644 outside/file out/file");
    result.unwrap();
    assert!(inside.contains("./after"), "{inside}");
    assert_eq!(inside.contains("./null"), is_root(), "{inside}");
}
