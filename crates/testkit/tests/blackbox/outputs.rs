//! Where a result can go.

use kiln_testkit::actor::Actor;
use kiln_testkit::image::{Layout, digest_of};
use kiln_testkit::kiln::Kiln;
use kiln_testkit::machine::Machine;
use kiln_testkit::outcome::Outcome;
use kiln_testkit::peers::{self, Docker, podman_load};

const DOCKERFILE: &str =
    "FROM base\nRUN echo made > /made\nCOPY --chmod=600 --chown=3:4 a /a\nCMD [\"cat\", \"/made\"]\n";

#[test]
fn an_archive_for_docker_and_podman() {
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        let name = format!("kiln-test/outputs:{}-{actor:?}", std::process::id()).to_lowercase();
        let path = kiln.scratch.join("docker.tar");
        let spec = format!("type=docker,dest={}", path.display());
        kiln.build_text(DOCKERFILE, &[("a", "A")]).args(["-t", &name, "-o", &spec]).run().succeeds();
        kiln.run(["verify", &path.display().to_string()]).succeeds();
        let streamed = kiln
            .build_text(DOCKERFILE, &[("a", "A")])
            .args(["-t", &name, "-o", "type=docker,dest=-"])
            .run()
            .succeeds();
        let written = fs_err::read(&path).expect("just written");
        assert_eq!(
            digest_of(&streamed.stdout),
            digest_of(&written),
            "streamed or written, the bytes are the same"
        );
        for docker in Docker::each() {
            docker.load(&streamed.stdout, &name);
            assert_eq!(docker.run(&["run", "--rm", "--network", "none", &name]), "made\n", "{docker:?}");
        }
        assert!(podman_load(&path).contains(&name));
    }
}

#[test]
fn a_layout_as_archive_and_as_folder() {
    let kiln = Kiln::new(Actor::NoSub);
    let folder = kiln.build_text(DOCKERFILE, &[("a", "A")]).to_layout("folder");
    let archive = kiln.build_text(DOCKERFILE, &[("a", "A")]).args(["-o", "type=oci,dest=-"]).run().succeeds();
    let unpacked = kiln.scratch.join("unpacked");
    tar::Archive::new(archive.stdout.as_slice()).unpack(&unpacked).expect("a tar archive");
    assert_eq!(Layout::open(&unpacked).digest, folder.digest);
    peers::verify_whole(&unpacked);
}

#[test]
fn files_as_folder_and_as_tar() {
    for actor in [Actor::Root, Actor::Sub, Actor::NoSub] {
        let kiln = Kiln::new(actor);
        let folder = kiln.scratch.join("rootfs");
        let spec = format!("type=local,dest={}", folder.display());
        kiln.build_text(DOCKERFILE, &[("a", "A")]).args(["-o", &spec]).run().succeeds();
        assert_eq!(fs_err::read_to_string(folder.join("made")).expect("exported"), "made\n", "{actor:?}");
        assert!(folder.join("bin/busybox").exists(), "{actor:?}");
        let tar = kiln.build_text(DOCKERFILE, &[("a", "A")]).args(["-o", "type=tar,dest=-"]).run().succeeds();
        let mut archive = tar::Archive::new(tar.stdout.as_slice());
        let entries = archive.entries().expect("a tar archive").map(|e| e.expect("a whole tar archive"));
        let a =
            entries.into_iter().find(|e| e.path().is_ok_and(|p| p.ends_with("a") && p.iter().count() <= 2));
        let header = a.expect("/a is in it").header().clone();
        let owner = (header.uid().ok(), header.gid().ok(), header.mode().ok().map(|m| m & 0o7777));
        assert_eq!(owner, (Some(3), Some(4), Some(0o600)), "{actor:?}");
    }
}

