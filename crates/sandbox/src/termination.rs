//! A flag for "somebody asked us to stop", without a signal handler in sight.

use std::io;
use std::sync::atomic::AtomicBool;

use crate::sys;

/// A signal that asks a program to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// Ctrl-C.
    Interrupt,
    /// What `kill` and service managers send.
    Terminate,
    /// The terminal is gone.
    Hangup,
}

impl StopSignal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::Hangup];
}

/// Lets the signals set [`termination_requested`] instead of ending the program. The same signal a
/// second time acts as usual, so that a hanging program can still be stopped.
pub fn install_signal_flag(signals: &[StopSignal]) -> io::Result<()> {
    signals.iter().try_for_each(|signal| {
        sys::flag_signal(match signal {
            StopSignal::Interrupt => libc::SIGINT,
            StopSignal::Terminate => libc::SIGTERM,
            StopSignal::Hangup => libc::SIGHUP,
        })
    })
}

/// Becomes true when a signal of [`install_signal_flag`] has come, and stays so.
pub fn termination_requested() -> &'static AtomicBool {
    sys::termination_flag()
}
