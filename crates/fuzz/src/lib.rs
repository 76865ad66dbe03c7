//! Fuzzing of everything that reads what strangers have written.
//!
//! A target ([`target::ALL`]) is a function of bytes that panics when something does not hold, and otherwise tells by a number
//! what kind of input it was. Not falling over is the least that is asked: the parser's spans have to lie in the text and say
//! what the nodes say, and mends have to mend; expansion has to give what an independent evaluator ([`reference::expansion`])
//! computes from the syntax tree that the text was made from; patterns have to match what Go's regular expressions for them
//! ([`reference::globs`]) match; what the tar reader has let in has to be clean.
//!
//! # Two drivers
//!
//! `fuzz/` has the layout of cargo-fuzz, with one file a target, for whoever has a nightly compiler and libFuzzer. [`driver`] needs
//! neither: it mutates what the corpus holds, and an input that a target answers with a number not seen before joins the pool, which
//! leads it into corners as coverage would. Everything follows from the seed.
//!
//! ```text
//! cargo run --release -p kiln-fuzz -- parser --minutes 10
//! cargo run --release -p kiln-fuzz -- parser --replay testdata/fuzz/parser/crash-1234
//! ```
//!
//! An input that makes a target panic, or that takes longer than ten seconds, is saved as `testdata/fuzz/TARGET/crash-HASH`.
//! Whoever mends the cause leaves the file there: `crates/fuzz/tests/corpus.rs` runs each target over its folder.

pub mod driver;
pub mod mutate;
pub mod random;
pub mod reference;
pub mod target;
