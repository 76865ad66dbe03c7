//! The store: shared, damaged, full.

use std::process::{Command, Stdio};

use kiln_testkit::actor::Actor;
use kiln_testkit::image::{Layout, blob};
use kiln_testkit::kiln::Kiln;
use kiln_testkit::outcome::Outcome;
use kiln_testkit::peers::{blobs_match_their_names, tool};
use kiln_testkit::scratch::Scratch;

#[test]
fn a_second_build_runs_nothing() {
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        let dockerfile =
            "FROM base\nRUN cat /proc/sys/kernel/random/uuid > /id\nCOPY a /a\nRUN cat /a > /b\n";
        let first = kiln.build_text(dockerfile, &[("a", "A")]).to_layout("first");
        let second = kiln.build_text(dockerfile, &[("a", "A")]).to_layout("second");
        assert_eq!(first.digest, second.digest, "{actor:?}");
        let third = kiln.build_text(dockerfile, &[("a", "changed")]).to_layout("third");
        assert_eq!(third.file("id"), first.file("id"), "{actor:?}: the first step is still good");
        assert_eq!(third.file("b"), "changed", "{actor:?}");
        let fresh = kiln.build_text(dockerfile, &[("a", "A")]).args(["--no-cache"]).to_layout("fresh");
        assert_ne!(fresh.file("id"), first.file("id"), "{actor:?}");
    }
}

#[test]
fn the_same_size_and_time_do_not_hide_a_change() {
    let kiln = Kiln::new(Actor::NoSub);
    let build =
        |content: &str, to: &str| kiln.build_text("FROM base\nCOPY a /a\n", &[("a", content)]).to_layout(to);
    assert_eq!(build("one", "first").file("a"), "one");
    assert_eq!(build("two", "second").file("a"), "two");
}

#[test]
fn many_at_once() {
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        let context = kiln.scratch.tree("context", &[("a", "A")]);
        let dockerfiles =
            ["RUN echo x > /x && sleep 0.3", "RUN echo x > /x && sleep 0.3", "COPY a /a", "RUN echo y > /y"];
        let children: Vec<_> = (0..8)
            .map(|n| {
                let text = format!(
                    "FROM base\n{}\nRUN cat /x /y /a > /all 2>/dev/null || true\n",
                    dockerfiles[n % 4]
                );
                let file = kiln.scratch.tree(&format!("d{n}"), &[("Dockerfile", &text)]).join("Dockerfile");
                let tag = format!("many:{n}");
                let build = kiln.build(&context).args(["-t", &tag, "-f", &file.display().to_string()]);
                let mut command = build.command();
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kiln can be started")
            })
            .collect();
        for (n, child) in children.into_iter().enumerate() {
            let output = child.wait_with_output().expect("it was started");
            Outcome::new(format!("build {n} by {actor:?}"), output).succeeds();
        }
        let images = kiln.run(["images"]).succeeds().text();
        for n in 0..8 {
            assert!(
                images.lines().any(|l| l.contains("many") && l.contains(&n.to_string())),
                "{actor:?}: many:{n}\n{images}"
            );
        }
        kiln.store_is_whole();
    }
}

#[test]
fn a_damaged_blob_is_found_and_never_passed_on() {
    let kiln = Kiln::new(Actor::NoSub);
    let dockerfile = "FROM base\nCOPY a /a\n";
    let image = kiln.build_text(dockerfile, &[("a", "A")]).to_layout("image");
    for layer in image.layers() {
        let path = blob(&kiln.store().join("oci"), &layer);
        let mut bytes = fs_err::read(&path).expect("the store has what it exported");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        // Blobs may be read-only; root writes all the same.
        fs_err::write(&path, bytes).expect("we are root");
    }
    let layout = kiln.store().join("oci").display().to_string();
    let spec = format!("type=oci,dest={},tar=false", kiln.scratch.join("after").display());
    let outcome = kiln.build_text(dockerfile, &[("a", "A")]).args(["-t", "damaged", "-o", &spec]).run();
    if outcome.code == 0 {
        blobs_match_their_names(&kiln.scratch.join("after"));
        assert_eq!(Layout::open(&kiln.scratch.join("after")).file("a"), "A");
    } else {
        assert!([1, 3].contains(&outcome.code), "{outcome}");
        outcome.says(&["sha256:", "digest|corrupt|damaged"]);
        assert!(!kiln.scratch.join("after").exists(), "no output is left");
        // What is wrong is verify's answer, so it goes to standard output.
        let verdict = kiln.run(["verify", &layout]);
        assert_eq!(verdict.code, 1, "{verdict}");
        assert!(verdict.text().contains("digest is sha256:"), "{verdict}");
    }
}

