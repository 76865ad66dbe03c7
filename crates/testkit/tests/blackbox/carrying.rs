//! Caches on their way from machine to machine: `--cache-to` and `--cache-from`, `kiln cache export` and `import`.

use std::path::{Path, PathBuf};

use kiln_testkit::actor::Actor;
use kiln_testkit::image::Layout;
use kiln_testkit::kiln::{Build, Kiln};
use kiln_testkit::machine::Machine;
use kiln_testkit::peers::{blobs_match_their_names, tool};

const STAGES: &str = "\
FROM base AS build
COPY a /a
RUN cat /a /proc/sys/kernel/random/uuid > /made && touch -d @1500000000 /made
FROM base
ENV BEFORE=layers
WORKDIR /srv
COPY --from=build /made /srv/made
RUN cat /srv/made > /copy
";

fn spec(kind: &str, key: &str, path: &Path, more: &str) -> String {
    format!("type={kind},{key}={}{more}", path.display())
}

fn shared(kiln: &Kiln) -> PathBuf {
    kiln.scratch.join("carried")
}

#[test]
fn a_fresh_machine_hits_on_every_step() {
    for actor in Actor::RUNNERS {
        let modes: &[&str] = if actor == Actor::Root { &["min", "max"] } else { &["max"] };
        for mode in modes {
            let first = Kiln::new(actor);
            let dir = shared(&first);
            let to = spec("local", "dest", &dir, &format!(",mode={mode}"));
            let made = first.build_text(STAGES, &[("a", "A")]).args(["--cache-to", &to]).to_layout("first");
            blobs_match_their_names(&dir);
            let second = Kiln::new(actor);
            let from = spec("local", "src", &dir, "");
            let again =
                second.build_text(STAGES, &[("a", "A")]).args(["--cache-from", &from, "--require-cached"]);
            let again = own(again, &second, "second");
            assert_eq!(
                made.digest, again.digest,
                "{actor:?} mode={mode}: nothing ran, or the uuid had changed"
            );

            // Whoever runs it, a key is a key.
            if actor == Actor::Root {
                bases_stay_where_they_are(&from, mode);
            }

            // What comes after a change runs; what stands before it does not, bytes or no bytes.
            let changed = STAGES.replace("cat /srv/made > /copy", "cat /srv/made /made > /copy || true");
            let third = Kiln::new(actor);
            let after = third.build_text(&changed, &[("a", "A")]).args(["--cache-from", &from]);
            let after = own(after, &third, "third");
            assert_eq!(after.file("srv/made"), made.file("srv/made"), "{actor:?} mode={mode}");
        }
    }
}

/// Nobody needs a file of the base where every step hits and nothing leaves: the cache tells what is in it. What was found elsewhere
/// explains the next miss like what was made here.
fn bases_stay_where_they_are(from: &str, mode: &str) {
    let kiln = Kiln::new(Actor::Root);
    let build = |a: &str, how: &str| {
        kiln.build_text(STAGES, &[("a", a)]).args(["--cache-from", from, how]).run().succeeds()
    };
    let said = build("A", "--require-cached");
    assert!(!said.stderr.contains("pull "), "mode={mode}: {said}");
    let foreseen = build("other", "--dry-run");
    assert!(foreseen.text().contains("file a: "), "mode={mode}: {foreseen}");
}

/// Builds an image that is the same as one which others have read, or of which a file is wanted: nobody else looks at it.
fn own(build: Build<'_>, kiln: &Kiln, name: &str) -> Layout {
    let dest = kiln.scratch.join(name);
    build.args(["--output", &format!("type=oci,dest={},tar=false", dest.display())]).run().succeeds();
    Layout::open(&dest)
}

