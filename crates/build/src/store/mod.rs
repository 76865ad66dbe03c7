//! The store's folders, its small JSON records and its locks.
//!
//! Plain files, content addresses, renames and `flock`: many kiln processes use one store at once without a daemon or a
//! database. A record is written whole under a temporary name and renamed, so a reader sees all of it or nothing, and a kill
//! at any instant leaves only garbage in `tmp/`, which the next collection takes.

mod imports;
mod layout;
mod lock;
mod opening;
mod parts;
mod record;
mod temporary;

pub(crate) use imports::{Offer, OfferedBase, OfferedBlob, ToldBase};
pub(crate) use layout::{AMENDED, COLLECT, GATE, STAMP};
pub use layout::{Store, lease_of};
pub use lock::Lock;
pub(crate) use parts::{read_parts, write_parts};
pub(crate) use record::{keep_same, note_use, read_json, write_bytes, write_json, write_same, write_with};
pub(crate) use temporary::Temporary;
