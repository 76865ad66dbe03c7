//! From an ordinary user to the root of a user namespace, where trees with owners can be made and RUN can run.

use std::path::Path;

use kiln_build::error::BuildErrorKind;
use kiln_sandbox::{Finding, Probe, Rung, enter_user_namespace, inside_user_namespace, probe};

use crate::errors::CliError;

/// What this process can do as it is: no probing, only who it is and what it has entered.
fn rung_now() -> Rung {
    if let Some(rung) = inside_user_namespace() {
        return rung;
    }
    // Root of a container that may mount nothing can still become the root of a namespace of its own, like anybody.
    if is_root() && may_mount() { Rung::Root } else { Rung::None }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn may_mount() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN))
}

/// How steps can be run.
#[derive(Debug)]
pub(crate) struct Footing {
    /// The rung of the ladder.
    pub(crate) rung: Rung,
    /// What was found out about each rung; empty if nothing had to be tried.
    findings: Vec<Finding>,
}

impl Footing {
    /// What this process can do as it is.
    pub(crate) fn now() -> Self {
        Self { rung: rung_now(), findings: Vec::new() }
    }

    /// Whether it is known for sure that nothing can run here.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.rung == Rung::None && !self.findings.is_empty()
    }

    /// Why there is no rung to run a step on, and what would allow one.
    pub(crate) fn obstacles(&self) -> BuildErrorKind {
        let reasons = self.findings.iter().map(|f| format!("{} ({})", f.rung, f.reason));
        let mut remedies: Vec<&str> = self.findings.iter().filter_map(|f| f.remedy.as_deref()).collect();
        remedies.dedup();
        BuildErrorKind::NoSandbox {
            reason: reasons.collect::<Vec<_>>().join(", "),
            remedy: Some(remedies.join("; ")).filter(|text| !text.is_empty()),
        }
    }
}

/// Makes sure that steps can run, as well as this machine allows. In a process without privilege this starts the program over
/// inside a user namespace and does not return; that must happen before any thread is started. Where nothing is
/// possible it gives [`Rung::None`] and the reasons.
pub(crate) fn climb(store: &Path) -> Result<Footing, CliError> {
    let now = Footing::now();
    // Trying it out would cost root more than a cached build does; if namespaces are refused all the same, the step says so.
    if now.rung != Rung::None {
        return Ok(now);
    }
    // What is tried leaves nothing in folders that are none of ours, however it ends. Where this fails the probe says why.
    let _ = fs_err::create_dir_all(store);
    let Probe { rung, findings } = probe(store);
    if rung != Rung::None {
        let never = enter_user_namespace(rung)?;
        match never {}
    }
    Ok(Footing { rung, findings })
}

/// As [`climb`], for who wants to read and remove what others own in the store: root can, whatever it may mount.
pub(crate) fn over_files(store: &Path) -> Result<Rung, CliError> {
    let outside = is_root() && inside_user_namespace().is_none();
    if outside { Ok(Rung::Root) } else { Ok(climb(store)?.rung) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rung_has_its_reason() {
        let finding = |rung, reason: &str, remedy: Option<&str>| Finding {
            rung,
            available: false,
            reason: reason.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let findings = vec![
            finding(Rung::Root, "not root", None),
            finding(Rung::SubIds, "refused", Some("sysctl a=1")),
            finding(Rung::SingleId, "refused", Some("sysctl a=1")),
        ];
        let footing = Footing { rung: Rung::None, findings };
        assert!(footing.is_hopeless());
        let BuildErrorKind::NoSandbox { reason, remedy } = footing.obstacles() else { panic!() };
        assert_eq!(
            reason,
            "root (not root), user namespace with subordinate ids (refused), \
             user namespace with a single id (refused)"
        );
        assert_eq!(remedy.as_deref(), Some("sysctl a=1"), "said once");
    }
}
