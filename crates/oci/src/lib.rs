//! Digests, references, image documents, the content store, layouts, archives, verification.
pub mod blobs;
pub mod compose;
pub mod config;
pub mod descriptor;
pub mod digest;
pub mod error;
pub mod graph;
pub mod layout;
pub mod layout_source;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod source;
pub mod store;
