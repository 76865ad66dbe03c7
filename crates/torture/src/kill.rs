//! Builds that are killed.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use crate::Tally;
use crate::chance::Chance;
use crate::failure::Failure;
use crate::judge::came_through;
use crate::kiln::{Kiln, failed};
use crate::work::{VARIANTS, Work};

/// At which write a kiln with the feature `crash-points` kills itself.
const VARIABLE: &str = "KILN_CRASH_AT";

/// More writes than a build has.
const MOST: usize = 5000;

/// Killed at each write that others can see, one after the other.
pub(crate) fn points(work: &Work) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for (start, name) in [(None, "an empty store"), (Some(1), "a store with another variant")] {
        let mut points = 0;
        for number in work.arguments.numbers(MOST) {
            let kiln = fresh(work, "points", start)?;
            let mut command = kiln.build_command(0);
            let output = command.env(VARIABLE, (number + 1).to_string()).output()?;
            match (output.status.signal(), output.status.success()) {
                (Some(9), _) => {}
                (_, true) => break,
                _ => return Err(failed(format!("{command:?}"), &output)),
            }
            points += 1;
            tally.count(&format!("--trial points --only {number}"), came_through(&kiln, 0));
        }
        println!("points: from {name} there are {points}");
        if points == 0 && work.arguments.only.is_none() {
            println!("points: skipped, this kiln was built without the feature crash-points");
        }
    }
    Ok(tally)
}

/// Killed at a random instant, from a random beginning.
pub(crate) fn random(work: &Work) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for number in work.arguments.numbers(work.arguments.builds) {
        let mut chance = Chance::new(work.arguments.seed, "kills", number);
        let variant = chance.below(VARIANTS);
        let start = (chance.below(3) > 0).then(|| chance.below(VARIANTS));
        let kiln = fresh(work, "kills", start)?;
        let longest = work.duration.as_micros() as u64 * 11 / 10;
        let replay = format!("--seed {} --trial kills --only {number}", work.arguments.seed);
        killed_after(&mut kiln.build_command(variant), Duration::from_micros(chance.below(longest)))?;
        if chance.below(4) == 0 {
            let pruning = ["prune", "--all"];
            let words = if chance.below(2) == 0 { &pruning[..1] } else { &pruning };
            killed_after(&mut kiln.command(words), Duration::from_micros(chance.below(20_000)))?;
        }
        tally.count(&replay, came_through(&kiln, variant));
        if number % 50 == 49 {
            println!("kills: {} so far, {} did harm", tally.done, tally.harm);
        }
    }
    Ok(tally)
}

/// A new store, with the build of variant `start` in it if there is one.
fn fresh<'a>(work: &'a Work, name: &str, start: Option<u64>) -> Result<Kiln<'a>, Failure> {
    let kiln = work.kiln(&work.folder(name).join("store"));
    if kiln.store.exists() {
        // An ordinary user cannot remove what belongs to the ids of steps; kiln can.
        kiln.run(&["prune", "--all"])?;
        fs_err::remove_dir_all(&kiln.store)?;
    }
    fs_err::create_dir_all(work.folder(name))?;
    if let Some(variant) = start {
        kiln.build_right(variant)?;
    }
    Ok(kiln)
}

/// Starts a command and kills it after `delay`, unless it has ended by then.
fn killed_after(command: &mut Command, delay: Duration) -> Result<(), Failure> {
    let mut child = command.spawn()?;
    std::thread::sleep(delay);
    child.kill()?;
    child.wait()?;
    Ok(())
}
