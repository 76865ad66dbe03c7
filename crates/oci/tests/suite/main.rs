//! The crate from outside: what it writes is read back by itself, by the standard's own types and by other tools.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod export;
mod fixture;
mod layout;
mod source;
mod store;
mod verify;
