//! The engine: executes the plan of a Dockerfile. Keys and cache, stages side by side, contexts, layers, events.
//!
//! `kiln-plan` says what has to happen, as plain data; this crate makes it happen, in a store on disk, and says what happened.
//! It knows no network (images come through [`kiln_oci::source::ImageSource`], downloads and commits through
//! [`remote::Fetcher`] and [`remote::Repositories`]), no
//! terminal (it tells an [`event::Sink`]), no environment and no exit codes: whoever calls looks those up and wires them.
//!
//! # The types
//!
//! - [`engine::Engine`] is a store, a source of images, and what this process may do. [`engine::Engine::build`] takes a
//!   [`request::Request`] and gives an [`engine::Built`] for each platform; [`engine::Engine::parts`] makes the layers' blobs in a
//!   [`request::LayerForm`], ready for [`kiln_oci::compose`].
//! - [`event::Event`] is all that a screen, a log or a machine can be told; [`error::BuildErrorKind`] all that can go wrong, with
//!   fields, and [`error::At`] where in the Dockerfile.
//! - [`record::BuildRecord`] is what is kept of a build, [`history::History`] tells of past ones, and [`why::Why`] is why a step was
//!   not taken from the cache.
//! - [`store::Store`] is folders, locks and small records; [`collect`] measures and empties it.
//!
//! # How a step is done
//!
//! A stage is a thread that takes its steps in order; a step that reads another stage waits for it. Each step first gathers what it
//! reads, as metadata and hashes, and that gives its *key*: the instruction, what it can see of arguments and environment, the
//! content of the root filesystem below and of the files that it takes. If the store knows the key, the step is done without a byte
//! being moved. Otherwise its layer is made, and recorded under the key.
//!
//! Three rules keep that honest:
//!
//! - *What was keyed is what is used.* The files that were hashed for a key are hashed again as they are packed; one that has changed
//!   meanwhile fails the build instead of being kept under a key that tells of something else.
//! - *Content, not history.* A key holds the content ids of the layers below, not the keys that made them, so a command that ran
//!   again and changed nothing leaves all after it cached. Times are not content; so an image that was built from a cached layer
//!   has the times that it had then.
//! - *A record only ever saves work.* Records, indexes, trees and blobs can be lost in any combination; a step whose layer is not
//!   there any more is done again.
//!
//! Only RUN needs a root filesystem, and so privileges. COPY, ADD and WORKDIR work on the layers' indexes (`kiln-layer`'s views) and
//! on streams; a layer becomes a directory only when a command has to run above it, and a blob only when it leaves.
//!
//! # Why so
//!
//! There is no daemon and no database: processes share a store through content addresses, renames and `flock`, which the
//! kernel undoes when its holder dies. What two builds want at once is locked by what it is (a step's key, a blob's digest), and
//! nobody holds such a lock while waiting for another stage. A build holds a shared lease, collection the exclusive one, until the
//! last [`engine::Built`] is dropped.
//!
//! # Example
//!
//! ```
//! use std::sync::{Arc, atomic::AtomicBool};
//!
//! use kiln_build::engine::{Engine, EngineOptions};
//! use kiln_build::request::{Context, LayerForm, Request};
//! use kiln_oci::{layout::Layout, layout_source::LayoutSource};
//! use kiln_sandbox::Rung;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let root = scratch.path();
//! # fs_err::create_dir(root.join("context"))?;
//! fs_err::write(root.join("context/app"), "#!/bin/sh\n")?;
//! let images = Layout::create(&root.join("images"), &root.join("images"))?;
//! let engine = Engine::open(EngineOptions {
//!     store: root.join("store"),
//!     images: Arc::new(LayoutSource::by_reference(images)),
//!     rung: Rung::None,
//! })?;
//!
//! let text = "FROM scratch\nCOPY --chmod=755 app /bin/\nENTRYPOINT [\"/bin/app\"]\n";
//! let request = Request::new(text, Context::Directory(root.join("context")));
//! let (sink, cancel) = (|_| {}, AtomicBool::new(false));
//! let built = engine.build(&request, &sink, &cancel)?;
//! let parts = engine.parts(&built[0], &LayerForm::default(), &sink, &cancel)?;
//! assert_eq!(parts.layers.len(), 1);
//! # Ok(())
//! # }
//! ```

mod absent;
mod ahead;
pub mod archive_context;
mod bases;
mod blame;
pub mod caches;
pub mod carry;
pub mod check;
mod checks;
pub mod collect;
mod contexts;
mod copy;
mod datings;
pub mod engine;
pub mod enter;
mod epoch;
pub mod error;
pub mod event;
mod files;
pub mod history;
mod image;
mod key;
mod layers;
pub mod listing;
pub mod mend;
mod needs;
mod offered;
pub mod record;
pub mod remote;
mod remove;
mod report;
pub mod request;
mod run;
mod schedule;
mod scratch;
mod secret;
mod stage;
pub mod store;
mod users;
pub mod why;
mod work;
