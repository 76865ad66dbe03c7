//! `kiln doctor`: how steps would run here, and what is missing for better.

use std::fmt::Write as _;

use kiln_sandbox::{Finding, Probe, Rung, probe};
use serde_json::json;

use crate::args::{Format, ListArgs};
use crate::commands::{Setting, answer, answer_json};
use crate::errors::CliError;

pub(super) fn run(list: ListArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let probe = probe(&setting.store);
    match list.format {
        Format::Json => answer_json(&as_json(&probe, setting)),
        Format::Text => answer(&text(&probe, setting)),
    }
}

/// The rung's number on the ladder, and what it means for a build.
fn explain(rung: Rung) -> (u8, &'static str) {
    match rung {
        Rung::Root => (1, "steps run as root in namespaces of their own, over an overlay"),
        Rung::SubIds => (2, "steps run in a user namespace; every owner in an image works"),
        Rung::SingleId => {
            (3, "steps run in a user namespace with a single id; a chown to another owner fails")
        }
        Rung::None => (5, "no RUN; COPY, ADD and all else build exactly all the same"),
    }
}

fn text(probe: &Probe, setting: &Setting<'_>) -> String {
    let (number, meaning) = explain(probe.rung);
    let mut out = format!("rung {number}, {}: {meaning}\n", probe.rung);
    let _ = writeln!(out, "store: {}\n", setting.store.display());
    for Finding { rung, available, reason, remedy } in &probe.findings {
        let mark = if *available { "yes" } else { "no " };
        let _ = writeln!(out, "{mark}  rung {}, {rung}: {reason}", explain(*rung).0);
        if let (false, Some(remedy)) = (available, remedy) {
            let _ = writeln!(out, "     to have it: {remedy}");
        }
    }
    out
}

fn as_json(probe: &Probe, setting: &Setting<'_>) -> serde_json::Value {
    let finding = |f: &Finding| {
        json!({
            "rung": explain(f.rung).0,
            "name": f.rung.to_string(),
            "available": f.available,
            "reason": f.reason,
            "remedy": f.remedy,
        })
    };
    json!({
        "rung": explain(probe.rung).0,
        "name": probe.rung.to_string(),
        "store": setting.store.display().to_string(),
        "findings": probe.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
