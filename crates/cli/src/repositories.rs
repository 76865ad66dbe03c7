//! Wires the host's git to the engine, which runs no programs but steps.

use std::path::{Path, PathBuf};

use kiln_build::remote::{
    CheckedOut, CheckoutOrder, Refused, RemoteError, Repositories, Repository, Resolved, Within,
};
use kiln_git::{Denial, Git, GitError, Order, Remote, Settings, Times};

use crate::environment::Environment;

/// Variables that git may see, besides what kiln itself makes: how to reach the network.
const PROXIES: [&str; 8] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// Reads repositories through [`Git`], which is looked for when the first is read.
pub(crate) struct HostGit {
    settings: Settings,
}

impl HostGit {
    /// With the proxies, authorities and known hosts of the environment. New hosts of ssh are remembered in `store`.
    pub(crate) fn new(environment: &Environment, store: &Path) -> Self {
        let mut variables: Vec<_> = PROXIES
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), environment.raw(name)?.clone())))
            .collect();
        if let Some(file) = environment.raw("SSL_CERT_FILE") {
            variables.push(("GIT_SSL_CAINFO".to_owned(), file.clone()));
        }
        let home = environment.get("HOME").map(|home| PathBuf::from(home).join(".ssh/known_hosts"));
        let known_hosts = [store.join("known_hosts")].into_iter().chain(home).collect();
        let path = environment.raw("PATH").cloned().unwrap_or_default();
        Self { settings: Settings { path, variables, known_hosts } }
    }

    fn git(&self) -> Result<Git, RemoteError> {
        Git::find(self.settings.clone()).map_err(explain)
    }
}

impl Repositories for HostGit {
    fn resolve(
        &self,
        repository: &Repository,
        reference: &str,
        within: Within<'_>,
    ) -> Result<Resolved, RemoteError> {
        let found = self
            .git()?
            .resolve(&remote(repository), reference, within.place, &|| within.stop.check().is_err());
        let found = found.map_err(explain)?;
        Ok(Resolved { object: found.object, reference: found.reference, peeled: found.peeled })
    }

    fn check_out(
        &self,
        repository: &Repository,
        order: &CheckoutOrder<'_>,
        within: Within<'_>,
    ) -> Result<CheckedOut, RemoteError> {
        let order = Order {
            object: order.object,
            reference: order.reference,
            checksum: order.checksum,
            subdir: order.subdir,
            submodules: order.submodules,
            keep_git_dir: order.keep_git_dir,
            times: if order.commit_times { Times::Commit } else { Times::Checkout },
        };
        let made = self
            .git()?
            .check_out(&remote(repository), &order, within.place, &|| within.stop.check().is_err());
        let made = made.map_err(explain)?;
        Ok(CheckedOut { tree: made.tree, commit: made.commit, time: made.time })
    }
}

fn remote(repository: &Repository) -> Remote {
    Remote {
        url: repository.url.clone(),
        authorization: repository.authorization.clone(),
        scope: repository.scope.clone(),
        agent: repository.agent.clone(),
    }
}

fn explain(error: GitError) -> RemoteError {
    match error {
        GitError::NoProgram => RemoteError::NoProgram,
        GitError::Unreachable { said } => RemoteError::Unreachable { detail: said },
        GitError::Denied { denial, said } => {
            let refused = match denial {
                Denial::NoSecret => Refused::Git,
                Denial::Secret => Refused::GitWithSecret,
                Denial::NoAgent => Refused::NoAgent,
                Denial::Agent => Refused::Agent,
                Denial::HostKey => Refused::HostKey,
            };
            RemoteError::Denied { refused, detail: said }
        }
        GitError::NotFound { said } => RemoteError::NotFound { detail: said },
        GitError::Redirected => RemoteError::Redirected,
        GitError::NoReference { reference, others } => RemoteError::NoReference { reference, others },
        GitError::Empty => RemoteError::Empty,
        GitError::NoCommit { commit } => RemoteError::NoCommit { commit },
        GitError::Checksum { expected, got } => RemoteError::Checksum { expected, got },
        GitError::NoDirectory { path } => RemoteError::NoDirectory { path },
        GitError::Submodules { said } => RemoteError::Submodules { detail: said },
        GitError::BadSecret => RemoteError::BadSecret { id: "GIT_AUTH".to_owned() },
        GitError::Failed { step, said } => RemoteError::Failed { what: format!("git {step}"), detail: said },
        GitError::Io(error) => RemoteError::Io(error),
        GitError::Cancelled => RemoteError::Cancelled,
        other => RemoteError::Failed { what: "git".to_owned(), detail: other.to_string() },
    }
}
