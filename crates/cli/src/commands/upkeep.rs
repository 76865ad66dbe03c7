//! The store's share of the disk: looked at after a build, kept by a process of its own.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use kiln_build::collect::{Limit, is_due, note_upkeep};
use kiln_build::engine::Engine;

use crate::args::values;
use crate::commands::Setting;
use crate::environment::Environment;
use crate::errors::CliError;

/// The size that a store may have, or `off`.
const VARIABLE: &str = "KILN_KEEP_STORAGE";

/// The limit that the environment sets; `None` if nothing is to be done.
fn limit(environment: &Environment) -> Result<Option<Limit>, CliError> {
    match environment.get(VARIABLE) {
        None => Ok(Some(Limit::Share)),
        Some("off") => Ok(None),
        Some(text) => match values::size(text) {
            Ok(bytes) => Ok(Some(Limit::Bytes(bytes))),
            Err(error) => Err(CliError::usage(VARIABLE, format!("{text:?}: {error}, or off"))),
        },
    }
}

/// Starts the upkeep if it is time. The build is over and nobody waits for it: it is a process of its own, in the background.
/// What goes wrong is no failure of the build; the next one will try again.
pub(super) fn after_build(setting: &Setting<'_>) {
    let wanted = !matches!(limit(setting.environment), Ok(None));
    if !wanted || !is_due(&setting.store, SystemTime::now()) || note_upkeep(&setting.store).is_err() {
        return;
    }
    let mut command = Command::new("/proc/self/exe");
    command.arg("--root").arg(&setting.store).args(["prune", "--automatic"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.process_group(0).spawn();
}

/// The upkeep itself.
pub(super) fn tend(engine: &Engine, setting: &Setting<'_>) -> Result<(), CliError> {
    if let Some(limit) = limit(setting.environment)? {
        engine.tend(limit)?;
    }
    Ok(())
}
