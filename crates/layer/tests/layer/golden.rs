//! The bytes of layers, pinned down: a dozen trees, each packed and compressed in every way, with 1, 2 and 8 threads, and once more on a
//! processor without vector and hash extensions. They are in people's digests, so a change is a decision: change the table
//! and say so in the change log.

use std::fmt::Write as _;
use std::io::Write as _;

use kiln_layer::compress::{Compression, Compressor};
use kiln_layer::index::{Kind, Mtime};
use kiln_layer::pack::{Content, PackEntry, pack};
use kiln_layer::path::LayerPath;
use kiln_oci::digest::Digest;

use crate::support::{Rng, dir, entry, file, hardlink, link, path, whiteout};

struct Tree {
    name: &'static str,
    entries: Vec<PackEntry>,
    opaque: Vec<LayerPath>,
    clamp: Option<i64>,
}

const HOW: [(&str, Compression); 5] = [
    ("tar", Compression::None),
    ("gzip1", Compression::Gzip { level: 1 }),
    ("gzip6", Compression::Gzip { level: 6 }),
    ("gzip9", Compression::Gzip { level: 9 }),
    ("zstd3", Compression::Zstd { level: 3 }),
];

fn words(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng(seed + 1);
    let mut text = String::new();
    while text.len() < length {
        let _ = write!(text, "word{} ", rng.below(700));
    }
    text.truncate(length);
    text.into_bytes()
}

fn bare(at: impl AsRef<[u8]>, kind: Kind) -> PackEntry {
    PackEntry { entry: entry(at, kind, 0o640), content: Content::None }
}

fn with(mut one: PackEntry, change: impl FnOnce(&mut kiln_layer::index::Entry)) -> PackEntry {
    change(&mut one.entry);
    one
}

fn trees() -> Vec<Tree> {
    let tree = |name, entries| Tree { name, entries, opaque: Vec::new(), clamp: None };
    let many = |count: u32| (0..count).map(|n| file(format!("f{n:05}"), &words(n.into(), n as usize * 7)));
    let mixed = [Rng(5).bytes(700_000), words(5, 700_000), vec![0; 700_000], Rng(6).bytes(300_000)].concat();
    let owned = with(file("etc/cap", b"x"), |entry| {
        entry.xattrs.insert(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 4, 0xff]);
        entry.xattrs.insert(b"user.note".to_vec(), b"caf\xc3\xa9".to_vec());
        (entry.uid, entry.gid, entry.mode) = (70_000, 3_000_000, 0o4755);
    });
    let old = with(file("old", b"1"), |entry| entry.mtime = Mtime { secs: -5, nanos: 0 });
    let late = with(file("z-late", b"2"), |entry| entry.mtime = Mtime { secs: 9_000_000_000, nanos: 7 });
    let marked = vec![dir("a"), file("a/kept", b"k"), whiteout("gone")];
    vec![
        tree("nothing", Vec::new()),
        tree("one empty file", vec![file("empty", b"")]),
        tree("one small file", vec![dir("src"), file("src/main.c", b"int main(void) { return 0; }\n")]),
        tree("many small files", many(400).collect()),
        tree("text over several blocks", vec![file("big", &words(9, 3_000_000))]),
        tree("what does not compress", vec![file("noise", &Rng(7).bytes(2_000_000))]),
        tree("zeros", vec![file("zeros", &vec![0; 1_500_000])]),
        tree("all kinds of stretches", vec![file("mixed", &mixed)]),
        tree("long names", vec![dir("d".repeat(200)), file(format!("{0}/{0}", "d".repeat(200)), b"x")]),
        tree("names that are not UTF-8", vec![file(b"caf\xe9", b"latin"), file("\u{e9}t\u{e9}", b"utf")]),
        tree(
            "links and devices",
            vec![
                file("a", b"content"),
                hardlink("b", "a"),
                link("c", &"../far/".repeat(30)),
                bare("d", Kind::CharDevice { major: 1, minor: 3 }),
                bare("e", Kind::BlockDevice { major: 259, minor: 70_000 }),
                bare("f", Kind::Fifo),
            ],
        ),
        tree("owners and attributes", vec![dir("etc"), owned]),
        Tree { opaque: vec![path("a")], ..tree("marks", marked) },
        Tree { clamp: Some(1_700_000_000), ..tree("times", vec![old, late]) },
    ]
}

fn layer(tree: &Tree, how: Compression, threads: usize) -> Vec<u8> {
    let mut out = Compressor::new(Vec::new(), how, threads).unwrap();
    pack(&tree.entries, &tree.opaque, &mut out, tree.clamp).unwrap();
    out.flush().unwrap();
    out.finish().unwrap()
}

/// A line for each tree: its name and the beginning of its digest in every form.
fn table(threads: usize) -> String {
    let mut text = String::new();
    for tree in trees() {
        let _ = write!(text, "{:26}", tree.name);
        for (name, how) in HOW {
            let _ = write!(text, " {name}:{}", &Digest::of(&layer(&tree, how, threads)).hex()[..16]);
        }
        text.push('\n');
    }
    text
}

#[test]
fn digests() {
    let golden = include_str!("golden.txt");
    for threads in [1, 2, 8] {
        let got = table(threads);
        assert_eq!(got, golden, "with {threads} threads, got:\n{got}");
    }
}

/// The same test, and that of the levels which take longer, on a processor of 2003: no SSSE3, no AVX, no SHA, no carry-less multiplication.
#[test]
#[cfg(feature = "emulator")]
fn digests_without_extensions() {
    let test = std::env::current_exe().unwrap();
    let out = std::process::Command::new("qemu-x86_64")
        .args(["-cpu", "qemu64"])
        .arg(test)
        .args(["--exact", "golden::digests", "compress::golden_digests"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success() && told.contains("2 passed"),
        "{told}{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
