//! The client against registries: a double that lies (`double`), and Debian's `docker-registry` (`real`).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod auth;
mod double;
mod image;
mod pull;
mod push;
mod real;
mod trouble;

use std::time::Duration;

use kiln_oci::reference::Reference;
use kiln_registry::{Client, Options, Retry};

/// Options whose waits are short.
fn quick() -> Options {
    Options {
        stall_timeout: Duration::from_millis(400),
        connect_timeout: Duration::from_secs(5),
        retry: Retry {
            attempts: 4,
            base: Duration::from_millis(2),
            cap: Duration::from_millis(10),
            patience: Duration::from_secs(2),
        },
        ..Options::default()
    }
}

fn client() -> Client {
    Client::new(quick())
}

fn reference(registry: &str, repository: &str, tag: &str) -> Reference {
    Reference {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: Some(tag.to_owned()),
        digest: None,
    }
}
