//! From an ordinary user to the root of a user namespace, where trees with owners can be made and RUN can run.

use std::path::Path;

use kiln_sandbox::{Rung, enter_user_namespace, inside_user_namespace, probe};

use crate::errors::CliError;

/// What this process can do as it is: no probing, only who it is and what it has entered.
pub(crate) fn rung_now() -> Rung {
    if let Some(rung) = inside_user_namespace() {
        return rung;
    }
    if rustix::process::geteuid().is_root() { Rung::Root } else { Rung::None }
}

fn may_mount() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN))
}

/// Makes sure that steps can run, as well as this machine allows. In a process without privilege this starts the program over
/// inside a user namespace and does not return; that must happen before any thread is started. Where nothing is
/// possible it gives [`Rung::None`].
pub(crate) fn climb(store: &Path) -> Result<Rung, CliError> {
    let now = rung_now();
    match now {
        Rung::SubIds | Rung::SingleId => return Ok(now),
        // Trying it out would cost more than a cached build does; if namespaces are refused all the same, the step says so.
        Rung::Root if may_mount() => return Ok(now),
        Rung::Root | Rung::None => {}
    }
    let rung = probe(store).rung;
    if matches!(rung, Rung::SubIds | Rung::SingleId) && now == Rung::None {
        let never = enter_user_namespace(rung)?;
        match never {}
    }
    Ok(rung)
}
