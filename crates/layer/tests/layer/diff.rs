//! Upper directories, real ones where overlayfs can be mounted and made by hand where not.

use std::env::temp_dir;
use std::path::Path;
use std::sync::Arc;

use kiln_layer::diff::{DiffError, diff_upper};
use kiln_layer::handle::LayerHandle;
use kiln_layer::index::{Index, Kind};
use kiln_layer::pack::pack_tree;
use kiln_layer::stop::Stop;
use kiln_layer::tar::scan::scan;
use kiln_layer::unpack::{Form, Owners, Unpacker};
use kiln_layer::view::View;
use kiln_oci::digest::Digest;

use crate::support::{Archive, all_of, bare, bytes, dir, file, find, is_root, path, scanned, sh};

/// One letter and the path for each entry.
fn listing(index: &Index) -> Vec<String> {
    let letter = |kind: &Kind| match kind {
        Kind::File { .. } => 'f',
        Kind::Hardlink { .. } => 'h',
        Kind::Directory => 'd',
        Kind::Symlink { .. } => 'l',
        Kind::Whiteout => 'w',
        Kind::Fifo => 'p',
        _ => '?',
    };
    all_of(index).iter().map(|e| format!("{}{}", letter(&e.kind), e.path.display())).collect()
}

/// Runs `script` in an overlay over a tree that the archive makes, and reads what it changed.
fn overlay(archive: Archive, script: &str) -> (Index, View, tempfile::TempDir) {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    sh("mkdir lower upper work merged; chmod 755 upper", at);
    let mut unpacker = Unpacker::new(&at.join("lower"), Form::Overlay, Owners::Keep).unwrap();
    let lower = scan(archive.end().as_slice(), &temp_dir(), &mut unpacker).unwrap();
    unpacker.finish().unwrap();
    let lower =
        LayerHandle { index: Arc::new(lower.index), trees: vec![at.join("lower")], blob: None, later: None };
    let view = View::new(vec![Arc::new(lower)]);
    fs_err::write(at.join("script"), script).unwrap();
    sh(
        "unshare -m sh -ec 'mount -t overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work o merged
         cd merged; . ../script'",
        at,
    );
    let index =
        diff_upper(&at.join("upper"), &view, Owners::Keep, (2, Stop::NEVER), &std::env::temp_dir()).unwrap();
    (index, view, temporary)
}

fn base() -> Archive {
    let directory =
        |archive: Archive, name: &str| archive.add(name.as_bytes(), b'5', b"", b"").patch(100, b"0000755");
    let mut archive = Archive::default();
    for name in ["d/", "d/sub/", "e/", "e/deep/", "e/deep/er/", "f/"] {
        archive = directory(archive, name);
    }
    archive
        .file("a", b"alpha")
        .file("b", b"beta")
        .add(b"b2", b'1', b"b", b"")
        .file("d/x", b"x")
        .file("d/sub/y", b"y")
        .file("e/deep/er/z", b"z")
        .add(b"link", b'2', b"d", b"")
}

#[test]
fn what_commands_do() {
    if !is_root() {
        return;
    }
    type Case = (&'static str, &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 19] = [
        ("true", &[], &[]),
        ("rm a", &["w/a"], &[]),
        ("echo new >n", &["f/n"], &[]),
        ("echo new >e/deep/n", &["d/e", "d/e/deep", "f/e/deep/n"], &[]),
        ("echo new >n; rm n", &[], &[]),
        ("mkdir -p x/y; rmdir x/y x", &[], &[]),
        ("chmod 600 a; chmod 644 a", &[], &[]),
        ("chmod 600 a", &["f/a"], &[]),
        ("touch -d @99 a", &["f/a"], &[]),
        ("touch e/deep/er/n; rm e/deep/er/n", &[], &[]),
        ("chmod 700 e/deep", &["d/e", "d/e/deep"], &[]),
        ("rm -r d", &["w/d"], &[]),
        ("rm -r d; mkdir d", &["d/d"], &["d"]),
        ("rm -r d; mkdir d; cp -p a d/x", &["d/d", "f/d/x"], &["d"]),
        ("rm -r d; echo >d", &["f/d"], &[]),
        ("rm link; mkdir link; echo >link/x", &["d/link", "f/link/x"], &[]),
        ("echo 1 >m; ln m n; ln m e/o", &["d/e", "f/e/o", "h/m", "h/n"], &[]),
        ("mkfifo p; ln -s nowhere s; rm -r f", &["w/f", "p/p", "l/s"], &[]),
        ("mv d/x d/w; mv a f/a", &["w/a", "d/d", "f/d/w", "w/d/x", "d/f", "f/f/a"], &[]),
    ];
    for (script, want, opaque) in cases {
        let (index, view, temporary) = overlay(base(), script);
        assert_eq!(listing(&index), want, "{script}");
        assert_eq!(index.opaque(), opaque.iter().map(path).collect::<Vec<_>>(), "{script}");
        same_by_way_of_the_tar(&index, &view, temporary.path(), script);
    }
}

