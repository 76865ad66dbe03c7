//! `--trace FILE`: what happened when and on which thread, in the Trace Event Format that ui.perfetto.dev and chrome://tracing show.
//!
//! A JSON object whose `traceEvents` are complete events (`"ph":"X"`) with `ts` and `dur` in microseconds, one lane (`tid`) for each
//! thread in the order of appearance, and a name for each lane. `cat` is `step`, `resolve`, `pull`, `export`, `push` for what the screen
//! shows too, and `scan`, `download`, `decompress`, `unpack`, `pack`, `command`, `diff` for the work in it. Events of one lane lie in each
//! other or apart. `args` has the outcome and the line of the Dockerfile where there is one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use kiln_build::event::{Event, TaskId};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Gathers events.
pub(crate) struct Trace {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    lanes: HashMap<ThreadId, usize>,
    tasks: HashMap<TaskId, Task>,
    events: Vec<Complete>,
}

struct Task {
    name: String,
    category: Value,
    line: Option<usize>,
    /// Lane and time.
    started: Option<(usize, Duration)>,
}

struct Complete {
    name: String,
    category: Value,
    lane: usize,
    from: Duration,
    took: Duration,
    args: Map<String, Value>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), inner: Mutex::default() }
    }

    /// Takes an event on the thread that it happened on.
    pub(crate) fn event(&self, event: &Event) {
        let now = self.began.elapsed();
        let mut inner = self.lock();
        match event {
            Event::Announced { task, kind, name, line } => {
                let task_of = Task { name: name.clone(), category: word(kind), line: *line, started: None };
                inner.tasks.insert(*task, task_of);
            }
            Event::Started { task, .. } => {
                let lane = inner.lane();
                if let Some(task) = inner.tasks.get_mut(task) {
                    task.started = Some((lane, now));
                }
            }
            Event::Finished { task, outcome, .. } => inner.finish(*task, now, word(outcome)),
            Event::Span { kind, name, took } => {
                let (lane, from) = (inner.lane(), now.saturating_sub(*took));
                let (name, category, took, args) = (name.clone(), word(kind), now - from, Map::new());
                inner.events.push(Complete { name, category, lane, from, took, args });
            }
            _ => {}
        }
    }

    /// The whole trace. What has not ended is not in it.
    pub(crate) fn json(&self) -> String {
        let inner = self.lock();
        let mut lanes: Vec<usize> = inner.lanes.values().copied().collect();
        lanes.sort_unstable();
        let names = lanes.into_iter().map(|lane| {
            let name = format!("thread {lane}");
            json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": lane, "args": {"name": name}})
        });
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        let complete = |event: &Complete| {
            let Complete { name, category, lane, args, .. } = event;
            let (ts, dur) = (micros(event.from), micros(event.took));
            json!({
                "name": name, "cat": category, "ph": "X", "pid": 1, "tid": lane, "ts": ts, "dur": dur, "args": args
            })
        };
        let events: Vec<Value> = names.chain(inner.events.iter().map(complete)).collect();
        format!("{:#}\n", json!({"displayTimeUnit": "ms", "traceEvents": events}))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The number of the thread that is running.
    fn lane(&mut self) -> usize {
        let next = self.lanes.len() + 1;
        *self.lanes.entry(std::thread::current().id()).or_insert(next)
    }

    fn finish(&mut self, id: TaskId, now: Duration, outcome: Value) {
        // One that never began has nothing to show.
        let Some(Task { name, category, line, started: Some((lane, from)) }) = self.tasks.remove(&id) else {
            return;
        };
        let mut args = Map::new();
        if let Value::Object(fields) = outcome {
            args.extend(fields);
        }
        args.extend(line.map(|line| ("line".to_owned(), line.into())));
        self.events.push(Complete { name, category, lane, from, took: now.saturating_sub(from), args });
    }
}

/// The JSON form of an enum without fields: its word.
fn word(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kiln_build::event::{SpanKind, TaskKind, TaskOutcome};

    use super::*;

    /// Lane, from, to and category of each complete event.
    fn spans(trace: &Trace) -> Vec<(u64, f64, f64, String)> {
        let value: Value = serde_json::from_str(&trace.json()).expect("it is JSON");
        let events = value["traceEvents"].as_array().expect("a list");
        let complete = events.iter().filter(|e| e["ph"] == "X");
        let times = complete.map(|e| {
            let from = e["ts"].as_f64().expect("a time");
            let to = from + e["dur"].as_f64().expect("a time");
            (e["tid"].as_u64().expect("a lane"), from, to, e["cat"].as_str().expect("a word").to_owned())
        });
        times.collect()
    }

    #[test]
    fn events_lie_in_each_other_or_apart_on_a_lane_for_each_thread() {
        let trace = Trace::new();
        let (task, elapsed) = (TaskId(1), Duration::ZERO);
        let name = "RUN make".to_owned();
        trace.event(&Event::Announced { task, kind: TaskKind::Step, name, line: Some(3) });
        trace.event(&Event::Announced {
            task: TaskId(2),
            kind: TaskKind::Step,
            name: String::new(),
            line: None,
        });
        let span = |began: Instant| {
            let (kind, name) = (SpanKind::Unpack, "x".to_owned());
            trace.event(&Event::Span { kind, name, took: began.elapsed() });
        };
        trace.event(&Event::Started { task, elapsed });
        span(Instant::now());
        span(Instant::now());
        std::thread::scope(|scope| drop(scope.spawn(|| span(Instant::now()))));
        trace.event(&Event::Finished { task, elapsed, outcome: TaskOutcome::Same });
        trace.event(&Event::Finished { task: TaskId(2), elapsed, outcome: TaskOutcome::Cancelled });
        let spans = spans(&trace);
        let words: Vec<_> = spans.iter().map(|(lane, .., word)| (*lane, word.as_str())).collect();
        assert_eq!(words, [(1, "unpack"), (1, "unpack"), (2, "unpack"), (1, "step")]);
        let [a, b, _, step] = &spans[..] else { panic!("{spans:?}") };
        assert!(step.1 <= a.1 && a.2 <= b.1 && b.2 <= step.2, "{spans:?}");
        assert!(trace.json().contains("\"outcome\": \"same\""));
    }
}
