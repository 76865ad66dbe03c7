//! Law 3: a Dockerfile without RUN builds as anybody, with no namespaces at all, with exact owners and modes.

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;
use kiln_testkit::peers::Docker;

const DOCKERFILE: &str = "\
FROM base AS tools
WORKDIR /opt/tools
COPY --chmod=4755 tool ./
FROM base
USER 77
WORKDIR /srv/data
COPY --from=tools --chown=5:6 /opt/tools/tool /bin/tool
COPY --chown=nobody:nogroup data/ ./
ADD archive.tar /unpacked/
COPY <<EOT /etc/motd
hello
EOT
CMD [\"cat\", \"/etc/motd\"]
";

#[test]
fn nobody_at_all_can_build_files() {
    let kiln = Kiln::new(Actor::NoNamespaces);
    let context = kiln
        .scratch
        .tree("context", &[("tool:755", "#!/bin/sh\n"), ("data/a:640", "a"), ("data/sub/b", "b")]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o600);
    header.set_uid(1234);
    header.set_gid(4321);
    tar.append_data(&mut header, "inside", b"i".as_slice()).expect("memory takes it");
    fs_err::write(context.join("archive.tar"), tar.into_inner().expect("memory takes it"))
        .expect("scratch is writable");
    kiln.scratch.give(&context);
    let file = kiln.scratch.tree("dockerfiles", &[("Dockerfile", DOCKERFILE)]).join("Dockerfile");
    let file = file.display().to_string();

    let image = kiln.build(&context).args(["-f", &file]).to_layout("image");
    let files = image.files();
    let wanted = [
        ("bin/tool", 0o4755, 5, 6),
        ("srv/data", 0o755, 77, 77),
        ("srv/data/a", 0o640, 65534, 65534),
        ("srv/data/sub/b", 0o644, 65534, 65534),
        ("unpacked/inside", 0o600, 1234, 4321),
        ("etc/motd", 0o644, 0, 0),
    ];
    for (path, mode, uid, gid) in wanted {
        let entry = files.get(path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!((entry.mode, entry.uid, entry.gid), (mode, uid, gid), "{path}");
    }

    let name = "kiln-test/files:1";
    let archive =
        kiln.build(&context).args(["-f", &file, "-t", name, "-o", "type=docker,dest=-"]).run().succeeds();
    Docker::own().load(&archive.stdout, name);
    assert_eq!(Docker::own().run(&["run", "--rm", "--network", "none", name]), "hello\n");
}

#[test]
fn the_base_is_never_unpacked() {
    let kiln = Kiln::new(Actor::NoSub);
    kiln.build_text("FROM base\nCOPY x /x\n", &[("x", "x")]).to_layout("image");
    let unpacked =
        walkdir::WalkDir::new(kiln.store()).into_iter().flatten().any(|e| e.file_name() == "busybox");
    assert!(!unpacked, "the base's files lie in the store");
}

#[test]
fn a_step_needs_more_and_says_so() {
    let kiln = Kiln::new(Actor::NoNamespaces);
    kiln.build_text("FROM base\nCOPY x /\nRUN true\n", &[("x", "x")])
        .run()
        .fails(3, &["namespace", "kiln doctor"]);
    kiln.store_is_whole();
}
