//! Our terminal on one side, the step's on the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use kiln_sandbox::{Exit, Spec, open_terminal, spawn_interactive};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::errors::CliError;

/// How often it is looked whether the window has another size.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Runs `spec` on a terminal of its own, whose other side is ours until it ends. Every key goes through, Ctrl-C too: it is
/// for whatever runs in there.
pub(super) fn converse(spec: &Spec) -> Result<Exit, CliError> {
    let (ours, theirs) = open_terminal()?;
    let stdin = io::stdin();
    let mut window = Window { size: None, of: stdin.as_fd(), to: ours.as_fd() };
    window.follow();
    let running = spawn_interactive(spec, theirs.as_fd(), Some(theirs.as_fd()))?;
    // The last one that holds it is then the step: its end ends the relay.
    drop(theirs);
    let raw = Raw::enter(stdin.as_fd())?;
    let relayed = relay(stdin.as_fd(), &ours, &mut window);
    drop(raw);
    if relayed.is_err() {
        running.kill();
    }
    let exit = running.wait()?;
    relayed?;
    Ok(exit)
}

/// Passes bytes both ways until the step's side is closed by everybody.
fn relay(keys: BorrowedFd<'_>, step: &OwnedFd, window: &mut Window<'_>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let mut typing = true;
    loop {
        let mut events = vec![PollFd::new(step, PollFlags::IN)];
        if typing {
            events.push(PollFd::from_borrowed_fd(keys, PollFlags::IN));
        }
        match poll(&mut events, Some(&LOOK)) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready = |i: usize| events.get(i).is_some_and(|event| !event.revents().is_empty());
        let (from_step, from_keys) = (ready(0), ready(1));
        window.follow();
        if from_step {
            match rustix::io::read(step, &mut buffer) {
                // EIO is how a terminal says that nobody holds its other side any more.
                Ok(0) | Err(rustix::io::Errno::IO) => return Ok(()),
                Ok(count) => write_all(io::stdout().as_fd(), &buffer[..count])?,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if from_keys {
            match rustix::io::read(keys, &mut buffer)? {
                0 => typing = false,
                count => write_all(step.as_fd(), &buffer[..count])?,
            }
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Keeps the step's window as large as ours.
struct Window<'a> {
    size: Option<Winsize>,
    of: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
}

impl Window<'_> {
    fn follow(&mut self) {
        // A terminal without a size is no reason to end.
        let Ok(now) = tcgetwinsize(self.of) else { return };
        let same = |was: &Winsize| (was.ws_row, was.ws_col) == (now.ws_row, now.ws_col);
        if !self.size.as_ref().is_some_and(same) && tcsetwinsize(self.to, now).is_ok() {
            self.size = Some(now);
        }
    }
}

/// Our terminal without any handling of its own; as it was again when this is dropped.
struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn enter(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // Whoever has closed the terminal needs it no more.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
