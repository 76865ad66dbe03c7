//! The ladder.

use std::path::Path;
use std::process::Command;

use kiln_sandbox::{Rung, enter_user_namespace, inside_user_namespace, probe};

use crate::Case;
use crate::ground::{Ground, as_user};

pub(crate) const CASES: &[Case] = &[
    ("probing::finds_this_rung", finds_this_rung),
    ("probing::leaves_nothing", leaves_nothing),
    ("probing::store_without_overlay", store_without_overlay),
    ("probing::users", users),
    ("probing::no_namespaces", no_namespaces),
    ("probing::threads_are_refused", threads_are_refused),
];

/// What a started-again test prints: the probe's findings.
pub(crate) fn print() -> bool {
    let probe = probe(Path::new(&std::env::var("KILN_TEST_STORE").unwrap()));
    println!("{:?}", probe.rung);
    for finding in probe.findings {
        println!("{:?} {} {} {:?}", finding.rung, finding.available, finding.reason, finding.remedy);
    }
    true
}

fn finds_this_rung(ground: &Ground) {
    let found = probe(&ground.path("not/there/yet"));
    assert_eq!(found.rung, ground.rung, "{found:?}");
    assert_eq!(inside_user_namespace(), (ground.rung != Rung::Root).then_some(ground.rung));
}

fn leaves_nothing(ground: &Ground) {
    let store = ground.directory("store");
    probe(&store);
    assert_eq!(fs_err::read_dir(store).unwrap().count(), 0);
}

fn store_without_overlay(_: &Ground) {
    let found = probe(Path::new("/proc"));
    assert_eq!(found.rung, Rung::None);
    assert!(found.findings[0].remedy.is_some(), "{found:?}");
}

/// Runs the probe in another process.
fn probe_in(mut command: Command) -> String {
    let output = command.env("KILN_TEST_RUNG", "none").env("KILN_TEST_STORE", "/tmp").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn users(ground: &Ground) {
    if ground.rung != Rung::Root {
        return;
    }
    let program = ground.path("program");
    fs_err::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let found = probe_in(as_user("kiln-sub", &program));
    assert!(found.starts_with("SubIds\nRoot false"), "{found}");
    let found = probe_in(as_user("kiln-nosub", &program));
    assert!(found.starts_with("SingleId\nRoot false"), "{found}");
    assert!(found.contains("no subordinate ids for kiln-nosub in /etc/subuid"), "{found}");
    let mut confined = Command::new("setpriv");
    confined
        .args(["--no-new-privs", "--reuid", "kiln-sub", "--regid", "kiln-sub", "--init-groups"])
        .arg(&program);
    assert!(probe_in(confined).starts_with("SingleId\n"), "newuidmap is powerless");
}

fn no_namespaces(ground: &Ground) {
    if ground.rung != Rung::Root {
        return;
    }
    let program = ground.path("program");
    fs_err::copy(std::env::current_exe().unwrap(), &program).unwrap();
    // One namespace deep, with a limit of one, of which a user inside may make no second.
    let script = "echo 1 > /proc/sys/user/max_user_namespaces && exec unshare --user --map-user=1000 \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", script]).arg(&program);
    let found = probe_in(command);
    assert!(found.starts_with("None\n"), "{found}");
    assert!(
        found.contains("a limit is reached; as root: sysctl user.max_user_namespaces"),
        "the way out: {found}"
    );
}

fn threads_are_refused(_: &Ground) {
    // This runs on a thread beside others.
    let error = enter_user_namespace(Rung::SingleId).unwrap_err().to_string();
    assert_eq!(error, "cannot enter a user namespace: the process has threads already");
    let error = enter_user_namespace(Rung::Root).unwrap_err().to_string();
    assert_eq!(error, "root needs no user namespace");
}
