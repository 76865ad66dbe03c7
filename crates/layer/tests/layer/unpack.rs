//! Trees on disk.

use std::env::temp_dir;
use std::io::empty;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_layer::flatten::flatten;
use kiln_layer::index::{Kind, Mtime};
use kiln_layer::pack::{Content, Entries, PackEntry, PackError, pack, pack_tree, write_tree};
use kiln_layer::stop::{Stop, was_stopped};
use kiln_layer::tar::Member;
use kiln_layer::tar::scan::scan;
use kiln_layer::tree::Root;
use kiln_layer::unpack::{Form, Owners, Unpacker};
use kiln_layer::view::View;

use crate::support::{
    Archive, bare, blob, bytes, dir, entry, file, hardlink, is_root, link, packed, path, sh, whiteout,
};

/// A bit of everything that a plain user can put on disk.
fn sample() -> Vec<PackEntry> {
    let mut locked = dir("locked");
    locked.entry.mode = 0o555;
    locked.entry.mtime.secs = 1_000;
    let mut setuid = file("locked/su", b"#!");
    setuid.entry.mode = 0o4755;
    setuid.entry.xattrs.insert(b"user.note".to_vec(), b"n\0te".to_vec());
    let mut unreadable = file("shadow", b"secret");
    unreadable.entry.mode = 0;
    vec![
        PackEntry { entry: entry("fifo", Kind::Fifo, 0o640), content: Content::None },
        file("hole", &[vec![0; 300_000], b"end".to_vec(), vec![0; 200_000]].concat()),
        locked,
        setuid,
        hardlink("same", "locked/su"),
        unreadable,
        link("sym", "/etc/shadow"),
    ]
}

fn unpacked(entries: &[PackEntry], owners: Owners) -> tempfile::TempDir {
    let temporary = tempfile::tempdir().unwrap();
    let (_, tar) = packed(entries, &[]);
    let mut unpacker = Unpacker::new(temporary.path(), Form::Overlay, owners).unwrap();
    scan(tar.as_slice(), &temp_dir(), &mut unpacker).unwrap();
    assert_eq!(unpacker.finish().unwrap(), kiln_layer::unpack::Unpacked::default());
    temporary
}

#[test]
fn a_tree_packs_to_what_it_was_unpacked_from() {
    let entries = sample();
    let tree = unpacked(&entries, Owners::Mine);
    let (original, tar) = packed(&entries, &[]);
    let mut again = Vec::new();
    let repacked = pack_tree(&original.index, tree.path(), &mut again, None).unwrap();
    assert_eq!(bytes(&repacked.index), bytes(&original.index));
    assert!(again == tar);
    let listing = sh("find . -printf '%P %y %m %T@ %n %l\\n' | sort", tree.path());
    for line in
        ["locked d 555 1000.", "locked/su f 4755 16", "shadow f 0 16", "sym l 777 16", "fifo p 640 16"]
    {
        assert!(listing.contains(line), "{line}: {listing}");
    }
    assert!(listing.starts_with(" d 755 0.0"), "{listing}");
    let hole = fs_err::metadata(tree.path().join("hole")).unwrap();
    assert_eq!(hole.len(), 500_003);
    assert!(hole.blocks() * 512 < 300_000, "{} blocks", hole.blocks());
    sh("chmod 755 locked", tree.path());
}

#[test]
fn owners_and_capabilities() {
    if !is_root() {
        return;
    }
    let mut ping = file("ping", b"x");
    (ping.entry.uid, ping.entry.gid, ping.entry.mode) = (12, 3_000_000, 0o6755);
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ping.entry.xattrs.insert(b"security.capability".to_vec(), capability.to_vec());
    let mut sym = link("sym", "x");
    sym.entry.uid = 7;
    let null = entry("null", Kind::CharDevice { major: 1, minor: 3 }, 0o666);
    let entries = [PackEntry { entry: null, content: Content::None }, ping, sym];
    let tree = unpacked(&entries, Owners::Keep);
    let listing = sh("stat -c '%n %u:%g %a %t:%T' *; getcap ping", tree.path());
    assert_eq!(listing, "null 0:0 666 1:3\nping 12:3000000 6755 0:0\nsym 7:0 777 0:0\nping cap_net_raw=ep\n");
    // And for somebody who owns everything: only the owner differs.
    let tree = unpacked(&entries, Owners::Mine);
    assert_eq!(
        sh("stat -c '%n %u:%g %a' ping; getcap ping", tree.path()),
        "ping 0:0 6755\nping cap_net_raw=ep\n"
    );
}

