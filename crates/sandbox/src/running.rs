//! The caller's side of a sandboxed process.

use std::io::{self, PipeReader};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::helper::Part;
use crate::spec::{Exit, Ground, Spec, Stdio};
use crate::step::Report;
use crate::wire;

/// Starts a process as `spec` says and returns without waiting for it.
///
/// Everything that goes wrong on the way to the program, a missing program included, is the result
/// of [`Running::wait`]; an error here means that not even the helper started.
pub fn spawn(spec: &Spec, stdio: Stdio) -> Result<Running, Error> {
    let output = match stdio {
        Stdio::Piped => Output::Piped,
        Stdio::Inherited => Output::Files(rustix::stdio::stdout(), rustix::stdio::stderr()),
    };
    Helper::start()
        .and_then(|helper| helper.begin(Ground::of(spec, false), (None, output)))
        .and_then(|begun| begun.request(spec, None))
        .map_err(failed)
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
    let (out, error) = match output {
        Some(file) => (file, file),
        None => (rustix::stdio::stdout(), rustix::stdio::stderr()),
    };
    Helper::start()
        .and_then(|helper| helper.begin(Ground::of(spec, true), (Some(input), Output::Files(out, error))))
        .and_then(|begun| begun.request(spec, None))
        .map_err(failed)
}

fn failed(source: io::Error) -> Error {
    Error::Helper { source }
}

/// Helpers for one process after the other, each with a sandbox made ready while the process before is at work: most of what a short process
/// costs.
#[derive(Default)]
pub struct Helpers {
    ready: Mutex<Option<Begun>>,
    idle: Arc<Idle>,
}

/// Helpers that wait for something to do.
type Idle = Mutex<Vec<Helper>>;

impl Helpers {
    /// As [`spawn`], with pipes, in the sandbox that [`Helpers::prepare`] made ready if it serves.
    pub fn spawn(&self, spec: &Spec) -> Result<Running, Error> {
        let ground = Ground::of(spec, false);
        if let Some(begun) = guard(&self.ready).take().filter(|begun| begun.ground == ground) {
            // A helper that is gone (killed for want of memory, say) takes no request.
            if let Ok(running) = begun.request(spec, Some(&self.idle)) {
                return Ok(running);
            }
        }
        self.begin(ground).and_then(|begun| begun.request(spec, Some(&self.idle))).map_err(failed)
    }

    /// Makes a sandbox ready for a process like that of `spec`, unless one is. Should that fail, it is tried again when it is needed.
    pub fn prepare(&self, spec: &Spec) {
        let mut ready = guard(&self.ready);
        if ready.is_none() {
            *ready = self.begin(Ground::of(spec, false)).ok();
        }
    }

    fn begin(&self, ground: Ground) -> io::Result<Begun> {
        let idle = guard(&self.idle).pop();
        if let Some(Ok(begun)) = idle.map(|helper| helper.begin(ground.clone(), (None, Output::Piped))) {
            return Ok(begun);
        }
        Helper::start()?.begin(ground, (None, Output::Piped))
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a process writes.
enum Output<'a> {
    /// To pipes that the caller reads.
    Piped,
    /// To these.
    Files(BorrowedFd<'a>, BorrowedFd<'a>),
}

/// A helper process. Dropping it ends it, and kills what it runs.
struct Helper {
    child: Child,
    control: Arc<UnixStream>,
}

impl Helper {
    fn start() -> io::Result<Self> {
        let (child, control) = Part::Run.start()?;
        Ok(Self { child, control: Arc::new(control) })
    }

    /// Has it make a sandbox ready.
    fn begin(self, ground: Ground, streams: (Option<BorrowedFd<'_>>, Output<'_>)) -> io::Result<Begun> {
        let control = &*self.control;
        wire::send(control, &ground)?;
        let (input, output) = streams;
        let (mut stdout, mut stderr) = (None, None);
        match output {
            Output::Files(out, error) => {
                [out, error].iter().try_for_each(|file| wire::send_file(control, *file))?
            }
            Output::Piped => {
                for pipe in [&mut stdout, &mut stderr] {
                    let (reader, writer) = io::pipe()?;
                    wire::send_file(control, writer.as_fd())?;
                    *pipe = Some(reader);
                }
            }
        }
        input.map_or(Ok(()), |input| wire::send_file(control, input))?;
        Ok(Begun { helper: self, ground, stdout, stderr })
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        kill(&self.control);
        let _ = self.child.wait();
    }
}

/// It fails only if the other end is gone, and then so is the process.
fn kill(control: &UnixStream) {
    let _ = control.shutdown(Shutdown::Write);
}

/// A sandbox that waits for its process.
struct Begun {
    helper: Helper,
    ground: Ground,
    stdout: Option<PipeReader>,
    stderr: Option<PipeReader>,
}

impl Begun {
    /// Starts the process. When it is over its helper goes to `home`.
    fn request(self, spec: &Spec, home: Option<&Arc<Idle>>) -> io::Result<Running> {
        let Self { helper, stdout, stderr, .. } = self;
        wire::send(&*helper.control, spec)?;
        let killer = Killer(Arc::new(Mutex::new(Some(helper.control.clone()))));
        let state = Mutex::new(State::Running(helper));
        Ok(Running { stdout, stderr, killer, state, home: home.cloned() })
    }
}

/// A process in its sandbox. Dropping it kills and reaps the process.
pub struct Running {
    /// The process's output, if [`Stdio::Piped`]. It ends when no process of the sandbox is left.
    pub stdout: Option<PipeReader>,
    /// The same for its error output.
    pub stderr: Option<PipeReader>,
    killer: Killer,
    state: Mutex<State>,
    home: Option<Arc<Idle>>,
}

enum State {
    Running(Helper),
    Ended(Exit),
    Failed,
}

/// Ends a process from anywhere, also while another thread waits for it.
#[derive(Clone)]
pub struct Killer(Arc<Mutex<Option<Arc<UnixStream>>>>);

impl Killer {
    /// See [`Running::kill`].
    pub fn kill(&self) {
        if let Some(control) = guard(&self.0).take() {
            kill(&control);
        }
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
        let mut state = guard(&self.state);
        let mut helper = match std::mem::replace(&mut *state, State::Failed) {
            State::Running(helper) => helper,
            State::Ended(exit) => {
                *state = State::Ended(exit);
                return Ok(exit);
            }
            State::Failed => return Err(Error::Vanished { status: "it has failed before".into() }),
        };
        let (outcome, is_over) = outcome(&helper.control);
        // Whoever kills it from now on means this process and not the helper's next.
        let killed = guard(&self.killer.0).take().is_none();
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => Err(Error::Vanished { status: helper.child.wait().map_err(failed)?.to_string() }),
        };
        if let (Some(home), true, false) = (&self.home, is_over, killed) {
            guard(home).push(helper);
        }
        if let Ok(exit) = outcome {
            *state = State::Ended(exit);
        }
        outcome
    }
}

/// The first report, once the last has come, and whether the helper can go on.
fn outcome(control: &UnixStream) -> (Option<Result<Exit, Error>>, bool) {
    let mut first = None;
    loop {
        let outcome = match wire::receive::<Report>(control) {
            Ok(Some(Report::Over)) => return (first, true),
            Ok(Some(Report::Ended(exit))) => Ok(exit),
            Ok(Some(Report::Failed(error))) => Err(error),
            Ok(None) | Err(_) => return (first, false),
        };
        first.get_or_insert(outcome);
    }
}
