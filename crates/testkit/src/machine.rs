//! What `testdata/test.sh` has prepared: the binary under test, the servers, the place to work in.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The prepared machine.
#[derive(Debug)]
pub struct Machine {
    /// The folder for everything; the users can read it.
    pub state: PathBuf,
    /// The binary under test.
    pub kiln: PathBuf,
    /// An open registry, as `127.0.0.1:PORT`.
    pub registry: String,
    /// A registry that wants [`LOCKED_USER`] and [`LOCKED_PASSWORD`].
    pub locked_registry: String,
    /// The address of this Debian's Docker daemon, as `DOCKER_HOST` takes it.
    pub docker_host: String,
    /// That of a later Docker daemon.
    pub later_docker_host: String,
}

/// The user that the locked registry knows.
pub const LOCKED_USER: &str = "kiln";
/// And the password.
pub const LOCKED_PASSWORD: &str = "s3cret";

static MACHINE: LazyLock<Machine> = LazyLock::new(|| {
    let variable = |name: &str| {
        std::env::var(name)
            .unwrap_or_else(|_| panic!("{name} is not set: run testdata/test.sh, which prepares the machine"))
    };
    let state = PathBuf::from(variable("KILN_TEST_STATE"));
    Machine {
        kiln: state.join("bin/kiln"),
        registry: variable("KILN_TEST_REGISTRY"),
        locked_registry: variable("KILN_TEST_LOCKED_REGISTRY"),
        docker_host: variable("KILN_TEST_DOCKER_HOST"),
        later_docker_host: variable("KILN_TEST_LATER_DOCKER_HOST"),
        state,
    }
});

impl Machine {
    /// The machine that the tests run on.
    ///
    /// # Panics
    /// When it is not prepared.
    pub fn get() -> &'static Self {
        &MACHINE
    }

    /// A base image of `testdata/bases/all.sh` in the open registry.
    pub fn base(&self, name: &str) -> String {
        format!("{}/{name}", self.registry)
    }

    /// Where tests make their folders.
    pub fn work(&self) -> PathBuf {
        self.state.join("work")
    }

    /// The folder `testdata` of the repository.
    pub fn testdata() -> PathBuf {
        repository().join("testdata")
    }
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/testkit is two levels down")
        .to_owned()
}
