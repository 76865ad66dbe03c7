//! Registries: honest ones, locked ones, and those that lie.

use std::os::unix::fs::PermissionsExt;

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;
use kiln_testkit::machine::{LOCKED_PASSWORD, LOCKED_USER, Machine};
use kiln_testkit::outcome::Outcome;
use kiln_testkit::peers::{self, tool};
use kiln_testkit::server::{FILE, Manner, Server};

/// Builds an image of one COPY on top of what this server has.
fn build_from(kiln: &Kiln, image: &str) -> Outcome {
    let dockerfile = format!("\nFROM {image}\nCOPY <<E /mine\nmine\nE\n");
    let spec = format!("type=oci,dest={},tar=false", kiln.scratch.join("image").display());
    kiln.build_text(&dockerfile, &[]).args(["--output", &spec]).run()
}

#[test]
fn lies_are_found() {
    let cases: [(Manner, &[&str]); 9] = [
        (Manner::OtherByte, &["digest|sha256"]),
        (Manner::CutShort, &["bytes|ended|end of file|truncated|cut|incomplete"]),
        (Manner::TooLong, &["size|bytes|longer|digest"]),
        (Manner::WrongDiffId, &["uncompressed", "does not match"]),
        (Manner::Status(401), &["401|unauthorized|denied|credentials"]),
        (Manner::Status(403), &["403|forbidden|denied"]),
        (Manner::Status(404), &["404|not found|no such"]),
        (Manner::Status(429), &["429|too many|rate limit"]),
        (Manner::Status(500), &["500|server error"]),
    ];
    let mut wrong = Vec::new();
    for (manner, words) in cases {
        let server = Server::start(manner);
        let kiln = Kiln::new(Actor::NoSub);
        let outcome = build_from(&kiln, &server.image());
        let place = server.address.to_string();
        let wanted = [words, &[place.as_str(), ":2|line 2"]].concat();
        let said = outcome.stderr.to_lowercase();
        let unsaid: Vec<_> =
            wanted.iter().filter(|word| !word.split('|').any(|w| said.contains(w))).collect();
        if outcome.code != 4 || !unsaid.is_empty() || kiln.scratch.join("image").exists() {
            wrong.push(format!("## {manner:?}: wanted 4, unsaid {unsaid:?}\n{outcome}"));
        }
        kiln.store_is_whole();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_digest_in_the_reference_is_kept_to() {
    let kiln = Kiln::new(Actor::NoSub);
    let other = Server::start(Manner::OtherManifest);
    let image = format!("{}@{}", other.image(), other.digest);
    build_from(&kiln, &image).fails(4, &["does not match", &other.digest]);
    let honest = Server::start(Manner::Honest);
    build_from(&kiln, &format!("{}@{}", honest.image(), honest.digest)).succeeds();
}

#[test]
fn nobody_listens() {
    let kiln = Kiln::new(Actor::NoSub);
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    build_from(&kiln, &format!("{free}/x:1")).fails(4, &[&free.to_string(), "refused", ":2|line 2"]);
    kiln.store_is_whole();
}

#[test]
fn trying_again_helps() {
    for (status, times) in [(429, 2), (500, 1), (503, 2)] {
        let server = Server::start(Manner::StatusAtFirst(status, times));
        let kiln = Kiln::new(Actor::NoSub);
        build_from(&kiln, &server.image()).succeeds();
        let image = kiln_testkit::image::Layout::open(&kiln.scratch.join("image"));
        assert_eq!(image.file(FILE.0), FILE.1, "after {status}");
    }
}

#[test]
fn a_token_is_fetched() {
    let server = Server::start(Manner::Token);
    let kiln = Kiln::new(Actor::NoSub);
    build_from(&kiln, &server.image()).succeeds();
    assert!(
        server.requests().iter().any(|r| r.starts_with("GET /token?") && r.contains("pull")),
        "{:?}",
        server.requests()
    );
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let server = Server::start(Manner::Honest);
    let kiln = Kiln::new(Actor::NoSub);
    build_from(&kiln, &server.image()).succeeds();
    let blobs = || server.requests().iter().filter(|r| r.contains("/blobs/")).count();
    let before = blobs();
    fs_err::remove_dir_all(kiln.scratch.join("image")).expect("just made");
    build_from(&kiln, &server.image()).succeeds();
    assert_eq!(blobs(), before, "{:?}", server.requests());
}

#[test]
fn push_and_pull_back() {
    let name = format!("{}/pushed/app", Machine::get().registry);
    let first = Kiln::new(Actor::Sub);
    let dockerfile = "FROM base\nRUN echo built > /built\nCOPY a /a\nCMD [\"cat\", \"/built\"]\n";
    let tag = format!("{name}:{}", std::process::id());
    first.build_text(dockerfile, &[("a", "A")]).args(["-t", &tag, "--push"]).run().succeeds();
    let image = first.build_text(dockerfile, &[("a", "A")]).to_layout("image");
    peers::registry_has(&tag, &image);

    let second = Kiln::new(Actor::Root);
    let above =
        second.build_text(&format!("FROM {tag}\nRUN cat /built /a > /both\n"), &[]).to_layout("image");
    assert_eq!(
        above.layers()[..image.layers().len()],
        image.layers(),
        "the pushed layers are kept as they are"
    );
    assert_eq!(above.file("both"), "built\nA");
}

/// Where docker keeps what it knows about registries.
fn docker_config(kiln: &Kiln, json: &str) {
    kiln.scratch.tree(".docker", &[("config.json:600", json)]);
}

#[test]
fn passwords() {
    let locked = &Machine::get().locked_registry;
    let image = format!("{locked}/kept:1");
    let source = format!("docker://{}", Machine::get().base("busybox:1.35"));
    let login = format!("{LOCKED_USER}:{LOCKED_PASSWORD}");
    let target = format!("docker://{image}");
    let arguments = [
        "--insecure-policy",
        "copy",
        "-q",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--dest-creds",
    ];
    tool("skopeo", &[&arguments[..], &[&login, &source, &target]].concat());

    let kiln = Kiln::new(Actor::NoSub);
    build_from(&kiln, &image).fails(4, &["401|unauthorized|credentials|denied", locked, "login"]);

    docker_config(&kiln, &format!(r#"{{"auths": {{"{locked}": {{"auth": "a2lsbjpub3QgdGhpcw=="}}}}}}"#));
    build_from(&kiln, &image).fails(4, &["401|unauthorized|credentials|denied"]);

    // base64 of kiln:s3cret
    docker_config(&kiln, &format!(r#"{{"auths": {{"{locked}": {{"auth": "a2lsbjpzM2NyZXQ="}}}}}}"#));
    build_from(&kiln, &image).succeeds();
    let pushed = format!("{locked}/mine:1");
    kiln.build_text("FROM base\nCOPY <<E /f\nE\n", &[]).args(["-t", &pushed, "--push"]).run().succeeds();
}

#[test]
fn credential_helpers() {
    let locked = &Machine::get().locked_registry;
    let kiln = Kiln::new(Actor::NoSub);
    let answer =
        format!(r#"{{"ServerURL":"{locked}","Username":"{LOCKED_USER}","Secret":"{LOCKED_PASSWORD}"}}"#);
    let script = format!("#!/bin/sh\n[ \"$1\" = get ] && cat >> \"$HOME/asked\" && echo '{answer}'\n");
    let bin = kiln.scratch.tree("bin", &[("docker-credential-kilntest:755", &script)]);
    docker_config(&kiln, &format!(r#"{{"credHelpers": {{"{locked}": "kilntest"}}}}"#));
    let tag = format!("{locked}/helped:1");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let build =
        kiln.build_text("FROM base\nCOPY <<E /f\nE\n", &[]).args(["-t", &tag, "--push"]).env("PATH", &path);
    build.run().succeeds();
    let asked = fs_err::read_to_string(kiln.scratch.join("asked")).expect("the helper was asked");
    assert!(asked.contains(locked.as_str()), "{asked}");
    let mode = fs_err::metadata(kiln.scratch.join(".docker/config.json")).expect("ours").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the file is not touched");
}
