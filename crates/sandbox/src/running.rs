//! The caller's side of a sandboxed process.

use std::io;
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, ChildStdout};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::helper::Part;
use crate::spec::{Exit, Spec, Stdio};
use crate::step::Report;
use crate::wire;

/// Starts a process as `spec` says and returns without waiting for it.
///
/// Everything that goes wrong on the way to the program, a missing program included, is the result
/// of [`Running::wait`]; an error here means that not even the helper started.
pub fn spawn(spec: &Spec, stdio: Stdio) -> Result<Running, Error> {
    let output = || match stdio {
        Stdio::Piped => Ok(std::process::Stdio::piped()),
        Stdio::Inherited => Ok(std::process::Stdio::inherit()),
    };
    let started = Part::Run.start(output).map_err(|source| Error::Helper { source })?;
    running(spec, started)
}

/// Helpers for one process after the other, each started while the one before is at work: half of what a short process costs is the start of
/// its helper.
#[derive(Default)]
pub struct Helpers {
    spare: Mutex<Option<(Child, UnixStream)>>,
}

impl Helpers {
    /// As [`spawn`], with pipes, by the helper that [`Helpers::prepare`] started if there is one.
    pub fn spawn(&self, spec: &Spec) -> Result<Running, Error> {
        if let Some((mut child, control)) = self.spare().take() {
            // One that is gone already (killed for want of memory, say) takes no request.
            if matches!(child.try_wait(), Ok(None)) {
                return running(spec, (child, control));
            }
        }
        spawn(spec, Stdio::Piped)
    }

    /// Starts the helper of the next process, unless one is waiting. Should that fail, it is tried again when it is needed.
    pub fn prepare(&self) {
        let mut spare = self.spare();
        if spare.is_none() {
            *spare = Part::Run.start(|| Ok(std::process::Stdio::piped())).ok();
        }
    }

    fn spare(&self) -> MutexGuard<'_, Option<(Child, UnixStream)>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        if let Some((mut child, control)) = self.spare().take() {
            // It ends when nobody can ask it for anything any more.
            drop(control);
            let _ = child.wait();
        }
    }
}

/// As [`spawn`], for a process that somebody talks to. It reads `input`, and writes to `output` or else to the caller's own standard output
/// and error.
///
/// If `input` is a terminal, the process's side of one that [`open_terminal`](crate::open_terminal) made, it becomes the process's
/// controlling terminal.
pub fn spawn_interactive(
    spec: &Spec,
    input: BorrowedFd<'_>,
    output: Option<BorrowedFd<'_>>,
) -> Result<Running, Error> {
    let failed = |source| Error::Helper { source };
    let output = || match output {
        Some(file) => Ok(file.try_clone_to_owned()?.into()),
        None => Ok(std::process::Stdio::inherit()),
    };
    let (child, control) = Part::Interact.start(output).map_err(failed)?;
    wire::send_file(&control, input).map_err(failed)?;
    running(spec, (child, control))
}

fn running(spec: &Spec, (mut child, control): (Child, UnixStream)) -> Result<Running, Error> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let running = Running {
        stdout,
        stderr,
        killer: Killer(Arc::new(control)),
        child: Mutex::new(State::Running(child)),
    };
    wire::send(&*running.killer.0, spec).map_err(|source| Error::Helper { source })?;
    Ok(running)
}

/// A process in its sandbox. Dropping it kills and reaps the process.
pub struct Running {
    /// The process's output, if [`Stdio::Piped`]. It ends when no process of the sandbox is left.
    pub stdout: Option<ChildStdout>,
    /// The same for its error output.
    pub stderr: Option<ChildStderr>,
    killer: Killer,
    child: Mutex<State>,
}

enum State {
    Running(Child),
    Ended(Exit),
    Failed,
}

/// Ends a process from anywhere, also while another thread waits for it.
#[derive(Clone)]
pub struct Killer(Arc<UnixStream>);

impl Killer {
    /// See [`Running::kill`].
    pub fn kill(&self) {
        // It fails only if the other end is gone, and then so is the process.
        let _ = self.0.shutdown(Shutdown::Write);
    }
}

impl Running {
    /// Kills every process of the sandbox with `SIGKILL`. Idempotent, and without effect once they are
    /// gone. [`Running::wait`] then says `Exit::Signal(9)`, or how the process ended just before.
    pub fn kill(&self) {
        self.killer.kill();
    }

    /// A handle that kills the process, to be sent to other threads.
    pub fn killer(&self) -> Killer {
        self.killer.clone()
    }

    /// Waits until no process of the sandbox is left and the traces of its mount points are gone from
    /// the rootfs. A second call gives the same exit again, but not the same error.
    ///
    /// Pipes must be read meanwhile, or a process that fills them waits for ever.
    pub fn wait(&self) -> Result<Exit, Error> {
        let mut state = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let child = match &mut *state {
            State::Running(child) => child,
            State::Ended(exit) => return Ok(*exit),
            State::Failed => return Err(Error::Vanished { status: "it has failed before".into() }),
        };
        let outcome = outcome(child, &self.killer.0);
        *state = match &outcome {
            Ok(exit) => State::Ended(*exit),
            Err(_) => State::Failed,
        };
        outcome
    }
}

/// The first report, once the helper is gone.
fn outcome(child: &mut Child, control: &UnixStream) -> Result<Exit, Error> {
    let failed = |source: io::Error| Error::Helper { source };
    let report = wire::receive::<Report>(control);
    let status = child.wait().map_err(failed)?;
    match report {
        Ok(Some(Report::Ended(exit))) => Ok(exit),
        Ok(Some(Report::Failed(error))) => Err(error),
        Ok(None) | Err(_) => Err(Error::Vanished { status: status.to_string() }),
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.killer.kill();
        let state = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(child) = state {
            // Nobody is left to tell.
            let _ = child.wait();
        }
    }
}
