//! The parser from outside: golden files, mutants, and other people's parsers.

mod corpus;
mod differential;
mod golden;
mod mutants;
mod render;
mod rules;
