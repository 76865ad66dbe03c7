//! The engine as its callers see it: a store, contexts on disk, a scripted source of images.
//!
//! Cases with RUN need a rung of the privilege ladder; started by an ordinary user, the program enters a user namespace
//! first. Arguments: words that a case's name must contain; `--list`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program, which clippy does not recognise without libtest"
)]

mod absent;
mod bases;
mod caching;
mod collecting;
mod copying;
mod editing;
mod ground;
mod keys;
mod model;
mod pages;
mod past;
mod places;
mod remote;
mod running;
mod shelf;
mod stopping;
mod storing;
mod together;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_sandbox::Rung;

/// A case, with the name of what it shows.
pub(crate) type Case = (&'static str, fn());

fn main() -> ExitCode {
    kiln_sandbox::run_helper_if_asked();
    if let Some(code) = together::act_as_asked() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut cases = [
        absent::CASES,
        bases::CASES,
        caching::CASES,
        collecting::CASES,
        copying::CASES,
        places::CASES,
        model::CASES,
        pages::CASES,
        past::CASES,
        keys::CASES,
        remote::CASES,
        stopping::CASES,
        storing::CASES,
        together::CASES,
    ]
    .concat();
    if can_run() {
        cases.extend_from_slice(running::CASES);
        cases.extend_from_slice(editing::CASES);
        cases.extend_from_slice(keys::RUNNING);
    } else {
        println!("no rung of the privilege ladder: cases with RUN are left out");
    }
    let words: Vec<_> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    cases.retain(|(name, _)| words.iter().all(|word| name.contains(word.as_str())));
    if arguments.iter().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let failed = run(&cases);
    let passed = cases.len() - failed.len();
    failed.iter().for_each(|name| println!("    {name}"));
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {passed} passed; {} failed", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether RUN is possible, if need be in a user namespace that this program then starts again in.
fn can_run() -> bool {
    let scratch = tempfile::tempdir().unwrap();
    let mut rung = kiln_sandbox::probe(scratch.path()).rung;
    if rung == Rung::SubIds {
        // The ranges would be enough for more than the cases need.
        rung = Rung::SingleId;
    }
    if rung == Rung::SingleId && kiln_sandbox::inside_user_namespace().is_none() {
        let error = kiln_sandbox::enter_user_namespace(rung).unwrap_err();
        eprintln!("cannot enter a user namespace: {error}");
        return false;
    }
    ground::set_rung(rung);
    rung != Rung::None
}

/// Several at once; the names of the failed ones.
fn run(cases: &[Case]) -> Vec<&'static str> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let passed = std::panic::catch_unwind(AssertUnwindSafe(case)).is_ok();
                    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
                    if !passed {
                        failed.lock().unwrap().push(*name);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}
