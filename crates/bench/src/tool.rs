//! The tools that are compared: one build as each of them wants to be asked.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::place::Place;

mod buildah;
mod buildkit;
mod kiln;

/// One build that a tool is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The folder with the files and the Dockerfile.
    pub(crate) context: PathBuf,
    /// A name for the image, where the tool wants one.
    pub(crate) name: String,
    /// Whether to forget the cache.
    pub(crate) fresh: bool,
    /// Where an archive of the image goes, if anywhere.
    pub(crate) archive: Option<PathBuf>,
    /// Whether its layers are to be in zstd and not in what the tool takes by itself.
    pub(crate) zstd: bool,
}

/// A tool that is ready.
pub(crate) trait Tool {
    /// Version, and how it runs its steps.
    fn about(&self) -> String;
    /// The commands whose time together is the build's.
    fn build(&self, job: &Job) -> Vec<Command>;
    /// The commands that take away what earlier builds left, but not the base image.
    fn sweep(&self) -> Vec<Command>;
    /// The commands that empty the tool's store, base images and all.
    fn empty(&self) -> Vec<Command>;
    /// Whether it can write layers in zstd.
    fn has_zstd(&self) -> bool {
        true
    }
    /// The process whose memory counts besides that of the commands and their descendants.
    fn daemon(&self) -> Option<u32> {
        None
    }
}

/// A tool by name, or why there is none.
pub(crate) struct Candidate {
    /// For the table.
    pub(crate) name: &'static str,
    /// Below the work folder: its file system, where its store and its archives are.
    pub(crate) folder: &'static str,
    /// What takes part, or the reason why nothing does.
    pub(crate) found: Result<Box<dyn Tool>, Failure>,
}

/// The tools' folders.
pub(crate) const FOLDERS: [&str; 3] = ["kiln", "buildah", "docker"];

/// All of them, kiln first.
pub(crate) fn all(place: &Place, kiln: &Path) -> Vec<Candidate> {
    vec![
        Candidate { name: "kiln", folder: FOLDERS[0], found: kiln::Kiln::find(place, kiln) },
        Candidate { name: "Buildah", folder: FOLDERS[1], found: buildah::Buildah::find(place) },
        Candidate { name: "BuildKit", folder: FOLDERS[2], found: buildkit::BuildKit::find(place) },
    ]
}

/// Whether a program is there.
fn installed(program: &str, package: &'static str) -> Result<(), Failure> {
    if Path::new(program).exists() {
        return Ok(());
    }
    Err(Failure::Missing { program: program.to_owned(), package })
}
