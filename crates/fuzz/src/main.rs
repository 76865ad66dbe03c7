//! `kiln-fuzz TARGET [--minutes N] [--seed N] [--keep DIR] [--replay FILE]`: see the library.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kiln_fuzz::driver::{DriveError, Run, drive};
use kiln_fuzz::target::{ALL, Target, find};

const USAGE: &str = "usage: kiln-fuzz TARGET [--minutes N] [--seed N] [--keep DIR] [--replay FILE]";

/// What was typed.
struct Arguments {
    target: Target,
    minutes: f64,
    seed: u64,
    keep: Option<PathBuf>,
    replay: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
            say(&format!("{problem}\n{USAGE}\ntargets: {}", names.join(", ")));
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(3)
        }
    }
}

#[expect(clippy::print_stdout, reason = "a tool for development talks to whoever started it")]
fn say(text: &str) {
    println!("{text}");
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let name = words.next().ok_or("a target is missing")?;
    let target = find(&name).ok_or(format!("no target is called {name:?}"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs());
    let mut arguments = Arguments { target, minutes: 1.0, seed: now, keep: None, replay: None };
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(format!("{flag} needs a value"))?;
        let wrong = || format!("{flag} {value}: not a number");
        match flag.as_str() {
            "--minutes" => arguments.minutes = value.parse().map_err(|_| wrong())?,
            "--seed" => arguments.seed = value.parse().map_err(|_| wrong())?,
            "--keep" => arguments.keep = Some(value.into()),
            "--replay" => arguments.replay = Some(value.into()),
            _ => return Err(format!("no flag is called {flag:?}")),
        }
    }
    Ok(arguments)
}

/// Whether all went well.
fn run(arguments: &Arguments) -> Result<bool, DriveError> {
    let target = arguments.target;
    if let Some(path) = &arguments.replay {
        let kind = (target.run)(&fs_err::read(path)?);
        say(&format!("{}: nothing wrong, kind {kind:016x}", path.display()));
        return Ok(true);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let time = Duration::from_secs_f64(arguments.minutes * 60.0);
    say(&format!("{}: seed {}, {} minutes", target.name, arguments.seed, arguments.minutes));
    let outcome = drive(&target, &Run { seed: arguments.seed, time, root })?;
    if let Some(path) = &outcome.crash {
        say(&format!("{}: failed, input saved as {}", target.name, path.display()));
        return Ok(false);
    }
    say(&format!("{}: {} inputs of {} kinds, nothing wrong", target.name, outcome.tried, outcome.kinds));
    if let Some(folder) = &arguments.keep {
        fs_err::create_dir_all(folder)?;
        for (i, input) in outcome.found.iter().enumerate() {
            fs_err::write(folder.join(format!("found-{i:05}")), input)?;
        }
    }
    Ok(true)
}
