//! The same against a registry that is not ours: distribution's `docker-registry`, read back by `skopeo` too.
//!
//! Both programs must be installed; with `KILN_TEST_WITHOUT_REGISTRY` set, these tests pass without doing anything.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;
use kiln_oci::source::{ImageSource as _, SourceErrorKind};
use kiln_registry::{Client, Failure, Options, Push, PushStep, RawManifest};

use crate::image::{Image, image, index};
use crate::push::Log;
use crate::{quick, reference};

/// A running `docker-registry`, ended when dropped.
struct Registry {
    process: Child,
    address: String,
    dir: tempfile::TempDir,
}

impl Registry {
    /// Starts one on a free port; `more` is appended to the configuration's `http` section, with DIR replaced.
    fn start(http: &str, more: &str) -> Option<Self> {
        if std::env::var_os("KILN_TEST_WITHOUT_REGISTRY").is_some() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // Another program may take the port in between; the registry then ends, and another port is tried.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = format!("127.0.0.1:{port}");
            let mut file = String::from("version: 0.1\nlog: {level: info}\n");
            let root = dir.path().display().to_string();
            writeln!(file, "storage: {{filesystem: {{rootdirectory: {root}/data}}}}").unwrap();
            writeln!(file, "http:\n  addr: {address}\n{http}\n{more}").unwrap();
            let path = dir.path().join("config.yml");
            fs_err::write(&path, file.replace("DIR", &root)).unwrap();
            if let Some(process) = spawn(&path) {
                return Some(Self { process, address, dir });
            }
        }
        panic!("docker-registry does not start")
    }

    fn open() -> Option<Self> {
        Self::start("", "")
    }
}

