//! The agents of `--ssh`: sockets that are there already, and private key files, for which an agent is started.
//!
//! Keys are held by OpenSSH's own agent, which knows every kind of key and protects its memory. It listens in a folder that only
//! this user can enter, and it ends with this process, however that ends: it runs beside a shell that reads from a pipe of ours.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::args::values::Ssh;
use crate::environment::Environment;
use crate::errors::CliError;

/// How long an agent may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Agents by id. Those that were started end with this value.
#[derive(Default)]
pub(crate) struct Agents {
    /// Their sockets.
    pub(crate) sockets: BTreeMap<String, PathBuf>,
    _keyrings: Vec<Keyring>,
}

impl Agents {
    /// Looks up or starts what `list` asks for.
    pub(crate) fn of(list: &[Ssh], environment: &Environment) -> Result<Self, CliError> {
        let mut agents = Self::default();
        for ssh in list {
            let socket = match agent_socket(ssh, environment)? {
                Some(socket) => socket,
                None => {
                    let keyring = Keyring::start(ssh, environment)?;
                    let socket = keyring.socket();
                    agents._keyrings.push(keyring);
                    socket
                }
            };
            agents.sockets.insert(ssh.id.clone(), socket);
        }
        Ok(agents)
    }
}

fn wrong(ssh: &Ssh, problem: impl std::fmt::Display) -> CliError {
    CliError::usage("--ssh", format!("{}: {problem}", ssh.id))
}

/// The socket that is given or that `SSH_AUTH_SOCK` names; `None` if key files are given.
fn agent_socket(ssh: &Ssh, environment: &Environment) -> Result<Option<PathBuf>, CliError> {
    let given = match (ssh.paths.as_slice(), environment.get("SSH_AUTH_SOCK")) {
        ([], Some(path)) => vec![path.to_owned()],
        ([], None) => {
            let problem = "SSH_AUTH_SOCK is not set, so there is no agent to forward; start one, or give a private key: --ssh ID=KEY";
            return Err(wrong(ssh, problem));
        }
        (paths, _) => paths.to_vec(),
    };
    let mut sockets = Vec::new();
    for path in &given {
        let meta = fs_err::metadata(path).map_err(|e| wrong(ssh, e))?;
        if meta.file_type().is_socket() {
            sockets.push(std::path::absolute(path)?);
        } else if !meta.is_file() {
            return Err(wrong(ssh, format!("{path} is neither an agent's socket nor a private key")));
        }
    }
    match sockets.pop() {
        None => Ok(None),
        Some(socket) if given.len() == 1 => Ok(Some(socket)),
        Some(_) => Err(wrong(ssh, "one agent's socket, or private keys, but not both")),
    }
}

/// An agent of our own with some keys.
struct Keyring {
    folder: TempDir,
    agent: Child,
}

impl Keyring {
    fn start(ssh: &Ssh, environment: &Environment) -> Result<Self, CliError> {
        let own = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("kiln-ssh-").permissions(own).tempdir()?;
        let socket = folder.path().join("agent");
        // The shell ends when our end of its input does, and takes the agent with it.
        let mut command = tool("ssh-agent", environment);
        command.arg("-a").arg(&socket).args(["sh", "-c", "cat; kill \"$SSH_AGENT_PID\""]);
        let agent = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut keyring = Self { folder, agent: agent.map_err(|e| missing(ssh, "ssh-agent", &e))? };
        keyring.wait(ssh)?;
        for key in &ssh.paths {
            keyring.add(ssh, key, environment)?;
        }
        Ok(keyring)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    fn wait(&mut self, ssh: &Ssh) -> Result<(), CliError> {
        let begin = Instant::now();
        while !self.socket().exists() {
            if self.agent.try_wait()?.is_some() || begin.elapsed() > PATIENCE {
                return Err(wrong(
                    ssh,
                    "ssh-agent does not listen; is the path of TMPDIR too long for a socket?",
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Adds one key. Nobody is asked for a passphrase: a build may have no terminal.
    fn add(&self, ssh: &Ssh, key: &str, environment: &Environment) -> Result<(), CliError> {
        let path = std::path::absolute(key)?;
        let mut test = tool("ssh-keygen", environment);
        let opened = output(test.args(["-y", "-P", "", "-f"]).arg(&path));
        let opened = opened.map_err(|e| missing(ssh, "ssh-keygen", &e))?;
        let mut add = tool("ssh-add", environment);
        add.env("SSH_AUTH_SOCK", self.socket()).env("SSH_ASKPASS_REQUIRE", "never").arg("-q").arg(&path);
        let added = match opened {
            Ok(()) => output(&mut add).map_err(|e| missing(ssh, "ssh-add", &e))?,
            refused => refused,
        };
        added.map_err(|said| {
            wrong(
                ssh,
                format!(
                    "{key} cannot be used as a private key ({said}); one with a passphrase needs an agent"
                ),
            )
        })
    }
}

impl Drop for Keyring {
    fn drop(&mut self) {
        drop(self.agent.stdin.take());
        // It was told to end; whether it did is the kernel's business.
        let _ = self.agent.wait();
    }
}

/// A program of OpenSSH, with nothing of our environment but where programs are.
fn tool(name: &str, environment: &Environment) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", environment.get("PATH").unwrap_or("/usr/bin:/bin"));
    command
}

/// Runs to the end; the inner error is the last line that it said.
fn output(command: &mut Command) -> io::Result<Result<(), String>> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Ok(Err(said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no reason given").trim().to_owned()))
}

fn missing(ssh: &Ssh, program: &str, error: &io::Error) -> CliError {
    let what = Path::new(program).display();
    wrong(
        ssh,
        format!(
            "private keys are held by OpenSSH's agent, and {what} cannot be started ({error}); install openssh-client"
        ),
    )
}