#[test]
fn verify_finds_what_is_wrong() {
    let kiln = Kiln::new(Actor::NoSub);
    let image = kiln.build_text("FROM base\nCOPY a /a\n", &[("a", "A")]).to_layout("image");
    let path = blob(&image.path, image.layers().last().expect("a layer"));
    let whole = fs_err::read(&path).expect("just written");
    let damage: [(&str, Vec<u8>); 3] = [
        ("cut", whole[..whole.len() - 1].to_vec()),
        ("longer", [&whole[..], b"x"].concat()),
        ("empty", Vec::new()),
    ];
    for (name, bytes) in damage {
        fs_err::write(&path, bytes).expect("we are root");
        let outcome = kiln.run(["verify", &image.path.display().to_string()]);
        assert_eq!(outcome.code, 1, "{name}: {outcome}");
        assert!(format!("{}{}", outcome.text(), outcome.stderr).contains("sha256:"), "{name}: {outcome}");
    }
    fs_err::remove_file(&path).expect("ours");
    assert_eq!(kiln.run(["verify", &image.path.display().to_string()]).code, 1);
}

/// A small filesystem that is unmounted when it is dropped.
struct Small(std::path::PathBuf);

impl Small {
    fn new(scratch: &Scratch, size: &str) -> Self {
        let path = scratch.join("small");
        fs_err::create_dir(&path).expect("scratch is writable");
        tool(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={size},mode=755"), "tmpfs", &path.display().to_string()],
        );
        scratch.give(&path);
        Self(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        umount.arg("--lazy").arg(&self.0);
        Outcome::of(umount);
    }
}

/// Text that does not compress to less than three quarters.
fn noise(length: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + (state >> 58) as u8)
    };
    (0..length).map(letter).collect()
}

#[test]
fn a_full_disk() {
    for actor in Actor::RUNNERS {
        let scratch = Scratch::new(actor);
        let small = Small::new(&scratch, "24m");
        let store = small.0.join("store");
        let kiln = Kiln::with_store(scratch, store);
        // Dropped in front of the folder that it is mounted in.
        let _small = small;
        kiln.build_text("FROM base\nRUN true\n", &[]).run().succeeds();

        let copied = "FROM base\nCOPY big /big\n";
        let noise = noise(40_000_000);
        let outcome = kiln.build_text(copied, &[("big", &noise)]).args(["-t", "big"]).run();
        outcome.fails(3, &["no space left", "/small/", "--root"]);
        kiln.store_is_whole();

        let step = "FROM base\nRUN dd if=/dev/urandom of=/big bs=1M count=40\n";
        kiln.build_text(step, &[]).run().fails(1, &["no space left"]);
        kiln.store_is_whole();

        let image = kiln.build_text("FROM base\nRUN echo small > /small\n", &[]).to_layout("image");
        assert_eq!(image.file("small"), "small\n", "{actor:?}");
    }
}

#[test]
fn names_and_pruning() {
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        kiln.build_text("FROM base\nRUN echo one > /f\n", &[]).args(["-t", "one"]).run().succeeds();
        kiln.build_text("FROM base\nRUN echo two > /f\n", &[]).args(["-t", "two:2"]).run().succeeds();
        kiln.run(["tag", "one", "other:tag"]).succeeds();
        kiln.run(["rmi", "two:2"]).succeeds();
        let images = kiln.run(["images"]).succeeds().text();
        assert!(images.contains("one") && images.contains("other"), "{images}");
        assert!(!images.contains("two"), "{images}");
        kiln.run(["inspect", "other:tag"]).succeeds();
        kiln.run(["verify", "one"]).succeeds();
        kiln.run(["du"]).succeeds();
        kiln.run(["prune", "--all"]).succeeds();
        kiln.store_is_whole();
        kiln.run(["rmi", "nothing:here"]).fails(2, &["nothing:here"]);
        kiln.build_text("FROM base\nRUN echo one > /f\n", &[]).to_layout("image");
    }
}

#[test]
fn the_store_is_a_layout_that_others_read() {
    let kiln = Kiln::new(Actor::Sub);
    kiln.build_text("FROM base\nRUN echo hello > /hello\n", &[]).args(["-t", "shared:1"]).run().succeeds();
    let index = fs_err::read_to_string(kiln.store().join("oci/index.json")).expect("the store's layout");
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    let tag = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
    let tag = tag.as_str().expect("a tag in the annotation");
    let image = format!("oci:{}:{tag}", kiln.store().join("oci").display());
    let copy = format!("dir:{}", kiln.scratch.join("copy").display());
    tool("skopeo", &["--insecure-policy", "copy", "-q", &image, &copy]);
}

#[test]
fn a_disk_too_full_for_a_store() {
    for actor in Actor::RUNNERS {
        let scratch = Scratch::new(actor);
        let small = Small::new(&scratch, "24m,nr_inodes=12");
        let store = small.0.join("store");
        let kiln = Kiln::with_store(scratch, store.clone());
        // Dropped in front of the folder that it is mounted in.
        let small = small;
        // Nothing is made to find that there is nothing.
        assert!(kiln.run(["prune"]).succeeds().text().starts_with("freed 0B"), "{actor:?}");
        assert!(!store.exists(), "{actor:?}");

        let build = || kiln.build_text("FROM base\nRUN true\n", &[]).run();
        build().fails(3, &["no space left", "/small/", "--root"]);
        assert!(store.exists(), "{actor:?}: the beginnings of a store");
        kiln.run(["prune"]).succeeds();
        kiln.run(["prune", "--all"]).succeeds();

        tool("mount", &["-o", "remount,nr_inodes=5000", &small.0.display().to_string()]);
        build().succeeds();
        kiln.store_is_whole();
    }
}
