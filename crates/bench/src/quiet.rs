//! Waiting for a machine that does nothing else.
//!
//! What a tool leaves to be done after it has ended (a daemon that collects its garbage, a file system that takes back a gigabyte)
//! would be paid for by the next one.

use std::time::{Duration, Instant};

use crate::failure::Failure;

/// Longer than this is not waited for: then it is somebody else's doing, and the load in the report tells.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Of the processors' time, what may be in use: one part in so many.
const IDLE: u64 = 16;

/// Time of all processors since the machine began, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    all: u64,
    busy: u64,
}

/// Returns when the processors have been idle for a quarter of a second, or after half a minute.
///
/// # Errors
/// If `/proc/stat` cannot be read.
pub(crate) fn wait() -> Result<(), Failure> {
    let began = Instant::now();
    let mut before = Ticks::of(&fs_err::read_to_string("/proc/stat")?);
    while began.elapsed() < PATIENCE {
        std::thread::sleep(LOOK);
        let now = Ticks::of(&fs_err::read_to_string("/proc/stat")?);
        if (now.busy - before.busy) * IDLE <= now.all - before.all {
            break;
        }
        before = now;
    }
    Ok(())
}

impl Ticks {
    /// The first line of `/proc/stat` (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal.
    fn of(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let all = ticks.iter().sum();
        // A disk that is being written to is as much in the way as a processor.
        let idle = ticks.get(3).copied().unwrap_or_default();
        Self { all, busy: all - idle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_disk_is_not_idleness() {
        let stat = "cpu  10 1 5 100 20 0 4 0 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(Ticks::of(stat), Ticks { all: 140, busy: 40 });
    }
}
