//! The flags of `kiln build`: those of `docker buildx build`, each with the same meaning.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use crate::args::Format;
use crate::args::annotation::{self, Annotation};
use crate::args::cache::{self, CacheFrom, CacheTo};
use crate::args::call::{self, Call, Method, Rules};
use crate::args::output::{self, Output};
use crate::args::values::{self, BuildArg, Pair, Secret, Ssh};

/// `kiln build`
#[derive(Args, Clone, Debug)]
pub(crate) struct BuildArgs {
    /// The build context: a directory, a git or http(s) URL, or - for a Dockerfile or a tar archive on standard input
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: String,

    /// The Dockerfile (default: CONTEXT/Dockerfile); a URL, or - for standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) file: Option<String>,

    /// Name the image, as name or name:tag
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    pub(crate) tags: Vec<String>,

    /// The stage to build (default: the last one)
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,

    /// Set a build argument; KEY alone takes its value from the environment
    #[arg(long = "build-arg", value_name = "KEY[=VALUE]", value_parser = values::build_arg)]
    pub(crate) build_args: Vec<BuildArg>,

    /// A further context: a directory, a git or http(s) URL, docker-image://REF, or oci-layout://DIR with :TAG or @DIGEST
    #[arg(long = "build-context", value_name = "NAME=VALUE", value_parser = values::pair)]
    pub(crate) build_contexts: Vec<Pair>,

    /// A secret for RUN --mount=type=secret
    #[arg(long = "secret", value_name = "id=ID[,src=FILE|env=NAME]", value_parser = values::secret)]
    pub(crate) secrets: Vec<Secret>,

    /// An ssh agent for RUN --mount=type=ssh: the running one, a socket, or private keys
    #[arg(long, value_name = "default|ID=SOCKET|ID=KEY[,...]", value_parser = values::ssh)]
    pub(crate) ssh: Vec<Ssh>,

    /// Build for these platforms, such as linux/amd64,linux/arm64
    #[arg(long = "platform", value_name = "PLATFORM[,...]", value_delimiter = ',')]
    pub(crate) platforms: Vec<String>,

    /// Set a label of the image
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = values::label)]
    pub(crate) labels: Vec<Pair>,

    /// Set an annotation; LEVEL is manifest (default), index, manifest-descriptor or index-descriptor
    #[arg(long = "annotation", value_name = "[LEVEL:]KEY=VALUE", value_parser = annotation_list)]
    pub(crate) annotations: Vec<AnnotationList>,

    /// Run every step anew
    #[arg(long)]
    pub(crate) no_cache: bool,

    /// Run the steps of these stages anew
    #[arg(long, value_name = "STAGE[,...]", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,

    /// Say of each step that is not in the cache why
    #[arg(long)]
    pub(crate) explain: bool,

    /// Fail, and say why, if a step would have to run
    #[arg(long)]
    pub(crate) require_cached: bool,

    /// Only say which steps are in the cache and which would run, and why
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "text", conflicts_with = "require_cached")]
    pub(crate) dry_run: Option<Format>,

    /// Look for steps in this cache, too: type=local,src=DIR or type=registry,ref=NAME, which may be an image built with type=inline
    #[arg(long, value_name = "SPEC", value_parser = cache::from)]
    pub(crate) cache_from: Vec<CacheFrom>,

    /// Keep the steps in a cache: type=local,dest=DIR or type=registry,ref=NAME, with mode=max for those of all stages; type=inline: in the image
    #[arg(long, value_name = "SPEC", value_parser = cache::to)]
    pub(crate) cache_to: Vec<CacheTo>,

    /// Ask the registry for each base image even if the store has it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", action = ArgAction::Set)]
    pub(crate) pull: bool,

    /// The network of RUN: host, none, or default (which is host)
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub(crate) network: String,

    /// Add a line to /etc/hosts of RUN
    #[arg(long = "add-host", value_name = "NAME:ADDRESS", value_parser = values::host)]
    pub(crate) add_hosts: Vec<(String, String)>,

    /// A resource limit of RUN, such as nofile=1024:4096
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]", value_parser = values::ulimit)]
    pub(crate) ulimits: Vec<(String, u64, u64)>,

    /// Size of /dev/shm of RUN, such as 64m
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) shm_size: Option<u64>,

    /// Allow something that is denied otherwise: security.insecure
    #[arg(long, value_name = "ENTITLEMENT", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,

    /// Where the result goes: type=oci|docker|registry|image|local|tar,dest=...; DIR alone is type=local
    #[arg(short = 'o', long = "output", value_name = "SPEC", value_parser = output::parse)]
    pub(crate) outputs: Vec<Output>,

    /// Push the image to the registries of its names (short for --output=type=registry)
    #[arg(long)]
    pub(crate) push: bool,

    /// Hand the image to the Docker or Podman of this machine (short for --output=type=docker)
    #[arg(long)]
    pub(crate) load: bool,

    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,

    /// Write what was built, as JSON, to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// Write what happened when, for ui.perfetto.dev or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,

    /// How to show progress (always on standard error)
    #[arg(long, value_name = "FORM", default_value = "auto")]
    pub(crate) progress: Progress,

    /// Show nothing, print the image's id
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Only check the Dockerfile (short for --call=check); with all or names, rules that are off otherwise, too
    #[arg(long, value_name = "all|RULE[,...]", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = call::rules)]
    pub(crate) check: Option<Rules>,

    /// What to do: build, check, outline or targets; METHOD,format=json is for programs
    #[arg(long, value_name = "METHOD", default_value = "build", value_parser = call::parse)]
    pub(crate) call: Call,

    /// With --check: put the mends that are certain into the Dockerfile
    #[arg(long)]
    pub(crate) fix: bool,

    /// Only list what is in the build context and which ignore rule says so, biggest first; all tells of small files one by one, too
    #[arg(long, value_name = "large|all", num_args = 0..=1, require_equals = true, default_missing_value = "large", hide_possible_values = true)]
    pub(crate) print_context: Option<Extent>,

    /// The form of the answer of --check, --call and --print-context
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub(crate) format: Format,

    /// How many things may happen at once (default: the number of processors)
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<std::num::NonZeroUsize>,

    /// Registries that may be spoken to in plain HTTP or with an unknown certificate
    #[arg(long, value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub(crate) insecure_registry: Vec<String>,

    #[command(flatten)]
    pub(crate) later: Later,
}

