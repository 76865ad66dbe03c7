//! Past builds: their records in the store, and what can be told from them.
//!
//! `folder` keeps the records. They are small files that are written once, when a build has ended, so a killed build has none. They
//! name keys, layers and logs, and hold none of those back from a collection: whoever follows a name must expect that nothing
//! is there any more. `explain` says why steps were not taken from the cache, `delta` what they did to their root filesystem.

mod delta;
mod explain;
mod folder;
mod steps;

pub use crate::record::BuildId;
pub use delta::{Delta, Difference, Kind};
pub(crate) use explain::Explainer;
pub use explain::StepReport;
pub use folder::{History, HistoryError, Kept};
