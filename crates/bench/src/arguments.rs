//! The command line.

use std::path::PathBuf;

use crate::failure::Failure;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arguments {
    /// The binary to measure; none: the static release binary of this repository.
    pub(crate) kiln: Option<PathBuf>,
    /// How often each workload is measured with each tool, at least once.
    pub(crate) runs: usize,
    /// The names of the workloads; empty: all.
    pub(crate) only: Vec<String>,
    /// Where files, stores and servers live meanwhile; it should be on a disk, not in memory.
    pub(crate) work: PathBuf,
    /// The document whose figures are replaced; none: standard output.
    pub(crate) write: Option<PathBuf>,
}

impl Arguments {
    /// Reads the words after the program's name.
    ///
    /// # Errors
    /// [`Failure::Usage`] for an unknown flag, a flag without its value, or a count below 1.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut arguments =
            Self { kiln: None, runs: 3, only: Vec::new(), work: "/var/tmp/kiln-bench".into(), write: None };
        while let Some(flag) = words.next() {
            let mut value = || words.next().ok_or_else(|| usage(format!("{flag} needs a value")));
            match flag.as_str() {
                "--kiln" => arguments.kiln = Some(value()?.into()),
                "--runs" => arguments.runs = count(&value()?)?,
                "--only" => arguments.only.push(value()?),
                "--work" => arguments.work = value()?.into(),
                "--write" => arguments.write = Some(value()?.into()),
                _ => return Err(usage(format!("unknown flag {flag}"))),
            }
        }
        Ok(arguments)
    }
}

fn count(text: &str) -> Result<usize, Failure> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| usage(format!("--runs {text} is not a count from 1")))
}

fn usage(what: String) -> Failure {
    Failure::Usage { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, Failure> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read() {
        let arguments = parse("--runs 3 --only a --only b --write doc.md").unwrap();
        assert_eq!((arguments.runs, arguments.write), (3, Some("doc.md".into())));
        assert_eq!(arguments.only, ["a", "b"]);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["--runs", "--runs 0", "--runs x", "--fast", "now"] {
            assert!(matches!(parse(line), Err(Failure::Usage { .. })), "{line}");
        }
    }
}
