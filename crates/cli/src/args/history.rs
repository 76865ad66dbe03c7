//! The flags of the verbs about past builds.

use clap::Args;

use crate::args::ListArgs;

/// `kiln why`
#[derive(Args, Debug)]
pub(crate) struct WhyArgs {
    /// The build, such as b12 (default: the last one), and one of its steps, such as 3 or build:3
    #[arg(value_name = "BUILD|STEP", num_args = 0..=2)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// `kiln history`
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// One build, such as b12, with all of its steps
    #[arg(value_name = "BUILD")]
    pub(crate) build: Option<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}

/// `kiln log`
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// The build, such as b12 (default: the last one), and one of its steps, such as 3 or build:3 (default: the one that failed)
    #[arg(value_name = "BUILD|STEP", num_args = 0..=2)]
    pub(crate) what: Vec<String>,
}

/// `kiln diff`
#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    /// A step: what it changed. Two steps, or two images of recorded builds: what is different between them. A step is 3 or build:3, of
    /// the last build, of the one named first (b12 3), or of one of its own (b12/3)
    #[arg(value_name = "BUILD|STEP|IMAGE", num_args = 1..=3, required = true)]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) list: ListArgs,
}