/// The layer packed, scanned, unpacked elsewhere and mounted is the tree that the command left.
fn same_by_way_of_the_tar(index: &Index, view: &View, at: &Path, script: &str) {
    let mut tar = Vec::new();
    let packed = pack_tree(index, &at.join("upper"), &mut tar, None).unwrap();
    assert_eq!(bytes(&scanned(&tar).index), bytes(&packed.index), "{script}");
    sh("mkdir second; rm -rf work/*", at);
    let mut unpacker = Unpacker::new(&at.join("second"), Form::Overlay, Owners::Keep).unwrap().above(view);
    scan(tar.as_slice(), &temp_dir(), &mut unpacker).unwrap();
    unpacker.finish().unwrap();
    let show = |upper: &str| {
        let list = "cd merged && find . -mindepth 1 -printf \"%P %y %m %U:%G %Ts %l\\n\" | sort;
                    find . -type f | sort | xargs -r sha256sum";
        let script = format!(
            "unshare -m sh -ec 'mount -t overlay -o userxattr,lowerdir={upper}:lower o merged; {list}'"
        );
        // Directories' own times change with what is in them and are not worth a copy.
        sh(&script, at).lines().map(without_directory_times).collect::<Vec<_>>()
    };
    assert_eq!(show("upper"), show("second"), "{script}");
}

fn without_directory_times(line: &str) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    if fields.get(1) == Some(&"d") { fields[..4].join(" ") } else { line.to_owned() }
}

#[test]
fn owners_modes_attributes_and_sockets() {
    if !is_root() {
        return;
    }
    let script =
        "chown 7:8 a; chmod 4711 a; setfattr -n user.k -v v a; cp /bin/true t; setcap cap_net_raw+ep t
                  python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'
                  chown -h 9 link; chmod 1777 .";
    let (index, ..) = overlay(base(), script);
    assert_eq!(listing(&index), ["d/", "f/a", "l/link", "f/t"]);
    let a = find(&index, "a");
    assert_eq!((a.uid, a.gid, a.mode), (7, 8, 0o4711));
    assert_eq!(a.xattrs.keys().collect::<Vec<_>>(), [b"user.k"]);
    assert_eq!(find(&index, "t").xattrs[&b"security.capability"[..]].len(), 20);
    assert_eq!(find(&index, "link").uid, 9);
    assert_eq!(find(&index, "").mode, 0o1777);
}

