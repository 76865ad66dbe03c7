//! Black-box tests of kiln-layer: archives in, indexes, trees and archives out.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod amend;
mod codec;
mod compress;
mod diff;
mod foreign;
mod golden;
mod hostile;
mod index;
mod pack;
mod squash;
mod support;
mod unpack;
mod view;
