//! Layers: index, tar, diff, compression, unpack.
pub mod index;
pub mod path;
