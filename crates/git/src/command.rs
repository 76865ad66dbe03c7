//! The program, found once, and run in surroundings of our making.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::error::{GitError, explain};
use crate::remote::Remote;

/// The most of git's answers that is read: references of a repository with very many.
const ANSWER: u64 = 64 << 20;

/// The most of git's complaints that is read.
const COMPLAINT: u64 = 64 << 10;

/// The longest wait before git is looked at again.
const LOOK: Duration = Duration::from_millis(20);

/// The only ways on which git may reach anything, submodules included. In particular no `file` and no `ext`.
const PROTOCOLS: &str = "https:http:ssh:git";

/// Configuration for each call; with no file of configuration read, all else is as git comes.
const CONFIGURATION: [&str; 16] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.autocrlf=false",
    "core.logAllRefUpdates=false",
    "credential.helper=",
    "init.templateDir=",
    "init.defaultBranch=main",
    "advice.detachedHead=false",
    // Nothing may go on in the background after the command is over.
    "gc.auto=0",
    "gc.autoDetach=false",
    "maintenance.auto=false",
    "fetch.writeCommitGraph=false",
    "submodule.recurse=false",
    // Less than a byte a second for a minute is a connection that stands still.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
];

/// What the caller's environment has to say, looked up already.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `PATH`. Entries that are not absolute are passed over.
    pub path: OsString,
    /// Variables that git and its transports shall see: proxies, certificate authorities.
    pub variables: Vec<(String, OsString)>,
    /// Files with known hosts of ssh. A host that none of them knows is taken at its word and written into the first.
    pub known_hosts: Vec<PathBuf>,
}

/// The program.
#[derive(Clone, Debug)]
pub struct Git {
    program: PathBuf,
    path: OsString,
    settings: Settings,
}

impl Git {
    /// Looks for git in the `PATH` of `settings`.
    ///
    /// # Errors
    /// [`GitError::NoProgram`].
    pub fn find(settings: Settings) -> Result<Self, GitError> {
        let folders: Vec<PathBuf> =
            std::env::split_paths(&settings.path).filter(|p| p.is_absolute()).collect();
        let can_run = |path: &PathBuf| {
            fs_err::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        let program =
            folders.iter().map(|folder| folder.join("git")).find(can_run).ok_or(GitError::NoProgram)?;
        let path = std::env::join_paths(folders).unwrap_or_default();
        Ok(Self { program, path, settings })
    }
}

/// Asked whether to break off.
pub type Cancel<'a> = &'a (dyn Fn() -> bool + Sync);

/// git for one remote, in one place.
pub(crate) struct Runner<'a> {
    git: &'a Git,
    pub(crate) remote: &'a Remote,
    place: &'a Path,
    cancel: Cancel<'a>,
}

impl<'a> Runner<'a> {
    /// `place` is an empty folder that nobody else can write to; git gets its home and its temporaries there.
    pub(crate) fn new(
        git: &'a Git,
        remote: &'a Remote,
        place: &'a Path,
        cancel: Cancel<'a>,
    ) -> Result<Self, GitError> {
        let one_line = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if remote.authorization.as_deref().is_some_and(|text| !one_line(text)) {
            return Err(GitError::BadSecret);
        }
        fs_err::create_dir_all(place.join("home"))?;
        Ok(Self { git, remote, place, cancel })
    }