#[test]
fn what_overlayfs_reads() {
    if !is_root() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let archive = Archive::default()
        .file("d/.wh.gone", b"")
        .add(b"op/", b'5', b"", b"")
        .file("op/.wh..wh..opq", b"")
        .file("op/new", b"x")
        .file(".wh.back", b"")
        .add(b"back/", b'5', b"", b"");
    let lower = View::new(vec![bare(
        &[
            {
                let mut d = dir("d");
                (d.entry.mode, d.entry.uid, d.entry.mtime) = (0o701, 5, Mtime { secs: 77, nanos: 5 });
                d
            },
            file("d/gone", b""),
        ],
        &[],
    )]);
    let mut unpacker = Unpacker::new(temporary.path(), Form::Overlay, Owners::Keep).unwrap().above(&lower);
    scan(archive.end().as_slice(), &temp_dir(), &mut unpacker).unwrap();
    unpacker.finish().unwrap();
    let listing = sh(
        "stat -c '%n %F %t:%T %u %a %Y' d d/gone op back; getfattr --only-values -n user.overlay.opaque op back",
        temporary.path(),
    );
    assert_eq!(
        listing,
        "d directory 0:0 5 701 77\nd/gone character special file 0:0 0 0 0\nop directory 0:0 0 644 0\n\
         back directory 0:0 0 644 0\nyy"
            .replace("0 0 0\nop", &format!("0 0 {}\nop", sh("stat -c %Y d/gone", temporary.path()).trim()))
    );
}

#[test]
fn the_later_member_wins_on_disk_too() {
    let temporary = tempfile::tempdir().unwrap();
    let archive = Archive::default()
        .add(b"a/", b'5', b"", b"")
        .file("a/b/c", b"deep")
        .add(b"keep/", b'5', b"", b"")
        .file("keep/x", b"1")
        .file("a", b"now a file")
        .add(b"keep/", b'5', b"", b"")
        .patch(100, b"0000711")
        .file("keep/x", b"2")
        .add(b"s", b'2', b"keep", b"")
        .add(b"s/", b'5', b"", b"")
        .patch(100, b"0000755")
        .file("s/y", b"3");
    let mut unpacker = Unpacker::new(temporary.path(), Form::Plain, Owners::Mine).unwrap();
    let scanned = scan(archive.end().as_slice(), &temp_dir(), &mut unpacker).unwrap();
    unpacker.finish().unwrap();
    assert_eq!(sh("cat a keep/x s/y; stat -c %a keep", temporary.path()), "now a file23711\n");
    assert!(!temporary.path().join("keep/y").exists());
    // Index and tree tell the same: packing one with the bytes of the other works.
    pack_tree(&scanned.index, temporary.path(), std::io::sink(), None).unwrap();
}

#[test]
fn trees_out_of_other_places() {
    let temporary = tempfile::tempdir().unwrap();
    let at = temporary.path();
    let lower = blob(at, &[file("a", b"alpha"), hardlink("b", "a"), file("big", &[3; 50_000])]);
    sh(
        "mkdir context tree; printf outside >context/f; head -c 20000 /dev/zero | tr '\\0' x >context/large",
        at,
    );
    let root = Arc::new(Root::open(&at.join("context")).unwrap());
    let outside = |name: &str, bytes: &[u8]| {
        let mut item = file(name, bytes);
        item.content = Content::File { root: Arc::clone(&root), path: path(name) };
        item
    };
    let mut entries = Vec::new();
    let mut take = |item: &PackEntry| {
        entries.push(item.clone());
        Ok(())
    };
    flatten(&View::new(vec![lower])).unwrap().each(&mut take).unwrap();
    entries.push(dir("dir"));
    entries.push(outside("f", b"outside"));
    entries.push(outside("large", &[b'x'; 20_000]));
    entries.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let to = |name: &str| Unpacker::new(&at.join(name), Form::Overlay, Owners::Mine).unwrap();
    let stopped = AtomicBool::new(true);
    let error = write_tree(&entries, &[], to("tree").until(Stop::when(&stopped))).unwrap_err();
    assert!(was_stopped(&error), "{error}");
    let skipped = write_tree(&entries, &[path("dir")], to("tree")).unwrap();
    assert_eq!(skipped, kiln_layer::unpack::Unpacked::default());
    assert_eq!(
        sh(
            "cat tree/a tree/b tree/f; stat -c %h tree/a; getfattr -n user.overlay.opaque --only-values tree/dir",
            at
        ),
        "alphaalphaoutside2\ny"
    );
    let from_tree = pack_tree(
        &kiln_layer::index::Index::from_unsorted(
            entries.iter().map(|e| e.entry.clone()).collect(),
            vec![path("dir")],
        ),
        &at.join("tree"),
        std::io::sink(),
        None,
    );
    let direct = pack(&entries, &[path("dir")], std::io::sink(), None);
    let (from_tree, direct) = (from_tree.unwrap(), direct.unwrap());
    assert_eq!(bytes(&from_tree.index), bytes(&direct.index));
    assert_eq!(from_tree.diff_id, direct.diff_id);
    // Somebody edits the context.
    for script in ["printf 0utside >context/f", "printf out >context/f"] {
        sh(&format!("{script}; rm -rf again; mkdir again"), at);
        let error = write_tree(&entries, &[], to("again")).unwrap_err();
        assert!(matches!(error, PackError::Changed { .. }), "{script}: {error}");
    }
}

/// Whiteouts have nothing to hide in a whole filesystem.
#[test]
fn plain_form_has_no_whiteouts() {
    let temporary = tempfile::tempdir().unwrap();
    let mut unpacker = Unpacker::new(temporary.path(), Form::Plain, Owners::Mine).unwrap();
    for item in [whiteout("x"), dir("y")] {
        unpacker.place(&Member::from(&item.entry), &mut empty()).unwrap();
    }
    unpacker.finish().unwrap();
    assert_eq!(sh("ls -A", temporary.path()), "y\n");
}
