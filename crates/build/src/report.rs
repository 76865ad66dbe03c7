//! Numbers the tasks of a build and tells the sink about them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use kiln_layer::stop::{Stop, Stopped, Stopping, was_stopped};
use kiln_oci::digest::Digest;
use kiln_oci::error::StoreError;

use crate::error::{BuildError, BuildErrorKind};
use crate::event::{Event, Sink, SpanKind, Stream, TaskId, TaskKind, TaskOutcome};
use crate::record::{Recording, StepOutcome};
use crate::why::Why;

/// For work that the sink is not told of; no announced task has this number.
pub(crate) const NOBODY: TaskId = TaskId(0);

/// The way from the engine to the sink.
pub(crate) struct Reporter<'a> {
    sink: &'a dyn Sink,
    began: Instant,
    next: AtomicU32,
    cancel: &'a AtomicBool,
    failed: AtomicBool,
    recording: Option<&'a Recording>,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(sink: &'a dyn Sink, cancel: &'a AtomicBool) -> Self {
        let (began, next) = (Instant::now(), AtomicU32::new(1));
        Self { sink, began, next, cancel, failed: AtomicBool::new(false), recording: None }
    }

    /// The same, and `recording` gathers what becomes of the steps.
    pub(crate) fn recorded_by(self, recording: Option<&'a Recording>) -> Self {
        Self { recording, ..self }
    }

    /// Lets the record of the build, if there is one, take something down.
    pub(crate) fn record(&self, take: impl FnOnce(&Recording)) {
        if let Some(recording) = self.recording {
            take(recording);
        }
    }

    /// Announces a task.
    pub(crate) fn announce(&self, kind: TaskKind, name: impl Into<String>, line: Option<usize>) -> TaskId {
        let task = TaskId(self.next.fetch_add(1, Ordering::Relaxed));
        self.sink.event(Event::Announced { task, kind, name: name.into(), line });
        task
    }

    pub(crate) fn started(&self, task: TaskId) {
        let elapsed = self.began.elapsed();
        self.record(|recording| recording.started(task.0, elapsed));
        self.sink.event(Event::Started { task, elapsed });
    }

    pub(crate) fn finished(&self, task: TaskId, outcome: TaskOutcome) {
        let elapsed = self.began.elapsed();
        self.record(|recording| recording.finished(task.0, elapsed, step_outcome(&outcome)));
        self.sink.event(Event::Finished { task, elapsed, outcome });
    }

    pub(crate) fn output(&self, task: TaskId, stream: Stream, bytes: &[u8]) {
        self.sink.event(Event::Output { task, stream, bytes: bytes.to_vec() });
    }

    pub(crate) fn progress(&self, task: TaskId, item: &str, current: u64, total: Option<u64>) {
        if task == NOBODY {
            return;
        }
        self.sink.event(Event::Progress { task, item: item.to_owned(), current, total });
    }

    pub(crate) fn explained(&self, task: TaskId, why: Why) {
        self.sink.event(Event::Explained { task, why });
    }

    pub(crate) fn notice(&self, task: Option<TaskId>, message: String) {
        self.sink.event(Event::Notice { task, message });
    }

    pub(crate) fn finding(&self, rule: Option<&'static str>, message: String, line: usize) {
        self.sink.event(Event::Finding { rule, message, line });
    }

    /// Until it is dropped, on this thread, work is under way that a trace shows.
    pub(crate) fn span(&self, kind: SpanKind, name: impl FnOnce() -> String) -> Option<Span<'a>> {
        let span = || Span { sink: self.sink, began: Instant::now(), kind, name: name() };
        self.sink.wants_spans().then(span)
    }

    /// Announces, starts and ends a task around `work`; its outcome is told by `work`'s value.
    pub(crate) fn during<T>(
        &self,
        kind: TaskKind,
        name: impl Into<String>,
        line: Option<usize>,
        work: impl FnOnce(TaskId) -> Result<(T, TaskOutcome), BuildErrorKind>,
    ) -> Result<T, BuildErrorKind> {
        let task = self.announce(kind, name, line);
        self.started(task);
        match work(task) {
            Ok((value, outcome)) => {
                self.finished(task, outcome);
                Ok(value)
            }
            Err(error) => {
                self.finished(task, failure_outcome(&error));
                Err(error)
            }
        }
    }

    /// Some part of the build failed: the others stop at their next look.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// The failure was made good: nothing has to stop any more.
    pub(crate) fn go_on(&self) {
        self.failed.store(false, Ordering::Relaxed);
    }

    /// The error to stop with, if somebody wants to.
    pub(crate) fn check_cancelled(&self) -> Result<(), BuildErrorKind> {
        if self.cancel.load(Ordering::Relaxed) { Err(BuildErrorKind::Interrupted) } else { Ok(()) }
    }

    /// For work that takes long: whether it is to be left undone.
    pub(crate) fn stop(&self) -> Stop<'_> {
        Stop::when(self)
    }

    /// What work that ended with `error` failed of: if it was told to stop, not of that error.
    pub(crate) fn judged(&self, error: BuildErrorKind) -> BuildErrorKind {
        let stopped = match &error {
            BuildErrorKind::Cancelled | BuildErrorKind::Interrupted => true,
            BuildErrorKind::Io(error) | BuildErrorKind::Content(StoreError::Io(error)) => was_stopped(error),
            error => was_stopped(error),
        };
        if stopped { self.check().err().unwrap_or(BuildErrorKind::Cancelled) } else { error }
    }

    /// The error to stop with, if it is time to.
    pub(crate) fn check(&self) -> Result<(), BuildErrorKind> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(BuildErrorKind::Interrupted);
        }
        if self.failed.load(Ordering::Relaxed) {
            return Err(BuildErrorKind::Cancelled);
        }
        Ok(())
    }
}