#[test]
fn bytes_that_no_cache_has_are_made_again() {
    let first = Kiln::new(Actor::Sub);
    let dir = shared(&first);
    let to = spec("local", "dest", &dir, ",mode=min");
    let made = first.build_text(STAGES, &[("a", "A")]).args(["--cache-to", &to]).to_layout("first");
    // The copy wants another file of the stage whose bytes were not kept.
    let changed = STAGES.replace("COPY --from=build /made /srv/made", "COPY --from=build /made /a /srv/");
    let second = Kiln::new(Actor::Sub);
    let from = spec("local", "src", &dir, "");
    let built = second.build_text(&changed, &[("a", "A")]).args(["--cache-from", &from]);
    let image = built.to_layout("second");
    assert_eq!(image.file("srv/a"), "A");
    assert_ne!(image.file("srv/made"), made.file("srv/made"), "that stage ran again");
}

#[test]
fn a_cache_that_is_missing_or_damaged_stops_nothing() {
    let first = Kiln::new(Actor::NoSub);
    let dir = shared(&first);
    let to = spec("local", "dest", &dir, ",mode=max");
    let from = spec("local", "src", &dir, "");
    let build = |kiln: &Kiln, name: &str| {
        let both = ["--cache-from", from.as_str(), "--cache-to", to.as_str()];
        let dest = format!("type=oci,dest={},tar=false", kiln.scratch.join(name).display());
        let outcome = kiln.build_text(STAGES, &[("a", "A")]).args(both).args(["-o", &dest]).run().succeeds();
        kiln.run(["verify", &kiln.scratch.join(name).display().to_string()]).succeeds();
        outcome
    };
    let said = build(&first, "first");
    assert!(said.stderr.contains("there is no cache yet"), "{said}");
    let blobs = dir.join("blobs/sha256");
    let index = fs_err::read(dir.join("index.json")).expect("a layout");
    let manifest: serde_json::Value = serde_json::from_slice(&index).expect("JSON");
    let manifest = manifest["manifests"][0]["digest"].as_str().expect("a digest")[7..].to_owned();
    let config: serde_json::Value =
        serde_json::from_slice(&fs_err::read(blobs.join(&manifest)).expect("the manifest")).expect("JSON");
    let layers = config["layers"].as_array().expect("layers").iter();
    let parts: Vec<String> =
        layers.map(|l| l["digest"].as_str().expect("a digest")[7..].to_owned()).collect();
    let config = config["config"]["digest"].as_str().expect("a digest")[7..].to_owned();

    // Every layer and index with other bytes of the same length: each is found out, made again, and mended in the cache.
    for part in &parts {
        let path = blobs.join(part);
        let mut bytes = fs_err::read(&path).expect("a blob");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs_err::write(&path, bytes).expect("we are root");
    }
    let said = build(&Kiln::new(Actor::NoSub), "damaged");
    assert!(said.stderr.contains("made again"), "{said}");
    blobs_match_their_names(&dir);

    for (name, path) in [("config", blobs.join(&config)), ("manifest", blobs.join(&manifest))] {
        if path.exists() {
            fs_err::write(&path, b"{").expect("we are root");
        }
        build(&Kiln::new(Actor::NoSub), name);
    }
    build(&Kiln::new(Actor::NoSub), "mended");
}

#[test]
fn a_cache_in_a_registry() {
    let first = Kiln::new(Actor::NoSub);
    let name = format!("{}/carried/steps:{}", Machine::get().registry, std::process::id());
    let to = format!("type=registry,ref={name},mode=max");
    let made = first.build_text(STAGES, &[("a", "A")]).args(["--cache-to", &to]).to_layout("first");
    let second = Kiln::new(Actor::NoSub);
    let again = second.build_text(STAGES, &[("a", "A")]).args(["--cache-from", &name]);
    let again = own(again, &second, "second");
    assert_eq!(made.digest, again.digest);
    let gone = format!("{name}-gone");
    let third = Kiln::new(Actor::NoSub);
    let said = third.build_text(STAGES, &[("a", "A")]).args(["--cache-from", &gone]).run().succeeds();
    assert!(said.stderr.contains("there is no cache yet"), "{said}");
    third
        .build_text(STAGES, &[("a", "A")])
        .args(["--cache-to", "type=gha"])
        .run()
        .fails(2, &["actions/cache"]);
}

