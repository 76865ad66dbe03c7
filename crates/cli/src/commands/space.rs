//! `kiln du` and `kiln prune`: what the store takes up, and how to make it less.

use crate::args::{ListArgs, PruneArgs};
use crate::commands::Setting;
use crate::errors::CliError;

/// `kiln du`
pub(super) fn usage(_list: ListArgs, _setting: &Setting<'_>) -> Result<(), CliError> {
    Err(CliError::NotYet { what: "kiln du".to_owned() })
}

/// `kiln prune`
pub(super) fn prune(_args: &PruneArgs, _setting: &Setting<'_>) -> Result<(), CliError> {
    Err(CliError::NotYet { what: "kiln prune".to_owned() })
}
