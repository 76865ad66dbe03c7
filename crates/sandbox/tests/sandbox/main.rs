//! The sandbox against the real kernel, as everybody who may run it.
//!
//! Started as root, the program runs all cases as root and then starts itself as two ordinary
//! users, one with subordinate ids and one without, where it enters a user namespace and runs them
//! again. Started by an ordinary user, it does what that user can do. Arguments: words that a case's name
//! must contain; `--list`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program, which clippy does not recognise without libtest"
)]

mod files;
mod ground;
mod hostile;
mod isolation;
mod lifecycle;
mod mounts;
mod privileges;
mod probing;

use std::panic::AssertUnwindSafe;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ground::Ground;
use kiln_sandbox::Rung;

/// A case, with the name of what it shows.
pub(crate) type Case = (&'static str, fn(&Ground));

/// Says on which rung a started-again test has to run.
const RUNG: &str = "KILN_TEST_RUNG";

fn main() -> ExitCode {
    kiln_sandbox::run_helper_if_asked();
    ground::act_as_asked();
    let inside = kiln_sandbox::inside_user_namespace();
    match (std::env::var(RUNG).as_deref(), inside) {
        (Ok("sub"), None) => enter(Rung::SubIds),
        (Ok("single"), None) => enter(Rung::SingleId),
        (Ok("none"), _) => ExitCode::from(u8::from(!probing::print())),
        (_, Some(rung)) => run(rung),
        (_, None) if is_root() => run_as_everybody(),
        (_, None) => enter(Rung::SingleId),
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

fn enter(rung: Rung) -> ExitCode {
    let error = kiln_sandbox::enter_user_namespace(rung).unwrap_err();
    eprintln!("cannot enter the namespace for the tests: {error}");
    ExitCode::FAILURE
}

fn run_as_everybody() -> ExitCode {
    let root = run(Rung::Root);
    if std::env::args().any(|argument| argument == "--list") {
        return root;
    }
    let users = [("kiln-sub", "sub"), ("kiln-nosub", "single")];
    let failures = users.iter().filter(|(user, rung)| !run_as(user, rung)).count();
    if failures == 0 { root } else { ExitCode::FAILURE }
}

/// Runs all cases as `user`, from a copy of this program that the user can read.
fn run_as(user: &str, rung: &str) -> bool {
    ground::make_user(user);
    let directory = tempfile::tempdir().unwrap();
    ground::set_mode(directory.path(), 0o755);
    let program = directory.path().join("test");
    fs_err::copy(std::env::current_exe().unwrap(), &program).unwrap();
    ground::as_user(user, &program)
        .args(std::env::args().skip(1))
        .env(RUNG, rung)
        .current_dir("/")
        .status()
        .unwrap()
        .success()
}

fn run(rung: Rung) -> ExitCode {
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let all = [
        isolation::CASES,
        files::CASES,
        mounts::CASES,
        privileges::CASES,
        lifecycle::CASES,
        hostile::CASES,
        probing::CASES,
    ];
    let cases: Vec<_> = all
        .concat()
        .into_iter()
        .filter(|(name, _)| wanted.iter().all(|word| name.contains(word.as_str())))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let failed = run_cases(rung, &cases);
    println!("{rung:?}: {} passed, {} failed", cases.len() - failed.len(), failed.len());
    failed.iter().for_each(|name| println!("    {name}"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Several at once, as a build does it; the names of the failed ones.
fn run_cases(rung: Rung, cases: &[Case]) -> Vec<&'static str> {
    let bare = tempfile::tempdir().unwrap();
    ground::make_bare(bare.path());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome =
                        std::panic::catch_unwind(AssertUnwindSafe(|| case(&Ground::new(rung, bare.path()))));
                    println!("{rung:?} {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
                    if outcome.is_err() {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}
