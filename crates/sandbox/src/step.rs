//! The helper: processes between the caller and the program.
//!
//! The outer one lives outside the sandbox, holds the socket's far end, kills everything when it
//! closes, and does one step after the other. The inner one is process 1 of the sandbox: it builds the tree of mounts,
//! starts the program and reaps what the program leaves behind. When it exits the kernel kills the rest.
//!
//! All of them begin before the request comes, which is while the step before is at work: namespaces, `/proc`, `/sys` and `/dev`, and a process
//! behind its filter, which the program is going to be, are two thirds of what a short step costs.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::mount::MountAttrFlags;
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use serde::{Deserialize, Serialize};

use crate::backstage::Backstage;
use crate::error::{Action, Error, failed};
use crate::spec::{Exit, Ground, Network, Rootfs, Scratch, Security, Spec};
use crate::stubs::{self, Leftovers};
use crate::wire::Frame;
use crate::{beneath, kernelfs, mount, overlay, payload, sys, tree, wire};

/// What the helper tells the caller; of each step the first report but [`Report::Over`] counts.
#[derive(Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program ran and ended.
    Ended(Exit),
    /// It never ran.
    Failed(Error),
    /// Nothing is left of the step, and the next may come. Without it nothing is left, either, once the socket is closed.
    Over,
}

/// The run helper's main function.
pub(crate) fn main(control: &UnixStream) -> io::Result<()> {
    // Out of the terminal's reach: an interrupt is for the caller to handle.
    rustix::process::setsid()?;
    while let Some(ground) = wire::receive::<Ground>(control)? {
        let streams = Streams::receive(control, &ground)?;
        let sandbox = Sandbox::begin(&ground, streams, control);
        let Some(request) = Frame::receive(control)? else {
            sandbox.iter().for_each(Sandbox::abandon);
            return Ok(());
        };
        if let Err(error) = sandbox.and_then(|sandbox| sandbox.run(&request, control)) {
            // Who knows in what state this process is: the next step gets another.
            report(control, &Report::Failed(error));
            return Ok(());
        }
        report(control, &Report::Over);
    }
    Ok(())
}

/// If the caller is gone nobody is left to tell.
fn report(control: &UnixStream, report: &Report) {
    let _ = wire::send(control, report);
}

/// What the program reads and writes.
struct Streams {
    input: Option<OwnedFd>,
    output: OwnedFd,
    error: OwnedFd,
}

impl Streams {
    fn receive(control: &UnixStream, ground: &Ground) -> io::Result<Self> {
        let (output, error) = (wire::receive_file(control)?, wire::receive_file(control)?);
        let input = if ground.reads { Some(wire::receive_file(control)?) } else { None };
        Ok(Self { input, output, error })
    }
}

/// The outer process's side of a sandbox.
struct Sandbox {
    backstage: Backstage,
    /// Process 1.
    inner: Pid,
    /// Where it waits for the request and the root.
    inside: UnixStream,
}

impl Sandbox {
    /// Makes the namespaces and what is on the ground.
    fn begin(ground: &Ground, streams: Streams, control: &UnixStream) -> Result<Self, Error> {
        let outer = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(failed(Action::Fork))?;
        let (inside, requests) = UnixStream::pair().map_err(failed(Action::Fork))?;
        let namespaces = libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP
            | if ground.network == Network::None { libc::CLONE_NEWNET } else { 0 };
        let backstage = Backstage::enter(&ground.stubs).map_err(failed(Action::Backstage))?;
        match sys::fork_into(namespaces) {
            // Whoever reads the other end of a terminal, or of a pipe, waits until nobody holds this one: the streams go.
            Ok(Some(inner)) => Ok(Self { backstage, inner, inside }),
            Ok(None) => {
                drop(inside);
                let outcome = init(ground, streams, backstage, (&outer, &requests));
                report(control, &outcome.map_or_else(Report::Failed, Report::Ended));
                std::process::exit(0);
            }
            Err(source) => {
                backstage.leave().map_err(failed(Action::Backstage))?;
                Err(Error::Namespaces { source })
            }
        }
    }

