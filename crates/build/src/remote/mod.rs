//! Sources that lie elsewhere: files by URL and commits of git repositories, fetched once and kept in the store.
//!
//! The network itself is behind two traits, [`Fetcher`] and [`Repositories`]; here is what they are asked for and what becomes of the
//! answers. A file is a blob of the store, under the digest of its content; a record under the URL says which, and what the server
//! called that version of it (`ETag`, `Last-Modified`), so that the next build asks "is it still that one?". A commit's files are a
//! folder of the store under the commit's id; the next build asks what the branch points to now, or nobody if the commit's id is
//! written in the Dockerfile.
//!
//! Secrets go to the network and nowhere else: into no record, key or message.

mod context;
mod git;
mod http;
mod port;
mod secrets;
mod sources;

pub use crate::error::{Refused, RemoteError};
pub(crate) use git::Pinned;
pub(crate) use http::HttpFile;
pub use port::{
    Access, Ask, CheckedOut, CheckoutOrder, Fetched, FetchedContext, Fetcher, RemoteContext, Repositories,
    Repository, Resolved, Validators, Within,
};
pub(crate) use sources::Sources;
