//! Runs commands, times them and watches their memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How long the commands of one build took together, and the most memory that one process of theirs, or the tool's daemon, had.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// Wall clock.
    pub(crate) seconds: f64,
    /// Resident, in KiB. 0: ended before anybody could look.
    pub(crate) peak: u64,
}

/// How often memory is looked at. What is read is the kernel's high-water mark of each process, so that what comes and goes
/// between two looks is seen, too; only what a process does in its very last moments is not.
const LOOK: Duration = Duration::from_millis(10);

/// Runs one command after the other, their output going to `log`.
///
/// # Errors
/// The first command that cannot be started or fails; the rest is not run then.
pub(crate) fn run(commands: Vec<Command>, daemon: Option<u32>, log: &Path) -> Result<Reading, Failure> {
    if let Some(daemon) = daemon {
        // Sets the high-water mark back to what the daemon has now; see proc(5), clear_refs.
        for pid in family(daemon) {
            fs_err::write(format!("/proc/{pid}/clear_refs"), "5")?;
        }
    }
    let mut reading = Reading::default();
    for mut command in commands {
        let output = fs_err::File::create(log)?;
        let (output, _) = output.into_parts();
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let start = Instant::now();
        let mut child = start_of(&mut command)?;
        let (status, peak) = attend(&mut child)?;
        reading.seconds += start.elapsed().as_secs_f64();
        reading.peak = reading.peak.max(peak);
        if !status.success() {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            let words: Vec<_> = words.map(|w| w.to_string_lossy().into_owned()).collect();
            return Err(Failure::Command { command: words.join(" "), status, last: last_line(log) });
        }
    }
    if let Some(daemon) = daemon {
        reading.peak = reading.peak.max(peak_of_family(daemon));
    }
    Ok(reading)
}

/// Starts a command.
///
/// # Errors
/// [`Failure::Start`], with the program's name.
pub(crate) fn start_of(command: &mut Command) -> Result<Child, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|source| Failure::Start { program, source })
}

/// What a short command prints on standard output, without the last newline.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn printed(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|source| Failure::Start { program: program.clone(), source })?;
    if !output.status.success() {
        let last = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
        return Err(Failure::Command { command: program, status: output.status, last });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The last line of a log that says something.
pub(crate) fn last_line(log: &Path) -> String {
    let bytes = fs_err::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

fn attend(child: &mut Child) -> Result<(std::process::ExitStatus, u64), Failure> {
    let pid = child.id();
    let ended = AtomicBool::new(false);
    let watch = || {
        let mut peak = 0;
        while !ended.load(Ordering::Relaxed) {
            peak = peak_of_family(pid).max(peak);
            thread::park_timeout(LOOK);
        }
        peak
    };
    thread::scope(|scope| {
        let watcher = scope.spawn(watch);
        let status = child.wait();
        ended.store(true, Ordering::Relaxed);
        watcher.thread().unpark();
        // It only reads files and takes a maximum; if it panics after all, there is nothing to report.
        let peak = watcher.join().unwrap_or_default();
        Ok((status?, peak))
    })
}

/// The largest high-water mark among a process and its descendants, in KiB.
fn peak_of_family(pid: u32) -> u64 {
    family(pid).into_iter().filter_map(high_water).max().unwrap_or_default()
}

fn high_water(pid: u32) -> Option<u64> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn family(pid: u32) -> BTreeSet<u32> {
    let mut family = BTreeSet::from([pid]);
    let mut unvisited = vec![pid];
    while let Some(parent) = unvisited.pop() {
        let Ok(threads) = fs_err::read_dir(format!("/proc/{parent}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs_err::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|c| c.parse().ok());
            unvisited.extend(children.filter(|c| family.insert(*c)));
        }
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn log() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        (folder, log)
    }

    #[test]
    fn times_add_up_and_memory_of_descendants_counts() {
        let (_folder, log) = log();
        // dd's buffer is its memory; it is a child of the shell.
        // It goes on for as long as it takes to be looked at a few times, however slow the machine is.
        let hungry = "dd if=/dev/zero of=/dev/null bs=64M count=200 2>&1";
        let reading = run(vec![shell("sleep 0.05"), shell(hungry)], None, &log).unwrap();
        assert!(reading.seconds >= 0.05, "{reading:?}");
        assert!(reading.peak >= 64 * 1024, "{reading:?}");
    }

    #[test]
    fn a_failure_tells_the_last_line() {
        let (_folder, log) = log();
        match run(vec![shell("echo first; echo the reason >&2; exit 3"), shell("true")], None, &log) {
            Err(Failure::Command { status, last, .. }) => {
                assert_eq!((status.code(), last.as_str()), (Some(3), "the reason"));
            }
            other => panic!("{other:?}"),
        }
    }
}