    /// Ends process 1, whom nobody asks for anything any more.
    fn abandon(&self) {
        let _ = rustix::process::kill_process(self.inner, Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.inner), WaitOptions::empty());
    }

    /// Has the request done, and waits until nothing is left of it.
    fn run(self, request: &Frame, control: &UnixStream) -> Result<(), Error> {
        let rooted = self.hand_over(request);
        if rooted.is_err() {
            let _ = rustix::process::kill_process(self.inner, Signal::KILL);
        }
        let ended = watch(self.inner, control);
        // Nothing of the overlay may be in use any more when the caller reads its upper directory; and a
        // mount point can go only when nothing is mounted on it.
        let left = self.backstage.leave();
        let (root, leftovers) = rooted?;
        leftovers.clean();
        drop(root);
        left.map_err(failed(Action::Backstage))?;
        // Killed on the caller's word, or by the kernel for want of memory: it could not report.
        if let Some(signal) = ended.map_err(failed(Action::Fork))?.terminating_signal() {
            report(control, &Report::Ended(Exit::Signal(signal)));
        }
        Ok(())
    }

    /// Gives process 1 the request and the root.
    fn hand_over(&self, request: &Frame) -> Result<(OwnedFd, Leftovers), Error> {
        let spec = request.value().map_err(|source| Error::Helper { source })?;
        let (root, leftovers) = prepare_root(&spec, &self.backstage)?;
        // Should process 1 be gone, then it has said why.
        let _ = request.send(&self.inside).and_then(|()| wire::send_file(&self.inside, root.as_fd()));
        Ok((root, leftovers))
    }
}

/// The rootfs with all mount points in it, as a mount that is attached nowhere.
fn prepare_root(spec: &Spec, backstage: &Backstage) -> Result<(OwnedFd, Leftovers), Error> {
    let how = match spec.security {
        Security::Sandbox => mount::NO_DEVICES,
        Security::Insecure => MountAttrFlags::empty(),
    };
    let points = stubs::points(spec)?;
    let restrict = |root: &OwnedFd| {
        sys::set_mount_attributes(root.as_fd(), true, u64::from(how.bits())).map_err(failed(Action::Isolate))
    };
    match &spec.rootfs {
        Rootfs::Overlay { lower, upper, work } => {
            let bottom = backstage.path("lower");
            stubs::make_layer(&bottom, &points).map_err(failed(Action::Backstage))?;
            let layers: Vec<_> = lower.iter().chain([&bottom]).cloned().collect();
            let scratch = Scratch { upper: upper.clone(), work: work.clone() };
            let root = overlay::mount(&layers, Some(&scratch), &spec.stubs)?;
            restrict(&root)?;
            let leftovers = stubs::fill(root.as_fd(), &points, Some(upper))?;
            Ok((root, leftovers))
        }
        Rootfs::Plain(path) => {
            let (root, _) = mount::bind(rustix::fs::CWD, path)
                .map_err(|source| Error::Source { path: beneath::shown(path), source })?;
            restrict(&root)?;
            let leftovers = stubs::fill(root.as_fd(), &points, None)?;
            Ok((root, leftovers))
        }
    }
}

