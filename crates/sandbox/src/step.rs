//! The helper: two processes between the caller and the program.
//!
//! The outer one lives outside the sandbox, holds the socket's far end and kills everything when it
//! closes. The inner one is process 1 of the sandbox: it builds the tree of mounts, starts
//! the program and reaps what the program leaves behind. When it exits the kernel kills the rest.

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
use crate::spec::{Exit, Network, Rootfs, Scratch, Security, Spec};
use crate::stubs::{self, Leftovers};
use crate::{beneath, mount, overlay, payload, sys, tree, wire};

/// What the helper tells the caller; the first report counts.
#[derive(Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program ran and ended.
    Ended(Exit),
    /// It never ran.
    Failed(Error),
}

/// The run helper's main function.
pub(crate) fn main(control: &UnixStream, interactive: bool) -> io::Result<()> {
    // Out of the terminal's reach: an interrupt is for the caller to handle.
    rustix::process::setsid()?;
    let input = if interactive { Some(wire::receive_file(control)?) } else { None };
    let Some(spec) = wire::receive::<Spec>(control)? else { return Ok(()) };
    if let Err(error) = run(&spec, input, control) {
        report(control, &Report::Failed(error));
    }
    Ok(())
}

/// If the caller is gone nobody is left to tell.
fn report(control: &UnixStream, report: &Report) {
    let _ = wire::send(control, report);
}

fn run(spec: &Spec, input: Option<OwnedFd>, control: &UnixStream) -> Result<(), Error> {
    let backstage = Backstage::enter(&spec.stubs).map_err(failed(Action::Backstage))?;
    let (root, leftovers) = prepare_root(spec, &backstage)?;
    let ourselves = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .map_err(failed(Action::Fork))?;
    let namespaces = libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | if spec.network == Network::None { libc::CLONE_NEWNET } else { 0 };
    let inner = sys::fork_into(namespaces).map_err(|source| Error::Namespaces { source })?;
    let Some(inner) = inner else {
        let outcome = init((spec, input), root, backstage, &ourselves);
        report(control, &outcome.map_or_else(Report::Failed, Report::Ended));
        std::process::exit(0);
    };
    // Whoever reads the other end of a terminal waits until nobody holds this one.
    drop(input);
    let ended = watch(inner, control);
    // Nothing of the overlay may be in use any more when the caller reads its upper directory; and a
    // mount point can go only when nothing is mounted on it.
    let left = backstage.leave();
    leftovers.clean();
    drop(root);
    left.map_err(failed(Action::Backstage))?;
    // Killed on the caller's word, or by the kernel for want of memory: it could not report.
    if let Some(signal) = ended.map_err(failed(Action::Fork))?.terminating_signal() {
        report(control, &Report::Ended(Exit::Signal(signal)));
    }
    Ok(())
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
    (spec, input): (&Spec, Option<OwnedFd>),
    root: OwnedFd,
    backstage: Backstage,
    outside: &OwnedFd,
) -> Result<Exit, Error> {
    // The program must not look into this process, whose memory holds the request and whose
    // /proc entry leads to our executable.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed(Action::Isolate))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed(Action::Isolate))?;
    die_with(outside).map_err(failed(Action::Isolate))?;
    tree::enter(spec, root.as_fd(), &backstage)?;
    drop((root, backstage));
    rustix::system::sethostname(spec.hostname.as_bytes()).map_err(failed(Action::Hostname))?;
    if spec.network == Network::None {
        loopback_up().map_err(failed(Action::Loopback))?;
    }
    let (mine, theirs) = UnixStream::pair().map_err(failed(Action::Fork))?;
    let Some(program) = sys::fork_into(0).map_err(failed(Action::Fork))? else {
        let error = payload::become_program(spec, input);
        let _ = wire::send(&theirs, &error);
        std::process::exit(127);
    };
    drop((theirs, input));
    let ended = reap_until(program).map_err(failed(Action::Fork))?;
    // The socket closed when the program began; it holds an error only if it did not.
    match wire::receive::<Error>(&mine) {
        Ok(Some(error)) => Err(error),
        _ => Ok(ended),
    }
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
