//! Layers: index, tar, diff, compression, unpack.
pub mod codec;
pub mod compress;
pub mod diff;
pub mod flatten;
pub mod handle;
pub mod index;
pub mod pack;
pub mod passwd;
pub mod path;
pub mod tar;
pub mod tree;
pub mod unpack;
pub mod view;
pub mod xattr;
