//! What is taken from the store, and what must not be.

use kiln_build::event::TaskOutcome::{Cached, Done, Same};

use crate::Case;
use crate::ground::{Ground, touch};
use crate::shelf::Tape;

pub(crate) const CASES: &[Case] = &[
    ("cache: a change is seen", changes),
    ("cache: what does not matter does not count", no_changes),
    ("cache: a file rewritten in place with its old time is seen", racy),
    ("cache: --no-cache and its filter", no_cache),
    ("cache: other stages do not count", stages),
    ("cache: bases count by content", bases),
    ("cache: another instruction keeps its own times", own_times),
];

const TEXT: &str = "FROM scratch\nARG A=1\nCOPY d /d\nCOPY <<f /\n$A\nf\n";

/// A context, its image built once, then `change`: whether all steps are still cached.
fn cached_after(text: &str, change: impl FnOnce(&Ground, &mut kiln_build::request::Request)) -> bool {
    let ground = Ground::new();
    ground.write("d/a", "1");
    ground.write("d/e/b", "2");
    ground.symlink("d/s", "a");
    ground.write("other", "3");
    let first = ground.build(text);
    assert!(first.outcomes().iter().all(|o| *o == Done));
    let mut request = ground.request(text);
    change(&ground, &mut request);
    let second = ground.build_request(&request);
    // Whatever was cached: a store that knows nothing gives the same.
    let empty = ground.fresh();
    let fresh = empty.build_request(&request);
    let names = |d: &crate::ground::Done| d.image.config["rootfs"]["diff_ids"].clone();
    let same_times = !request.labels.iter().any(|(name, _)| name == "touched");
    assert!(!same_times || names(&second) == names(&fresh), "differs from a build from nothing");
    assert_eq!(second.listing(), fresh.listing());
    second.all_cached()
}

fn changes() {
    type Change = fn(&Ground, &mut kiln_build::request::Request);
    let table: &[(&str, Change)] = &[
        ("content", |g, _| g.write("d/a", "x")),
        ("content of the same size", |g, _| g.write("d/a", "2")),
        ("a new file", |g, _| g.write("d/new", "")),
        ("a file gone", |g, _| fs_err::remove_file(g.context("d/a")).unwrap()),
        ("a new name", |g, _| fs_err::rename(g.context("d/a"), g.context("d/c")).unwrap()),
        ("an empty directory", |g, _| fs_err::create_dir(g.context("d/empty")).unwrap()),
        ("a mode", |g, _| g.chmod("d/a", 0o600)),
        ("a directory's mode", |g, _| g.chmod("d/e", 0o700)),
        ("a link's target", |g, _| {
            fs_err::remove_file(g.context("d/s")).unwrap();
            g.symlink("d/s", "e");
        }),
        ("an ignore rule", |g, _| g.write(".dockerignore", "d/e\n")),
        ("an argument", |_, r| {
            r.build_args.insert("A".to_owned(), "2".to_owned());
        }),
        ("a flag", |_, r| r.dockerfile = r.dockerfile.replace("COPY d", "COPY --chown=3 d")),
        ("a destination", |_, r| r.dockerfile = r.dockerfile.replace("/d\n", "/D\n")),
        ("a here-document", |_, r| r.dockerfile = r.dockerfile.replace("$A", "$A.")),
    ];
    for (name, change) in table {
        assert!(!cached_after(TEXT, change), "{name}");
    }
}

