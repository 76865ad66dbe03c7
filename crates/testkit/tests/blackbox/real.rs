//! The real inputs of `testdata/inputs`.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;
use kiln_testkit::machine::Machine;
use kiln_testkit::outcome::Outcome;
use kiln_testkit::peers::{Docker, podman_load, tool};

fn input(name: &str) -> std::path::PathBuf {
    Machine::testdata().join("inputs").join(name)
}

fn base(name: &str, tag: &str) -> [String; 2] {
    ["--build-context".to_owned(), format!("{name}=docker-image://{}", Machine::get().base(tag))]
}

/// A container that is removed when it is dropped.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        Outcome::of(Docker::own().command(&["rm", "--force", &self.0]));
    }
}

/// Starts the image in the daemon on the host's network and asks it over HTTP.
fn answers(image: &str, greeting: &str) {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let variable = format!("PORT={port}");
    let id = Docker::own().run(&["run", "--detach", "--network", "host", "--env", &variable, image]);
    let container = Container(id.trim().to_owned());
    let address = format!("http://127.0.0.1:{port}/");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", &address]);
        let outcome = Outcome::of(curl);
        if outcome.code == 0 {
            assert_eq!(outcome.text().trim_end(), greeting);
            return;
        }
        let logs = || Outcome::of(Docker::own().command(&["logs", &container.0]));
        assert!(Instant::now() < deadline, "{image} did not answer: {outcome}\n{}", logs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Builds a docker archive under a name and loads it into the daemon.
fn load(kiln: &Kiln, context: &Path, arguments: &[String], name: &str) {
    let archive = kiln
        .build(context)
        .args(arguments)
        .args(["-t", name, "--output", "type=docker,dest=-"])
        .run()
        .succeeds();
    Docker::own().load(&archive.stdout, name);
}

#[test]
fn a_go_web_server_pulled_and_built_by_an_ordinary_user() {
    let kiln = Kiln::new(Actor::Sub);
    let context = kiln.scratch.copy(&input("goweb"), "goweb");
    let golang = base("golang:1.19", "golang:1.19");

    let image = kiln.build(&context).args(&golang).to_layout("image");
    let config = &image.config["config"];
    assert_eq!(config["WorkingDir"], "/app");
    assert_eq!(config["Cmd"], serde_json::json!(["./myapp"]));
    assert_eq!(config["ExposedPorts"], serde_json::json!({"8080/tcp": {}}));
    let files = image.files();
    assert!(
        files["app/main.go"].uid == 0 && files["app/myapp"].mode == 0o755,
        "{:?}",
        files["app/myapp"].mode
    );

    load(&kiln, &context, &golang, "kiln-test/goweb:1");
    answers("kiln-test/goweb:1", "Hello, Docker!");

    let archive = kiln.scratch.join("goweb.tar");
    let spec = format!("type=docker,dest={}", archive.display());
    kiln.build(&context).args(&golang).args(["-t", "kiln-test/goweb:1", "-o", &spec]).run().succeeds();
    kiln.run(["verify", &archive.display().to_string()]).succeeds();
    assert!(podman_load(&archive).contains("kiln-test/goweb:1"));

    let scratch =
        [&golang[..], &["-f".to_owned(), context.join("Dockerfile.scratch").display().to_string()]].concat();
    let small = kiln.build(&context).args(&scratch).to_layout("small");
    assert_eq!(small.layers().len(), 1, "one COPY into scratch");
    assert_eq!(small.files().keys().collect::<Vec<_>>(), ["myapp"]);
    load(&kiln, &context, &scratch, "kiln-test/goweb:scratch");
    answers("kiln-test/goweb:scratch", "Hello, Docker!");
}

fn apt_in_a_step(actor: Actor) {
    let kiln = Kiln::new(actor);
    let context = kiln.scratch.copy(&input("apt"), "apt");
    let debian = base("debian", "debian:12");
    let image = kiln.build(&context).args(&debian).to_layout("image");
    let files = image.files();
    assert!(files.contains_key("usr/bin/curl"), "curl is installed");
    for stub in ["etc/resolv.conf", "etc/hosts", ".dockerenv"] {
        assert!(files.get(stub).is_none_or(|f| !f.content.is_empty()), "{stub} is a stub of a mount");
    }
    let owned = files.values().filter(|f| f.uid != 0 || f.gid != 0).count();
    assert!(owned > 0, "Debian has files of other users and groups");
    let name = format!("kiln-test/apt:{}", actor.account());
    load(&kiln, &context, &debian, &name);
    let said = Docker::own().run(&["run", "--rm", "--network", "none", &name]);
    assert!(said.starts_with("curl "), "{said}");
}

#[test]
fn apt_get_install_as_root() {
    apt_in_a_step(Actor::Root);
}

#[test]
fn apt_get_install_as_a_user() {
    apt_in_a_step(Actor::Sub);
}

#[test]
fn a_python_app_with_a_pip_cache() {
    let kiln = Kiln::new(Actor::Sub);
    let context = kiln.scratch.copy(&input("python"), "python");
    let python = base("python:3.11", "python:3.11");
    let image = kiln.build(&context).args(&python).to_layout("image");
    assert_eq!(image.config["config"]["User"], "1000:1000");
    assert!(!image.files().keys().any(|path| path.starts_with("wheels/")), "the cache is not in the image");

    load(&kiln, &context, &python, "kiln-test/python:1");
    let said = Docker::own().run(&["run", "--rm", "--network", "none", "kiln-test/python:1"]);
    assert_eq!(said.trim_end(), "<h1>Hello, &lt;kiln&gt;!</h1>");

    // Other requirements run the step again; what was fetched before is still in the cache mount.
    let requirements = context.join("requirements.txt");
    let text = fs_err::read_to_string(&requirements).expect("part of the input");
    fs_err::write(&requirements, format!("# again\n{text}")).expect("scratch is writable");
    let again = kiln.build(&context).args(&python).run().succeeds();
    again.says(&["already downloaded"]);
}

#[test]
fn what_kiln_exports_is_read_by_skopeo_and_buildah() {
    let kiln = Kiln::new(Actor::NoSub);
    let archive = kiln.scratch.join("image.tar");
    let spec = format!("type=oci,dest={}", archive.display());
    kiln.build_text("FROM base\nRUN echo one > /one\nCOPY two /\n", &[("two", "2")])
        .args(["-o", &spec])
        .run()
        .succeeds();
    kiln.run(["verify", &archive.display().to_string()]).succeeds();
    let image = format!("oci-archive:{}", archive.display());
    let copy = format!("dir:{}", kiln.scratch.join("dir").display());
    tool("skopeo", &["--insecure-policy", "copy", "-q", &image, &copy]);
    let (root, run) = (kiln.scratch.join("buildah"), kiln.scratch.join("buildah-run"));
    let storage = [
        "--root",
        &root.display().to_string(),
        "--runroot",
        &run.display().to_string(),
        "--storage-driver",
        "vfs",
    ];
    let pulled = tool("buildah", &[&storage[..], &["pull", "--quiet", &image]].concat());
    assert!(!pulled.trim().is_empty());
}
