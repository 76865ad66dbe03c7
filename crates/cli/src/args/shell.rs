//! `kiln shell`

use clap::Args;
use kiln_build::enter::Moment;

use crate::args::values;

/// `kiln shell`
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["before", "after", "failed"]))]
pub(crate) struct ShellArgs {
    /// In the files that step N began with; N is its number on the screen, in another stage STAGE:N
    #[arg(long, value_name = "[STAGE:]N", value_parser = step)]
    pub(crate) before: Option<StepName>,
    /// In the files that step N left
    #[arg(long, value_name = "[STAGE:]N", value_parser = step)]
    pub(crate) after: Option<StepName>,
    /// In what the step that failed had made by then
    #[arg(long)]
    pub(crate) failed: bool,
    /// A secret that the step mounts, as for build: none is remembered
    #[arg(long = "secret", value_name = "id=ID[,src=FILE|,env=NAME]", value_parser = values::secret)]
    pub(crate) secrets: Vec<values::Secret>,
    /// An ssh agent that the step mounts, as for build
    #[arg(long = "ssh", value_name = "ID[=SOCKET]", value_parser = values::ssh)]
    pub(crate) ssh: Vec<values::Ssh>,
    /// What to run; without one a shell
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

impl ShellArgs {
    /// When to go in, and where; `None` is the step that failed.
    pub(crate) fn place(&self) -> (Moment, Option<&StepName>) {
        match (&self.before, &self.after) {
            (Some(step), _) => (Moment::Before, Some(step)),
            (None, Some(step)) => (Moment::After, Some(step)),
            (None, None) => (Moment::Failed, None),
        }
    }
}

/// A step as somebody calls it: `3`, or `build:3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepName {
    /// The stage's name; that of the target if there is none.
    pub(crate) stage: Option<String>,
    /// From 1.
    pub(crate) position: usize,
}

fn step(text: &str) -> Result<StepName, values::ValueError> {
    let (stage, number) = match text.rsplit_once([':', '/']) {
        Some((stage, number)) => (Some(stage.to_owned()), number),
        None => (None, text),
    };
    match number.parse() {
        Ok(position) if position > 0 => Ok(StepName { stage, position }),
        _ => Err(values::ValueError::Expected(
            "a step's number such as 3, or build:3 for one of the stage build",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        let name = |stage: Option<&str>, position| Ok(StepName { stage: stage.map(str::to_owned), position });
        assert_eq!(step("3"), name(None, 3));
        assert_eq!(step("build:3"), name(Some("build"), 3));
        assert_eq!(step("stage-0/12"), name(Some("stage-0"), 12));
        for text in ["", "0", "build", "build:", "-1", "3:build"] {
            assert!(step(text).is_err(), "{text}");
        }
    }
}
