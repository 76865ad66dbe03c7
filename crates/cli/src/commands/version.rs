//! `kiln version`

use crate::args::{Format, ListArgs};
use crate::commands::{answer, answer_json};
use crate::errors::CliError;

pub(super) fn run(list: ListArgs) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    match list.format {
        Format::Text => answer(&format!("kiln {version}\n")),
        Format::Json => answer_json(&serde_json::json!({
            "version": version,
            "os": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
            "dockerfile": "1.26",
        })),
    }
}
