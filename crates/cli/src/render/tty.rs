//! Progress on a terminal: finished tasks scroll up for good, below them a few lines are drawn anew about fifteen times a second.
//!
//! ```text
//!  ✔ resolve docker.io/library/debian:12              0.4s
//!  ✔ [build 1/3] WORKDIR /app                       cached
//!  ⠹ [build 2/3] RUN make                            11.2s
//!    │ cc -c main.c
//!    building 12.3s, 2 of 9 done
//! ```
//!
//! Each frame is one write between the marks of a synchronised update, so nothing flickers; every line is cut to the width,
//! and the cursor is never hidden, so there is nothing to restore if kiln is killed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use kiln_build::event::{Event, TaskId, TaskKind, TaskOutcome};

use crate::render::text::{Lines, bytes, fit, seconds, width};
use crate::render::why::reasons;

/// Lines of output that are shown of a running task.
const LOG_LINES: usize = 6;

/// Transfers that are shown of a running task.
const BARS: usize = 8;

/// How the terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Columns.
    pub(crate) columns: usize,
    /// Rows.
    pub(crate) rows: usize,
}

/// The state of the screen.
#[derive(Debug)]
pub(crate) struct Tty {
    colour: bool,
    glyphs: Glyphs,
    tasks: BTreeMap<TaskId, Task>,
    running: Vec<TaskId>,
    steps: usize,
    steps_done: usize,
    /// Finished lines that were not drawn yet.
    settled: VecDeque<Settled>,
    /// Widths of the lines of the last frame that are to be drawn over.
    drawn: Vec<usize>,
    changed: bool,
}

#[derive(Debug)]
struct Glyphs {
    done: &'static str,
    stopped: &'static str,
    failed: &'static str,
    note: &'static str,
    log: &'static str,
    full: &'static str,
    empty: &'static str,
    spinner: &'static [&'static str],
}

const UNICODE: Glyphs = Glyphs {
    done: "✔",
    stopped: "-",
    failed: "✘",
    note: "!",
    log: "│",
    full: "━",
    empty: "─",
    spinner: &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"],
};
const ASCII: Glyphs = Glyphs {
    done: "+",
    stopped: "-",
    failed: "x",
    note: "!",
    log: "|",
    full: "#",
    empty: ".",
    spinner: &["|", "/", "-", "\\"],
};

#[derive(Debug)]
struct Task {
    kind: TaskKind,
    name: String,
    started: Option<Duration>,
    lines: Lines,
    tail: VecDeque<String>,
    transfers: Vec<Transfer>,
}

#[derive(Debug)]
struct Transfer {
    item: String,
    current: u64,
    total: Option<u64>,
}

#[derive(Debug)]
struct Settled {
    mark: Mark,
    text: String,
    right: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Done,
    Faint,
    Stopped,
    Failed,
    Note,
}

impl Tty {
    /// An empty screen. `unicode` allows characters beyond ASCII.
    pub(crate) fn new(colour: bool, unicode: bool) -> Self {
        Self {
            colour,
            glyphs: if unicode { UNICODE } else { ASCII },
            tasks: BTreeMap::new(),
            running: Vec::new(),
            steps: 0,
            steps_done: 0,
            settled: VecDeque::new(),
            drawn: Vec::new(),
            changed: false,
        }
    }

    /// Takes an event at `now` (since the build began). Nothing is drawn before the next [`frame`](Self::frame).
    pub(crate) fn event(&mut self, event: Event, now: Duration) {
        self.changed = true;
        match event {
            Event::Announced { task, kind, name, .. } => {
                self.steps += 1;
                self.tasks.insert(task, Task::new(kind, name));
            }
            Event::Started { task, .. } => {
                if let Some(state) = self.tasks.get_mut(&task) {
                    state.started = Some(now);
                    self.running.push(task);
                }
            }
            Event::Output { task, bytes, .. } => {
                if let Some(task) = self.tasks.get_mut(&task) {
                    task.output(&bytes);
                }
            }
            Event::Progress { task, item, current, total } => {
                if let Some(task) = self.tasks.get_mut(&task) {
                    task.transfer(item, current, total);
                }
            }
            Event::Explained { task, why } => {
                let name = self.tasks.get(&task).map(|task| task.name.clone()).unwrap_or_default();
                for text in std::iter::once(format!("{name}: why")).chain(reasons(&why)) {
                    self.settled.push_back(Settled { mark: Mark::Note, text, right: String::new() });
                }
            }
            Event::Notice { message, .. } => {
                self.settled.push_back(Settled { mark: Mark::Note, text: message, right: String::new() });
            }
            Event::Finished { task, outcome, .. } => self.finish(task, &outcome, now),
            // The set of events may grow; what is unknown here is not drawn.
            _ => {}
        }
    }

