//! The binary `kiln`.
mod args;
mod render;
fn main() {}