impl BuildArgs {
    /// What is to be done.
    pub(crate) fn method(&self) -> Method {
        let checks = self.check.as_ref().is_some_and(|rules| rules.on);
        if checks && self.call.method == Method::Build { Method::Check } else { self.call.method }
    }
}

/// Flags of buildx that kiln reads but cannot do yet, or that make sense only switched off.
#[derive(Args, Clone, Debug)]
pub(crate) struct Later {
    /// Not supported yet; false is accepted
    #[arg(long, value_name = "SPEC", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide = true)]
    pub(crate) provenance: Option<String>,
    /// Not supported yet; false is accepted
    #[arg(long, value_name = "SPEC", num_args = 0..=1, default_missing_value = "true", require_equals = true, hide = true)]
    pub(crate) sbom: Option<String>,
    /// Not supported yet
    #[arg(long, value_name = "SPEC", hide = true)]
    pub(crate) attest: Vec<String>,
    /// Not supported yet
    #[arg(long, value_name = "CGROUP", hide = true)]
    pub(crate) cgroup_parent: Option<String>,
    /// Not supported yet
    #[arg(long, value_name = "SPEC", hide = true)]
    pub(crate) policy: Vec<String>,
    /// There is no builder to choose
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) builder: Option<String>,
}

impl Later {
    /// The first flag given that asks for something kiln lacks.
    pub(crate) fn asked_for(&self) -> Option<&'static str> {
        let on = |value: &Option<String>| value.as_deref().is_some_and(|v| !switched_off(v));
        let flags = [
            (on(&self.provenance), "--provenance"),
            (on(&self.sbom), "--sbom"),
            (self.attest.iter().any(|a| !a.contains("disabled=true")), "--attest"),
            (self.cgroup_parent.is_some(), "--cgroup-parent"),
            (!self.policy.is_empty(), "--policy"),
            (self.builder.as_deref().is_some_and(|b| b != "default"), "--builder"),
        ];
        flags.iter().find(|(asked, _)| *asked).map(|(_, flag)| *flag)
    }
}

fn switched_off(value: &str) -> bool {
    matches!(value, "false" | "0" | "f" | "F" | "FALSE" | "False" | "disabled=true")
}

/// How much of a context is told one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Extent {
    /// What makes up a hundredth of it, and what stands at its top
    Large,
    /// Everything
    All,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// Redraw the terminal
    Tty,
    /// Lines, one after the other
    Plain,
    /// One JSON object a line
    Rawjson,
    /// Nothing
    #[value(alias = "none")]
    Quiet,
}

/// What one `--annotation` says: the same at each of its levels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AnnotationList(pub(crate) Vec<Annotation>);

fn annotation_list(text: &str) -> Result<AnnotationList, annotation::AnnotationError> {
    annotation::parse(text).map(AnnotationList)
}
