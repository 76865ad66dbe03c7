//! What the code under test is compared with: slower, simpler, written from the rules and not from the code.

pub mod expansion;
pub mod globs;
