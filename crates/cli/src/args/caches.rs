//! `kiln cache`: cache mounts (`RUN --mount=type=cache`) of the store.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::{ListArgs, build};

/// `kiln cache`
#[derive(Args, Debug)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) verb: CacheVerb,
}

/// What to do with cache mounts.
#[derive(Subcommand, Debug)]
pub(crate) enum CacheVerb {
    /// List the cache mounts of the store
    #[command(alias = "list")]
    Ls(ListArgs),
    /// Write cache mounts to a directory (an OCI layout) or a registry; only what changed is written
    Export(ExportArgs),
    /// Put cache mounts back from there; those of the same id are replaced
    Import(ImportArgs),
}

/// `kiln cache export`
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The registry's name for it, such as registry.example/app/caches:main
    #[arg(value_name = "REF", required_unless_present = "output", conflicts_with = "output")]
    pub(crate) reference: Option<String>,
    /// A directory; what is there of other caches stays
    #[arg(short, long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// A cache: its id, or without one the path where it is mounted
    #[arg(long = "id", value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) ids: Vec<String>,
    /// Every cache mount of the store
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// `kiln cache import`
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The registry's name for it
    #[arg(value_name = "REF", required_unless_present = "input", conflicts_with = "input")]
    pub(crate) reference: Option<String>,
    /// A directory that `kiln cache export` has written
    #[arg(short, long, short_alias = 'o', value_name = "DIR")]
    pub(crate) input: Option<PathBuf>,
    /// A cache (default: all that are there)
    #[arg(long = "id", value_name = "ID", conflicts_with = "all")]
    pub(crate) ids: Vec<String>,
    /// Every one that is there
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// What both have.
#[derive(Args, Debug)]
pub(crate) struct HowArgs {
    /// Registries that may be spoken to in plain HTTP or with an unknown certificate
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) insecure_registry: Vec<String>,
    /// How to show progress (always on standard error)
    #[arg(long, value_name = "FORM", default_value = "auto")]
    pub(crate) progress: build::Progress,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}
