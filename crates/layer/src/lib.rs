//! Layers of container images: what is in them, and every way to make one out of another.
//!
//! A layer has three forms, each made only when something needs it.
//!
//! - The **index** ([`index::Index`]): sorted entries with all metadata, a content hash for each file, whiteouts and
//!   opaque directories, and no bytes; held in memory as it is stored, or left in the file if it is large. Path lookups, cache keys, `COPY --from` and diffs need nothing else. It comes
//!   from scanning a blob ([`tar::scan`]), from packing ([`pack`]), or from what a command left in an overlay's upper
//!   directory ([`diff`]); [`codec`] stores it.
//! - The **tree**: an unpacked directory that overlayfs mounts as a lower layer, made by [`unpack`] or
//!   [`pack::write_tree`]. Only a RUN needs it.
//! - The **blob**: the tar, in the normal form of [`tar::write`], compressed by [`compress`]. Only an export needs it.
//!
//! A [`handle::LayerHandle`] is a layer in whichever of them exist, and gives the bytes of files out of any. A
//! [`view::View`] is a stack of layers seen as one root filesystem, by their indexes alone: it resolves links, lists
//! directories, and says what shows, without a mount and without a byte being unpacked. [`flatten`] turns what a view
//! shows into entries to be packed again; [`passwd`] reads its users.
//!
//! Three things hold everywhere. *The same input gives the same bytes*: order is by path, times are whole seconds,
//! compression is cut into fixed blocks, and no name, id or attribute of the host gets in. *Memory is flat*: file
//! contents stream, and so do the entries of what is packed ([`rows`]) and those of indexes beyond a megabyte, of which a table is held. *Nobody is trusted*: archives, trees and contexts are read with typed errors
//! for everything malformed, and paths on disk are opened by directory handle without following links ([`tree`]).
//!
//! Building a layer of one file, and reading it back:
//!
//! ```
//! use std::collections::BTreeMap;
//! use kiln_layer::index::{Entry, Kind, Mtime};
//! use kiln_layer::pack::{Content, PackEntry, pack};
//! use kiln_layer::path::LayerPath;
//! use kiln_layer::tar::scan::{NullSink, scan};
//! use kiln_oci::digest::Digest;
//!
//! let bytes = b"hello\n";
//! let entry = Entry {
//!     path: LayerPath::clean("greeting"),
//!     kind: Kind::File { size: 6, digest: Digest::of(bytes) },
//!     mode: 0o644,
//!     uid: 0,
//!     gid: 0,
//!     mtime: Mtime::default(),
//!     xattrs: BTreeMap::new(),
//!     offset: None,
//! };
//! let content = Content::Bytes(bytes.as_slice().into());
//! let mut tar = Vec::new();
//! let packed = pack(&[PackEntry { entry, content }], &[], &mut tar, None)?;
//! let scanned = scan(tar.as_slice(), &std::env::temp_dir(), &mut NullSink)?;
//! assert_eq!(scanned.index.layer_id()?, packed.index.layer_id()?);
//! assert_eq!(scanned.diff_id, packed.diff_id);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Modules, from the ground up: [`bytes`], [`path`], [`stop`] and [`xattr`]; [`rows`]; [`index`], with what its entries are, how
//! they are encoded and where they are kept; `places`; [`codec`], [`compress`], [`passwd`], [`tar`] and
//! [`tree`]; [`handle`]; [`view`]; [`unpack`] and [`diff`]; [`pack`]; [`amend`], [`flatten`] and [`squash`].

pub mod amend;
pub mod bytes;
pub mod codec;
pub mod compress;
pub mod diff;
mod encoded;
mod entry;
mod finger;
pub mod flatten;
pub mod handle;
mod identity;
pub mod index;
pub mod pack;
mod pages;
pub mod passwd;
pub mod path;
mod places;
mod reading;
pub mod rows;
pub mod squash;
pub mod stop;
mod table;
pub mod tar;
pub mod tree;
pub mod unpack;
pub mod view;
pub mod xattr;