/// Starts the registry and waits until it says that it listens.
fn spawn(config: &Path) -> Option<Child> {
    let command = Command::new("docker-registry")
        .arg("serve")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = command.expect("docker-registry is not installed (see KILN_TEST_WITHOUT_REGISTRY)");
    let mut log = BufReader::new(process.stderr.take().unwrap());
    let mut line = String::new();
    while log.read_line(&mut line).unwrap() > 0 {
        if line.contains("listening on") {
            // Its further words must go somewhere, or it would block.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Some(process);
        }
        line.clear();
    }
    process.wait().unwrap();
    None
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn push(client: &Client, target: &Reference, image: &Image, from: &[&str]) -> Vec<String> {
    let log = Log::default();
    let push = Push {
        target,
        tags: &["one".to_owned(), "two".to_owned()],
        blobs: &image.push_blobs(from),
        manifests: &[],
        root: &image.manifest,
    };
    let digest = client.push(&push, image, &|event| log.take(event)).unwrap();
    assert_eq!(digest, image.manifest.digest);
    log.words()
}

/// Pulls an image whole and compares.
fn check(client: &Client, name: &Reference, image: &Image) {
    let found = client.resolve(name, &"linux/amd64".parse().unwrap()).unwrap();
    assert_eq!(found.manifest_bytes, image.manifest.bytes);
    for layer in &found.layers {
        let mut bytes = Vec::new();
        client.open_blob(&found, layer).unwrap().read_to_end(&mut bytes).unwrap();
        assert!(bytes == image.blobs[&layer.digest]);
    }
}

fn skopeo(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("skopeo").args(arguments).output().expect("skopeo is not installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn what_is_pushed_can_be_pulled_and_is_not_pushed_again() {
    let Some(registry) = Registry::open() else { return };
    let image = image("amd64", &[2_000_000, 70_000, 1, 0, 33_000, 12]);
    let target = reference(&registry.address, "team/app", "one");
    let client = Client::new(quick());
    let first = push(&client, &target, &image, &[]);
    assert_eq!(first.iter().filter(|word| *word == "sent").count(), 7);
    assert_eq!(first[..2], ["manifest one", "manifest two"]);
    let again = push(&client, &target, &image, &[]);
    assert_eq!(again.iter().filter(|word| *word == "exists").count(), 7);
    check(&client, &target, &image);
    check(&client, &reference(&registry.address, "team/app", "two"), &image);
    let by_digest = Reference { tag: None, digest: Some(image.manifest.digest), ..target.clone() };
    check(&client, &by_digest, &image);
    assert_eq!(client.digest(&target).unwrap(), image.manifest.digest);
    let place = format!("docker://{}/team/app:two", registry.address);
    assert_eq!(skopeo(&["inspect", "--raw", "--tls-verify=false", &place]), image.manifest.bytes);
}

#[test]
fn blobs_are_mounted_from_another_repository() {
    let Some(registry) = Registry::open() else { return };
    let image = image("amd64", &[200_000, 50]);
    let client = Client::new(quick());
    push(&client, &reference(&registry.address, "base/image", "one"), &image, &[]);
    let target = reference(&registry.address, "team/app", "one");
    let words = push(&client, &target, &image, &["not/there", "base/image"]);
    assert_eq!(words.iter().filter(|word| *word == "mounted from base/image").count(), 3, "{words:?}");
    check(&client, &target, &image);
}

#[test]
fn an_index_is_pushed_after_its_manifests() {
    let Some(registry) = Registry::open() else { return };
    let (amd, arm) = (image("amd64", &[100]), image("arm64", &[200]));
    let root = index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    let mut both = amd.clone();
    both.blobs.extend(arm.blobs.clone());
    let target = reference(&registry.address, "multi", "x");
    let push = Push {
        target: &target,
        tags: &["x".to_owned()],
        blobs: &[amd.push_blobs(&[]), arm.push_blobs(&[])].concat(),
        manifests: &[amd.manifest.clone(), arm.manifest.clone()],
        root: &root,
    };
    let client = Client::new(quick());
    assert_eq!(client.push(&push, &both, &|_| ()).unwrap(), root.digest);
    check(&client, &target, &amd);
    let found = client.resolve(&target, &"linux/arm64".parse().unwrap()).unwrap();
    assert_eq!((found.root_digest, found.manifest_digest), (root.digest, arm.manifest.digest));
    let place = format!("docker://{}/multi:x", registry.address);
    skopeo(&["inspect", "--override-arch=arm64", "--tls-verify=false", &place]);
}

#[test]
fn a_manifest_without_its_blobs_is_refused_by_the_registry() {
    let Some(registry) = Registry::open() else { return };
    let image = image("amd64", &[100]);
    let target = reference(&registry.address, "team/app", "x");
    let push =
        Push { target: &target, tags: &["x".to_owned()], blobs: &[], manifests: &[], root: &image.manifest };
    let error = Client::new(quick()).push(&push, &image, &|_| ()).unwrap_err();
    assert_eq!(error.step, PushStep::Manifest("x".to_owned()));
    let Failure::Status { status: 404 | 400, errors, .. } = &*error.failure else { panic!("{error}") };
    assert_eq!(errors[0].code, "MANIFEST_BLOB_UNKNOWN");
    let garbage = RawManifest::new("application/json", b"{}".to_vec());
    let error = Client::new(quick()).push(&Push { root: &garbage, ..push }, &image, &|_| ()).unwrap_err();
    assert!(matches!(*error.failure, Failure::Status { status: 400, .. }), "{error}");
}

/// bcrypt of "correct horse", at its lowest cost.
const HTPASSWD: &str = "kiln:$2y$05$kilnkilnkilnkilnkilnkuiS7q8RXDDchLpXnA/DuBVmZchn/Wpd2\n";

#[test]
fn a_registry_with_passwords() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    fs_err::write(&users, HTPASSWD).unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: x, path: {}}}}}", users.display());
    let Some(registry) = Registry::start("", &auth) else { return };
    let target = reference(&registry.address, "team/app", "one");
    let image = image("amd64", &[100_000]);
    let config = dir.path().join("config.json");
    let file = |password: &str| {
        let name = &registry.address;
        format!(r#"{{"auths":{{"{name}":{{"username":"kiln","password":"{password}"}}}}}}"#)
    };
    fs_err::write(&config, file("correct horse")).unwrap();
    let client = Client::new(Options { credential_files: vec![config.clone()], ..quick() });
    push(&client, &target, &image, &[]);
    check(&client, &target, &image);

    fs_err::write(&config, file("wrong")).unwrap();
    for files in [vec![config], vec![]] {
        let client = Client::new(Options { credential_files: files, ..quick() });
        let error = client.resolve(&target, &Platform::host()).unwrap_err();
        assert!(matches!(error.kind, SourceErrorKind::Denied { .. }), "{error}");
        assert!(!error.to_string().contains("wrong"));
    }
}

#[test]
fn a_registry_with_a_certificate_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (certificate, key) = (path("own.crt"), path("own.key"));
    let openssl = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=kiln test", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate])
        .stderr(Stdio::null())
        .status();
    assert!(openssl.expect("openssl is not installed").success());
    let tls = format!("  tls: {{certificate: {certificate}, key: {key}}}");
    let Some(registry) = Registry::start(&tls, "") else { return };
    let target = reference(&registry.address, "team/app", "one");
    let image = image("amd64", &[100_000]);

    let trusting = Client::new(Options { ca_files: vec![certificate.clone().into()], ..quick() });
    push(&trusting, &target, &image, &[]);
    check(&trusting, &target, &image);

    let folder = registry.dir.path().join("certs.d").join(&registry.address);
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::copy(&certificate, folder.join("ca.crt")).unwrap();
    let certs_dirs = vec![registry.dir.path().join("certs.d")];
    check(&Client::new(Options { certs_dirs, ..quick() }), &target, &image);

    let insecure = vec![registry.address.clone()];
    check(&Client::new(Options { insecure, ..quick() }), &target, &image);

    let error = Client::new(quick()).resolve(&target, &Platform::host()).unwrap_err();
    assert!(matches!(error.kind, SourceErrorKind::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}
