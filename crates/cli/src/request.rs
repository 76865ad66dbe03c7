//! From what was typed to what is asked of the engine: files are found, variables looked up, names parsed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_build::archive_context::unpack_context;
use kiln_build::record::Recording;
use kiln_build::remote::RemoteContext;
use kiln_build::request::{
    Compression, Context, LayerForm, Mode, NamedContext, Network, Request, RunSettings, SecretSource,
};
use kiln_dockerfile::suggest::nearest;
use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;
use tempfile::TempDir;

use crate::agents::Agents;
use crate::args::build::{BuildArgs, Progress};
use crate::args::output::{Algorithm, ImageSpec, Output};
use crate::args::values::{Secret, SecretFrom, Ssh};
use crate::environment::Environment;
use crate::errors::{CliError, Dockerfile};
use crate::remote::{self, Fetched};
use crate::stdin;

mod fetched;
#[cfg(test)]
mod tests;

/// Everything that a build needs.
pub(crate) struct Prepared {
    /// For the engine.
    pub(crate) request: Request,
    /// For error messages.
    pub(crate) source: Dockerfile,
    /// Base images as far as the text alone tells them; for a push, which may take layers over from their repositories.
    pub(crate) bases: Vec<Reference>,
    /// The context, if it had to be unpacked: gone with this value.
    _unpacked: Option<TempDir>,
    /// Agents that were started for private keys.
    _agents: Agents,
}

impl Prepared {
    /// Whether the context came in an archive.
    pub(crate) fn is_unpacked(&self) -> bool {
        self._unpacked.is_some()
    }
}

/// Looks everything up. The first thing that is wrong ends it; nothing is written (but see [`stdin::spool`]).
pub(crate) fn prepare(
    args: &BuildArgs,
    outputs: &[Output],
    environment: &Environment,
    fetched: &Fetched,
) -> Result<Prepared, CliError> {
    if let Some(flag) = args.later.asked_for() {
        return Err(CliError::NotYet { what: flag.to_owned() });
    }
    let input = Input::of(args, fetched)?;
    let source = Dockerfile { name: input.name, text: input.text };
    let build_args = build_args(args, environment);
    let source_date_epoch = source_date_epoch(&build_args)?;
    let agents = agents(args, environment)?;
    let request = Request {
        dockerfile: source.text.clone(),
        dockerfile_name: source.name.clone(),
        dockerfile_path: input.path,
        context: input.context,
        contexts: named_contexts(args)?,
        target: args.target.clone().filter(|t| !t.is_empty()),
        build_args,
        labels: args.labels.iter().map(|l| (l.key.clone(), l.value.clone())).collect(),
        platforms: platforms(&args.platforms)?,
        platforms_given: args.platforms.iter().any(|p| !p.trim().is_empty()),
        fetcher: None,
        repositories: None,
        secrets: secrets(&args.secrets, environment)?,
        ssh: agents.sockets.clone(),
        no_cache: args.no_cache,
        no_cache_filter: args.no_cache_filter.clone(),
        // They need a client; `commands` has it.
        cache_from: Vec::new(),
        inline: false,
        delivers: !outputs.is_empty(),
        pull: args.pull,
        source_date_epoch,
        run: run_settings(args)?,
        jobs: args.jobs.map_or_else(processors, std::num::NonZeroUsize::get),
        mode: if args.require_cached || args.dry_run.is_some() { Mode::Foresee } else { Mode::Build },
        // Of a build that foresees, the end tells all; programs want it with the events.
        explain: args.explain || (args.require_cached && args.progress == Progress::Rawjson),
        recording: Some(Arc::new(Recording::new())),
        wanted: outputs.iter().find_map(Output::image).map(layer_form),
    };
    let bases = bases(&request);
    Ok(Prepared { request, source, bases, _unpacked: input.unpacked, _agents: agents })
}

fn bases(request: &Request) -> Vec<Reference> {
    let file = kiln_dockerfile::parse(&request.dockerfile).dockerfile;
    let stages = file.stages.iter().map(|stage| stage.from.image.value.clone());
    let contexts = request.contexts.values().filter_map(|context| match context {
        NamedContext::Image(image) => Some(image.clone()),
        NamedContext::Directory(_) | NamedContext::Layout(_) | NamedContext::Remote(_) => None,
    });
    let mut all: Vec<Reference> = stages.chain(contexts).filter_map(|text| text.parse().ok()).collect();
    all.sort();
    all.dedup();
    all
}

