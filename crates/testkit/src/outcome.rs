//! What came of running a program.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `128 + signal` if a signal ended it, as a shell counts.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: String,
    line: String,
}

impl Outcome {
    /// Runs a command to its end.
    pub fn of(mut command: Command) -> Self {
        let output = command.output();
        Self::new(format!("{command:?}"), output.expect("the program can be started"))
    }

    /// Runs a command to its end, with this on its standard input.
    pub fn with_input(mut command: Command, input: &[u8]) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        // A program that fails early does not read all of it; that is its right.
        let _ = stdin.write_all(input);
        drop(stdin);
        Self::new(format!("{command:?}"), child.wait_with_output().expect("it was started"))
    }

    /// The outcome of a command that has ended.
    pub fn new(line: String, output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let signal = output.status.signal().map_or(-1, |s| 128 + s);
        Self {
            code: output.status.code().unwrap_or(signal),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            line,
        }
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// # Panics
    /// Unless it ended with 0.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// # Panics
    /// Unless it ended with `code` and its message holds all of `words`, in any case; a word may be alternatives,
    /// `this|or that`.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "exit code, {self}");
        self.says(words)
    }

    /// # Panics
    /// Unless standard error holds all of `words`, as in [`Outcome::fails`].
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        let said = self.stderr.to_lowercase();
        for word in words {
            let found = word.split('|').any(|w| said.contains(&w.to_lowercase()));
            assert!(found, "{word:?} is not said, {self}");
        }
        assert!(!said.contains("panicked at"), "{self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\nended with {}\n{}\n{}", self.line, self.code, self.text(), self.stderr)
    }
}
