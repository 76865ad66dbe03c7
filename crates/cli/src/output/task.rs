//! Tasks of our own on the screen: exports and pushes, which the engine knows nothing of.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use kiln_build::event::{Event, Sink, TaskId, TaskKind, TaskOutcome};

/// The engine counts from 0 and never gets here.
static NEXT: AtomicU32 = AtomicU32::new(1 << 30);

/// Announces a task, does `work`, and says how it ended.
pub(crate) fn during<T, E>(
    sink: &dyn Sink,
    kind: TaskKind,
    name: String,
    work: impl FnOnce(TaskId) -> Result<T, E>,
) -> Result<T, E> {
    let task = TaskId(NEXT.fetch_add(1, Ordering::Relaxed));
    let began = Instant::now();
    sink.event(Event::Announced { task, kind, name, line: None });
    sink.event(Event::Started { task, elapsed: began.elapsed() });
    let result = work(task);
    let outcome = if result.is_ok() { TaskOutcome::Done } else { TaskOutcome::Failed };
    sink.event(Event::Finished { task, elapsed: began.elapsed(), outcome });
    result
}
