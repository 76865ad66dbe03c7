//! Servers that live as long as the measurement.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;
use crate::meter;

/// A server that this process started. It is ended, by process id, when this value goes; the kernel ends it when this process is
/// killed.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `program` with its output in `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(name: &'static str, program: &[&str], log: PathBuf) -> Result<Self, Failure> {
        let (output, _) = fs_err::File::create(&log)?.into_parts();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).args(program);
        // Debian has runc and containerd's shims partly here, which is not in everybody's path.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        Ok(Self { name, child: meter::start_of(&mut command)?, log })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` has an answer, which it gets from the server's log or by asking it.
    ///
    /// # Errors
    /// [`Failure::NotReady`] after 30 s, or when the server ends.
    pub(crate) fn wait_for<T>(&mut self, ready: impl Fn(&Path) -> Option<T>) -> Result<T, Failure> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(30) && self.child.try_wait()?.is_none() {
            if let Some(answer) = ready(&self.log) {
                return Ok(answer);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(Failure::NotReady { server: self.name, last: meter::last_line(&self.log) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it has ended already, there is nothing to end and nobody to tell.
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().ok();
    }
}
