//! The BuildKit inside Debian's Docker.

use std::path::PathBuf;
use std::process::Command;

use super::{Job, Tool, installed};
use crate::failure::Failure;
use crate::meter;
use crate::place::Place;
use crate::server::Server;
use crate::workload::Base;

/// The client of the same package as the daemon; another one in the path may not speak to it.
const DOCKER: &str = "/usr/bin/docker";
const DOCKERD: &str = "/usr/sbin/dockerd";

/// A Docker daemon of our own with its client.
pub(crate) struct BuildKit {
    daemon: Server,
    host: String,
    config: PathBuf,
    about: String,
}

impl BuildKit {
    /// Starts the daemon, without bridge and firewall rules, so that nothing of the machine's network is touched, and pulls the base.
    ///
    /// # Errors
    /// When Docker is not installed or the daemon does not come up.
    pub(crate) fn find(place: &Place) -> Result<Box<dyn Tool>, Failure> {
        installed(DOCKER, "docker.io")?;
        installed(DOCKERD, "docker.io")?;
        let folder = |name: &str| place.join(name).display().to_string();
        let host = format!("unix://{}", folder("docker.sock"));
        let (data, exec, pid) = (folder("docker/data"), folder("docker-exec"), folder("dockerd.pid"));
        let program = [
            DOCKERD,
            "--host",
            &host,
            "--data-root",
            &data,
            "--exec-root",
            &exec,
            "--pidfile",
            &pid,
            "--iptables=false",
            "--ip6tables=false",
            "--ip-forward=false",
            "--bridge=none",
        ];
        let daemon = Server::start("dockerd", &program, place.join("dockerd.log"))?;
        let config = place.join("docker-config");
        let mut found = Self { daemon, host, config, about: String::new() };
        let mut version = found.docker("version");
        version.args(["--format", "{{.Server.Version}}"]);
        let version = {
            let version = std::cell::RefCell::new(version);
            found.daemon.wait_for(|_| meter::printed(&mut version.borrow_mut()).ok())?
        };
        let mut pull = found.docker("pull");
        pull.arg(place.base(Base::Busybox));
        meter::run(vec![pull], None, &place.join("docker.log"))?;
        let mut driver = found.docker("info");
        driver.args(["--format", "{{.Driver}}"]);
        let driver = meter::printed(&mut driver)?;
        found.about = format!(
            "the one inside docker.io {version} of Debian, storage {driver}, `DOCKER_BUILDKIT=1 docker build --network=host`; exports with \
             `docker save`, for this daemon has no OCI export: layers uncompressed",
        );
        Ok(Box::new(found))
    }

    fn docker(&self, verb: &str) -> Command {
        let mut command = Command::new(DOCKER);
        command
            .args(["--host", &self.host, verb])
            .env("DOCKER_BUILDKIT", "1")
            .env("DOCKER_CONFIG", &self.config);
        command
    }
}

impl Tool for BuildKit {
    fn about(&self) -> String {
        self.about.clone()
    }

    fn build(&self, job: &Job) -> Vec<Command> {
        let mut build = self.docker("build");
        build.args(["--progress=plain", "--network=host", "-t", &job.name]);
        if job.fresh {
            build.arg("--no-cache");
        }
        build.arg(&job.context);
        let mut commands = vec![build];
        if let Some(archive) = &job.archive {
            let mut save = self.docker("save");
            save.arg("-o").arg(archive).arg(&job.name);
            commands.push(save);
        }
        commands
    }

    fn sweep(&self) -> Vec<Command> {
        let mut images = self.docker("image");
        images.args(["prune", "--force"]);
        let mut cache = self.docker("builder");
        cache.args(["prune", "--all", "--force"]);
        vec![images, cache]
    }

    fn empty(&self) -> Vec<Command> {
        let mut images = self.docker("image");
        images.args(["prune", "--all", "--force"]);
        self.sweep().into_iter().chain([images]).collect()
    }

    fn has_zstd(&self) -> bool {
        false
    }

    fn daemon(&self) -> Option<u32> {
        Some(self.daemon.pid())
    }
}