/// Without privilege, from directories made by hand.
#[test]
fn made_by_hand() {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    sh(
        "umask 022; chmod 755 .
         mkdir kept kept/dir op; printf same >kept/same; printf new >kept/new; printf x >op/x
         touch -d @1600000000 kept/same kept/new; setfattr -n user.overlay.opaque -v y op
         : >gone; setfattr -n user.overlay.whiteout -v y gone; : >never; setfattr -n user.overlay.whiteout -v y never
         printf s >secret; chmod 0 secret; setfattr -n user.overlay.origin -v x kept",
        at,
    );
    let mut owned = file("kept/new", b"old");
    (owned.entry.uid, owned.entry.gid) = (11, 12);
    let lower = bare(
        &[
            dir("kept"),
            dir("kept/dir"),
            owned,
            file("kept/same", b"same"),
            dir("op"),
            file("op/x", b"x"),
            file("gone", b""),
        ],
        &[],
    );
    let view = View::new(vec![lower]);
    for threads in [1, 2, 8] {
        let index =
            diff_upper(at, &view, Owners::Mine, (threads, Stop::NEVER), &std::env::temp_dir()).unwrap();
        assert_eq!(listing(&index), ["w/gone", "d/kept", "f/kept/new", "d/op", "f/op/x", "f/secret"]);
        assert_eq!(index.opaque(), [path("op")]);
        let new = find(&index, "kept/new");
        assert_eq!((new.uid, new.gid), (11, 12));
        let secret = find(&index, "secret");
        assert_eq!((secret.uid, secret.gid, secret.mode), (0, 0, 0));
        assert_eq!(secret.kind, Kind::File { size: 1, digest: Digest::of(b"s") });
        assert!(all_of(&index).iter().all(|e| e.xattrs.is_empty()));
    }
    sh("chmod 600 secret; setfattr -n user.overlay.redirect -v /kept op", at);
    assert!(matches!(
        diff_upper(at, &view, Owners::Mine, (1, Stop::NEVER), &std::env::temp_dir()),
        Err(DiffError::Mark { .. })
    ));
}

/// Also where siblings come between a directory and what is in it.
#[test]
fn of_directories_only_those_stay_in_which_something_changed() {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    sh(
        "umask 022; chmod 755 .; mkdir -p d/in/deep d-x/e d-y e; printf new >d/in/deep/f; printf new >d-y/g",
        at,
    );
    let below = ["d", "d/in", "d/in/deep", "d-x", "d-x/e", "d-y", "e"].map(dir);
    let lower = View::new(vec![bare(&below, &[])]);
    let index = diff_upper(at, &lower, Owners::Mine, (1, Stop::NEVER), &std::env::temp_dir()).unwrap();
    assert_eq!(listing(&index), ["d/d", "d/d-y", "f/d-y/g", "d/d/in", "d/d/in/deep", "f/d/in/deep/f"]);
}

#[test]
fn many_files_with_any_number_of_threads() {
    let temporary = tempfile::tempdir().unwrap();
    sh("mkdir d; for i in $(seq 1 300); do echo $i >d/$i; done; chmod 755 .", temporary.path());
    let one =
        diff_upper(temporary.path(), &View::default(), Owners::Mine, (1, Stop::NEVER), &std::env::temp_dir())
            .unwrap();
    assert_eq!(one.len(), 301);
    for threads in [2, 8] {
        let many = diff_upper(
            temporary.path(),
            &View::default(),
            Owners::Mine,
            (threads, Stop::NEVER),
            &std::env::temp_dir(),
        );
        assert_eq!(bytes(&many.unwrap()), bytes(&one));
    }
    let over = std::sync::atomic::AtomicBool::new(true);
    let stopped = diff_upper(
        temporary.path(),
        &View::default(),
        Owners::Mine,
        (2, Stop::when(&over)),
        &std::env::temp_dir(),
    );
    assert!(matches!(stopped, Err(DiffError::Stopped(_))));
    assert_eq!(find(&one, "d/17").kind, Kind::File { size: 3, digest: Digest::of(b"17\n") });
}

/// More names than are looked at together.
#[test]
fn the_first_of_very_many_names_carries_the_file() {
    let upper = tempfile::tempdir().unwrap();
    let name = |number: usize| format!("name-{number:05}");
    fs_err::write(upper.path().join(name(0)), "x").unwrap();
    for number in 1..9000 {
        fs_err::hard_link(upper.path().join(name(0)), upper.path().join(name(number))).unwrap();
    }
    let index =
        diff_upper(upper.path(), &View::default(), Owners::Mine, (1, Stop::NEVER), &std::env::temp_dir())
            .unwrap();
    let got = all_of(&index).into_iter().filter(|entry| !entry.path.is_root()).map(|entry| entry.kind);
    let first = Kind::File { size: 1, digest: kiln_oci::digest::Digest::of(b"x") };
    let others = std::iter::repeat_n(Kind::Hardlink { target: path(name(0)) }, 8999);
    assert!(got.eq(std::iter::once(first).chain(others)));
}
