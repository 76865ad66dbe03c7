//! The verbs, one file each.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use kiln_build::engine::{Engine, EngineOptions};
use kiln_build::store::{Lock, lease_of};
use kiln_oci::blobs::Blobs;
use kiln_oci::store::ContentStore;
use kiln_registry::{Client, Options, Proxies, default_credential_files};
use kiln_sandbox::Rung;

use crate::args::{Cli, Command};
use crate::environment::Environment;
use crate::errors::CliError;

mod build;
mod caches;
mod check;
mod context;
mod diff;
mod doctor;
mod images;
mod inspect;
mod names;
mod past;
mod push;
mod shell;
mod space;
mod upkeep;
mod verify;
mod version;

/// How a command fails.
#[derive(Debug)]
pub(crate) enum Failed {
    /// With this, which nobody has told the user yet.
    Error(CliError),
    /// It was told already; this is the exit status.
    Told(u8),
}

impl<E: Into<CliError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// What every verb is given.
pub(crate) struct Setting<'a> {
    /// The process environment.
    pub(crate) environment: &'a Environment,
    /// Where the store is.
    pub(crate) store: PathBuf,
}

/// Runs the verb that was typed.
pub(crate) fn run(cli: &Cli, environment: &Environment) -> Result<(), Failed> {
    let setting = |environment| -> Result<Setting<'_>, CliError> {
        Ok(Setting { environment, store: Environment::store(environment, cli.root.as_deref())? })
    };
    let done = match &cli.command {
        Command::Version(list) => version::run(*list),
        Command::Build(args) => {
            let setting = setting(environment)?;
            let done = build::run(args, &setting);
            upkeep::after_build(&setting);
            return done;
        }
        Command::Shell(args) => return shell::run(args, &setting(environment)?),
        Command::Push(args) => return push::run(args, &setting(environment)?),
        Command::Cache(args) => return caches::run(args, &setting(environment)?),
        Command::Verify(args) => verify::run(args, &setting(environment)?),
        Command::Inspect(args) => inspect::run(args, &setting(environment)?),
        Command::Images(list) => images::run(*list, &setting(environment)?),
        Command::Tag(args) => names::tag(args, &setting(environment)?),
        Command::Rmi(args) => names::remove(args, &setting(environment)?),
        Command::Why(args) => past::why(args, &setting(environment)?),
        Command::History(args) => past::history(args, &setting(environment)?),
        Command::Log(args) => past::log(args, &setting(environment)?),
        Command::Diff(args) => diff::run(args, &setting(environment)?),
        Command::Prune(args) => space::prune(args, &setting(environment)?),
        Command::Du(list) => space::usage(*list, &setting(environment)?),
        Command::Doctor(list) => doctor::run(*list, &setting(environment)?),
    };
    match done {
        // `kiln images | head` is no failure.
        Err(CliError::BrokenPipe) => Ok(()),
        other => Ok(other?),
    }
}

impl Setting<'_> {
    /// The registry client. Making it costs nothing: no file is read and nobody asked before the first request.
    pub(crate) fn client(&self, insecure: &[String]) -> Client {
        Client::new(self.network(insecure))
    }

    /// How the network is used.
    pub(crate) fn network(&self, insecure: &[String]) -> Options {
        let environment = self.environment;
        let either = |upper: &str, lower: &str| {
            environment.get(lower).or_else(|| environment.get(upper)).map(str::to_owned)
        };
        let home = environment.get("HOME").map(PathBuf::from);
        Options {
            credential_files: default_credential_files(|name| environment.raw(name).cloned()),
            insecure: insecure.to_vec(),
            ca_files: environment.get("SSL_CERT_FILE").map(PathBuf::from).into_iter().collect(),
            certs_dirs: home
                .map(|home| home.join(".config/docker/certs.d"))
                .into_iter()
                .chain(["/etc/docker/certs.d", "/etc/containers/certs.d"].map(PathBuf::from))
                .collect(),
            proxies: Proxies {
                http: either("HTTP_PROXY", "http_proxy"),
                https: either("HTTPS_PROXY", "https_proxy"),
                no_proxy: either("NO_PROXY", "no_proxy").unwrap_or_default(),
            },
            known: Some(Blobs::of_layout(&self.store.join("oci"))),
            ..Options::default()
        }
    }

    /// The engine over the store.
    pub(crate) fn engine(&self, client: Client, rung: Rung) -> Result<Engine, CliError> {
        let options = EngineOptions { store: self.store.clone(), images: Arc::new(client), rung };
        Ok(Engine::open(options)?)
    }

    /// Keeps `kiln prune` away while names of images change or an image leaves; `None` where there is no store yet.
    pub(crate) fn lease(&self) -> Result<Option<Lock>, CliError> {
        let is_store = self.store.join("locks").is_dir();
        Ok(is_store.then(|| lease_of(&self.store)).transpose()?)
    }

    /// The store's images alone: a valid OCI layout.
    pub(crate) fn content(&self) -> Result<ContentStore, CliError> {
        Ok(ContentStore::open(&self.store.join("oci"))?)
    }
}

/// Writes an answer to standard output.
pub(crate) fn answer(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(broken_pipe)
}

/// Writes an answer for programs.
pub(crate) fn answer_json<T: serde::Serialize>(value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    answer(&(text + "\n"))
}

/// Tells a reader that went away from other trouble.
pub(crate) fn broken_pipe(error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
        _ => CliError::Io(error),
    }
}

/// A table: columns as wide as their widest cell, two blanks between.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    use crate::render::text::width;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest =
        |c: usize| rows.iter().filter_map(|row| row.get(c)).map(|cell| width(cell)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, column) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(column - width(cell) + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