#[test]
fn a_cache_in_the_image_itself() {
    let machine = Machine::get();
    let name = format!("{}/carried/inline:{}", machine.registry, std::process::id());
    let build = |kiln: &Kiln, tag: &str, more: &[&str]| {
        let built =
            kiln.build_text(STAGES, &[("a", "A")]).args(["--push", "-t", tag]).args(more.iter().copied());
        built.run().succeeds();
        tool("skopeo", &["inspect", "--tls-verify=false", "--raw", &format!("docker://{tag}")])
    };
    let first = build(&Kiln::new(Actor::NoSub), &name, &["--cache-to", "type=inline"]);
    let again = format!("{name}-again");
    let second = Kiln::new(Actor::NoSub);
    let more = ["--build-arg", "BUILDKIT_INLINE_CACHE=1", "--cache-from", &name];
    assert_eq!(first, build(&second, &again, &more), "nothing ran, or the uuid had changed");
    // What is built on it has nothing of its records, and is no cache.
    let child = format!("{name}-child");
    second
        .build_text(&format!("FROM {name}\nLABEL a=b\n"), &[])
        .args(["--push", "-t", &child])
        .run()
        .succeeds();
    let said = second.build_text(STAGES, &[("a", "A")]).args(["--cache-from", &child]).run().succeeds();
    assert!(said.stderr.contains("it is an image that carries none"), "{said}");
}

#[test]
fn builds_share_a_directory_and_old_layers_go() {
    let kiln = Kiln::new(Actor::NoSub);
    let dir = shared(&kiln);
    let to = spec("local", "dest", &dir, ",mode=max");
    let build = |text: &str, tag: &str| {
        kiln.build_text(text, &[("a", "A")]).args(["--cache-to", &to, "-t", tag]).run().succeeds();
    };
    let blobs = || fs_err::read_dir(dir.join("blobs/sha256")).expect("a layout").count();
    build("FROM base\nRUN echo one > /f\n", "one");
    let alone = blobs();
    build("FROM base\nRUN echo two > /f\n", "two");
    let both = blobs();
    assert!(both > alone, "the second build adds to what is there");
    build("FROM base\nRUN echo three > /f\n", "two");
    assert_eq!(blobs(), both, "the third takes the second's place, whose layer goes");
    blobs_match_their_names(&dir);
    let index = fs_err::read_to_string(dir.join("index.json")).expect("a layout");
    assert_eq!(index.matches("sha256:").count(), 1, "{index}");

    let said = kiln
        .build_text("FROM base\nRUN true\n", &[("a", "A")])
        .args(["--no-cache-filter", "nothing"])
        .run()
        .succeeds();
    assert!(said.stderr.contains("no stage \"nothing\""), "{said}");
}

const FILL: &str = "\
FROM base
RUN --mount=type=cache,target=/c,id=one --mount=type=cache,target=/d,id=two,mode=0770 \
 mkdir -p /c/dir && seq 1 300000 > /c/dir/numbers && ln -s ../numbers /c/dir/link && ln /c/dir/numbers /c/hard && \
 echo two > /d/two && chmod 640 /c/dir/numbers && touch -d @1500000000 /c/dir/numbers && mkfifo /c/fifo
";
const LOOK: &str = "\
FROM base
RUN --mount=type=cache,target=/c,id=one --mount=type=cache,target=/d,id=two \
 stat -c '%n %a %u:%g %s %h %Y' /c/dir/numbers /c/hard > /seen && readlink /c/dir/link >> /seen && \
 md5sum < /c/hard >> /seen && cat /d/two >> /seen && stat -c %a /d >> /seen && test -p /c/fifo
";