impl Stopping for Reporter<'_> {
    fn stopping(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.cancel.load(Ordering::Relaxed)
    }
}

/// Work under way; see [`Reporter::span`].
pub(crate) struct Span<'a> {
    sink: &'a dyn Sink,
    began: Instant,
    kind: SpanKind,
    name: String,
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        let (kind, name) = (self.kind, std::mem::take(&mut self.name));
        self.sink.event(Event::Span { kind, name, took: self.began.elapsed() });
    }
}

/// Tells the sink about bytes that move, about a hundred times in all.
pub(crate) struct Transfer<'a> {
    reporter: &'a Reporter<'a>,
    task: TaskId,
    item: String,
    total: u64,
    current: u64,
    told: u64,
    stopped: bool,
}

impl<'a> Transfer<'a> {
    /// Of what the screen calls `item`, `total` bytes in all.
    pub(crate) fn new(reporter: &'a Reporter<'a>, task: TaskId, item: String, total: u64) -> Self {
        Self { reporter, task, item, total, current: 0, told: 0, stopped: false }
    }

    /// Counts bytes.
    ///
    /// # Errors
    /// If the build is being stopped; see [`Transfer::was_stopped`].
    pub(crate) fn advance(&mut self, bytes: u64) -> io::Result<()> {
        self.current += bytes;
        let step = (self.total / 100).max(1 << 16);
        let whole = self.current == self.total && self.told < self.total;
        if self.current - self.told >= step || whole {
            self.told = self.current;
            self.reporter.progress(self.task, &self.item, self.current, Some(self.total));
        }
        if self.reporter.stopping() {
            self.stopped = true;
            return Err(Stopped.into());
        }
        Ok(())
    }

    /// What the screen calls it.
    pub(crate) fn item(&self) -> &str {
        &self.item
    }

    /// Whether it ended because the build is being stopped.
    pub(crate) fn was_stopped(&self) -> bool {
        self.stopped
    }
}

/// A digest as the screen shows it.
pub(crate) fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}

/// How a task ends that ends with `error`.
pub(crate) fn failure_outcome(error: &BuildErrorKind) -> TaskOutcome {
    match error {
        BuildErrorKind::Cancelled | BuildErrorKind::Interrupted => TaskOutcome::Cancelled,
        BuildErrorKind::Unforeseen { depends: false } => TaskOutcome::WouldRun,
        BuildErrorKind::Unforeseen { depends: true } => TaskOutcome::Depends,
        _ => TaskOutcome::Failed,
    }
}

fn step_outcome(outcome: &TaskOutcome) -> StepOutcome {
    match outcome {
        TaskOutcome::Done => StepOutcome::Miss,
        TaskOutcome::Cached => StepOutcome::Hit,
        TaskOutcome::Same => StepOutcome::Same,
        TaskOutcome::Failed => StepOutcome::Failed,
        TaskOutcome::Cancelled => StepOutcome::Cancelled,
        TaskOutcome::WouldRun => StepOutcome::WouldRun,
        TaskOutcome::Depends => StepOutcome::Depends,
    }
}

/// Of several failures, the one to report: the first that is not a mere consequence.
pub(crate) fn worst(errors: Vec<BuildError>) -> Option<BuildError> {
    let mut consequence = None;
    for error in errors {
        match error.kind {
            BuildErrorKind::Cancelled => consequence = Some(error),
            _ => return Some(error),
        }
    }
    consequence
}
