//! Black-box tests of kiln-layer: archives in, indexes, trees and archives out.

mod codec;
mod compress;
mod diff;
mod foreign;
mod hostile;
mod pack;
mod support;
mod unpack;
mod view;
