//! kiln itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Job, Tool};
use crate::failure::Failure;
use crate::meter;
use crate::place::Place;

/// The binary under test with a store of its own.
pub(crate) struct Kiln {
    binary: PathBuf,
    store: PathBuf,
    version: String,
}

impl Kiln {
    /// Asks the binary for its version.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn find(place: &Place, binary: &Path) -> Result<Box<dyn Tool>, Failure> {
        let version = meter::printed(Command::new(binary).arg("version"))?;
        Ok(Box::new(Self { binary: binary.to_owned(), store: place.join("kiln/store"), version }))
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(verb).arg("--root").arg(&self.store);
        command
    }
}

impl Tool for Kiln {
    fn about(&self) -> String {
        format!("{}, as root, all namespaces and the seccomp filter on; exports an OCI archive", self.version)
    }

    fn build(&self, job: &Job) -> Vec<Command> {
        let mut command = self.command("build");
        command.args(["--progress", "plain"]);
        if job.fresh {
            command.arg("--no-cache");
        }
        if let Some(archive) = &job.archive {
            let zstd = if job.zstd { ",compression=zstd" } else { "" };
            command.arg("--output").arg(format!("type=oci,dest={}{zstd}", archive.display()));
        }
        command.arg(&job.context);
        vec![command]
    }

    fn sweep(&self) -> Vec<Command> {
        vec![self.command("prune")]
    }

    fn empty(&self) -> Vec<Command> {
        let mut remove = Command::new("rm");
        remove.arg("-rf").arg(&self.store);
        vec![remove]
    }
}