    /// Where it works.
    pub(crate) fn place(&self) -> &'a Path {
        self.place
    }

    /// Runs `git ARGUMENTS` in `dir` and gives what it writes to standard output.
    pub(crate) fn run(
        &self,
        dir: &Path,
        step: &'static str,
        arguments: &[&str],
    ) -> Result<Vec<u8>, GitError> {
        let mut out = tempfile::tempfile_in(self.place)?;
        let mut errors = tempfile::tempfile_in(self.place)?;
        let mut command = self.command(dir);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(errors.try_clone()?);
        let child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => GitError::NoProgram,
            _ => {
                io::Error::new(error.kind(), format!("cannot start {}: {error}", self.git.program.display()))
                    .into()
            }
        })?;
        let status = self.wait(child)?;
        if status.success() {
            return Ok(read_back(&mut out, ANSWER)?);
        }
        let said = self.tame(&read_back(&mut errors, COMPLAINT)?, status);
        Err(explain(step, said, self.remote.denial()))
    }

    /// The same for an answer that is one word.
    pub(crate) fn word(
        &self,
        dir: &Path,
        step: &'static str,
        arguments: &[&str],
    ) -> Result<String, GitError> {
        let bytes = self.run(dir, step, arguments)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    fn command(&self, dir: &Path) -> Command {
        let settings = &self.git.settings;
        let home = self.place.join("home");
        let mut command = Command::new(&self.git.program);
        command.env_clear().current_dir(dir).process_group(0);
        command
            .env("PATH", &self.git.path)
            .env("HOME", &home)
            .env("XDG_CONFIG_HOME", &home)
            .env("TMPDIR", &home);
        command.env("LC_ALL", "C").env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_ATTR_NOSYSTEM", "1");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", PROTOCOLS);
        // A repository that happens to be around the store is none of ours.
        command.env("GIT_CEILING_DIRECTORIES", self.place);
        command.env("GIT_SSH_COMMAND", ssh(&settings.known_hosts)).env("GIT_SSH_VARIANT", "ssh");
        command.envs(settings.variables.iter().map(|(name, value)| (name, value)));
        if let Some(agent) = &self.remote.agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        for setting in CONFIGURATION {
            command.args(["-c", setting]);
        }
        if let Some(secret) = self.remote.secret() {
            // Arguments can be read by every user of the machine, the environment by this one only.
            command.env("GIT_CONFIG_COUNT", "1");
            command.env("GIT_CONFIG_KEY_0", format!("http.{}.extraHeader", self.remote.scope()));
            command.env("GIT_CONFIG_VALUE_0", format!("Authorization: {secret}"));
            // git takes its extra headers along wherever it is sent.
            command.args(["-c", "http.followRedirects=false"]);
        }
        command
    }

    fn wait(&self, mut child: Child) -> Result<ExitStatus, GitError> {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if (self.cancel)() {
                // Its transports are processes of their own; the group has them all.
                if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                child.wait()?;
                return Err(GitError::Cancelled);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LOOK);
        }
    }

    /// What git said, fit for a message: the lines that matter, no control characters, no secret, no path of ours.
    fn tame(&self, bytes: &[u8], status: ExitStatus) -> String {
        let mut text = String::from_utf8_lossy(bytes).into_owned();
        if let Some(secret) = self.remote.secret() {
            text = text.replace(secret, "***");
            if let Some((_, value)) = secret.split_once(' ').filter(|(_, value)| !value.trim().is_empty()) {
                text = text.replace(value.trim(), "***");
            }
        }
        let text = text.replace(&format!("{}/", self.place.display()), "");
        let noise = |line: &&str| {
            let line = line.trim();
            !line.is_empty()
                && !line.starts_with("warning: ")
                && !line.starts_with("hint: ")
                && !line.starts_with("Warning: Permanently added")
                && !line.starts_with("Failed to clone '")
        };
        let lines: Vec<&str> = text.split(['\n', '\r']).filter(noise).map(str::trim).collect();
        let last = &lines[lines.len().saturating_sub(4)..];
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        let joined: String = last.join("; ").chars().map(clean).take(600).collect();
        match joined.is_empty() {
            true => format!("it ended with {status}"),
            false => joined,
        }
    }
}

fn read_back(file: &mut std::fs::File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `ssh` without the user's configuration and keys: keys come from the agent. git hands this to a shell.
fn ssh(known_hosts: &[PathBuf]) -> OsString {
    let mut line = OsString::from(
        "ssh -F /dev/null -o BatchMode=yes -o IdentityFile=none -o ConnectTimeout=30 -o ServerAliveInterval=20 \
         -o StrictHostKeyChecking=accept-new",
    );
    // A path with quotes or a percent sign would be read as something else.
    let plain =
        |path: &&PathBuf| !path.as_os_str().as_encoded_bytes().iter().any(|b| b"'\"\\%$\n".contains(b));
    let files: Vec<&OsStr> = known_hosts.iter().filter(plain).map(|path| path.as_os_str()).collect();
    if !files.is_empty() {
        line.push(" -o 'UserKnownHostsFile=");
        for (i, file) in files.iter().enumerate() {
            line.push(if i == 0 { "\"" } else { " \"" });
            line.push(file);
            line.push("\"");
        }
        line.push("'");
    }
    line
}
