//! Base images: fetched once, verified, never trusted.

use std::sync::atomic::{AtomicBool, Ordering};

use kiln_build::error::BuildErrorKind;
use kiln_build::event::Event;
use kiln_oci::digest::Digest;
use kiln_oci::source::SourceErrorKind;

use crate::Case;
use crate::ground::Ground;
use crate::shelf::Tape;

pub(crate) const CASES: &[Case] = &[
    ("base: layers are pulled once and pass through untouched", once),
    ("base: layers that are passed on stay where they are", passed_on),
    ("base: a failure ends the wait for a registry that does not answer", abandoned),
    ("base: a forged layer is refused and leaves nothing", forged),
    ("base: a wrong diff id is refused", wrong_diff_id),
    ("base: what cannot be reached is as it last was", unreachable),
    ("base: an image of the store needs no registry", own_image),
    ("base: a layer that kiln made itself is read by its own offsets", same_files_other_tar),
    ("base: whiteouts and opaque directories hide", whiteouts),
    ("base: triggers", triggers),
    ("base: an unknown image", unknown),
];

pub(crate) fn layer(text: &str) -> Vec<u8> {
    Tape::new().with("f", text.as_bytes(), (0o644, 0)).bytes()
}

fn once() {
    let ground = Ground::new();
    let layers = [layer("1"), layer("2")];
    ground.shelf.put("base", &layers, |config| config.config.user = "7".to_owned());
    let text = "FROM base\nENV A=b\n";
    let done = ground.build(text);
    assert_eq!(done.image.layers(), layers.map(|l| kiln_testkit::image::digest_of(&l)));
    assert_eq!((done.image.config["config"]["User"].as_str(), ground.shelf.asked().1), (Some("7"), 2));
    ground.build(text);
    ground.build("FROM base\nCOPY --from=base /f /g\n");
    assert_eq!(ground.shelf.asked().1, 2, "no layer was asked for again");
}

fn passed_on() {
    let ground = Ground::new();
    ground.write("f", "1");
    let layers = [layer("1"), layer("2")];
    ground.shelf.put("base", &layers, |_| {});
    let engine = ground.engine();
    let never = AtomicBool::new(false);
    for (line, opened) in [
        ("ENV A=b", 0),
        ("COPY --link --chown=1:2 f /", 0),
        ("COPY --link --chown=0:root f /", 0),
        ("COPY --link <<EOF /h\nEOF", 0),
        // All below has to be looked at, or into.
        ("COPY --link --chown=0:users f /", 2),
        ("COPY f /", 2),
        ("WORKDIR /w", 2),
    ] {
        let request = ground.request(&format!("FROM base AS one\nFROM one\n{line}\n"));
        let built = engine.build(&request, &|_| {}, &never);
        // The second of these fails: the base has no users. It did look.
        if let Ok(built) = &built {
            let parts = engine.known_parts(&built[0], &ground.form, &|_| {}, &never).unwrap();
            let promised: Vec<_> = parts.layers.iter().take(2).map(|d| d.digest.to_string()).collect();
            assert_eq!(promised, layers.each_ref().map(|l| kiln_testkit::image::digest_of(l)), "{line}");
            assert_eq!(engine.is_complete(&built[0]), opened > 0, "{line}");
        }
        assert_eq!(ground.shelf.asked().1, opened, "{line}");
    }
    // The same steps, with everything here: the same result.
    let late = ground.build("FROM base\nCOPY --link --chown=1:2 f /\n");
    assert!(late.all_cached());
    assert_eq!(late.image.layers()[..2], layers.map(|l| kiln_testkit::image::digest_of(&l)));
}

fn abandoned() {
    let ground = Ground::new();
    let layer = layer("1");
    ground.shelf.put("base", std::slice::from_ref(&layer), |_| {});
    *ground.shelf.stuck.lock().unwrap() = Some(Digest::of(&layer));
    let text = "FROM base AS slow\nWORKDIR /w\nFROM scratch\nCOPY nothing /\nCOPY --from=slow / /\n";
    let error = ground.try_build(&ground.request(text)).err().unwrap();
    assert!(matches!(error.kind, BuildErrorKind::MissingSource { .. }), "{error:?}");
}

fn forged() {
    let ground = Ground::new();
    let good = layer("1");
    ground.shelf.put("base", std::slice::from_ref(&good), |_| {});
    for bad in [layer("2"), good[..good.len() - 600].to_vec(), b"no tar at all".to_vec(), Vec::new()] {
        ground.shelf.forge(&good, &bad);
        let BuildErrorKind::Base { source, .. } = ground.fails("FROM base\nCOPY --from=base /f /g\n") else {
            panic!("another error")
        };
        assert!(matches!(source.kind, SourceErrorKind::Mismatch { .. }), "{source}");
        assert!(
            !kiln_testkit::image::blob(&ground.store().join("oci"), &kiln_testkit::image::digest_of(&bad))
                .exists()
        );
    }
    ground.shelf.forge(&good, &good);
    assert_eq!(ground.build("FROM base\nCOPY --from=base /f /g\n").image.file("g"), "1");
}

