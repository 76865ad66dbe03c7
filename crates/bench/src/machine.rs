//! What the figures depend on besides the programs.

use std::process::Command;

use crate::failure::Failure;
use crate::meter;

/// The machine, as the document describes it.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Processors, memory, kernel, distribution, file systems; one phrase each.
    pub(crate) facts: Vec<String>,
    /// Today, as year-month-day in UTC.
    pub(crate) date: String,
}

/// How many processes wanted a processor, on average over the last one and five minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load(pub(crate) f64, pub(crate) f64);

impl Load {
    /// As `/proc/loadavg` has it; zeros where there is none.
    pub(crate) fn now() -> Self {
        let text = fs_err::read_to_string("/proc/loadavg").unwrap_or_default();
        let mut numbers = text.split(' ').map_while(|word| word.parse().ok());
        Self(numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
    }
}

impl Machine {
    /// Looks around.
    ///
    /// # Errors
    /// When proc(5) is not mounted.
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        let cpus = fs_err::read_to_string("/proc/cpuinfo")?;
        let model = field(&cpus, "model name").unwrap_or("processor of unknown make");
        let count = cpus.lines().filter(|l| l.starts_with("processor")).count();
        let memory = fs_err::read_to_string("/proc/meminfo")?;
        let kib: u64 =
            field(&memory, "MemTotal").and_then(|m| m.split(' ').next()?.parse().ok()).unwrap_or_default();
        let kernel = fs_err::read_to_string("/proc/sys/kernel/osrelease")?;
        let debian = fs_err::read_to_string("/etc/debian_version").unwrap_or_default();
        let date = meter::printed(Command::new("date").args(["--utc", "+%F"]))?;
        let facts = vec![
            format!("{count} × {model}"),
            format!("{} GiB of memory", kib.div_ceil(1 << 20)),
            // What follows the version is a name that somebody gave their own build.
            format!("Linux {}", kernel.trim().split('-').next().unwrap_or_default()),
            format!("Debian {}", debian.trim()),
            "stores and archives on ext4, a file system for each tool".to_owned(),
        ];
        Ok(Self { facts, date })
    }
}

/// The value behind `name :` in one of proc's texts.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|l| l.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let text = "processor\t: 0\nmodel name\t: Some CPU\n";
        assert_eq!(field(text, "model name"), Some("Some CPU"));
        assert_eq!(field(text, "flags"), None);
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::of_this_process().unwrap();
        assert!(machine.facts.iter().all(|fact| !fact.is_empty()), "{machine:?}");
        assert_eq!(machine.date.len(), 10);
    }
}
