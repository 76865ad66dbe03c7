//! `kiln du` and `kiln prune`: what the store takes up, and how to make it less.

use std::cell::Cell;
use std::time::SystemTime;

use kiln_build::collect::{CacheKind, PruneOptions, Pruned, Removed};
use kiln_build::engine::Engine;
use kiln_build::store::Store;
use kiln_sandbox::{StopSignal, install_signal_flag, termination_requested};

use crate::args::{Format, ListArgs, PruneArgs};
use crate::commands::{Setting, answer, answer_json, table, upkeep};
use crate::errors::CliError;
use crate::render::text::bytes;
use crate::render::write_stderr;
use crate::rootless;

/// An engine that may remove what belongs to the ids of steps. For an ordinary user this starts the program over.
fn engine(setting: &Setting<'_>) -> Result<Engine, CliError> {
    let rung = rootless::over_files(&setting.store)?;
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
        row("remote sources", usage.sources),
        row("logs", usage.logs),
        row("records of steps, folders", usage.records),
        row("unfinished", usage.unfinished),
        row(&format!("in all, {} objects in {}", usage.objects, setting.store.display()), usage.total()),
    ]))
}

/// `kiln prune`
pub(super) fn prune(args: &PruneArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    // Where a full disk kept a store from being made, there is nothing to free and no room to open it.
    if !Store::is_at(&setting.store)? {
        return if args.automatic { Ok(()) } else { say(&Pruned::default(), args) };
    }
    let engine = engine(setting)?;
    if args.automatic {
        return upkeep::tend(&engine, setting);
    }
    let options = PruneOptions {
        all: args.all,
        older_than: args.older_than,
        keep_storage: args.keep_storage,
        filters: args.filter.clone(),
        dry_run: args.dry_run,
    };
    install_signal_flag(&StopSignal::ALL)?;
    let waits = Cell::new(false);
    let go_on = || {
        if !waits.replace(true) {
            write_stderr("waiting for builds that are running; Ctrl-C gives up\n");
        }
        !termination_requested().load(std::sync::atomic::Ordering::Relaxed)
    };
    say(&engine.prune(&options, &go_on)?, args)
}

fn say(pruned: &Pruned, args: &PruneArgs) -> Result<(), CliError> {
    match args.list.format {
        Format::Json => answer_json(pruned),
        Format::Text => answer(&told(pruned, args)),
    }
}

fn told(pruned: &Pruned, args: &PruneArgs) -> String {
    let mut text = String::new();
    if args.verbose || args.dry_run {
        text.push_str(&table(&pruned.removed.iter().map(row).collect::<Vec<_>>()));
    }
    let did = if args.dry_run { "would free" } else { "freed" };
    text.push_str(&format!("{did} {}, {} objects\n", bytes(pruned.bytes), pruned.objects));
    text
}

fn row(removed: &Removed) -> Vec<String> {
    let kind = match removed.kind {
        CacheKind::Step => "step",
        CacheKind::Base => "base",
        CacheKind::Context => "context",
        CacheKind::CacheMount => "cache mount",
        CacheKind::Source => "source",
        CacheKind::Record => "record",
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let unused = now.saturating_sub(removed.last_used);
    let unused = match unused {
        0..=3599 => "used within the hour".to_owned(),
        3600..=86_399 => format!("unused for {} h", unused / 3600),
        _ => format!("unused for {} days", unused / 86_400),
    };
    vec![kind.to_owned(), removed.id.chars().take(40).collect(), unused]
}
