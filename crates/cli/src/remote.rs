//! Build contexts and Dockerfiles that lie elsewhere: which arguments mean one, and fetching them before the build begins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_build::engine::Engine;
use kiln_build::event::TaskKind;
use kiln_build::remote::{Access, FetchedContext, RemoteContext};
use kiln_build::request::SecretSource;
use kiln_dockerfile::source::{Source, classify_context};
use kiln_registry::Options;

use crate::args::build::BuildArgs;
use crate::environment::Environment;
use crate::errors::CliError;
use crate::fetch::Http;
use crate::interrupt::watched;
use crate::render::Screen;
use crate::repositories::HostGit;

/// The ways to the network that a build has.
pub(crate) struct Network {
    /// For http(s).
    pub(crate) http: Arc<Http>,
    /// For git.
    pub(crate) git: Arc<HostGit>,
}

impl Network {
    /// Costs nothing: nobody is asked, and git is not looked for.
    pub(crate) fn new(options: Options, environment: &Environment, store: &Path) -> Self {
        Self { http: Arc::new(Http::new(options)), git: Arc::new(HostGit::new(environment, store)) }
    }
}

/// What the arguments say of other places.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    context: Option<RemoteContext>,
    dockerfile: Option<RemoteContext>,
}

/// What was fetched before the build.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    /// The main context.
    pub(crate) context: Option<Arc<FetchedContext>>,
    /// `-f URL`
    pub(crate) dockerfile: Option<Arc<FetchedContext>>,
}

impl Elsewhere {
    /// Reads the arguments. A directory of the name that is given is always meant itself.
    pub(crate) fn of(args: &BuildArgs, build_args: &BTreeMap<String, String>) -> Result<Self, CliError> {
        let context = match args.context == "-" || Path::new(&args.context).is_dir() {
            true => None,
            false => remote("CONTEXT", &args.context, keeps_git_dir(build_args))?,
        };
        let file =
            args.file.as_deref().filter(|file| file.starts_with("http://") || file.starts_with("https://"));
        let dockerfile = file.map(|url| RemoteContext::Http(url.to_owned()));
        Ok(Self { context, dockerfile })
    }

    /// Whether there is nothing to fetch.
    pub(crate) fn is_empty(&self) -> bool {
        self.context.is_none() && self.dockerfile.is_none()
    }

    /// Fetches it into the store, or finds it there.
    pub(crate) fn fetch(
        &self,
        network: &Network,
        (secrets, ssh): (&BTreeMap<String, SecretSource>, &BTreeMap<String, PathBuf>),
        (engine, screen): (&Engine, &Screen),
        cancel: &AtomicBool,
    ) -> Result<Fetched, CliError> {
        let access =
            Access { fetcher: Some(&*network.http), repositories: Some(&*network.git), secrets, ssh };
        let fetch = |what: &str, context: &Option<RemoteContext>| {
            let Some(context) = context else { return Ok(None) };
            let name = format!("load {what} {}", context.shown());
            let fetched =
                screen.during(TaskKind::Context, name, |_| engine.fetch_context(context, access, cancel));
            fetched.map(|fetched| Some(Arc::new(fetched)))
        };
        let stop = || network.http.cancel();
        let done = watched(&stop, cancel, || {
            let context = fetch("build context", &self.context)?;
            Ok(Fetched { context, dockerfile: fetch("Dockerfile", &self.dockerfile)? })
        });
        done.map_err(|error: kiln_build::error::BuildError| error.into())
    }
}

/// What `text` means if it is a git or http(s) URL.
pub(crate) fn remote(
    flag: &'static str,
    text: &str,
    keep_git_dir: bool,
) -> Result<Option<RemoteContext>, CliError> {
    match classify_context(text) {
        Ok(Source::Path) => Ok(None),
        Ok(Source::Http(_)) => Ok(Some(RemoteContext::Http(text.to_owned()))),
        Ok(Source::Git(source)) => Ok(Some(RemoteContext::Git { source, keep_git_dir })),
        Err(error) => {
            Err(CliError::usage(flag, format!("{}: {error}", kiln_dockerfile::source::shown(text))))
        }
    }
}

/// Whether the main context is a repository that is reached over ssh: then the agent of the environment is given without being asked for,
/// as by buildx.
pub(crate) fn is_ssh(args: &BuildArgs) -> bool {
    match classify_context(&args.context) {
        Ok(Source::Git(source)) => source.remote.starts_with("ssh://") || !source.remote.contains("://"),
        _ => false,
    }
}

fn keeps_git_dir(build_args: &BTreeMap<String, String>) -> bool {
    let value = build_args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").map(String::as_str);
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}
