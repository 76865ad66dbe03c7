//! Digests, references, image documents, the content store, layouts, archives, verification.
pub mod config;
pub mod descriptor;
pub mod digest;
pub mod platform;
pub mod reference;
pub mod source;
