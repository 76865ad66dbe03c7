//! Other people's tools, which read what kiln wrote.

use std::path::Path;
use std::process::Command;

use crate::image::{self, Layout};
use crate::machine::Machine;
use crate::outcome::Outcome;

/// Has a layout's image read by skopeo, umoci and ocidir, and checks every blob against its name.
///
/// # Panics
/// When one of them finds fault.
pub fn verify_whole(layout: &Path) {
    blobs_match_their_names(layout);
    skopeo(layout);
    umoci(layout);
    #[cfg(feature = "system")]
    ocidir_fsck(layout);
}

/// Checks that each blob of a layout has the digest that its name says.
///
/// # Panics
/// When one has not.
pub fn blobs_match_their_names(layout: &Path) {
    for entry in walkdir::WalkDir::new(layout.join("blobs/sha256")).min_depth(1) {
        let entry = entry.expect("the layout can be read");
        let bytes = fs_err::read(entry.path()).expect("blobs are files");
        let name = format!("sha256:{}", entry.file_name().to_string_lossy());
        assert_eq!(image::digest_of(&bytes), name, "{}", entry.path().display());
    }
}

fn skopeo(layout: &Path) {
    let image = format!("oci:{}", layout.display());
    tool("skopeo", &["--insecure-policy", "inspect", &image]);
    tool("skopeo", &["--insecure-policy", "inspect", "--config", &image]);
}

/// umoci wants a tag, which the layout may not have; it gets a layout of links with one.
fn umoci(layout: &Path) {
    let work = tempfile::tempdir_in(Machine::get().work()).expect("the work folder is writable");
    let tagged = work.path().join("tagged");
    let link = Outcome::of({
        let mut command = Command::new("cp");
        command.args(["-rT", "--link"]).args([layout, &tagged]);
        command
    });
    link.succeeds();
    let index = tagged.join("index.json");
    let bytes = fs_err::read(&index).expect("just copied");
    let mut value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    value["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "checked".into();
    fs_err::remove_file(&index).expect("ours");
    fs_err::write(&index, value.to_string()).expect("ours");
    let image = format!("{}:checked", tagged.display());
    let bundle = work.path().join("bundle");
    tool("umoci", &["unpack", "--image", &image, &bundle.display().to_string()]);
}

#[cfg(feature = "system")]
fn ocidir_fsck(layout: &Path) {
    use ocidir::OciRead;
    let dir = ocidir::cap_std::fs::Dir::open_ambient_dir(layout, ocidir::cap_std::ambient_authority());
    let checked = ocidir::OciDir::open(dir.expect("the layout is there")).and_then(|dir| dir.fsck());
    match checked {
        Ok(blobs) => assert!(blobs >= 2, "ocidir checked {blobs} blobs of {}", layout.display()),
        Err(error) => panic!("ocidir: {}: {error}", layout.display()),
    }
}

/// Runs a tool as root with the machine's own environment, which must succeed; returns its standard output.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn tool(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    Outcome::of(command).succeeds().text()
}

/// A Docker daemon of the tests.
#[derive(Clone, Copy, Debug)]
pub struct Docker {
    host: &'static str,
}

impl Docker {
    /// That of this Debian.
    pub fn own() -> Self {
        Self { host: &Machine::get().docker_host }
    }

    /// This Debian's and a later one: they read archives by different code.
    pub fn each() -> [Self; 2] {
        [Self::own(), Self { host: &Machine::get().later_docker_host }]
    }

    /// `docker ARGUMENTS`.
    pub fn command(self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", self.host).args(arguments);
        command
    }

    /// `docker ARGUMENTS`, which must succeed; returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run(self, arguments: &[&str]) -> String {
        Outcome::of(self.command(arguments)).succeeds().text()
    }

    /// `docker load` of an archive's bytes; the image is asked for by `name` afterwards.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn load(self, archive: &[u8], name: &str) {
        let loaded = Outcome::with_input(self.command(&["load"]), archive).succeeds().text();
        assert!(loaded.contains(name), "{name} was not loaded: {loaded}");
    }
}

/// `podman load` into a storage that is thrown away; returns what it said.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn podman_load(archive: &Path) -> String {
    let work = tempfile::tempdir_in(Machine::get().work()).expect("the work folder is writable");
    let place = |name: &str| work.path().join(name).display().to_string();
    let (root, run) = (place("root"), place("run"));
    let storage = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
    tool("podman", &[&storage[..], &["load", "--input", &archive.display().to_string()]].concat())
}

/// The digest that a registry gives for a tag, and that of a layout, must be the same.
///
/// # Panics
/// When they differ.
#[track_caller]
pub fn registry_has(image: &str, layout: &Layout) {
    let docker = format!("docker://{image}");
    let raw = tool("skopeo", &["--insecure-policy", "inspect", "--raw", "--tls-verify=false", &docker]);
    assert_eq!(image::digest_of(raw.as_bytes()), layout.digest, "{image}");
}