fn no_changes() {
    type Change = fn(&Ground, &mut kiln_build::request::Request);
    let table: &[(&str, Change)] = &[
        ("a comment", |_, r| r.dockerfile.insert_str(0, "# hello\n")),
        ("a file that nobody copies", |g, _| g.write("other", "4")),
        ("a time", |g, r| {
            touch(&g.context("d/a"), 77);
            r.labels.push(("touched".to_owned(), String::new()));
        }),
        ("an owner", |g, _| {
            let _ = std::os::unix::fs::chown(g.context("d/a"), Some(77), None);
        }),
        ("a label", |_, r| r.labels.push(("a".to_owned(), "b".to_owned()))),
        ("an argument that nobody declares", |_, r| {
            r.build_args.insert("B".to_owned(), "2".to_owned());
        }),
        ("an argument that nobody uses", |_, r| {
            r.dockerfile = r.dockerfile.replace("ARG A=1", "ARG A=1 X=1")
        }),
        ("a way of writing", |_, r| {
            r.dockerfile = r.dockerfile.replace("COPY d /d", "copy ./d \\\n  /d/../d")
        }),
        ("an ignore rule for nothing", |g, _| g.write(".dockerignore", "none\nother\n")),
        ("the same bytes written again", |g, _| g.write("d/a", "1")),
    ];
    for (name, change) in table {
        assert!(cached_after(TEXT, change), "{name}");
    }
}

fn racy() {
    let ground = Ground::new();
    let text = "FROM scratch\nCOPY f /\n";
    for round in 0..20 {
        // Same size, same time of modification, no pause: only the change time and the racy rule tell.
        ground.write("f", format!("{round:02}"));
        assert_eq!(ground.build(text).image.file("f"), format!("{round:02}"));
    }
}

fn no_cache() {
    let ground = Ground::new();
    ground.write("f", "1");
    let text = "FROM scratch AS a\nCOPY f /a\nFROM scratch\nCOPY --from=a /a /b\nCOPY f /c\n";
    let first = ground.build(text);
    let mut request = ground.request(text);
    request.no_cache = true;
    let again = ground.build_request(&request);
    assert_eq!(again.outcomes(), [Same, Same, Same]);
    assert_eq!(again.image.digest, first.image.digest);
    request.no_cache = false;
    request.no_cache_filter = vec!["A".to_owned()];
    assert_eq!(ground.build_request(&request).outcomes(), [Same, Cached, Cached]);
}

fn stages() {
    let ground = Ground::new();
    ground.write("f", "1");
    ground.write("g", "1");
    let text = |extra: &str| {
        format!("FROM scratch AS a\nCOPY f /f\nCOPY g /g\n{extra}\nFROM scratch\nCOPY --from=a /f /b\n")
    };
    ground.build(&text(""));
    ground.write("g", "2");
    let done = ground.build(&text(""));
    assert_eq!(done.outcomes(), [Cached, Done, Cached], "what was copied is the same");
    let done = ground.build(&text("FROM scratch AS never\nCOPY nothing /"));
    assert!(done.all_cached());
}

fn bases() {
    let ground = Ground::new();
    ground.write("f", "1");
    let layer = |content: &[u8], mode| Tape::new().with("base", content, (mode, 0)).bytes();
    ground.shelf.put("one", &[layer(b"1", 0o644)], |_| {});
    ground.shelf.put("same", &[layer(b"1", 0o644)], |c| c.author = Some("other".to_owned()));
    ground.shelf.put("content", &[layer(b"2", 0o644)], |_| {});
    ground.shelf.put("mode", &[layer(b"1", 0o600)], |_| {});
    let build = |base: &str| ground.build(&format!("FROM {base}\nCOPY f /f\n"));
    assert_eq!(build("one").outcomes(), [Done]);
    assert_eq!(build("same").outcomes(), [Cached]);
    assert_eq!(build("content").outcomes(), [Done]);
    assert_eq!(build("mode").outcomes(), [Done]);
}

fn own_times() {
    let ground = Ground::new();
    ground.write("a", "1");
    ground.write("b", "1");
    touch(&ground.context("b"), 9);
    ground.build("FROM scratch\nCOPY a /x\n");
    let done = ground.build("FROM scratch\nCOPY b /x\n");
    assert_eq!(done.outcomes(), [Done]);
    assert_eq!(done.image.files()["x"].mtime, 9);
}
