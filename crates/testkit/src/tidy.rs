//! Rules about the source that a compiler does not check: which crate may know which, that modules form no
//! knots, where `unsafe` may stand, how long a file may be, that documents name what exists.
//!
//! Everything here is textual and reads the repository as it lies on disk; `tests/tidy.rs` says what must hold.

pub mod arrows;
pub mod documents;
pub mod modules;
pub mod source;
