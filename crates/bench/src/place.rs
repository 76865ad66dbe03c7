//! The folder where everything happens, with the base image in a registry of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::disk::Disk;
use crate::failure::Failure;
use crate::meter;
use crate::server::Server;
use crate::workload::Base;

/// The work folder, the registry in it, and the base image that every tool pulls from there.
#[derive(Debug)]
pub(crate) struct Place {
    work: PathBuf,
    address: String,
    _registry: Server,
    _disks: Vec<Disk>,
}

/// This repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Place {
    /// Prepares the folder with a file system for each of `disks`; starts Debian's docker-registry on a free loopback port and pushes
    /// `bases`, made by `testdata/bases`.
    ///
    /// # Errors
    /// When the registry, umoci or skopeo is missing or refuses.
    pub(crate) fn make(work: &Path, disks: &[&str], bases: &[Base]) -> Result<Self, Failure> {
        fs_err::create_dir_all(work.join("registry"))?;
        fs_err::create_dir_all(work.join("contexts"))?;
        let work = fs_err::canonicalize(work)?;
        let disks = disks.iter().map(|name| Disk::make(work.join(name))).collect::<Result<_, _>>()?;
        let config = work.join("registry.yml");
        fs_err::write(&config, registry_config(&work.join("registry")))?;
        let config = config.display().to_string();
        let program = ["docker-registry", "serve", config.as_str()];
        let mut registry = Server::start("docker-registry", &program, work.join("registry.log"))?;
        let address = registry.wait_for(listening)?;
        let place = Self { work, address, _registry: registry, _disks: disks };
        bases.iter().try_for_each(|base| place.push(*base))?;
        Ok(place)
    }

    fn push(&self, base: Base) -> Result<(), Failure> {
        let (name, script, packages) = base.recipe();
        let tar = self.join(&format!("{name}.tar")).display().to_string();
        let make = [script, &[&tar], packages].concat();
        for words in [make, vec!["push.sh", &tar, &self.base(base), "--config.cmd", "sh"]] {
            let script = repository().join("testdata/bases").join(words[0]);
            let mut command = Command::new(script);
            command.args(&words[1..]).env("KILN_TEST_STATE", &self.work);
            meter::run(vec![command], None, &self.join("base.log"))?;
        }
        Ok(())
    }

    /// A path below the work folder, absolute.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// A base image's name.
    pub(crate) fn base(&self, base: Base) -> String {
        format!("{}/{}:bench", self.address, base.recipe().0)
    }
}

fn registry_config(storage: &Path) -> String {
    format!(
        "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
        storage.display()
    )
}

/// The address in the registry's log.
fn listening(log: &Path) -> Option<String> {
    let text = fs_err::read_to_string(log).ok()?;
    let (_, rest) = text.split_once("listening on ")?;
    let address = rest.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').next()?;
    (!address.is_empty()).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        fs_err::write(&log, "level=info msg=\"redis not configured\"\n").unwrap();
        assert_eq!(listening(&log), None);
        fs_err::write(&log, "level=info msg=\"listening on 127.0.0.1:4567\" go.version=go1.19\n").unwrap();
        assert_eq!(listening(&log).as_deref(), Some("127.0.0.1:4567"));
    }
}