/// The form in which `spec` wants layers.
pub(crate) fn layer_form(spec: &ImageSpec) -> LayerForm {
    let level = spec.level;
    let compression = match spec.compression {
        Some(Algorithm::Uncompressed) => Compression::Uncompressed,
        Some(Algorithm::Zstd) => Compression::Zstd(level.filter(|l| *l > 0).unwrap_or(3)),
        Some(Algorithm::Gzip) | None => {
            let level = level.and_then(|l| u32::try_from(l).ok());
            level.map_or(LayerForm::default().compression, Compression::Gzip)
        }
    };
    LayerForm { compression, force: spec.force, clamp: None, rewrite: spec.rewrite_timestamp }
}

/// Names of the image: `--tag` and `name=`.
pub(crate) fn names<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<Vec<Reference>, CliError> {
    let mut names: Vec<Reference> = Vec::new();
    for text in texts {
        let name: Reference = text.parse()?;
        if name.digest.is_some() {
            return Err(CliError::usage(
                "--tag",
                format!("{text} has a digest; a name gets its digest from what is built"),
            ));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// The Dockerfile and the context.
struct Input {
    name: String,
    text: String,
    path: Option<PathBuf>,
    context: Context,
    unpacked: Option<TempDir>,
}

impl Input {
    fn of(args: &BuildArgs, fetched: &Fetched) -> Result<Self, CliError> {
        if args.context == "-" {
            return Self::of_stdin(args);
        }
        if let Some(context) = &fetched.context {
            return Self::of_fetched(args, context, fetched.dockerfile.as_deref());
        }
        let directory = directory(&args.context)?;
        if let Some(dockerfile) = &fetched.dockerfile {
            let (name, text) = fetched::one_file(dockerfile)?;
            let context = Context::Directory(directory);
            return Ok(Self { name, text, path: None, context, unpacked: None });
        }
        if args.file.as_deref() == Some("-") {
            let bytes = stdin::read_all(&mut stdin::spool()?)?;
            let name = "Dockerfile".to_owned();
            let text = to_text(&name, bytes)?;
            return Ok(Self {
                name,
                text,
                path: None,
                context: Context::Directory(directory),
                unpacked: None,
            });
        }
        let path = find_dockerfile(args.file.as_deref(), Path::new(&args.context))?;
        let name = display_name(&path);
        Self::of_directory(name, &path, directory)
    }

    fn of_directory(name: String, path: &Path, directory: PathBuf) -> Result<Self, CliError> {
        let bytes = fs_err::read(path)?;
        let inside = fs_err::canonicalize(path)?.strip_prefix(&directory).ok().map(Path::to_path_buf);
        // A Dockerfile elsewhere may still have its own ignore file beside it.
        let path = inside.unwrap_or(std::path::absolute(path)?);
        let text = to_text(&name, bytes)?;
        Ok(Self { name, text, path: Some(path), context: Context::Directory(directory), unpacked: None })
    }

    fn of_stdin(args: &BuildArgs) -> Result<Self, CliError> {
        if args.file.as_deref() == Some("-") {
            return Err(CliError::usage("--file", "standard input is the build context already"));
        }
        let mut input = stdin::spool()?;
        if stdin::is_archive(&stdin::head(&mut input)?) {
            return Self::of_archive(args, input);
        }
        let bytes = stdin::read_all(&mut input)?;
        if let Some(file) = &args.file {
            let problem =
                format!("{file} is looked for in the context, but that is a Dockerfile on standard input");
            return Err(CliError::usage("--file", problem));
        }
        let name = "Dockerfile".to_owned();
        let text = to_text(&name, bytes)?;
        Ok(Self { name, text, path: None, context: Context::Empty, unpacked: None })
    }

    /// A context in a tar archive; `-f` is a path in it.
    fn of_archive(args: &BuildArgs, archive: std::fs::File) -> Result<Self, CliError> {
        let folder = tempfile::Builder::new().prefix("kiln-context-").tempdir()?;
        let damaged = |error| CliError::Archive { source: Box::new(error) };
        unpack_context(archive.try_clone()?, folder.path()).map_err(damaged)?;
        stdin::rewind(archive)?;
        let root = fs_err::canonicalize(folder.path())?;
        let file = args.file.as_deref().map(|file| root.join(file).display().to_string());
        let path = find_dockerfile(file.as_deref(), &root)?;
        if !fs_err::canonicalize(&path)?.starts_with(&root) {
            return Err(CliError::usage("--file", "the Dockerfile leads out of the archive"));
        }
        let name = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        Ok(Self { unpacked: Some(folder), ..Self::of_directory(name, &path, root)? })
    }
}

fn directory(text: &str) -> Result<PathBuf, CliError> {
    let path = Path::new(text);
    let wrong = |source| CliError::Context { path: path.to_path_buf(), source };
    // Not through fs_err: the message names the path already.
    let real = path.canonicalize().map_err(wrong)?;
    if real.is_dir() { Ok(real) } else { Err(wrong(io::ErrorKind::NotADirectory.into())) }
}

/// `-f FILE` (from the working directory), or `CONTEXT/Dockerfile`, or as BuildKit does `CONTEXT/dockerfile`.
fn find_dockerfile(file: Option<&str>, context: &Path) -> Result<PathBuf, CliError> {
    let path = match file {
        Some(file) => PathBuf::from(file),
        None => context.join("Dockerfile"),
    };
    if path.is_dir() {
        return Err(CliError::usage("--file", format!("{} is a directory", path.display())));
    }
    if path.exists() {
        return Ok(path);
    }
    let lowercase = context.join("dockerfile");
    if file.is_none() && lowercase.is_file() {
        return Ok(lowercase);
    }
    let instead = file
        .map(|file| context.join(file))
        .into_iter()
        .chain(["Dockerfile", "Containerfile"].map(|name| context.join(name)))
        .find(|candidate| candidate.is_file())
        .map(|candidate| format!("{0} (-f {0})", candidate.display()));
    Err(CliError::NoDockerfile { path, instead })
}

/// The path as short as it stays right: relative to the working directory if it is below.
fn display_name(path: &Path) -> String {
    let cwd = std::env::current_dir().unwrap_or_default();
    let short = path.strip_prefix(&cwd).unwrap_or(path);
    let short = short.strip_prefix(".").unwrap_or(short);
    short.display().to_string()
}

fn to_text(name: &str, bytes: Vec<u8>) -> Result<String, CliError> {
    String::from_utf8(bytes)
        .map_err(|e| CliError::NotText { name: name.to_owned(), offset: e.utf8_error().valid_up_to() })
}

/// `--build-arg`; a name without a value takes it from the environment or is left out. `SOURCE_DATE_EPOCH` of the
/// environment counts, as with buildx.
pub(crate) fn build_args(args: &BuildArgs, environment: &Environment) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if let Some(epoch) = environment.get(EPOCH) {
        all.insert(EPOCH.to_owned(), epoch.to_owned());
    }
    for arg in &args.build_args {
        let from_environment = || environment.raw(&arg.key).map(|v| v.to_string_lossy().into_owned());
        match arg.value.clone().or_else(from_environment) {
            Some(value) => all.insert(arg.key.clone(), value),
            None => all.remove(&arg.key),
        };
    }
    all
}

const EPOCH: &str = "SOURCE_DATE_EPOCH";

fn source_date_epoch(build_args: &BTreeMap<String, String>) -> Result<Option<i64>, CliError> {
    let Some(text) = build_args.get(EPOCH).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(epoch) if epoch >= 0 => Ok(Some(epoch)),
        Ok(_) => Err(CliError::usage(EPOCH, format!("{text:?} is not a number of seconds since 1970"))),
        // The name of a source, whose time the engine finds out.
        Err(_) => Ok(None),
    }
}

fn named_contexts(args: &BuildArgs) -> Result<BTreeMap<String, NamedContext>, CliError> {
    let mut all = BTreeMap::new();
    for pair in &args.build_contexts {
        let value = pair.value.as_str();
        let context = if let Some(image) = value.strip_prefix("docker-image://") {
            image.parse::<Reference>()?;
            NamedContext::Image(image.to_owned())
        } else if let Some(layout) = value.strip_prefix("oci-layout://") {
            NamedContext::Layout(layout.to_owned())
        } else if let Some(remote) = not_a_directory(value)? {
            NamedContext::Remote(remote)
        } else if value.starts_with("target:") {
            return Err(CliError::Usage {
                flag: "--build-context",
                problem: format!("{value:?} means another target of a bake file, and there is none"),
                hint: Some(
                    "build that one first, and give it as oci-layout://DIR or docker-image://NAME".to_owned(),
                ),
            });
        } else if let Some((scheme, rest)) = value.split_once("://").filter(|_| !Path::new(value).exists()) {
            return Err(unknown_scheme(scheme, rest));
        } else {
            NamedContext::Directory(directory(value)?)
        };
        all.insert(pair.key.clone(), context);
    }
    Ok(all)
}

fn unknown_scheme(scheme: &str, rest: &str) -> CliError {
    const KNOWN: [&str; 6] = ["docker-image", "oci-layout", "https", "http", "git", "ssh"];
    let hint = match nearest(scheme, KNOWN, false) {
        Some(near) => format!("did you mean {near}://{rest}?"),
        None => format!("there is {}://, and directories without any", KNOWN.join("://, ")),
    };
    let problem = format!("nothing is known of {scheme}://");
    CliError::Usage { flag: "--build-context", problem, hint: Some(hint) }
}

/// The repository or URL that `value` is, unless there is a directory of that name.
fn not_a_directory(value: &str) -> Result<Option<RemoteContext>, CliError> {
    if Path::new(value).is_dir() { Ok(None) } else { remote::remote("--build-context", value, false) }
}

fn platforms(texts: &[String]) -> Result<Vec<Platform>, CliError> {
    let mut all: Vec<Platform> = Vec::new();
    for text in texts.iter().map(|t| t.trim()).filter(|t| !t.is_empty()) {
        let platform = if text == "local" { Platform::host() } else { text.parse()? };
        if !all.contains(&platform) {
            all.push(platform);
        }
    }
    if all.is_empty() {
        all.push(Platform::host());
    }
    Ok(all)
}

/// The largest secret, as in BuildKit.
const LARGEST_SECRET: u64 = 500 << 10;

/// `--secret`
pub(crate) fn secrets(
    list: &[Secret],
    environment: &Environment,
) -> Result<BTreeMap<String, SecretSource>, CliError> {
    let mut all = BTreeMap::new();
    for secret in list {
        let file = |path: &str| secret_file(&secret.id, path);
        let source = match &secret.from {
            SecretFrom::File(path) => file(path)?,
            SecretFrom::Variable(name) => match environment.bytes(name) {
                Some(bytes) => SecretSource::Bytes(Arc::from(bytes)),
                None => {
                    let problem = format!("{}: the environment has no variable {name}", secret.id);
                    return Err(CliError::usage("--secret", problem));
                }
            },
            SecretFrom::Either(name) => match environment.bytes(name) {
                Some(bytes) => SecretSource::Bytes(Arc::from(bytes)),
                None => file(name)?,
            },
        };
        all.insert(secret.id.clone(), source);
    }
    Ok(all)
}

fn secret_file(id: &str, path: &str) -> Result<SecretSource, CliError> {
    let wrong = |problem: String| CliError::usage("--secret", format!("{id}: {problem}"));
    let meta = fs_err::metadata(path).map_err(|e| wrong(e.to_string()))?;
    if meta.is_dir() {
        return Err(wrong(format!("{path} is a directory")));
    }
    if meta.len() > LARGEST_SECRET {
        return Err(wrong(format!("{path} is larger than 500 KiB")));
    }
    Ok(SecretSource::File(std::path::absolute(path)?))
}

/// `--ssh`; and the agent of the environment for a context that is reached over ssh, as with buildx.
pub(crate) fn agents(args: &BuildArgs, environment: &Environment) -> Result<Agents, CliError> {
    let implied = args.ssh.is_empty() && remote::is_ssh(args) && environment.get("SSH_AUTH_SOCK").is_some();
    let implied = implied.then(|| vec![Ssh { id: "default".to_owned(), paths: Vec::new() }]);
    Agents::of(implied.as_ref().unwrap_or(&args.ssh), environment)
}

fn run_settings(args: &BuildArgs) -> Result<RunSettings, CliError> {
    let network = match args.network.as_str() {
        "default" | "host" => Network::Host,
        "none" => Network::None,
        other => {
            let problem = format!("unknown mode {other:?} (one of default, host, none)");
            return Err(CliError::usage("--network", problem));
        }
    };
    let mut allow_insecure = false;
    for entitlement in &args.allow {
        match entitlement.as_str() {
            "security.insecure" => allow_insecure = true,
            // Steps have the host's network anyway.
            "network.host" => {}
            other => {
                let problem =
                    format!("unknown entitlement {other:?} (one of security.insecure, network.host)");
                return Err(CliError::usage("--allow", problem));
            }
        }
    }
    Ok(RunSettings {
        network,
        hosts: args.add_hosts.clone(),
        ulimits: args.ulimits.clone(),
        shm_size: args.shm_size,
        // A machine without one resolves nothing; then steps do not either.
        resolv_conf: fs_err::read("/etc/resolv.conf").unwrap_or_default(),
        allow_insecure,
    })
}
