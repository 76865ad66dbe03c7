//! `--load`: hands an image to the Docker or Podman of this machine.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use kiln_build::event::TaskKind;
use kiln_oci::compose::ComposedImage;
use kiln_oci::export::{ArchiveSink, Export, ExportError};
use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;

use crate::errors::CliError;
use crate::output::image::{Maker, interrupted};

/// Pipes a docker archive into `docker load`, or `podman load` where there is no Docker.
pub(crate) fn load(maker: &Maker<'_>, image: &ComposedImage, names: &[Reference]) -> Result<(), CliError> {
    let (program, mut child) = start()?;
    maker.screen.during(TaskKind::Export, format!("load into {program}"), |_| {
        let store = maker.engine.store().content();
        let export = Export { store, root: &image.root, names, cancel: Some(maker.cancel) };
        let platform = maker.built.first().map_or_else(Platform::host, |b| b.platform.clone());
        let mut stderr = child.stderr.take();
        let said = std::thread::spawn(move || {
            let mut text = String::new();
            // What cannot be read is not quoted; the status says enough.
            let _ = stderr.as_mut().map(|s| s.read_to_string(&mut text));
            text
        });
        let written = match child.stdin.take() {
            Some(stdin) => {
                export.docker_archive(ArchiveSink::File(&File::from(OwnedFd::from(stdin))), &platform)
            }
            None => Ok(()),
        };
        let status = child.wait()?;
        let message = said.join().unwrap_or_default();
        if matches!(written, Err(ExportError::Interrupted)) {
            return Err(interrupted());
        }
        if !status.success() {
            return Err(CliError::Loader {
                program: program.to_owned(),
                status: status.to_string(),
                message: message.trim().to_owned(),
            });
        }
        match written {
            // It read as much as it needed, and is content.
            Err(ExportError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|source| CliError::Export { dest: program.to_owned(), source }),
        }
    })
}

fn start() -> Result<(&'static str, std::process::Child), CliError> {
    for program in ["docker", "podman"] {
        let child = Command::new(program)
            .arg("load")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match child {
            Ok(child) => return Ok((program, child)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CliError::NoLoader)
}