fn wrong_diff_id() {
    let ground = Ground::new();
    let other = kiln_oci::digest::DiffId(kiln_oci::digest::Digest::of(b"x"));
    ground.shelf.put("base", &[layer("1")], |config| config.rootfs.diff_ids = vec![other]);
    let error = ground.fails("FROM base\nCOPY --from=base /f /g\n");
    assert!(matches!(error, BuildErrorKind::Base { .. }), "{error}");
    ground.shelf.put("base", &[layer("1")], |config| config.rootfs.diff_ids.clear());
    let error = ground.fails("FROM base\n");
    assert!(matches!(error, BuildErrorKind::Base { .. }), "{error}");
}

fn unreachable() {
    let ground = Ground::new();
    ground.shelf.put("base", &[layer("1")], |_| {});
    let first = ground.build("FROM base\n");
    ground.shelf.gone.store(true, Ordering::Relaxed);
    let hurried = || ground.shelf.hurried.load(Ordering::Relaxed);
    assert_eq!(hurried(), 0, "what is not known yet is worth waiting for");
    let second = ground.build("FROM base\n");
    assert_eq!(hurried(), 1, "what is known is not");
    assert_eq!(first.image.digest, second.image.digest);
    let told =
        |event: &Event| matches!(event, Event::Notice { message, .. } if message.contains("cannot reach"));
    assert!(second.events.iter().any(told), "nothing is taken from the past in silence");
    assert!(matches!(ground.fails("FROM other\n"), BuildErrorKind::Base { .. }));
}

fn own_image() {
    let ground = Ground::new();
    ground.write("f", "1");
    let request = ground.request("FROM scratch\nCOPY f /f\n");
    ground.try_build_named(&request, "mine:1").unwrap();
    let done = ground.build("FROM mine:1\nCOPY f /g\n");
    assert_eq!((done.names(), ground.shelf.asked()), (vec!["f".to_owned(), "g".to_owned()], (0, 0)));
}

fn same_files_other_tar() {
    let ground = Ground::new();
    ground.write("a", "first");
    ground.write("b", "second");
    // The same two files in another order: entries alike, places in the tar not.
    let other = Tape::new().with("b", b"second", (0o644, 0)).with("a", b"first", (0o644, 0)).bytes();
    ground.shelf.put("base", &[other], |_| {});
    ground.build("FROM scratch\nCOPY a b /\n");
    ground.build("FROM base\nCOPY --from=base /a /c\n");
    let done = ground.build(
        "FROM scratch AS mine\nCOPY a b /\nFROM scratch\nCOPY --from=mine /b /d\nCOPY --from=base /b /e\n",
    );
    assert_eq!([done.image.file("d"), done.image.file("e")], ["second", "second"]);
}

fn whiteouts() {
    let ground = Ground::new();
    let low = Tape::new()
        .with("d/", b"", (0o755, 0))
        .with("d/a", b"1", (0o644, 0))
        .with("d/b", b"1", (0o644, 0))
        .with("e/", b"", (0o755, 0))
        .with("e/a", b"1", (0o644, 0))
        .bytes();
    let high = Tape::new()
        .with("d/.wh.a", b"", (0o644, 0))
        .with("e/.wh..wh..opq", b"", (0o644, 0))
        .with("e/new", b"2", (0o644, 0))
        .bytes();
    ground.shelf.put("base", &[low, high], |_| {});
    let done = ground.build("FROM scratch\nCOPY --from=base / /\n");
    assert_eq!(done.names(), ["d/b", "e/new"], "what is hidden is not copied, and no mark is");
    assert!(matches!(
        ground.fails("FROM scratch\nCOPY --from=base /d/a /\n"),
        BuildErrorKind::MissingSource { .. }
    ));
}

fn triggers() {
    let ground = Ground::new();
    ground.write("f", "1");
    ground.shelf.put("base", &[layer("0")], |config| config.config.on_build = vec!["COPY f /t/".to_owned()]);
    let done = ground.build("FROM base\n");
    assert_eq!(done.names(), ["f", "t/f"]);
    assert!(done.image.config["config"].get("OnBuild").is_none());
}

fn unknown() {
    let ground = Ground::new();
    let error = ground.try_build(&ground.request("FROM scratch AS a\n\nFROM nobody:1\n")).err().unwrap();
    assert_eq!(error.at.as_ref().map(|at| at.line), Some(3));
    assert_eq!(error.to_string(), "cannot get base image nobody:1");
}