    fn finish(&mut self, id: TaskId, outcome: &TaskOutcome, now: Duration) {
        self.running.retain(|t| *t != id);
        let Some(task) = self.tasks.remove(&id) else { return };
        self.steps_done += 1;
        let took = seconds(now.saturating_sub(task.started.unwrap_or(now)));
        let (mark, right) = match outcome {
            TaskOutcome::Cached => (Mark::Faint, "cached".to_owned()),
            TaskOutcome::Same => (Mark::Done, format!("same {took}")),
            TaskOutcome::Failed => (Mark::Failed, took),
            TaskOutcome::Cancelled if task.started.is_none() => return,
            TaskOutcome::Cancelled => (Mark::Stopped, "stopped".to_owned()),
            TaskOutcome::WouldRun => (Mark::Stopped, "not cached".to_owned()),
            TaskOutcome::Depends => (Mark::Stopped, "depends".to_owned()),
            _ => (Mark::Done, took),
        };
        self.settled.push_back(Settled { mark, text: task.name, right });
    }

    /// Whether a frame would differ from the last one (running clocks aside).
    pub(crate) fn needs_frame(&self) -> bool {
        self.changed || !self.running.is_empty()
    }

    /// The bytes that bring the screen up to date.
    pub(crate) fn frame(&mut self, now: Duration, size: Size) -> String {
        let live = self.live(now, size);
        self.draw(&live, size)
    }

    /// The bytes that draw what is finished and take the live lines away.
    pub(crate) fn last_frame(&mut self, size: Size) -> String {
        self.draw(&[], size)
    }

    fn draw(&mut self, live: &[String], size: Size) -> String {
        self.changed = false;
        let columns = size.columns.max(1);
        // After a resize the old lines may have been wrapped onto several rows.
        let rows: usize = self.drawn.iter().map(|w| w.div_ceil(columns).max(1)).sum();
        let mut out = String::from("\x1b[?2026h");
        if rows > 0 {
            let _ = write!(out, "\x1b[{}A", rows.min(size.rows));
        }
        out.push('\r');
        while let Some(line) = self.settled.pop_front() {
            let text = self.settled_line(&line, columns);
            let _ = writeln!(out, "{text}\x1b[K");
        }
        self.drawn.clear();
        for line in live {
            self.drawn.push(width(&strip(line)));
            let _ = writeln!(out, "{line}\x1b[K");
        }
        out.push_str("\x1b[J\x1b[?2026l");
        out
    }

    fn settled_line(&self, line: &Settled, columns: usize) -> String {
        let (glyph, colour) = match line.mark {
            Mark::Done => (self.glyphs.done, "32"),
            Mark::Faint => (self.glyphs.done, "2"),
            Mark::Stopped => (self.glyphs.stopped, "2"),
            Mark::Failed => (self.glyphs.failed, "31"),
            Mark::Note => (self.glyphs.note, "33"),
        };
        let row = row(&line.text, &line.right, columns.saturating_sub(4));
        let row = if line.mark == Mark::Faint { self.paint("2", &row) } else { row };
        format!(" {} {row}", self.paint(colour, glyph))
    }

