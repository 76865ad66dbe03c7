//! What was asked for.

use std::path::PathBuf;

/// How to call it.
pub(crate) const USAGE: &str =
    "usage: kiln-torture KILN [--seed N] [--builds N] [--full N] [--seconds N] [--processes N]
                    [--trial points|kills|full|crowd]... [--only N] [--busybox FILE] [--work DIR]";

/// Numbers of a long run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The binary under test.
    pub(crate) kiln: PathBuf,
    /// Where all chance comes from.
    pub(crate) seed: u64,
    /// Builds killed at random.
    pub(crate) builds: usize,
    /// Builds on a full disk.
    pub(crate) full: usize,
    /// How long the crowd builds.
    pub(crate) seconds: u64,
    /// How many build at once.
    pub(crate) processes: usize,
    /// One disturbance of each trial alone.
    pub(crate) only: Option<usize>,
    /// A static busybox.
    pub(crate) busybox: PathBuf,
    /// Where everything happens.
    pub(crate) work: PathBuf,
    trials: Vec<String>,
}

impl Arguments {
    /// Reads the arguments.
    pub(crate) fn of(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let kiln = words.next().filter(|word| !word.starts_with('-')).ok_or("which kiln?")?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut all = Self {
            kiln: kiln.into(),
            seed: now.as_secs(),
            builds: 300,
            full: 50,
            seconds: 60,
            processes: 16,
            only: None,
            busybox: "/bin/busybox".into(),
            work: std::env::temp_dir(),
            trials: Vec::new(),
        };
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{flag}: {value:?} is no number"));
            match flag.as_str() {
                "--seed" => all.seed = number()?,
                "--builds" => all.builds = number()? as usize,
                "--full" => all.full = number()? as usize,
                "--seconds" => all.seconds = number()?,
                "--processes" => all.processes = number()? as usize,
                "--only" => all.only = Some(number()? as usize),
                "--busybox" => all.busybox = value.into(),
                "--work" => all.work = value.into(),
                "--trial" if ["points", "kills", "full", "crowd"].contains(&value.as_str()) => {
                    all.trials.push(value);
                }
                _ => return Err(format!("what is {flag} {value}?")),
            }
        }
        Ok(all)
    }

    /// Whether the trial called `name` is to be done.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.trials.is_empty() || self.trials.iter().any(|trial| trial == name)
    }

    /// The numbers of disturbances, of `count` in all.
    pub(crate) fn numbers(&self, count: usize) -> Vec<usize> {
        match self.only {
            Some(only) => vec![only],
            None => (0..count).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, String> {
        Arguments::of(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn lines() {
        let all = read("kiln --seed 7 --builds 3 --trial kills --only 2").expect("it is right");
        assert_eq!((all.seed, all.builds, all.full), (7, 3, 50));
        assert!(all.wants("kills") && !all.wants("full"));
        assert_eq!(all.numbers(9), [2]);
        assert!(read("").is_err() && read("--seed 7").is_err() && read("kiln --seed x").is_err());
        assert!(read("kiln --trial nonsense").is_err() && read("kiln --seed").is_err());
    }
}
