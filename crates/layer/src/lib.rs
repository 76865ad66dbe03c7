//! Layers: index, tar, diff, compression, unpack.
pub mod compress;
pub mod handle;
pub mod index;
pub mod path;
pub mod tar;
pub mod tree;
pub mod view;
pub mod xattr;
