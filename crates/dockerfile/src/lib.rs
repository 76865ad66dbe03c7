//! Dockerfile and ignore-file text to typed syntax.
pub mod ast;
pub mod diagnostic;
pub mod span;
