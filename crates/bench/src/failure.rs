//! What can go wrong while measuring.

use std::path::PathBuf;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    #[error(
        "{what}\nusage: kiln-bench [--kiln FILE] [--runs N] [--only NAME]... [--work DIR] [--write DOCUMENT]"
    )]
    Usage {
        /// What about it.
        what: String,
    },
    /// Measuring needs mounts and a Docker daemon.
    #[error("needs root: overlay storage of the other tools and a Docker daemon of its own")]
    NotRoot,
    /// A program is not on this machine.
    #[error("{program} is missing (Debian package {package})")]
    Missing {
        /// Where it was looked for.
        program: String,
        /// What brings it.
        package: &'static str,
    },
    /// A program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Which.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A command ended with another status than 0.
    #[error("`{command}` failed ({status}): {last}")]
    Command {
        /// The command line, shortened.
        command: String,
        /// Its status.
        status: std::process::ExitStatus,
        /// The last line that it wrote.
        last: String,
    },
    /// A server did not come up in time.
    #[error("{server} did not start within 30 s: {last}")]
    NotReady {
        /// Which.
        server: &'static str,
        /// The last line of its log.
        last: String,
    },
    /// The tool does not know how.
    #[error("cannot {what}")]
    Cannot {
        /// What.
        what: &'static str,
    },
    /// The document has no place for the figures.
    #[error("{document} has no line `{marker}`")]
    NoMarker {
        /// Which document.
        document: PathBuf,
        /// The line that is looked for.
        marker: &'static str,
    },
    /// A file could not be read or written; the error names it.
    #[error(transparent)]
    File(#[from] std::io::Error),
}
