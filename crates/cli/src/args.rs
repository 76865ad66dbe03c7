//! What can be typed. Two stages, as in ripgrep: these types say what was typed, `request` and `output` what it means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) mod annotation;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod caches;
pub(crate) mod call;
pub(crate) mod csv;
pub(crate) mod history;
pub(crate) mod output;
pub(crate) mod prune;
pub(crate) mod shell;
pub(crate) mod values;

/// Builds OCI images from Dockerfiles, without a daemon and without root.
#[derive(Parser, Debug)]
#[command(
    name = "kiln",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    args_override_self = true
)]
pub(crate) struct Cli {
    /// Where images and cache live [env: KILN_ROOT]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    Build(Box<build::BuildArgs>),
    /// Recompute everything that an image claims: digests, sizes, diff ids, history
    Verify(VerifyArgs),
    /// Show an image's manifest, configuration and layers
    Inspect(InspectArgs),
    /// List the images of the store
    #[command(visible_alias = "ls")]
    Images(ListArgs),
    /// Give an image of the store another name
    Tag(TagArgs),
    /// Take names from images; what nothing names goes with the next prune
    Rmi(RmiArgs),
    /// Push an image of the store to its registry
    Push(PushArgs),
    /// Say why the steps of a build were not taken from the cache
    Why(history::WhyArgs),
    /// List past builds
    History(history::HistoryArgs),
    /// Show all that a step of a past build wrote
    Log(history::LogArgs),
    /// Show what a step added, changed and removed, the largest first
    Diff(history::DiffArgs),
    /// Open a shell, or run a command, in the files of a step of the last build
    Shell(shell::ShellArgs),
    /// List cache mounts, or carry them to another machine
    Cache(caches::CacheArgs),
    /// Remove what is not used from the store
    Prune(PruneArgs),
    /// Show what the store takes up on disk
    Du(ListArgs),
    /// Say how steps would run on this machine, and what is missing
    Doctor(ListArgs),
    /// Show the version
    Version(ListArgs),
}

/// `kiln verify`
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// An OCI layout (directory or archive), a docker archive, or an image of the store
    #[arg(value_name = "PATH|IMAGE")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// `kiln inspect`
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// An OCI layout (directory or archive), a docker archive, or an image of the store
    #[arg(value_name = "PATH|IMAGE")]
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// `kiln tag`
#[derive(Args, Debug)]
pub(crate) struct TagArgs {
    /// The image: a name or a digest
    pub(crate) image: String,
    /// Its new names
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// `kiln rmi`
#[derive(Args, Debug)]
pub(crate) struct RmiArgs {
    /// The images: names or digests
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

/// `kiln push`
#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// The image: its name says where it goes
    pub(crate) image: String,
    /// Push it under this name
    pub(crate) name: Option<String>,
    /// Registries that may be spoken to in plain HTTP or with an unknown certificate
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) insecure_registry: Vec<String>,
    /// How to show progress (always on standard error)
    #[arg(long, value_name = "FORM", default_value = "auto")]
    pub(crate) progress: build::Progress,
    /// Show nothing, print the digest
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `kiln prune`
#[derive(Args, Debug)]
pub(crate) struct PruneArgs {
    /// Remove the whole build cache, too; images with a name stay
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Remove the part of the cache that was not used for this long, such as 24h or 7d
    #[arg(long, value_name = "AGE", value_parser = values::age)]
    pub(crate) older_than: Option<std::time::Duration>,
    /// Remove what was longest unused until the cache is no larger than this, such as 10g
    #[arg(long, value_name = "SIZE", value_parser = values::size, alias = "max-used-space", alias = "reserved-space")]
    pub(crate) keep_storage: Option<u64>,
    /// Remove only what matches: type=regular|exec.cachemount|source.local|internal, until=24h, id=ID (also with !=)
    #[arg(long, value_name = "FILTER", value_parser = prune::filter)]
    pub(crate) filter: Vec<kiln_build::collect::Filter>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// List what is removed
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Nothing: kiln never asks (taken as docker takes it)
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Keep the store under its share of the disk, as kiln does by itself about once a day
    #[arg(long, hide = true, conflicts_with_all = ["all", "older_than", "keep_storage", "filter", "dry_run"])]
    pub(crate) automatic: bool,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// Verbs that answer.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ListArgs {
    /// For people or for programs
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub(crate) format: Format,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    fn build(line: &str) -> Result<build::BuildArgs, String> {
        let words = ["kiln", "build"].into_iter().chain(line.split_whitespace());
        match Cli::try_parse_from(words) {
            Ok(Cli { command: Command::Build(args), .. }) => Ok(*args),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        }
    }

    #[test]
    fn the_line_of_a_ci_script() {
        let args = build(
            "-f docker/Dockerfile -t app:1 --tag app:latest --build-arg A=1 --build-arg B --target web --platform \
             linux/amd64,linux/arm64 --platform linux/arm/v7 --label a=b --secret id=x,src=y --pull --no-cache \
             --provenance=false --sbom=false --output type=oci,dest=out.tar -o dir --progress=plain --push .",
        )
        .unwrap();
        assert_eq!(args.context, ".");
        assert_eq!(args.file.as_deref(), Some("docker/Dockerfile"));
        assert_eq!(args.tags, ["app:1", "app:latest"]);
        assert_eq!(args.platforms, ["linux/amd64", "linux/arm64", "linux/arm/v7"]);
        assert_eq!(args.build_args[1].value, None);
        assert_eq!(args.outputs.len(), 2);
        assert!(args.pull && args.no_cache && args.push && !args.load && !args.quiet);
        assert_eq!(args.progress, build::Progress::Plain);
        assert_eq!(args.later.asked_for(), None);
    }

    #[test]
    fn of_a_flag_given_twice_the_last_one_counts() {
        let args = build(
            "--progress plain -f a --progress rawjson -f b --target x --target y --pull --pull=false -q -q -t n -t m .",
        )
        .unwrap();
        assert_eq!(args.progress, build::Progress::Rawjson);
        assert_eq!((args.file.as_deref(), args.target.as_deref()), (Some("b"), Some("y")));
        assert!(!args.pull && args.quiet);
        assert_eq!(args.tags, ["n", "m"], "what is a list stays one");
    }

    #[test]
    fn what_is_not_there_yet_is_said() {
        for (line, flag) in [
            ("--provenance .", "--provenance"),
            ("--provenance=mode=max .", "--provenance"),
            ("--sbom=true .", "--sbom"),
            ("--attest type=sbom .", "--attest"),
            ("--builder other .", "--builder"),
        ] {
            assert_eq!(build(line).unwrap().later.asked_for(), Some(flag), "{line}");
        }
        for line in [".", "--builder default .", "--attest type=sbom,disabled=true .", "--pull=false ."] {
            assert_eq!(build(line).unwrap().later.asked_for(), None, "{line}");
        }
    }

    #[test]
    fn mistakes() {
        for (line, want) in [
            ("", "error: the following required arguments were not provided:"),
            ("--taget x .", "error: unexpected argument '--taget' found"),
            ("--progress fancy .", "error: invalid value 'fancy' for '--progress <FORM>'"),
            (
                "--output type=ocy,dest=x .",
                "error: invalid value 'type=ocy,dest=x' for '--output <SPEC>': unknown type `ocy`, did you mean `oci`?",
            ),
            (
                "--jobs 0 .",
                "error: invalid value '0' for '--jobs <N>': number would be zero for non-zero type",
            ),
        ] {
            assert_eq!(build(line).unwrap_err(), want, "{line}");
        }
    }
}
