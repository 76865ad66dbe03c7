//! What happens during a build, as plain data. The engine tells a [`Sink`]; screens, logs and JSON are consumers.

use std::time::Duration;

use serde::Serialize;

use crate::why::Why;

/// Receives events, from several threads at once. It must not block for long.
pub trait Sink: Sync {
    /// Takes one event.
    fn event(&self, event: Event);

    /// Whether [`Event::Span`]s are of any use to it.
    fn wants_spans(&self) -> bool {
        false
    }
}

impl<F: Fn(Event) + Sync> Sink for F {
    fn event(&self, event: Event) {
        self(event);
    }
}

/// Identifies a task within one build; ascending in the order of announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct TaskId(pub u32);

/// One event.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A task exists from now on; it may start at once, later or never.
    Announced {
        /// Its id.
        task: TaskId,
        /// What it is.
        kind: TaskKind,
        /// One line: `[build 2/5] RUN make`, `resolve docker.io/library/debian:12`, `export OCI archive`.
        name: String,
        /// 1-based line of the Dockerfile that it stands for.
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<usize>,
    },
    /// It began. `elapsed` counts from the start of the build, here and below.
    Started {
        /// Which.
        task: TaskId,
        /// Since the build began.
        elapsed: Duration,
    },
    /// It wrote something.
    Output {
        /// Which.
        task: TaskId,
        /// Standard output or standard error.
        stream: Stream,
        /// Raw bytes, any cut.
        #[serde(serialize_with = "lossy")]
        bytes: Vec<u8>,
    },
    /// It moves bytes.
    Progress {
        /// Which.
        task: TaskId,
        /// What is moved: a short digest, `layer 2`.
        item: String,
        /// So far.
        current: u64,
        /// In all, if known.
        total: Option<u64>,
    },
    /// A piece of work has ended on the thread that tells so, where it began `took` ago. Pieces of one thread lie in each other or apart,
    /// tasks included. Only sinks that [want](Sink::wants_spans) them are told.
    Span {
        /// What was done.
        kind: SpanKind,
        /// To what: a short digest, a path.
        name: String,
        /// How long it took.
        took: Duration,
    },
    /// Something to say about it that is not an error (a platform that differs, a tag that moved).
    Notice {
        /// Which, if any.
        task: Option<TaskId>,
        /// One sentence.
        message: String,
    },
    /// It is not in the cache, and this is why.
    Explained {
        /// Which.
        task: TaskId,
        /// Why.
        why: Why,
    },
    /// A build check found something. It does not stop the build.
    Finding {
        /// Which check.
        #[serde(skip_serializing_if = "Option::is_none")]
        rule: Option<&'static str>,
        /// One sentence.
        message: String,
        /// 1-based line of the Dockerfile.
        line: usize,
    },
    /// It ended.
    Finished {
        /// Which.
        task: TaskId,
        /// Since the build began.
        elapsed: Duration,
        /// How.
        outcome: TaskOutcome,
    },
}

/// Kinds of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskKind {
    /// An instruction.
    Step,
    /// Finding a base image.
    Resolve,
    /// Fetching a base image's layers.
    Pull,
    /// Unpacking layers for a RUN.
    Unpack,
    /// Reading a context.
    Context,
    /// Writing a result.
    Export,
    /// Sending a result to a registry.
    Push,
}

/// Kinds of work that a [span](Event::Span) is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpanKind {
    /// Reading what a step copies: listing, looking, hashing.
    Scan,
    /// Waiting for a layer's bytes, verifying and storing them.
    Download,
    /// Decompressing a layer that is being downloaded.
    Decompress,
    /// Indexing a layer, and unpacking it where a command will run on it.
    Unpack,
    /// Making a layer's blob: reading, hashing, compressing.
    Pack,
    /// A command, from its namespaces to its end.
    Command,
    /// Finding out what a command changed.
    Diff,
}

/// Output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskOutcome {
    /// It was done.
    Done,
    /// Its result was in the store.
    Cached,
    /// It ran and made what an earlier run had made, so what follows stays cached.
    Same,
    /// It failed; the build's error says why.
    Failed,
    /// It was stopped because something else failed.
    Cancelled,
    /// It would have to run.
    WouldRun,
    /// It builds on steps that would have to run, so it cannot be told.
    Depends,
}

fn lossy<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}
