//! Progress on standard error. [`Screen`] is the engine's sink; the forms behind it (`tty`, `plain`, `json`) turn events into
//! text and know neither a clock nor a terminal, so tests feed them by hand.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kiln_build::event::{Event, Sink, TaskId, TaskKind, TaskOutcome};
use kiln_build::history::StepReport;
use kiln_sandbox::termination_requested;

use crate::args::build::Progress;
use crate::trace::Trace;

pub(crate) mod json;
pub(crate) mod plain;
#[cfg(test)]
mod tests;
pub(crate) mod text;
pub(crate) mod tty;
pub(crate) mod why;

/// Numbers of our own tasks; the engine counts from 0 and never gets here.
const OWN_TASKS: u32 = 1 << 30;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(70);

/// What a screen has to know of the terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Colours are welcome.
    pub(crate) colour: bool,
    /// Characters beyond ASCII are.
    pub(crate) unicode: bool,
    /// The cursor can be moved.
    pub(crate) capable: bool,
    /// `COLUMNS`, if set.
    pub(crate) columns: Option<usize>,
}

/// Shows events, from any thread. [`finish`](Self::finish) leaves the terminal in order; dropping does, too.
pub(crate) struct Screen {
    shared: Arc<Shared>,
    ticker: Option<JoinHandle<()>>,
    own_tasks: AtomicU32,
    trace: Option<Trace>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    began: Instant,
    columns: Option<usize>,
}

struct State {
    form: Form,
    over: bool,
    /// What build checks found, a line each; for the end.
    findings: Vec<String>,
}

enum Form {
    Quiet,
    Plain(plain::Plain),
    Json,
    Tty(Box<tty::Tty>),
}

impl Screen {
    /// A screen of the form that `progress` asks for.
    pub(crate) fn new(progress: Progress, look: Look) -> Self {
        let terminal = std::io::stderr().is_terminal() && look.capable;
        let form = match progress {
            Progress::Quiet => Form::Quiet,
            Progress::Rawjson => Form::Json,
            Progress::Auto | Progress::Tty if terminal => {
                Form::Tty(Box::new(tty::Tty::new(look.colour, look.unicode)))
            }
            Progress::Plain | Progress::Auto | Progress::Tty => Form::Plain(plain::Plain::default()),
        };
        let animated = matches!(form, Form::Tty(_));
        let shared = Arc::new(Shared {
            state: Mutex::new(State { form, over: false, findings: Vec::new() }),
            wake: Condvar::new(),
            began: Instant::now(),
            columns: look.columns,
        });
        let ticker = animated.then(|| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.animate())
        });
        Self { shared, ticker, own_tasks: AtomicU32::new(OWN_TASKS), trace: None }
    }

    /// The same, and whatever happens is traced if `wanted`.
    pub(crate) fn tracing(mut self, wanted: bool) -> Self {
        self.trace = wanted.then(Trace::new);
        self
    }

    /// What was traced.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// A task of our own, an export or a push: announces it, does `work`, says how it ended.
    pub(crate) fn during<T, E>(
        &self,
        kind: TaskKind,
        name: String,
        work: impl FnOnce(TaskId) -> Result<T, E>,
    ) -> Result<T, E> {
        let task = TaskId(self.own_tasks.fetch_add(1, Ordering::Relaxed));
        self.event(Event::Announced { task, kind, name, line: None });
        self.event(Event::Started { task, elapsed: self.shared.began.elapsed() });
        let result = work(task);
        let outcome = match result {
            Ok(_) => TaskOutcome::Done,
            Err(_) if termination_requested().load(Ordering::Relaxed) => TaskOutcome::Cancelled,
            Err(_) => TaskOutcome::Failed,
        };
        self.event(Event::Finished { task, elapsed: self.shared.began.elapsed(), outcome });
        result
    }

    /// Draws what is left and ends the animation. Nothing is shown afterwards.
    pub(crate) fn finish(&mut self) {
        self.shared.end();
        if let Some(ticker) = self.ticker.take() {
            // A panic in the ticker was reported by the hook; the picture is all that is lost.
            let _ = ticker.join();
        }
    }

    /// Ends the picture and says of each step why it is not in the cache.
    pub(crate) fn explain(&self, reports: &[StepReport]) {
        self.shared.end();
        write_stderr(&why::steps(reports));
    }

    /// Says how it ended, where the form has a word for that.
    pub(crate) fn ending(&self, ending: &json::Ending) {
        if matches!(self.shared.lock().form, Form::Json) {
            write_stderr(&json::ending(ending));
        }
    }

    /// Whether errors are for programs as well.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.shared.lock().form, Form::Json)
    }

    /// Whether the output of steps was shown in full.
    pub(crate) fn shows_whole_logs(&self) -> bool {
        matches!(self.shared.lock().form, Form::Plain(_))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Sink for Screen {
    fn wants_spans(&self) -> bool {
        self.trace.is_some()
    }

    fn event(&self, event: Event) {
        let now = self.shared.began.elapsed();
        if let Some(trace) = &self.trace {
            trace.event(&event);
        }
        if matches!(event, Event::Span { .. }) {
            return;
        }
        let mut state = self.shared.lock();
        if state.over {
            return;
        }
        if let (Event::Finding { rule, message, line }, false) = (&event, matches!(state.form, Form::Json)) {
            state.findings.push(text::finding(*rule, message, *line));
            return;
        }
        match &mut state.form {
            Form::Quiet => {}
            Form::Json => write_stderr(&json::line(&event)),
            Form::Tty(tty) => tty.event(event, now),
            Form::Plain(plain) => {
                let mut out = String::new();
                plain.event(event, now, &mut out);
                write_stderr(&out);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere leaves the picture whole enough to be drawn a last time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn animate(&self) {
        let mut state = self.lock();
        while !state.over {
            if let Form::Tty(tty) = &mut state.form
                && tty.needs_frame()
            {
                let frame = tty.frame(self.began.elapsed(), self.size());
                write_stderr(&frame);
            }
            state = match self.wake.wait_timeout(state, FRAME) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        if state.over {
            return;
        }
        state.over = true;
        if let Form::Tty(tty) = &mut state.form {
            let frame = tty.last_frame(self.size());
            write_stderr(&frame);
        }
        if !matches!(state.form, Form::Quiet) {
            write_stderr(&text::findings(&state.findings));
        }
        self.wake.notify_all();
    }

    fn size(&self) -> tty::Size {
        let known = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
        let known = known.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        tty::Size {
            columns: known.map_or(self.columns.unwrap_or(80), |size| usize::from(size.ws_col)),
            rows: known.map_or(24, |size| usize::from(size.ws_row)),
        }
    }
}

/// One write. Progress that cannot be shown stops no build.
pub(crate) fn write_stderr(text: &str) {
    if !text.is_empty() {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}
