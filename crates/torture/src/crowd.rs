//! Many builds at once on one store, and collections beside them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::Tally;
use crate::chance::Chance;
use crate::failure::Failure;
use crate::judge::{is_clean, nobody_left};
use crate::kiln::Kiln;
use crate::work::{VARIANTS, Work};

/// Ways to prune.
const PRUNES: [&[&str]; 5] = [
    &["prune"],
    &["prune", "--all"],
    &["prune", "--keep-storage", "1m"],
    &["prune", "--older-than", "1s"],
    &["prune", "--filter", "type=exec.cachemount"],
];

/// Builds and prunes for a while; every image must be the right one.
pub(crate) fn crowd(work: &Work) -> Result<Tally, Failure> {
    let folder = work.folder("crowd");
    fs_err::create_dir_all(&folder)?;
    let kiln = work.kiln(&folder.join("store"));
    let end = Instant::now() + Duration::from_secs(work.arguments.seconds);
    let seed = work.arguments.seed;
    let prunes = AtomicUsize::new(0);
    let mut tally = Tally::default();
    let outcomes = std::thread::scope(|scope| {
        let builders: Vec<_> = (0..work.arguments.processes)
            .map(|n| {
                let kiln = kiln.clone();
                scope.spawn(move || builds(&kiln, (seed, n), end))
            })
            .collect();
        let pruner = scope.spawn(|| pruning(&kiln, seed, end, &prunes));
        let mut all: Vec<_> =
            builders.into_iter().map(|t| t.join().unwrap_or_else(|_| vec![lost()])).collect();
        all.push(vec![pruner.join().unwrap_or_else(|_| lost())]);
        all
    });
    let replay = format!("--seed {} --trial crowd", work.arguments.seed);
    outcomes.into_iter().flatten().for_each(|outcome| tally.count(&replay, outcome));
    tally.count(&replay, nobody_left(&kiln).and_then(|()| is_clean(&kiln)));
    println!("crowd: {} prunes beside the builds", prunes.load(Ordering::Relaxed));
    Ok(tally)
}

fn lost() -> Result<(), Failure> {
    Err(Failure::Left("a thread that panicked".to_owned()))
}

fn builds(kiln: &Kiln<'_>, (seed, number): (u64, usize), end: Instant) -> Vec<Result<(), Failure>> {
    let mut chance = Chance::new(seed, "crowd", number);
    let mut outcomes = Vec::new();
    while Instant::now() < end {
        outcomes.push(kiln.build_right(chance.below(VARIANTS)));
    }
    outcomes
}

fn pruning(kiln: &Kiln<'_>, seed: u64, end: Instant, done: &AtomicUsize) -> Result<(), Failure> {
    let mut chance = Chance::new(seed, "prunes", 0);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(chance.below(300)));
        kiln.run(PRUNES[chance.below(PRUNES.len() as u64) as usize])?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
