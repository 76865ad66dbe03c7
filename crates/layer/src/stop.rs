//! Leaving long work undone.
//!
//! Whoever asks for work that may take seconds hands along a [`Stop`]. The work asks it every few hundred kilobytes, and ends
//! with an error that holds [`Stopped`] once it says so.

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Something that knows whether work is still wanted.
pub trait Stopping: Sync {
    /// Whether it is not. Cheap; once true, it stays so for the work at hand.
    fn stopping(&self) -> bool;
}

impl Stopping for AtomicBool {
    fn stopping(&self) -> bool {
        self.load(Ordering::Relaxed)
    }
}

impl<F: Fn() -> bool + Sync> Stopping for F {
    fn stopping(&self) -> bool {
        self()
    }
}

/// Whom to ask whether to go on.
#[derive(Clone, Copy)]
pub struct Stop<'a>(Option<&'a dyn Stopping>);

/// The work was not wanted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        Self::other(stopped)
    }
}

impl<'a> Stop<'a> {
    /// Nobody asks for an end.
    pub const NEVER: Stop<'static> = Stop(None);

    /// When `who` says so.
    pub fn when(who: &'a dyn Stopping) -> Self {
        Self(Some(who))
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// [`Stopped`] if not.
    pub fn check(self) -> Result<(), Stopped> {
        if self.0.is_some_and(Stopping::stopping) { Err(Stopped) } else { Ok(()) }
    }

    /// What `inner` gives or takes, until it is time to stop: then each read and write fails with [`Stopped`].
    pub fn over<T>(self, inner: T) -> Stoppable<'a, T> {
        Stoppable { inner, stop: self }
    }
}

impl std::fmt::Debug for Stop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Stop(..)" } else { "Stop(never)" })
    }
}

/// See [`Stop::over`].
#[derive(Debug)]
pub struct Stoppable<'a, T> {
    inner: T,
    stop: Stop<'a>,
}

impl<T: Read> Read for Stoppable<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Stoppable<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether `error`, or what it came of, is [`Stopped`].
pub fn was_stopped(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if error.is::<Stopped>() || inside.is_some_and(|inside| was_stopped(inside)) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_where_it_is() {
        let over = AtomicBool::new(false);
        let mut reader = Stop::when(&over).over(io::repeat(1));
        assert_eq!(reader.read(&mut [0; 8]).ok(), Some(8));
        over.store(true, Ordering::Relaxed);
        let error = reader.read(&mut [0; 8]).expect_err("it is over");
        assert!(was_stopped(&error));
        let wrapped = crate::unpack::UnpackError::Place { path: "/a".to_owned(), source: error };
        assert!(was_stopped(&io::Error::other(wrapped)));
        assert!(!was_stopped(&io::Error::other("stopped")));
        assert_eq!(Stop::NEVER.check(), Ok(()));
    }
}
