//! Answers about a Dockerfile, for programs and for people, in the shapes that BuildKit gives them.

pub(crate) mod findings;
pub(crate) mod location;
pub(crate) mod parameters;
