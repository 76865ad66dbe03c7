//! The judges themselves: an image that nothing of kiln has touched passes, a damaged one does not. Without these, a
//! judge that lets everything pass would go unnoticed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use kiln_testkit::actor::Actor;
use kiln_testkit::image::{Layout, blob};
use kiln_testkit::machine::Machine;
use kiln_testkit::outcome::Outcome;
use kiln_testkit::peers;
use kiln_testkit::scratch::Scratch;
use kiln_testkit::server::{FILE, Manner, Server};

/// Copies an image with skopeo into a layout.
fn copy(scratch: &Scratch, image: &str) -> Outcome {
    let target = format!("oci:{}", scratch.join("layout").display());
    let mut command = Command::new("skopeo");
    command.args([
        "--insecure-policy",
        "copy",
        "-q",
        "--src-tls-verify=false",
        &format!("docker://{image}"),
        &target,
    ]);
    Outcome::of(command)
}

#[test]
fn the_base_is_whole_and_damage_is_seen() {
    let scratch = Scratch::new(Actor::Root);
    copy(&scratch, &Machine::get().base("busybox:1.35")).succeeds();
    let path = scratch.join("layout");
    peers::verify_whole(&path);
    let layout = Layout::open(&path);
    assert!(layout.files().contains_key("bin/busybox"));

    let layer = blob(&path, &layout.layers()[0]);
    let mut bytes = fs_err::read(&layer).expect("just copied");
    let last = bytes.len() - 20;
    bytes[last] ^= 1;
    fs_err::write(&layer, bytes).expect("ours");
    assert!(catch_unwind(AssertUnwindSafe(|| peers::blobs_match_their_names(&path))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| peers::verify_whole(&path))).is_err());
}

#[test]
fn the_lying_registry_lies_to_skopeo_too() {
    let scratch = Scratch::new(Actor::Root);
    copy(&scratch, &Server::start(Manner::Honest).image()).succeeds();
    let layout = Layout::open(&scratch.join("layout"));
    assert_eq!(layout.file(FILE.0), FILE.1);
    copy(&Scratch::new(Actor::Root), &Server::start(Manner::Token).image()).succeeds();
    for manner in
        [Manner::OtherByte, Manner::CutShort, Manner::TooLong, Manner::Status(404), Manner::Status(401)]
    {
        let outcome = copy(&Scratch::new(Actor::Root), &Server::start(manner).image());
        assert_ne!(outcome.code, 0, "{manner:?}");
    }
}

#[test]
fn the_actors_are_who_they_should_be() {
    let id = |actor: Actor, program: &str, arguments: &[&str]| {
        let mut command = actor.command(std::path::Path::new(program));
        command.args(arguments);
        Outcome::of(command)
    };
    for (actor, uid) in
        [(Actor::Root, true), (Actor::Sub, false), (Actor::NoSub, false), (Actor::NoNamespaces, false)]
    {
        let outcome = id(actor, "/usr/bin/id", &["-u"]).succeeds();
        assert_eq!(outcome.text().trim() == "0", uid, "{actor:?}");
    }
    let ranges = fs_err::read_to_string("/etc/subuid").expect("made by users.sh");
    assert!(ranges.contains("kiln-sub:") && !ranges.contains("kiln-nosub:"), "{ranges}");
    id(Actor::NoSub, "/usr/bin/unshare", &["--user", "--map-root-user", "true"]).succeeds();
    assert_ne!(id(Actor::NoNamespaces, "/usr/bin/unshare", &["--user", "true"]).code, 0);
}
