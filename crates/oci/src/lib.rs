//! Images at rest: what they are called, what they are made of, where they lie, and whether they are whole.
//!
//! Everything here follows the OCI image specification (and Docker's image manifest version 2, schema 2, which has the
//! same shape). There is no network, no namespace and no Dockerfile in it: a registry client and a builder both stand
//! on this crate and never meet.
//!
//! # The types
//!
//! - [`digest::Digest`] names bytes, [`digest::DiffId`] an uncompressed layer; [`reference::Reference`] is what a user
//!   calls an image, [`platform::Platform`] what it runs on.
//! - [`descriptor::Descriptor`] points at a blob. [`manifest::Manifest`], [`manifest::Index`] and
//!   [`config::ImageConfig`] are the documents that hold descriptors together. Documents of others are kept as the bytes
//!   that came; documents of ours are serialised in one way only.
//! - [`store::ContentStore`] keeps blobs under their digests, [`layout::Layout`] keeps their names. The store *is* a valid
//!   image layout, so every other tool reads it as it is.
//! - [`source::ImageSource`] is the seam through which base images come; [`layout_source::LayoutSource`] is the one
//!   implementation that needs no network.
//! - [`compose::compose`] makes an image of layers and a configuration, [`export::Export`] writes one out,
//!   [`inspect::inspect`] describes it, [`verify::verify`] doubts it.
//!
//! # Why so
//!
//! Content addresses are the only truth: a blob gets its name after its bytes were hashed, by rename, so a kill, a full
//! disk or a second process cannot make a name lie. The one mutable file is `index.json`; it is replaced whole, under a
//! lock. Verification shares no code with writing beyond hashing and the document types: it has its own tar reader,
//! which is strict where that of a runtime has to be lenient.
//!
//! # Example
//!
//! ```
//! use kiln_oci::compose::{ComposeOptions, ImageParts, compose, config_bytes};
//! use kiln_oci::export::{Export, Placement};
//! use kiln_oci::{config::ImageConfig, platform::Platform, store::ContentStore};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let root = scratch.path();
//! let store = ContentStore::open(&root.join("oci"))?;
//! let platform: Platform = "linux/amd64".parse()?;
//! let parts = ImageParts {
//!     config: config_bytes(&ImageConfig::scratch(&platform)),
//!     platform,
//!     layers: Vec::new(),
//!     manifest_annotations: Default::default(),
//!     descriptor_annotations: Default::default(),
//! };
//! let image = compose(&store, &[parts], &ComposeOptions::default())?;
//! let names = ["localhost/empty:1".parse()?];
//! Export { store: &store, root: &image.root, names: &names, cancel: None }
//!     .oci_directory(&root.join("out"), Placement::default())?;
//! assert!(kiln_oci::verify::verify(&root.join("out"))?.is_clean());
//! # Ok(())
//! # }
//! ```

pub mod artifact;
pub mod blobs;
pub mod compose;
pub mod config;
pub mod crash;
pub mod descriptor;
pub mod digest;
pub mod error;
pub mod export;
pub mod graph;
pub mod inspect;
pub mod layout;
pub mod layout_source;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
mod seal;
pub mod source;
pub mod store;
pub mod verify;
