//! Tar archives: [`mod@write`] makes kiln's normal form, [`scan`] reads whatever other tools made.
//!
//! The reader is kiln's own, not a crate: a layer's index needs raw bytes (names that are not UTF-8, negative times,
//! `SCHILY.xattr.*` values), exact data offsets, all three GNU sparse formats, and a typed error that names the member
//! for everything a hostile archive may hold.

mod error;
mod fold;
mod header;
mod member;
mod pax;
mod read;
#[cfg(test)]
mod reference;
pub mod scan;
mod sparse;
pub mod write;

pub use error::TarError;
pub use header::looks_like_tar;
pub use member::{Body, Member};

/// Tar's unit.
pub(crate) const BLOCK: usize = 512;
/// Prefix of the base name of a whiteout (OCI image spec, layer.md, "Whiteouts").
pub const WHITEOUT: &[u8] = b".wh.";
/// Base name of the marker that makes its directory opaque.
pub const OPAQUE: &[u8] = b".wh..wh..opq";
/// Base names with this prefix are left from aufs and mean nothing, but for [`OPAQUE`].
pub(crate) const WHITEOUT_META: &[u8] = b".wh..wh.";
