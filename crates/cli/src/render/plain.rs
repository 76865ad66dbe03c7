//! Progress as lines, one task at a time, in the look of BuildKit's plain progress that CI logs and people know:
//!
//! ```text
//! #5 [build 2/4] RUN make
//! #5 0.123 cc -c main.c
//! #5 DONE 1.2s
//! ```
//!
//! One task holds the floor until it ends; what the others say waits. If the holder has been silent for a while and others have
//! something to say, or if one of them has so much that keeping it would cost memory, the floor changes hands (`#5 ...`). Numbers are given in the order of appearance.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use kiln_build::event::{Event, TaskId, TaskOutcome};

use crate::render::text::{Lines, bytes, seconds};
use crate::render::why::reasons;

/// How long the holder of the floor may be silent while others wait.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many bytes of one task's log wait at most.
const CROWDED: usize = 256 << 10;

/// How often a transfer that is not complete is mentioned.
const TRANSFER_EVERY: Duration = Duration::from_secs(5);

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    tasks: BTreeMap<TaskId, Task>,
    /// Who may print, and when it last did.
    floor: Option<(TaskId, Duration)>,
    /// Ended, not printed to the end.
    ended: VecDeque<TaskId>,
    /// Started, not ended, in that order.
    running: VecDeque<TaskId>,
    shown: usize,
}

#[derive(Debug, Default)]
struct Task {
    name: String,
    number: Option<usize>,
    started: Option<Duration>,
    ended: Option<(Duration, TaskOutcome)>,
    lines: Lines,
    /// To be printed behind `#N `.
    waiting: Vec<String>,
    /// Bytes of the log in `waiting`.
    crowd: usize,
    transfers: BTreeMap<String, Transfer>,
}

#[derive(Debug, Default)]
struct Transfer {
    current: u64,
    total: Option<u64>,
    since: Duration,
    told: Option<Duration>,
    complete: bool,
}

impl Plain {
    /// Takes an event at `now` (since the build began) and appends what is to be printed to `out`.
    pub(crate) fn event(&mut self, event: Event, now: Duration, out: &mut String) {
        match event {
            Event::Announced { task, name, .. } => {
                self.tasks.insert(task, Task { name, ..Task::default() });
            }
            Event::Started { task, .. } => {
                self.task(task).started = Some(now);
                self.running.push_back(task);
            }
            Event::Output { task, bytes, .. } => self.task(task).output(&bytes, now),
            Event::Progress { task, item, current, total } => {
                self.task(task).transfer(item, current, total, now);
            }
            Event::Notice { task: Some(task), message } => self.task(task).waiting.push(message),
            Event::Explained { task, why } => {
                let lines = reasons(&why).into_iter().map(|line| format!("why: {line}"));
                self.task(task).waiting.extend(lines);
            }
            Event::Notice { task: None, message } => {
                let _ = writeln!(out, "note: {message}\n");
            }
            Event::Finished { task, outcome: TaskOutcome::Cancelled, .. }
                if self.task(task).started.is_none() =>
            {
                self.tasks.remove(&task);
            }
            Event::Finished { task, outcome, .. } => {
                self.task(task).end(now, outcome);
                self.running.retain(|t| *t != task);
                self.ended.push_back(task);
            }
            // The set of events may grow; what is unknown here has no plain form.
            _ => {}
        }
        self.print(now, out);
    }

    fn task(&mut self, id: TaskId) -> &mut Task {
        self.tasks.entry(id).or_default()
    }

    fn print(&mut self, now: Duration, out: &mut String) {
        if let Some((holder, since)) = self.floor {
            let quiet = now.saturating_sub(since) > PATIENCE;
            if let Some(crowded) = self.crowded(holder) {
                self.speak(holder, now, out);
                if self.floor.is_some() {
                    let _ = writeln!(out, "#{} ...\n", self.task(holder).number.unwrap_or_default());
                }
                self.floor = None;
                self.speak(crowded, now, out);
                return;
            }
            if self.speak(holder, now, out) {
                return;
            }
            // What has ended is not here any more.
            if self.tasks.contains_key(&holder) {
                if !quiet || !self.others_wait(holder) {
                    return;
                }
                let _ = writeln!(out, "#{} ...\n", self.task(holder).number.unwrap_or_default());
            }
            self.floor = None;
        }
        while let Some(id) = self.ended.front().copied() {
            self.speak(id, now, out);
        }
        let next = self.running.iter().copied().find(|id| self.tasks[id].has_something());
        if let Some(id) = next {
            self.speak(id, now, out);
        }
    }

