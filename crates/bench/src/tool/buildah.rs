//! Debian's Buildah.

use std::path::PathBuf;
use std::process::Command;

use super::{Job, Tool, installed};
use crate::failure::Failure;
use crate::meter;
use crate::place::Place;
use crate::workload::Base;

const BUILDAH: &str = "/usr/bin/buildah";

/// Buildah with overlay storage of its own.
pub(crate) struct Buildah {
    storage: PathBuf,
    runroot: PathBuf,
    isolation: &'static [&'static str],
    about: String,
}

/// How it may run steps, best first.
const ISOLATIONS: [&[&str]; 2] = [&["--isolation=oci", "--runtime=/usr/sbin/runc"], &["--isolation=chroot"]];

impl Buildah {
    /// Pulls the base, and finds the isolation that works here.
    ///
    /// # Errors
    /// When it is not installed, overlay storage does not work, or no isolation does.
    pub(crate) fn find(place: &Place) -> Result<Box<dyn Tool>, Failure> {
        installed(BUILDAH, "buildah")?;
        let (storage, runroot) = (place.join("buildah/storage"), place.join("buildah/run"));
        let mut found = Self { storage, runroot, isolation: ISOLATIONS[0], about: String::new() };
        let log = place.join("buildah.log");
        let mut pull = found.command("pull");
        pull.args(["--quiet", "--tls-verify=false", &place.base(Base::Busybox)]);
        meter::run(vec![pull], None, &log)?;

        let context = place.join("contexts/probe");
        fs_err::create_dir_all(&context)?;
        fs_err::write(context.join("Dockerfile"), format!("FROM {}\nRUN true\n", place.base(Base::Busybox)))?;
        let probe = Job { context, name: "probe".to_owned(), fresh: true, archive: None, zstd: false };
        let mut worked = Ok(());
        for isolation in ISOLATIONS {
            found.isolation = isolation;
            worked = meter::run(found.build(&probe), None, &log).map(drop);
            if worked.is_ok() {
                break;
            }
        }
        worked?;
        let version = meter::printed(Command::new(BUILDAH).arg("--version"))?;
        let version = version.split(" (").next().unwrap_or_default();
        found.about = format!(
            "{version} of Debian, as root, overlay storage, `bud --layers {}`; exports with `push` to an OCI archive",
            found.isolation.join(" ")
        );
        Ok(Box::new(found))
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(BUILDAH);
        command.arg("--root").arg(&self.storage).arg("--runroot").arg(&self.runroot);
        command.args(["--storage-driver", "overlay", verb]);
        command
    }
}

impl Tool for Buildah {
    fn about(&self) -> String {
        self.about.clone()
    }

    fn build(&self, job: &Job) -> Vec<Command> {
        let mut build = self.command("bud");
        build.args(["--layers", "--network=host", "--tls-verify=false"]).args(self.isolation);
        if job.fresh {
            build.arg("--no-cache");
        }
        build.args(["-t", &job.name]).arg(&job.context);
        let mut commands = vec![build];
        if let Some(archive) = &job.archive {
            let mut push = self.command("push");
            if job.zstd {
                push.arg("--compression-format=zstd");
            }
            push.arg("--quiet").arg(&job.name).arg(format!("oci-archive:{}", archive.display()));
            commands.push(push);
        }
        commands
    }

    fn sweep(&self) -> Vec<Command> {
        let mut prune = self.command("rmi");
        prune.args(["--prune", "--force"]);
        vec![prune]
    }

    fn empty(&self) -> Vec<Command> {
        let mut all = self.command("rmi");
        all.args(["--all", "--force"]);
        vec![all]
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        // It leaves its storage mounted on itself; so the work folder could not be removed.
        let overlay = self.storage.join("overlay");
        Command::new("umount").arg("--quiet").arg(overlay).status().ok();
    }
}