    /// The live lines, at most as many as fit: running tasks, the latest of their output, a summary.
    fn live(&self, now: Duration, size: Size) -> Vec<String> {
        if self.running.is_empty() && self.tasks.is_empty() {
            return Vec::new();
        }
        let columns = size.columns.saturating_sub(1);
        let room = size.rows.saturating_sub(2).max(1);
        let heads = self.running.len().min(room);
        let mut spare = room - heads;
        // The tasks that began last are the ones that somebody looks at: they get their lines first.
        let mut details: Vec<Vec<String>> = vec![Vec::new(); heads];
        for (slot, id) in self.running.iter().take(heads).enumerate().rev() {
            let mut lines = self.details(&self.tasks[id], columns);
            let skip = lines.len().saturating_sub(spare);
            lines.drain(..skip);
            spare -= lines.len();
            details[slot] = lines;
        }
        let mut out = Vec::new();
        let turn = (now.as_millis() / 100) as usize % self.glyphs.spinner.len();
        for (id, lines) in self.running.iter().zip(details) {
            let task = &self.tasks[id];
            let took = seconds(now.saturating_sub(task.started.unwrap_or(now)));
            let row = row(&task.name, &took, columns.saturating_sub(3));
            out.push(format!(" {} {row}", self.paint("36", self.glyphs.spinner[turn])));
            out.extend(lines);
        }
        let summary = format!("   building {}, {} of {} done", seconds(now), self.steps_done, self.steps);
        out.push(self.paint("2", &fit(&summary, columns)));
        out
    }

    fn details(&self, task: &Task, columns: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let active = task.transfers.iter().filter(|t| t.total != Some(t.current));
        for transfer in active.take(BARS) {
            lines.push(self.bar(transfer, columns));
        }
        if !matches!(task.kind, TaskKind::Pull | TaskKind::Push) || lines.is_empty() {
            for line in &task.tail {
                let text = fit(line, columns.saturating_sub(5));
                lines.push(self.paint("2", &format!("   {} {text}", self.glyphs.log)));
            }
        }
        lines
    }

    fn bar(&self, transfer: &Transfer, columns: usize) -> String {
        let amount = match transfer.total {
            Some(total) => format!("{} / {}", bytes(transfer.current), bytes(total)),
            None => bytes(transfer.current),
        };
        let name = fit(&transfer.item, 24);
        let fixed = 3 + 24 + 1 + 1 + width(&amount);
        let length = columns.saturating_sub(fixed).min(30);
        let done = match transfer.total {
            Some(total) if total > 0 => {
                (transfer.current.min(total) as f64 / total as f64 * length as f64) as usize
            }
            _ => 0,
        };
        let pad = " ".repeat(24 - width(&name));
        let full = self.paint("36", &self.glyphs.full.repeat(done));
        let empty = self.paint("2", &self.glyphs.empty.repeat(length - done));
        if length < 5 {
            return fit(&format!("   {name} {amount}"), columns);
        }
        format!("   {name}{pad} {full}{empty} {amount}")
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Task {
    fn new(kind: TaskKind, name: String) -> Self {
        Self {
            kind,
            name,
            started: None,
            lines: Lines::default(),
            tail: VecDeque::new(),
            transfers: Vec::new(),
        }
    }

    fn output(&mut self, bytes: &[u8]) {
        for line in self.lines.push(bytes) {
            if line.trim().is_empty() {
                continue;
            }
            if self.tail.len() == LOG_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(line);
        }
    }

    fn transfer(&mut self, item: String, current: u64, total: Option<u64>) {
        match self.transfers.iter_mut().find(|t| t.item == item) {
            Some(transfer) => {
                transfer.current = current;
                transfer.total = total;
            }
            None => self.transfers.push(Transfer { item, current, total }),
        }
    }
}

/// `left` at the left end and `right` at the right one of a row.
fn row(left: &str, right: &str, columns: usize) -> String {
    let room = columns.saturating_sub(width(right) + 1);
    let left = fit(left, room);
    let gap = columns.saturating_sub(width(&left) + width(right));
    if right.is_empty() { left } else { format!("{left}{}{right}", " ".repeat(gap)) }
}

/// A line without the colours that `paint` puts around its parts.
fn strip(line: &str) -> String {
    crate::render::text::tame(line.as_bytes())
}
