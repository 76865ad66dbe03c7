//! Dockerfile and ignore-file text to typed syntax.
pub mod ast;
pub mod chmod;
pub mod chown;
pub mod diagnostic;
pub mod duration;
pub mod expand;
pub mod expose;
pub mod glob;
pub mod ignore;
mod parse;
pub mod signal;
pub mod source;
pub mod span;
pub mod suggest;

pub use parse::{Parsed, parse, parse_trigger};
