//! From syntax to a plan.
pub mod model;
