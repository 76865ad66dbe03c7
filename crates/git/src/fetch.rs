//! Fetching one commit and making its files.

use std::path::{Path, PathBuf};

use crate::command::{Cancel, Git, Runner};
use crate::error::GitError;
use crate::remote::Remote;
use crate::settle::{self, Keep};

/// What to fetch, and what to make of it.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// The whole id of a commit or of an annotated tag.
    pub object: &'a str,
    /// The reference that led to it, in full: servers that give no single commits are asked for that instead, and a `.git` that is
    /// kept has it.
    pub reference: Option<&'a str>,
    /// The beginning of the commit's id, or of the tag's, that it must have.
    pub checksum: Option<&'a str>,
    /// The directory to take, clean and relative; empty for all.
    pub subdir: &'a str,
    /// Submodules too, at every depth.
    pub submodules: bool,
    /// Keep `.git` (not with `subdir`).
    pub keep_git_dir: bool,
    /// Times of the files.
    pub times: Times,
}

/// Times that files get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The commit's.
    Commit,
    /// When they are made.
    Checkout,
}

/// The files of a commit.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The directory; below the place that was given.
    pub tree: PathBuf,
    /// The commit.
    pub commit: String,
    /// Its committer's time, in seconds since 1970.
    pub time: i64,
}

impl Git {
    /// Fetches what `order` says from `remote`, in the empty folder `place`.
    ///
    /// One commit without its history is asked for. A server that does not give that is asked for the reference, then for all
    /// branches and tags.
    ///
    /// # Errors
    /// See [`GitError`]; what is in `place` then is of no use.
    pub fn check_out(
        &self,
        remote: &Remote,
        order: &Order<'_>,
        place: &Path,
        cancel: Cancel<'_>,
    ) -> Result<Checkout, GitError> {
        let runner = Runner::new(self, remote, place, cancel)?;
        let repository = place.join("repository");
        fs_err::create_dir_all(&repository)?;
        let mut init = vec!["init", "-q"];
        if order.object.len() == 64 {
            init.push("--object-format=sha256");
        }
        runner.run(&repository, "init", &init)?;
        runner.run(&repository, "remote", &["remote", "add", "--", "origin", &remote.url])?;
        let commit = obtain(&runner, &repository, order)?;
        check_sum(order, &commit)?;
        let time = runner.word(
            &repository,
            "show",
            &["show", "-s", "--no-show-signature", "--format=%ct", &commit],
        )?;
        let time = time
            .parse()
            .map_err(|_| GitError::Failed { step: "show", said: format!("{time:?} is no time") })?;
        runner.run(&repository, "checkout", &["checkout", "-q", "--force", "--detach", &commit])?;
        if order.submodules {
            submodules(&runner, &repository)?;
        }
        let keep = order.keep_git_dir && order.subdir.is_empty();
        if keep {
            settle::history(&runner, &repository, (order.reference, order.object))?;
        }
        let tree = settle::take(&repository, order.subdir)?;
        let mtime = (order.times == Times::Commit).then_some(time);
        settle::settle(&tree, mtime, if keep { Keep::GitDir } else { Keep::Files })?;
        Ok(Checkout { tree, commit, time })
    }
}

/// Gets the object; its commit is the result.
fn obtain(runner: &Runner<'_>, repository: &Path, order: &Order<'_>) -> Result<String, GitError> {
    let all = ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
    let mut ways: Vec<Vec<&str>> = vec![vec!["--depth=1", "--no-tags", "origin", order.object]];
    if let Some(reference) = order.reference {
        ways.push(vec!["--depth=1", "--no-tags", "origin", reference]);
        ways.push(vec!["--no-tags", "origin", reference]);
    }
    ways.push([["--tags", "origin"], all].concat());
    let mut last = None;
    for way in ways {
        let arguments = [vec!["fetch", "-q", "--no-recurse-submodules"], way].concat();
        match runner.run(repository, "fetch", &arguments) {
            Ok(_) => {
                if let Some(commit) = commit_of(runner, repository, order.object)? {
                    return Ok(commit);
                }
            }
            // Another way would not change who we are or whether anybody is there.
            Err(error @ GitError::Failed { .. }) => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    match last {
        Some(GitError::Failed { said, .. }) if !about_the_object(&said) => {
            Err(GitError::Failed { step: "fetch", said })
        }
        _ => Err(GitError::NoCommit { commit: order.object.to_owned() }),
    }
}

fn about_the_object(said: &str) -> bool {
    ["not our ref", "unadvertised object", "remote ref"].iter().any(|words| said.contains(words))
}

/// The commit that `object` is or is a tag of, if it is here.
fn commit_of(runner: &Runner<'_>, repository: &Path, object: &str) -> Result<Option<String>, GitError> {
    let wanted = format!("{object}^{{commit}}");
    match runner.word(repository, "rev-parse", &["rev-parse", "-q", "--verify", &wanted]) {
        Ok(commit) => Ok(Some(commit)),
        Err(error @ (GitError::Cancelled | GitError::Io(_) | GitError::NoProgram)) => Err(error),
        Err(_) => Ok(None),
    }
}

fn check_sum(order: &Order<'_>, commit: &str) -> Result<(), GitError> {
    let Some(expected) = order.checksum else { return Ok(()) };
    if commit.starts_with(expected) || order.object.starts_with(expected) {
        return Ok(());
    }
    let got = match order.object == commit {
        true => commit.to_owned(),
        false => format!("{commit} (of the tag {})", order.object),
    };
    Err(GitError::Checksum { expected: expected.to_owned(), got })
}

fn submodules(runner: &Runner<'_>, repository: &Path) -> Result<(), GitError> {
    let list = repository.join(".gitmodules");
    // git reads no link here either.
    if !fs_err::symlink_metadata(&list).is_ok_and(|meta| meta.is_file()) {
        return Ok(());
    }
    let update = |depth: &[&str]| {
        let arguments = [&["submodule", "--quiet", "update", "--init", "--recursive"], depth].concat();
        runner.run(repository, "submodule update", &arguments)
    };
    let done = match update(&["--depth=1"]) {
        // Servers that know no depth, or do not give a commit that is at the tip of no branch.
        Err(GitError::Failed { .. }) => update(&[]),
        other => other,
    };
    done.map(drop).map_err(|error| match error {
        GitError::Failed { said, .. } => GitError::Submodules { said },
        GitError::NotFound { said } | GitError::Unreachable { said } | GitError::Denied { said, .. } => {
            GitError::Submodules { said }
        }
        other => other,
    })
}
