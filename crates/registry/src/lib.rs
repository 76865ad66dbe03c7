//! Pulls from and pushes to registries over the OCI distribution protocol.
//!
//! This is kiln's only crate with HTTP and TLS, and the engine cannot reach it: `kiln-build` knows images only through
//! [`kiln_oci::source::ImageSource`], which [`Client`] implements.
//!
//! # Shape
//!
//! A [`Client`] is made from [`Options`], which hold all that others would read from the environment: credential files,
//! proxies, extra authorities, time-outs, retries. Below it lie four layers, each of which adds one thing to a request:
//!
//! | module | adds |
//! |---|---|
//! | `transport` | the right connection: proxy, TLS trust, time-outs, pooling |
//! | `token` | an `Authorization` header, from challenges, credentials and token servers |
//! | `session` | redirects, renewed authentication, retries |
//! | `pull`, `blob`, `push` | the protocol's meaning: digests, resumption, mounting, order |
//!
//! It blocks, and runs in threads: a build moves a handful of blobs at a time, which does not need an event loop, and
//! the blocking client costs a quarter of the dependencies and no memory per transfer beyond its buffers.
//!
//! # Trust
//!
//! Registries are hostile until proven. Manifests and configurations are bounded (4 and 8 MiB) and verified by digest and
//! size; a blob has exactly its descriptor's size or ends in an error, and its reader checks the digest. Words of a server
//! are bounded and freed of control characters before they get into an error.
//!
//! Credentials stay with the registry's own site: a redirect to another host, port or scheme is followed without them.
//! They appear in no error and no `Debug` form, and neither do query strings, in which storage services carry
//! signatures. Plain HTTP is spoken to loopback and to hosts that [`Options::insecure`] names, and a registry spoken to
//! over TLS cannot lead to plain HTTP.
//!
//! # Example
//!
//! ```no_run
//! use kiln_oci::platform::Platform;
//! use kiln_oci::source::ImageSource;
//! use kiln_registry::{Client, Options, default_credential_files};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Options {
//!     credential_files: default_credential_files(|name| std::env::var_os(name)),
//!     ..Options::default()
//! });
//! let image = client.resolve(&"debian:bookworm".parse()?, &Platform::host())?;
//! for layer in &image.layers {
//!     let mut stream = client.open_blob(&image, layer)?;
//!     std::io::copy(&mut stream, &mut std::io::sink())?;
//! }
//! # Ok(())
//! # }
//! ```

mod answer;
mod blob;
mod challenge;
mod client;
mod credentials;
mod download;
mod error;
mod helper;
mod manifest;
mod options;
mod pull;
mod push;
mod retry;
mod roots;
mod route;
mod secret;
mod session;
mod token;
mod transport;
mod url;

pub use client::Client;
pub use credentials::default_credential_files;
pub use download::{Download, Downloaded, Downloader, Wanted};
pub use error::{Failure, PushError, PushStep, RegistryError};
pub use options::{Options, Proxies, Retry};
pub use pull::RawManifest;
pub use push::{BlobProvider, Push, PushBlob, PushEvent, PushSink};
