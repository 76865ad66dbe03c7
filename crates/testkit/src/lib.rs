//! What kiln's tests share: who runs it, where, on what, and who checks the result.
//!
//! kiln's promise is about what other programs see: the bytes of a layer, the image that a daemon loads, the message
//! on the screen. So the tests that count run the finished binary from outside, as several users, and hand every image
//! to programs that share no code with it. This crate holds the pieces, one module a subject:
//!
//! - [`actor`]: the users, from root down to one who cannot make a namespace;
//! - [`machine`]: what `testdata/test.sh` has set up, told through environment variables;
//! - [`scratch`]: folders and file trees of one test;
//! - [`kiln`], [`outcome`]: running the binary, and what came of it;
//! - [`image`]: reading images with nothing but JSON and tar, and no code of kiln's;
//! - [`peers`]: skopeo, umoci, ocidir, docker and podman as judges;
//! - [`server`]: a registry that lies on request;
//! - [`web`], [`repository`]: a web server with pages of every bad kind, and git repositories behind it;
//! - [`tidy`]: rules about the source itself.
//!
//! The suite is in `tests/blackbox` (feature `system`, since it needs the prepared machine), the rules about the
//! source are held up by `tests/tidy.rs`. A black-box test reads like this:
//!
//! ```no_run
//! use kiln_testkit::{actor::Actor, kiln::Kiln};
//!
//! let kiln = Kiln::new(Actor::NoSub);
//! let image = kiln.build_text("FROM base\nRUN echo hello > /greeting\n", &[]).to_layout("out");
//! assert_eq!(image.file("greeting"), "hello\n");
//! ```
//!
//! [`kiln::Build::to_layout`] has already had the image checked by everybody at that point.
//!
//! This is a library of tests: everything panics, with a message that tells what was run, instead of returning errors.

pub mod actor;
pub mod image;
pub mod kiln;
pub mod machine;
pub mod outcome;
pub mod peers;
pub mod repository;
pub mod scratch;
pub mod server;
pub mod tidy;
pub mod web;
