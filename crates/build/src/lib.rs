//! Executes a plan: keys, cache, scheduling, contexts, events.
pub mod event;
pub mod request;
