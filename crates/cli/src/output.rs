//! Where a result goes. Each output is whole or not there: files get their name when they are finished.

pub(crate) mod asked;
pub(crate) mod image;
pub(crate) mod load;
pub(crate) mod metadata;
pub(crate) mod push;
pub(crate) mod rootfs;
pub(crate) mod target;
