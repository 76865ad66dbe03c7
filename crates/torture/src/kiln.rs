//! Running the binary under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::failure::Failure;

/// Stands in the command lines of steps, so that their processes can be told from all others.
pub(crate) const TOKEN: &str = "kiln-torture-step";

/// kiln on one store.
#[derive(Clone)]
pub(crate) struct Kiln<'a> {
    pub(crate) binary: &'a Path,
    /// The folder of all contexts.
    pub(crate) contexts: &'a Path,
    /// Digests of undisturbed images, by variant.
    pub(crate) images: &'a [String],
    pub(crate) store: PathBuf,
}

/// The folder of a variant's context.
pub(crate) fn context(contexts: &Path, variant: u64) -> PathBuf {
    contexts.join(format!("context-{variant}"))
}

impl Kiln<'_> {
    /// A command with nothing of our environment but where to find programs.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        command.arg("--root").arg(&self.store).args(words).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .env("HOME", self.store.parent().unwrap_or(&self.store))
            .env("SOURCE_DATE_EPOCH", "1700000000");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The build of a variant, with a name in the store.
    pub(crate) fn build_command(&self, variant: u64) -> Command {
        let mut command = self.command(&["build", "-q", "-t"]);
        command.arg(format!("image:{variant}")).arg(context(self.contexts, variant));
        command
    }

    /// Builds a variant, which must work; its digest.
    pub(crate) fn build(&self, variant: u64) -> Result<String, Failure> {
        let text = succeeded(&mut self.build_command(variant))?;
        Ok(text.trim().to_owned())
    }

    /// Builds a variant, which must give the image that it always gives.
    pub(crate) fn build_right(&self, variant: u64) -> Result<(), Failure> {
        let got = self.build(variant)?;
        let want = self.images[variant as usize].clone();
        if got == want { Ok(()) } else { Err(Failure::WrongImage { variant, got, want }) }
    }

    /// Runs any verb, which must work; what it said.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String, Failure> {
        succeeded(&mut self.command(words))
    }

    /// What the command lines of all processes have that may be left behind.
    pub(crate) fn marks(&self) -> [String; 2] {
        [self.binary.display().to_string(), TOKEN.to_owned()]
    }

    /// What `kiln du` says of the whole store.
    pub(crate) fn bytes(&self) -> Result<u64, Failure> {
        let text = self.run(&["du", "--format", "json"])?;
        let numbers = text.lines().filter(|line| !line.contains("objects"));
        let number = |line: &str| line.split(':').nth(1)?.trim().trim_end_matches(',').parse::<u64>().ok();
        Ok(numbers.filter_map(number).sum())
    }
}

/// Runs a command to its end, which must be a good one; its output.
pub(crate) fn succeeded(command: &mut Command) -> Result<String, Failure> {
    let line = format!("{command:?}");
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(line, &output))
}

/// The failure of a command.
pub(crate) fn failed(line: String, output: &Output) -> Failure {
    let said = String::from_utf8_lossy(&output.stderr);
    let start = said.char_indices().rev().nth(2000).map_or(0, |(i, _)| i);
    Failure::Command { line, status: output.status.to_string(), said: said[start..].to_owned() }
}
