//! Where a helper's life begins.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::fs::{Mode, OFlags};

use crate::helper::{self, Part};
use crate::{probe, step, sys, userns};

/// First line of `main`: if this process was started as a helper, plays its part and never returns.
///
/// A program that does not call it gets an error from everything here that needs a helper; so tests
/// need a `main` of their own (`harness = false`).
pub fn run_helper_if_asked() {
    helper::prepare();
    let Some(part) = Part::of_this_process() else { return };
    let done = take_control().and_then(|control| match part {
        Part::Run => step::main(&control),
        Part::MapIds => userns::map_ids(&control),
        Part::Probe => probe::answer(&control),
    });
    std::process::exit(i32::from(done.is_err()));
}

/// The socket, away from standard input and with every foreign descriptor closed.
fn take_control() -> io::Result<UnixStream> {
    sys::close_from(3)?;
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null =
        rustix::fs::openat(rustix::fs::CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::process::umask(Mode::from(0o022));
    Ok(control.into())
}