/// Waits for process 1, and kills it when the caller closes the socket.
fn watch(inner: Pid, control: &UnixStream) -> io::Result<WaitStatus> {
    let process = rustix::process::pidfd_open(inner, PidfdFlags::empty())?;
    loop {
        let mut events =
            [PollFd::new(&process, PollFlags::IN), PollFd::new(control, PollFlags::IN | PollFlags::RDHUP)];
        match rustix::event::poll(&mut events, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if events[0].revents().is_empty() {
            // The caller sends nothing after the request, so this is the end of it.
            let _ = rustix::process::pidfd_send_signal(&process, Signal::KILL);
        }
        if let Some((_, status)) = rustix::process::waitpid(Some(inner), WaitOptions::empty())? {
            return Ok(status);
        }
    }
}

/// Process 1 of the sandbox. Must not return before everything is over, since returning kills it.
fn init(
    ground: &Ground,
    streams: Streams,
    backstage: Backstage,
    (outer, requests): (&OwnedFd, &UnixStream),
) -> Result<Exit, Error> {
    // The program must not look into this process, whose memory holds the request and whose
    // /proc entry leads to our executable.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed(Action::Isolate))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed(Action::Isolate))?;
    die_with(outer).map_err(failed(Action::Isolate))?;
    let prepared = prepare(ground, streams, &backstage);
    let gone = |source| Error::Helper { source };
    // Nobody is left to tell.
    let Some(request) = Frame::receive(requests).map_err(gone)? else { std::process::exit(1) };
    let root = wire::receive_file(requests).map_err(gone)?;
    let (program, waiting) = prepared?;
    let spec: Spec = request.value().map_err(gone)?;
    tree::enter(&spec, root.as_fd(), &backstage)?;
    drop((root, backstage));
    rustix::system::sethostname(spec.hostname.as_bytes()).map_err(failed(Action::Hostname))?;
    // It can have failed before it looked.
    let _ = request.send(&waiting);
    let ended = reap_until(program).map_err(failed(Action::Fork))?;
    // The socket closed when the program began; it holds an error only if it did not.
    match wire::receive::<Error>(&waiting) {
        Ok(Some(error)) => Err(error),
        _ => Ok(ended),
    }
}

/// What process 1 can do before it knows the request; at the end a process, and where it waits for that.
fn prepare(ground: &Ground, streams: Streams, backstage: &Backstage) -> Result<(Pid, UnixStream), Error> {
    rustix::stdio::dup2_stdout(&streams.output).map_err(failed(Action::Streams))?;
    rustix::stdio::dup2_stderr(&streams.error).map_err(failed(Action::Streams))?;
    drop((streams.output, streams.error));
    kernelfs::prepare(ground, backstage)?;
    if ground.network == Network::None {
        loopback_up().map_err(failed(Action::Loopback))?;
    }
    let (mine, theirs) = UnixStream::pair().map_err(failed(Action::Fork))?;
    match sys::fork_into(0).map_err(failed(Action::Fork))? {
        Some(program) => Ok((program, mine)),
        None => {
            drop(mine);
            let error = match await_request(ground, &theirs) {
                Ok(spec) => payload::become_program(&spec, streams.input),
                Err(error) => error,
            };
            let _ = wire::send(&theirs, &error);
            std::process::exit(127);
        }
    }
}

/// The process that is going to be the program, until it knows which.
fn await_request(ground: &Ground, requests: &UnixStream) -> Result<Spec, Error> {
    let confined = payload::confine(ground.security);
    let request = wire::receive(requests).map_err(|source| Error::Helper { source })?;
    confined?;
    request.ok_or_else(|| std::process::exit(127))
}

/// Ends this process if the outer one died before its death could be noticed.
fn die_with(outside: &OwnedFd) -> io::Result<()> {
    let mut events = [PollFd::new(outside, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut events, Some(&now))? {
        0 => Ok(()),
        _ => std::process::exit(1),
    }
}

/// Reaps every child, adopted ones too, until `program` is among them.
fn reap_until(program: Pid) -> io::Result<Exit> {
    loop {
        let waited = match rustix::process::wait(WaitOptions::empty()) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let Some((pid, status)) = waited else { continue };
        if pid != program {
            continue;
        }
        if let Some(signal) = status.terminating_signal() {
            return Ok(Exit::Signal(signal));
        }
        return Ok(Exit::Code(status.exit_status().unwrap_or_default()));
    }
}

fn loopback_up() -> io::Result<()> {
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    sys::loopback_up(socket.as_fd())
}
