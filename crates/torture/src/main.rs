//! kiln-torture: builds that are killed, builds on a full disk, and many builds at once, until something gives.
//!
//!     cargo build --release -p kiln-cli --features crash-points --target-dir target/torture
//!     cargo run --release -p kiln-torture -- target/torture/release/kiln
//!
//! Four trials, all with the same small Dockerfile and a few variants of its context, whose images are built once undisturbed:
//!
//! - *points*: killed at the first write that others could see, at the second, and so on, until the build lives to its end; from an empty
//!   store and from one with another variant in it. Only a kiln with the feature `crash-points` can do that; any other skips it, and says so.
//! - *kills*: killed with `SIGKILL` at a random instant; sometimes it is a `kiln prune` that is killed.
//! - *full*: on a small loop file system with so little room left that the build fails somewhere. Takes root.
//! - *crowd*: sixteen processes for a minute on one store, and `kiln prune` in all its forms beside them.
//!
//! After each disturbance the next build must work and give the very image that an undisturbed build gives, `kiln verify` must find no
//! fault, and after a `kiln prune` nothing may be left: no process, no mount, no temporary file, no lock.
//!
//! Everything random comes from the seed, which is printed. `--only N` does one disturbance of a trial again.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

mod arguments;
mod chance;
mod crowd;
mod disk;
mod failure;
mod judge;
mod kill;
mod kiln;
mod work;

use std::process::ExitCode;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::work::Work;

fn main() -> ExitCode {
    let arguments = match Arguments::of(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Does the trials; the result is how many disturbances did harm.
fn run(arguments: &Arguments) -> Result<usize, Failure> {
    println!("seed {}", arguments.seed);
    let work = Work::prepare(arguments)?;
    let mut harm = 0;
    let mut trial = |name: &str, run: &dyn Fn(&Work) -> Result<Tally, Failure>| -> Result<(), Failure> {
        if !arguments.wants(name) {
            return Ok(());
        }
        let began = Instant::now();
        let tally = run(&work)?;
        let seconds = began.elapsed().as_secs();
        println!("{name}: {} disturbances, {} did harm, {seconds} s", tally.done, tally.harm);
        harm += tally.harm;
        Ok(())
    };
    trial("points", &kill::points)?;
    trial("kills", &kill::random)?;
    trial("full", &disk::full)?;
    trial("crowd", &crowd::crowd)?;
    println!("{}", if harm == 0 { "no harm was done" } else { "HARM was done" });
    Ok(harm)
}

/// How a trial went.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    done: usize,
    harm: usize,
}

impl Tally {
    /// Counts one disturbance; what went wrong is told, with how to see it again.
    fn count(&mut self, replay: &str, outcome: Result<(), Failure>) {
        self.done += 1;
        if let Err(failure) = outcome {
            self.harm += 1;
            println!("HARM ({replay}): {failure}");
        }
    }
}