#[test]
fn platforms_have_folders() {
    let kiln = Kiln::new(Actor::NoSub);
    let text = "FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH} /f\n";
    let files = [("amd64", "A"), ("arm64", "B")];
    let both = kiln.build_text(text, &files).args([
        "--platform",
        "linux/amd64,linux/arm64",
        "-o",
        "type=tar,dest=-",
    ]);
    let tar = both.run().succeeds();
    let mut archive = tar::Archive::new(tar.stdout.as_slice());
    let entries = archive.entries().expect("a tar archive").map(|e| e.expect("a whole tar archive"));
    let names: Vec<_> = entries.map(|e| e.path().expect("a path").display().to_string()).collect();
    assert_eq!(names, ["linux_amd64/", "linux_amd64/f", "linux_arm64/", "linux_arm64/f"]);
    let folder = kiln.scratch.join("split");
    let spec = format!("type=local,dest={}", folder.display());
    let one = kiln.build_text(text, &files).args(["--platform", "linux/arm64", "-o", &spec]);
    one.args(["--build-arg", "BUILDKIT_MULTI_PLATFORM=1"]).run().succeeds();
    assert_eq!(fs_err::read_to_string(folder.join("linux_arm64/f")).expect("split"), "B");
}

#[test]
fn files_about_the_image() {
    let kiln = Kiln::new(Actor::NoSub);
    let (id, metadata) = (kiln.scratch.join("id"), kiln.scratch.join("metadata.json"));
    let files = [
        "--iidfile".to_owned(),
        id.display().to_string(),
        "--metadata-file".to_owned(),
        metadata.display().to_string(),
    ];
    let image = kiln.build_text(DOCKERFILE, &[("a", "A")]).args(files).to_layout("image");
    let config = image.manifest["config"]["digest"].as_str().expect("a digest").to_owned();
    let id = fs_err::read_to_string(id).expect("--iidfile");
    assert!([&config, &image.digest].contains(&&id.trim().to_owned()), "{id} is neither config nor manifest");
    let metadata = fs_err::read_to_string(metadata).expect("--metadata-file");
    let metadata: serde_json::Value = serde_json::from_str(&metadata).expect("JSON");
    assert_eq!(metadata["containerimage.digest"], image.digest.as_str());
    assert_eq!(metadata["containerimage.config.digest"], config.as_str());
}

#[test]
fn quiet_prints_the_id_and_nothing_else() {
    let kiln = Kiln::new(Actor::NoSub);
    let outcome = kiln.build_text("FROM base\nRUN echo noise\n", &[]).args(["-q"]).run().succeeds();
    assert!(outcome.text().trim().starts_with("sha256:"), "{outcome}");
    assert_eq!(outcome.text().lines().count(), 1, "{outcome}");
    assert_eq!(outcome.stderr, "", "{outcome}");
}

#[test]
fn rawjson_is_a_line_of_json_for_each_event() {
    let kiln = Kiln::new(Actor::NoSub);
    let outcome =
        kiln.build_text("FROM base\nRUN echo noise\n", &[]).args(["--progress", "rawjson"]).run().succeeds();
    let events = outcome.stderr.lines().map(serde_json::from_str::<serde_json::Value>);
    let events: Vec<_> = events.map(|e| e.unwrap_or_else(|error| panic!("{error}: {outcome}"))).collect();
    assert!(events.len() > 2, "{outcome}");
}

#[test]
fn a_context_from_standard_input() {
    let kiln = Kiln::new(Actor::NoSub);
    let base = format!("base=docker-image://{}", Machine::get().base("busybox:1.35"));
    let build = |name: &str, input: &[u8]| {
        let dest = kiln.scratch.join(name);
        let spec = format!("type=oci,dest={},tar=false", dest.display());
        Outcome::with_input(kiln.command(["build", "--build-context", &base, "-o", &spec, "-"]), input)
            .succeeds();
        Layout::open(&dest).file("f")
    };
    assert_eq!(build("text", b"FROM base\nCOPY <<E /f\nfrom stdin\nE\n"), "from stdin\n");

    let context =
        kiln.scratch.tree("context", &[("Dockerfile", "FROM base\nCOPY f /f\n"), ("f", "from a tar\n")]);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", &context).expect("memory takes it");
    assert_eq!(build("tar", &tar.into_inner().expect("memory takes it")), "from a tar\n");
}

#[test]
fn a_layout_is_a_base() {
    let kiln = Kiln::new(Actor::NoSub);
    let first = kiln.build_text(DOCKERFILE, &[("a", "A")]).to_layout("first");
    let context = format!("mine=oci-layout://{}", first.path.display());
    let build =
        kiln.build_text("FROM mine\nRUN cat /made > /copied\n", &[]).args(["--build-context", &context]);
    let second = build.to_layout("second");
    assert_eq!(second.layers()[..first.layers().len()], first.layers());
    assert_eq!(second.file("copied"), "made\n");
}
