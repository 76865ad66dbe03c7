//! Past builds: their records in the store, and what can be told from them.
//!
//! `folder` keeps the records. They are small files that are written once, when a build has ended, so a killed build has none. They
//! name keys, layers and logs, and hold none of those back from a collection: whoever follows a name must expect that nothing
//! is there any more.

mod folder;

pub use folder::{BuildId, History, HistoryError, Kept};
