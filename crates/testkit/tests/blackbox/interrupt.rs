//! Ctrl-C and worse.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;
use kiln_testkit::outcome::Outcome;
use rustix::process::{Pid, Signal, kill_process};

/// The command lines of running processes that hold this word.
pub(crate) fn processes_with(word: &str) -> Vec<String> {
    let processes = fs_err::read_dir("/proc").expect("proc is mounted").flatten();
    let lines = processes.filter_map(|p| fs_err::read(p.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    // The build's own command line may hold the word in an argument; the step's processes are not kiln.
    lines.filter(|line| line.contains(word) && !line.contains("build ")).collect()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 30 s for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a build whose step sleeps for `seconds`, a number nobody else uses, and waits until it does.
fn sleeping(kiln: &Kiln, seconds: &str) -> Child {
    let dockerfile = format!("FROM base\nRUN echo started > /first\nRUN sleep {seconds}\n");
    let mut command = kiln.build_text(&dockerfile, &[]).command();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kiln can be started");
    wait_for("the step to run", || !processes_with(&format!("sleep {seconds}")).is_empty());
    child
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().expect("a pid")).expect("not 0");
    kill_process(pid, signal).expect("it runs");
}

fn ends_and_builds_again(kiln: &Kiln, seconds: &str) {
    wait_for("the step to end", || processes_with(&format!("sleep {seconds}")).is_empty());
    kiln.store_is_whole();
    let again = kiln.build_text("FROM base\nRUN echo started > /first\nRUN true\n", &[]);
    assert_eq!(again.to_layout("again").file("first"), "started\n");
    kiln.run(["prune"]).succeeds();
    let left: Vec<_> =
        fs_err::read_dir(kiln.store().join("tmp")).map(|d| d.flatten().collect()).unwrap_or_default();
    assert!(left.is_empty(), "left in tmp: {left:?}");
}

#[test]
fn ctrl_c_ends_the_step() {
    for (actor, seconds) in [(Actor::Root, "777201"), (Actor::Sub, "777202"), (Actor::NoSub, "777203")] {
        let kiln = Kiln::new(actor);
        let child = sleeping(&kiln, seconds);
        signal(&child, Signal::INT);
        let outcome = Outcome::new(
            "kiln build, interrupted".to_owned(),
            child.wait_with_output().expect("it was started"),
        );
        assert_eq!(outcome.code, 130, "{outcome}");
        ends_and_builds_again(&kiln, seconds);
    }
}

#[test]
fn a_killed_build_leaves_a_store_that_works() {
    for (actor, seconds) in [(Actor::Root, "777211"), (Actor::Sub, "777212"), (Actor::NoSub, "777213")] {
        let kiln = Kiln::new(actor);
        let mut child = sleeping(&kiln, seconds);
        signal(&child, Signal::KILL);
        child.wait().expect("it was started");
        ends_and_builds_again(&kiln, seconds);
    }
}
