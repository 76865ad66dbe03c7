//! The binary `kiln`.
mod args;
mod environment;
mod errors;
mod excerpt;
mod render;
mod request;
mod stdin;
fn main() {}
