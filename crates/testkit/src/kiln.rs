//! Running the binary under test.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::actor::Actor;
use crate::image::Layout;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::peers;
use crate::scratch::Scratch;

/// kiln as one actor with a store of its own.
#[derive(Debug)]
pub struct Kiln {
    /// Folders of this test.
    pub scratch: Scratch,
    store: PathBuf,
}

impl Kiln {
    /// kiln with a new, empty store in a new scratch folder.
    pub fn new(actor: Actor) -> Self {
        let scratch = Scratch::new(actor);
        let store = scratch.join("store");
        Self { scratch, store }
    }

    /// The same with the store in another place.
    pub fn with_store(scratch: Scratch, store: PathBuf) -> Self {
        Self { scratch, store }
    }

    /// The store's folder.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// `kiln ARGUMENTS` as the actor, in the scratch folder, in an environment that holds nothing of the caller's.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.scratch.actor().command(&Machine::get().kiln);
        let home = self.scratch.path();
        command.env("KILN_ROOT", &self.store).env("HOME", home).env("TMPDIR", home).current_dir(home);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `kiln ARGUMENTS` to its end.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        Outcome::of(self.command(arguments))
    }

    /// `kiln build`, with the busybox base as `base`; add arguments and the context, then [`Build::run`].
    pub fn build(&self, context: &Path) -> Build<'_> {
        let base = format!("base=docker-image://{}", Machine::get().base("busybox:1.35"));
        let arguments = ["build", "--build-context", &base].map(OsString::from).to_vec();
        Build { kiln: self, arguments, environment: Vec::new(), context: context.to_owned() }
    }

    /// Builds a Dockerfile's text in a context of these files.
    pub fn build_text(&self, dockerfile: &str, files: &[(&str, &str)]) -> Build<'_> {
        let context = self.scratch.tree("context", files);
        let file = self.scratch.tree("dockerfiles", &[("Dockerfile", dockerfile)]).join("Dockerfile");
        self.build(&context).args([OsStr::new("--file"), file.as_os_str()])
    }

    /// Checks that the store holds nothing half done: every blob is what its name says, the layout reads as one,
    /// nothing is mounted in it, and kiln itself finds no fault.
    ///
    /// # Panics
    /// When it does not hold.
    pub fn store_is_whole(&self) {
        let layout = self.store.join("oci");
        if !layout.exists() {
            return;
        }
        peers::blobs_match_their_names(&layout);
        let mounts = fs_err::read_to_string("/proc/self/mounts").expect("proc is mounted");
        let prefix = format!("{}/", self.store.display());
        let left: Vec<_> = mounts.lines().filter(|line| line.contains(&prefix)).collect();
        assert!(left.is_empty(), "mounts left in the store: {left:?}");
        let index = fs_err::read(layout.join("index.json")).expect("a layout has an index");
        let index: serde_json::Value = serde_json::from_slice(&index).expect("the index is JSON");
        if index["manifests"].as_array().is_some_and(|m| !m.is_empty()) {
            self.run([OsStr::new("verify"), layout.as_os_str()]).succeeds();
        }
    }
}

/// A build that is being put together.
#[derive(Debug)]
pub struct Build<'a> {
    kiln: &'a Kiln,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    context: PathBuf,
}

impl Build<'_> {
    /// Adds arguments before the context.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets a variable of kiln's own environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The command, not started.
    pub fn command(self) -> Command {
        let mut command = self.kiln.command(&self.arguments);
        command.arg(&self.context).envs(self.environment);
        command
    }

    /// Builds, whatever comes of it.
    pub fn run(self) -> Outcome {
        Outcome::of(self.command())
    }

    /// Builds into an OCI layout, which must work; the layout is verified whole by everybody who can
    /// (see [`peers::verify_whole`]), and so is the store.
    pub fn to_layout(self, name: &str) -> Layout {
        let kiln = self.kiln;
        let dest = kiln.scratch.join(name);
        let spec = format!("type=oci,dest={},tar=false", dest.display());
        self.args(["--output", &spec]).run().succeeds();
        kiln.run([OsStr::new("verify"), dest.as_os_str()]).succeeds();
        peers::verify_whole(&dest);
        kiln.store_is_whole();
        Layout::open(&dest)
    }
}
