//! kiln-cli
fn main() {}
