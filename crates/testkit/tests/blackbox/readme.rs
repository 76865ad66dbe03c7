//! The README's first command, as everybody who may type it.

use std::path::Path;

use kiln_testkit::actor::Actor;
use kiln_testkit::machine::Machine;
use kiln_testkit::outcome::Outcome;
use kiln_testkit::scratch::Scratch;

#[test]
fn the_demo_works_for_everybody() {
    for actor in Actor::RUNNERS {
        let scratch = Scratch::new(actor);
        // The users cannot be expected to reach into the repository.
        let testdata = scratch.join("testdata");
        let mut copy = std::process::Command::new("cp");
        copy.arg("-rT").args([&Machine::testdata(), &testdata]);
        Outcome::of(copy).succeeds();
        scratch.give(&testdata);
        let mut demo = actor.command(Path::new("/bin/sh"));
        demo.arg(testdata.join("demo.sh")).current_dir(scratch.path()).env("HOME", scratch.path());
        demo.env("KILN_BIN", &Machine::get().kiln).env("KILN_DEMO_DIR", scratch.join("demo"));
        let outcome = Outcome::of(demo).succeeds();
        let said = outcome.text();
        for line in ["I am web on Linux; my pages:", "index.html.gz", "about.html"] {
            assert!(said.contains(line), "{actor:?}: no {line:?} in {outcome}");
        }
    }
}
