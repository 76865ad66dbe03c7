//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why a disturbance did harm, or why there could be none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A command that had to work did not.
    #[error("{line}: ended with {status}\n{said}")]
    Command {
        /// What was run.
        line: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        said: String,
    },
    /// Another image than an undisturbed build gives.
    #[error("variant {variant} gave {got}, undisturbed it is {want}")]
    WrongImage {
        /// Which context.
        variant: u64,
        /// What came.
        got: String,
        /// What should have come.
        want: String,
    },
    /// Something stayed that should not.
    #[error("left behind: {0}")]
    Left(String),
    /// A path that cannot be used.
    #[error("{path}: {problem}", path = .path.display())]
    Place {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: &'static str,
    },
    /// Input or output.
    #[error(transparent)]
    Io(#[from] io::Error),
}
