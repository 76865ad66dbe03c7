//! `kiln du` and `kiln prune`: what the store takes up, and how to make it less.

use kiln_build::collect::PruneOptions;
use kiln_build::engine::Engine;

use crate::args::{Format, ListArgs, PruneArgs};
use crate::commands::{Setting, answer, answer_json, table};
use crate::errors::CliError;
use crate::render::text::bytes;
use crate::rootless;

/// An engine that may remove what belongs to the ids of steps. For an ordinary user this starts the program over.
fn engine(setting: &Setting<'_>) -> Result<Engine, CliError> {
    let rung = rootless::climb(&setting.store)?.rung;
    setting.engine(setting.client(&[]), rung)
}

/// `kiln du`
pub(super) fn usage(list: ListArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let usage = engine(setting)?.usage()?;
    if list.format == Format::Json {
        return answer_json(&usage);
    }
    let row = |name: &str, count: u64| vec![bytes(count), name.to_owned()];
    answer(&table(&[
        row("images with a name", usage.images),
        row("other layers, compressed or not", usage.blobs),
        row("unpacked layers", usage.trees),
        row("cache mounts", usage.caches),
        row("records of steps", usage.records),
        row("unfinished", usage.unfinished),
        row(&format!("in all, in {}", setting.store.display()), usage.total()),
    ]))
}

/// `kiln prune`
pub(super) fn prune(args: &PruneArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    if args.keep_younger.is_some() || args.keep_storage.is_some() {
        return Err(CliError::NotYet { what: "pruning by age or size".to_owned() });
    }
    let pruned = engine(setting)?.prune(PruneOptions { all: args.all })?;
    match args.list.format {
        Format::Json => answer_json(&pruned),
        Format::Text => answer(&format!("freed {}, {} objects\n", bytes(pruned.bytes), pruned.objects)),
    }
}