    /// A task that runs beside the holder of the floor and has more to say than should wait.
    fn crowded(&self, holder: TaskId) -> Option<TaskId> {
        self.running.iter().copied().find(|id| *id != holder && self.tasks[id].crowd > CROWDED)
    }

    fn others_wait(&self, holder: TaskId) -> bool {
        !self.ended.is_empty()
            || self.running.iter().any(|id| *id != holder && !self.tasks[id].waiting.is_empty())
    }

    /// Prints what a task has to say. True if it printed and goes on holding the floor.
    fn speak(&mut self, id: TaskId, now: Duration, out: &mut String) -> bool {
        let holds = self.floor.is_some_and(|(holder, _)| holder == id);
        let next = self.shown + 1;
        let task = self.task(id);
        if !task.has_something() && task.ended.is_none() {
            return false;
        }
        let number = *task.number.get_or_insert(next);
        if !holds {
            let _ = writeln!(out, "#{number} {}", task.name);
        }
        for line in task.waiting.drain(..) {
            let _ = writeln!(out, "#{number} {line}");
        }
        task.crowd = 0;
        let ended = task.ended.take();
        if let Some((at, outcome)) = ended {
            let took = at.saturating_sub(task.started.unwrap_or(at));
            let _ = writeln!(out, "#{number} {}\n", end_line(&outcome, took));
            self.tasks.remove(&id);
            self.ended.retain(|t| *t != id);
            self.floor = None;
        } else {
            self.floor = Some((id, now));
        }
        self.shown = self.shown.max(number);
        self.floor.is_some()
    }
}

fn end_line(outcome: &TaskOutcome, took: Duration) -> String {
    let took = seconds(took);
    match outcome {
        TaskOutcome::Cached => "CACHED".to_owned(),
        TaskOutcome::Same => format!("DONE {took} (made the same as before)"),
        TaskOutcome::Failed => format!("ERROR {took}"),
        TaskOutcome::Cancelled => "CANCELED".to_owned(),
        TaskOutcome::WouldRun => "NOT CACHED".to_owned(),
        TaskOutcome::Depends => "DEPENDS ON WHAT IS NOT CACHED".to_owned(),
        _ => format!("DONE {took}"),
    }
}

impl Task {
    /// Something to print: a line, or the name of a task that began and was not shown yet.
    fn has_something(&self) -> bool {
        !self.waiting.is_empty() || (self.number.is_none() && self.started.is_some())
    }

    fn output(&mut self, bytes: &[u8], now: Duration) {
        for line in self.lines.push(bytes) {
            self.log(&line, now);
        }
    }

    fn log(&mut self, line: &str, now: Duration) {
        let time = now.saturating_sub(self.started.unwrap_or(now));
        self.waiting.push(format!("{:.3} {line}", time.as_secs_f64()));
        self.crowd += line.len() + size_of::<String>();
    }

    fn transfer(&mut self, item: String, current: u64, total: Option<u64>, now: Duration) {
        let transfer = self
            .transfers
            .entry(item.clone())
            .or_insert_with(|| Transfer { since: now, ..Transfer::default() });
        transfer.current = current;
        transfer.total = total;
        if transfer.complete {
            return;
        }
        let last = transfer.told.unwrap_or(transfer.since);
        transfer.complete = total == Some(current);
        if transfer.complete || now.saturating_sub(last) >= TRANSFER_EVERY {
            transfer.told = Some(now);
            self.waiting.push(transfer.line(&item, now));
        }
    }

    fn end(&mut self, now: Duration, outcome: TaskOutcome) {
        if let Some(line) = self.lines.finish() {
            self.log(&line, now);
        }
        if outcome == TaskOutcome::Done {
            let open = self.transfers.iter_mut().filter(|(_, t)| !t.complete && t.total.is_none());
            for (item, transfer) in open {
                transfer.complete = true;
                self.waiting.push(transfer.line(item, now));
            }
        }
        self.ended = Some((now, outcome));
    }
}

impl Transfer {
    fn line(&self, item: &str, now: Duration) -> String {
        let mut line = format!("{item} {}", bytes(self.current));
        if let Some(total) = self.total {
            let _ = write!(line, " / {}", bytes(total));
        }
        if self.complete {
            let _ = write!(line, " {} done", seconds(now.saturating_sub(self.since)));
        }
        line
    }
}