#[test]
fn cache_mounts_come_back_as_they_were() {
    for actor in Actor::RUNNERS {
        let first = Kiln::new(actor);
        let dir = first.scratch.join("mounts").display().to_string();
        first.build_text(FILL, &[]).run().succeeds();
        let seen = first.build_text(LOOK, &[]).to_layout("first").file("seen");
        assert!(seen.contains("two"), "{seen}");
        let said = first.run(["cache", "export", "--all", "-o", &dir]).succeeds().text();
        assert!(said.starts_with("2 caches"), "{said}");
        blobs_match_their_names(Path::new(&dir));
        let again = first.run(["cache", "export", "--all", "-o", &dir]).succeeds().text();
        assert!(again.contains("0 of them new"), "{again}");
        assert_eq!(said.lines().last(), again.lines().last(), "the same files give the same artifact");

        let second = Kiln::new(actor);
        let ids = second.run(["cache", "import", "-i", &dir]).succeeds().text();
        assert_eq!(ids, "one\ntwo\n");
        assert_eq!(own(second.build_text(LOOK, &[]), &second, "second").file("seen"), seen, "{actor:?}");
        let list = second.run(["cache", "ls"]).succeeds().text();
        assert!(list.contains("one") && list.contains("two"), "{list}");
    }
}

#[test]
fn a_damaged_artifact_replaces_nothing() {
    let first = Kiln::new(Actor::Sub);
    let dir = first.scratch.join("mounts");
    let text = dir.display().to_string();
    first.build_text(FILL, &[]).run().succeeds();
    first.run(["cache", "export", "--all", "-o", &text]).succeeds();
    let second = Kiln::new(Actor::Sub);
    second.run(["cache", "import", "-i", &text]).succeeds();
    let seen = own(second.build_text(LOOK, &[]), &second, "before").file("seen");

    let blobs = dir.join("blobs/sha256");
    for entry in fs_err::read_dir(&blobs).expect("a layout") {
        let path = entry.expect("readable").path();
        let whole = fs_err::read(&path).expect("a blob");
        for damaged in [whole[..whole.len() / 2].to_vec(), {
            let mut other = whole.clone();
            let middle = other.len() / 2;
            other[middle] ^= 0x55;
            other
        }] {
            fs_err::write(&path, damaged).expect("we are root");
            let outcome = second.run(["cache", "import", "-i", &text, "--id", "one"]);
            assert!(outcome.code != 70, "{outcome}");
            if outcome.code != 0 {
                assert!(outcome.stderr.contains("sha256:") || outcome.stderr.contains("mounts"), "{outcome}");
            }
        }
        fs_err::write(&path, whole).expect("we are root");
    }
    let image = own(second.build_text(LOOK, &[]).args(["--no-cache"]), &second, "after");
    assert_eq!(image.file("seen"), seen);
    second.run(["cache", "import", "-i", &text, "--id", "three"]).fails(2, &["\"three\"", "one, two"]);
    second.run(["cache", "import", "-i", "/nowhere"]).fails(1, &["/nowhere", "not found"]);
    second.run(["cache", "export", "--id", "three", "-o", &text]).fails(2, &["\"three\"", "one, two"]);
    tool("skopeo", &["inspect", "--raw", &format!("oci:{text}:caches")]);
}

#[test]
fn cache_mounts_in_a_registry_and_a_small_change() {
    let first = Kiln::new(Actor::Sub);
    let name = format!("{}/carried/mounts:{}", Machine::get().registry, std::process::id());
    first.build_text(FILL, &[]).run().succeeds();
    let seen = first.build_text(LOOK, &[]).to_layout("first").file("seen");
    first.run(["cache", "export", "--all", &name]).succeeds();
    let add = "FROM base\nRUN --mount=type=cache,target=/d,id=two echo more > /d/more\n";
    first.build_text(add, &[]).run().succeeds();
    let said = first.run(["cache", "export", "--id", "two", &name]).succeeds().text();
    assert!(said.contains("1 cache,") && said.contains("; 1 of them new"), "{said}");
    let second = Kiln::new(Actor::Sub);
    let ids = second.run(["cache", "import", &name]).succeeds().text();
    assert_eq!(ids, "one\ntwo\n", "the other cache stays in the artifact");
    assert_eq!(own(second.build_text(LOOK, &[]), &second, "second").file("seen"), seen);
}
