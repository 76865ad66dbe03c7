//! Repositories: which commit a name stands for, and the files of a commit, by the host's `git` program.
//!
//! Git's own protocols, its checks of what a server sends and its reading of attributes are a program of their own, which every
//! machine with a repository to build from has. What it lacks is distrust of its surroundings: as users run it, it reads their
//! configuration, runs hooks and helpers, asks for passwords and follows a repository wherever that points. Here it runs in an
//! environment made for it (`command.rs`): an empty home, no configuration but ours, no hook, no prompt, four network protocols
//! and no other, an end to connections that stand still, and a group of its own that is killed when the build is cancelled.
//!
//! Servers, commits and submodules are hostile. Nothing that begins with a dash comes to stand where git looks for an option. The
//! working tree is made in a folder of ours and *settled* (`settle.rs`) before anybody reads it: modes are 755 and 644 whatever the
//! umask, times are the commit's whenever it was fetched, and no `.git` is left unless that was asked for. A directory that is to be
//! taken from it must be one: no link on the way.
//!
//! Secrets (an `Authorization` header) come in as a value, go to git through the environment of that one process, and are
//! bound to the address that they are for: git does not follow redirects while it carries one. They stand in no argument, no file,
//! and are cut out of whatever git says.
//!
//! # The types
//!
//! [`Git`] is the program. [`Git::resolve`] asks a [`Remote`] what a reference stands for; [`Git::check_out`] fetches one object,
//! as little as the server allows (one commit, no history), and gives its files as a [`Checkout`]. Both work in a folder that the
//! caller gives and takes away, and nothing is kept between them: what is worth keeping is a matter of the store.
//!
//! # Why a program and not a library
//!
//! A library would bring its own HTTP, TLS and ssh beside those that are here, or start `ssh` all the same; submodules, attributes and
//! shallow fetches are what libraries do least well. Who builds from a repository has git.

mod ask;
mod command;
mod error;
mod fetch;
mod remote;
mod settle;

pub use ask::Resolved;
pub use command::{Cancel, Git, Settings};
pub use error::{Denial, GitError};
pub use fetch::{Checkout, Order, Times};
pub use remote::Remote;
