//! What is asked of the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_oci::artifact::ArtifactPlace;
use kiln_oci::platform::Platform;
use kiln_oci::source::ImageSource;
use kiln_plan::{ContextKind, Inputs};

pub use crate::secret::SecretSource;

use crate::record::Recording;
use crate::remote::{Access, FetchedContext, Fetcher, RemoteContext, Repositories};

/// A build, everything looked up already: the engine reads no environment, no arguments, no terminal.
pub struct Request {
    /// The Dockerfile's text.
    pub dockerfile: String,
    /// What it is called in messages, such as `Dockerfile` or `docker/app.Dockerfile`.
    pub dockerfile_name: String,
    /// Its path inside the context, if it is there (`<Dockerfile>.dockerignore` beside it wins over `.dockerignore`).
    pub dockerfile_path: Option<PathBuf>,
    /// The main context.
    pub context: Context,
    /// `--build-context name=...`
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--target`
    pub target: Option<String>,
    /// `--build-arg`
    pub build_args: BTreeMap<String, String>,
    /// `--label`
    pub labels: Vec<(String, String)>,
    /// `--platform`; never empty.
    pub platforms: Vec<Platform>,
    /// Whether `--platform` was given. If not, the result takes the platform of its base image.
    pub platforms_given: bool,
    /// `--secret`, by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// `--ssh`: path of an agent's socket, by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--no-cache-filter`: stage names.
    pub no_cache_filter: Vec<String>,
    /// `--cache-from`: where records and layers of steps may be had, the likeliest first.
    pub cache_from: Vec<Arc<dyn ArtifactPlace>>,
    /// `--cache-to type=inline`: images carry the records of their steps in their configuration.
    pub inline: bool,
    /// Whether somebody will want the result's bytes: layers of it that only a cache elsewhere has are fetched before the build
    /// counts as done.
    pub delivers: bool,
    /// `--pull`: ask the registry even if the store knows the reference.
    pub pull: bool,
    /// `SOURCE_DATE_EPOCH`, from the environment or as a build argument.
    pub source_date_epoch: Option<i64>,
    /// What RUN gets.
    pub run: RunSettings,
    /// How many things may happen at once.
    pub jobs: usize,
    /// Fetches what URLs name; without one they are refused.
    pub fetcher: Option<Arc<dyn Fetcher>>,
    /// Reads git repositories; without one they are refused.
    pub repositories: Option<Arc<dyn Repositories>>,
    /// Forms of the target's layers that will be asked for; lets the engine compress while later steps run.
    pub wanted: Option<LayerForm>,
    /// What to do about steps that are not in the store.
    pub mode: Mode,
    /// Tell of each step that is not taken from the cache why ([`crate::event::Event::Explained`]); it needs a recording.
    pub explain: bool,
    /// Gathers a record of the build, for [`crate::engine::Engine::keep_record`].
    pub recording: Option<Arc<Recording>>,
}

impl Request {
    /// A build of `dockerfile` as the command line asks for one without any flag: for the host's platform, on all processors.
    pub fn new(dockerfile: impl Into<String>, context: Context) -> Self {
        Self {
            dockerfile: dockerfile.into(),
            dockerfile_name: "Dockerfile".to_owned(),
            dockerfile_path: None,
            context,
            contexts: BTreeMap::new(),
            target: None,
            build_args: BTreeMap::new(),
            labels: Vec::new(),
            platforms: vec![Platform::host()],
            platforms_given: false,
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            cache_from: Vec::new(),
            inline: false,
            delivers: true,
            pull: false,
            source_date_epoch: None,
            run: RunSettings::default(),
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            fetcher: None,
            repositories: None,
            wanted: None,
            mode: Mode::Build,
            explain: false,
            recording: None,
        }
    }

    /// What of it decides what is built for `platform`.
    pub(crate) fn inputs(&self, platform: &Platform) -> Inputs {
        let contexts = self.contexts.iter().map(|(name, context)| {
            let kind = match context {
                NamedContext::Directory(_) | NamedContext::Remote(_) => ContextKind::Directory,
                NamedContext::Image(reference) => ContextKind::Image(reference.clone()),
                NamedContext::Layout(spec) => ContextKind::Layout(spec.clone()),
            };
            (name.clone(), kind)
        });
        Inputs {
            target: self.target.clone(),
            build_args: self.build_args.clone(),
            contexts: contexts.collect(),
            platform: platform.clone(),
            platform_given: self.platforms_given,
            build_platform: Platform::host(),
            labels: self.labels.clone(),
        }
    }
}

impl Request {
    /// Its ways to the network, and the secrets for it.
    pub(crate) fn access(&self) -> Access<'_> {
        Access {
            fetcher: self.fetcher.as_deref(),
            repositories: self.repositories.as_deref(),
            secrets: &self.secrets,
            ssh: &self.ssh,
        }
    }
}

/// What a build does about steps that are not in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does them.
    #[default]
    Build,
    /// It only finds out which they are, and fails with [`crate::error::BuildErrorKind::NotCached`] if there are any: nothing is run, made
    /// or pulled, but for base images where there is a [`Request::cache_from`]. If there are none, the build is done.
    Foresee,
}

/// The main context.
#[derive(Clone, Debug)]
pub enum Context {
    /// A directory.
    Directory(PathBuf),
    /// One that was fetched. It has no ignore file: as in BuildKit, all of it is the context.
    Fetched(Arc<FetchedContext>),
    /// None (a Dockerfile on standard input): COPY from it fails.
    Empty,
}

/// What a `--build-context` stands for.
#[derive(Clone, Debug)]
pub enum NamedContext {
    /// A directory.
    Directory(PathBuf),
    /// `docker-image://REF`
    Image(String),
    /// `oci-layout://DIR[:tag][@digest]`
    Layout(String),
    /// A git or http(s) URL, fetched if a step reads it.
    Remote(RemoteContext),
}

/// Settings of every RUN.
#[derive(Clone, Debug, Default)]
pub struct RunSettings {
    /// `--network`; a `RUN --network` wins.
    pub network: Network,
    /// `--add-host` as `(name, address)`.
    pub hosts: Vec<(String, String)>,
    /// `--ulimit` as `(name, soft, hard)`.
    pub ulimits: Vec<(String, u64, u64)>,
    /// `--shm-size` in bytes.
    pub shm_size: Option<u64>,
    /// Content of `/etc/resolv.conf`.
    pub resolv_conf: Vec<u8>,
    /// `--allow security.insecure`
    pub allow_insecure: bool,
}

/// The network of RUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The host's (kiln has no bridge of its own).
    #[default]
    Host,
    /// Loopback only.
    None,
}

/// How a layer leaves the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerForm {
    /// `compression=` and `compression-level=`
    pub compression: Compression,
    /// Recompress base layers, too.
    pub force: bool,
    /// No time that a RUN gave a file is later than this, in seconds since 1970. The engine fills in the build's
    /// `SOURCE_DATE_EPOCH`.
    pub clamp: Option<i64>,
    /// `rewrite-timestamp=true`: `clamp` is for times out of the context as well.
    pub rewrite: bool,
}

/// Compression of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// None.
    Uncompressed,
    /// gzip, level 0 to 9.
    Gzip(u32),
    /// Zstandard, level 1 to 22.
    Zstd(i32),
}

impl Default for LayerForm {
    fn default() -> Self {
        Self { compression: Compression::Gzip(1), force: false, clamp: None, rewrite: false }
    }
}

/// Where images of registries come from.
pub type Images = Arc<dyn ImageSource>;
