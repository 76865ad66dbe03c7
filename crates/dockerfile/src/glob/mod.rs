//! The two pattern languages of Dockerfiles.
//!
//! - [`matches()`] is Go's `filepath.Match`: the wildcards of `COPY` and `ADD` sources. No `**`, and
//!   `*` and `?` stop at a slash.
//! - [`PatternSet`] is moby's `patternmatcher`: ignore files, `--exclude`, `--parents`. It knows
//!   `**` and `!`, and a pattern that matches a directory matches all that lies below.
//!
//! Names are bytes or text: whatever is not UTF-8 in them is only matched by wildcards.

mod chunk;
mod pattern;
mod set;

pub use chunk::{BadPattern, has_wildcard, matches};
pub(crate) use set::clean;
pub use set::{ParentMatches, PatternError, PatternSet};
