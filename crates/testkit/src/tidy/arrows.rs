//! The arrows between the crates, as data.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Which of the workspace's crates each of them may name as a normal dependency.
pub const ARROWS: [(&str, &[&str]); 13] = [
    ("dockerfile", &[]),
    ("oci", &[]),
    ("sandbox", &[]),
    ("git", &[]),
    ("plan", &["dockerfile", "oci"]),
    ("layer", &["oci"]),
    ("registry", &["oci"]),
    ("build", &["plan", "layer", "oci", "sandbox", "dockerfile"]),
    ("cli", &["build", "registry", "git", "oci", "sandbox", "dockerfile"]),
    ("testkit", &[]),
    ("bench", &[]),
    ("fuzz", &["dockerfile", "plan", "layer", "oci"]),
    ("torture", &[]),
];

/// Packages with one home: nobody else may depend on them, not even for tests.
pub const HOMES: [(&str, &[&str]); 4] =
    [("ureq", &["registry"]), ("libc", &["sandbox"]), ("clap", &["cli"]), ("annotate-snippets", &["cli"])];

/// The workspace's packages as `cargo metadata` tells them: name without `kiln-`, and its dependencies by kind
/// (`normal`, `dev`, `build`).
///
/// # Panics
/// When cargo cannot be run.
pub fn packages() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--no-deps", "--format-version", "1", "--locked", "--offline"]);
    let output = command.current_dir(crate::machine::repository()).output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("a list");
    packages.iter().map(package).collect()
}

fn package(package: &Value) -> (String, BTreeMap<String, BTreeSet<String>>) {
    let short = |name: &Value| name.as_str().expect("a name").trim_start_matches("kiln-").to_owned();
    let mut kinds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for dependency in package["dependencies"].as_array().expect("a list") {
        let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
        kinds.entry(kind).or_default().insert(short(&dependency["name"]));
    }
    (short(&package["name"]), kinds)
}
