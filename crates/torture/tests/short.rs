//! A few seconds of every trial; `kiln-torture` alone does the long form.

use std::process::Command;

#[test]
fn nothing_gives_in_a_few_seconds() {
    let state = std::env::var("KILN_TEST_STATE").unwrap_or_else(|_| {
        panic!("KILN_TEST_STATE is not set: run testdata/test.sh, which prepares the machine")
    });
    let state = std::path::Path::new(&state);
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln-torture"));
    command.arg(state.join("bin/kiln")).arg("--work").arg(state.join("work"));
    command.args(["--builds", "12", "--full", "4", "--seconds", "3", "--processes", "8"]);
    let output = command.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{wrong}");
    assert!(said.contains("kills: 12 disturbances, 0 did harm"), "{said}");
    assert!(said.contains("crowd: "), "{said}");
}
