//! Starting this program again as a helper: a fresh process with one thread, which may fork and
//! change namespaces where the caller, with its threads, may not.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// `argv[0]` of a helper; the name of its part is `argv[1]`.
pub(crate) const NAME: &str = "kiln-sandbox-helper";

/// Whether this program knows how to be a helper. One that does not would run its own `main` in the
/// helper's place, which would start the next helper.
static PREPARED: AtomicBool = AtomicBool::new(false);

/// Says that this program's `main` began as it must.
pub(crate) fn prepare() {
    PREPARED.store(true, Ordering::Relaxed);
}

/// The parts that a helper can play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Run processes, one after the other.
    Run,
    /// Write the id maps of a user namespace.
    MapIds,
    /// Try out what the host allows.
    Probe,
}

impl Part {
    const ALL: [(&'static str, Self); 3] =
        [("run", Self::Run), ("map-ids", Self::MapIds), ("probe", Self::Probe)];

    /// The part that this process was started for, if it is a helper.
    pub(crate) fn of_this_process() -> Option<Self> {
        let mut arguments = std::env::args_os();
        if arguments.next()? != NAME {
            return None;
        }
        let part = arguments.next()?;
        Self::ALL.iter().find(|(name, _)| part == *name).map(|(_, part)| *part)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, part)| *part == self).map_or("", |(name, _)| name)
    }

    /// Starts a helper with an empty environment. The socket is its standard input, so that no
    /// descriptor has to be inherited by number, where other threads' children would get it too.
    pub(crate) fn start(self) -> io::Result<(Child, UnixStream)> {
        if !PREPARED.load(Ordering::Relaxed) {
            return Err(io::Error::other("main does not begin with run_helper_if_asked"));
        }
        let (mine, theirs) = UnixStream::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .arg(self.name())
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok((child, mine))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unprepared_program_starts_no_helper() {
        let error = Part::Probe.start().err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("main does not begin with run_helper_if_asked"));
    }
}
