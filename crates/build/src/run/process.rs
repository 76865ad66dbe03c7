//! One process in the sandbox: its output goes to the sink and to a log file, without secrets; a stopping build kills it.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kiln_layer::stop::Stopping;
use kiln_sandbox::{Exit, Spec, Stdio, spawn};

use crate::error::BuildErrorKind;
use crate::event::{Stream, TaskId};
use crate::report::Reporter;
use crate::run::redact::Redactor;

/// How often a running step looks whether the build is being stopped.
const LOOK: Duration = Duration::from_millis(20);

/// A line that is longer than this is written in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// Runs `spec` to its end. `command` is what errors call it, `hidden` what its output must not show.
pub(crate) fn run(
    reporter: &Reporter<'_>,
    task: TaskId,
    spec: &Spec,
    (command, log, hidden): (&str, &Path, &Redactor),
) -> Result<Exit, BuildErrorKind> {
    let sandbox = |source| BuildErrorKind::Sandbox { command: command.to_owned(), source };
    let log = Mutex::new(fs_err::File::create(log)?);
    let mut running = spawn(spec, Stdio::Piped).map_err(sandbox)?;
    let (stdout, stderr) = (running.stdout.take(), running.stderr.take());
    let killer = running.killer();
    let (ended, end) = channel::<()>();
    let exit = std::thread::scope(|scope| {
        scope.spawn(|| pump((reporter, task, Stream::Stdout), stdout, &log, hidden.clone()));
        scope.spawn(|| pump((reporter, task, Stream::Stderr), stderr, &log, hidden.clone()));
        scope.spawn(move || {
            while end.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                if reporter.stopping() {
                    killer.kill();
                    return;
                }
            }
        });
        let exit = running.wait();
        drop(ended);
        exit
    });
    reporter.check()?;
    exit.map_err(sandbox)
}

fn pump(
    (reporter, task, stream): (&Reporter<'_>, TaskId, Stream),
    pipe: Option<impl Read>,
    log: &Mutex<fs_err::File>,
    mut hidden: Redactor,
) {
    let Some(mut pipe) = pipe else { return };
    let mut lines = Lines { log, rest: Vec::new() };
    let mut say = |bytes: &[u8]| {
        if !bytes.is_empty() {
            lines.push(bytes);
            reporter.output(task, stream, bytes);
        }
    };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(count) => say(&hidden.feed(&buffer[..count])),
        }
    }
    say(&hidden.finish());
    lines.write();
}

/// One of the two streams that share a log: what is no whole line yet waits, so that a line of the other one does not tear it.
struct Lines<'a> {
    log: &'a Mutex<fs_err::File>,
    rest: Vec<u8>,
}

impl Lines<'_> {
    fn push(&mut self, bytes: &[u8]) {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest.extend_from_slice(&bytes[..whole]);
        if whole > 0 || self.rest.len() > LONGEST_LINE {
            self.write();
        }
        self.rest.extend_from_slice(&bytes[whole..]);
    }

    fn write(&mut self) {
        // A full disk must not stop the step's output from reaching the screen; the step itself will fail if it matters.
        let _ = self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(&self.rest);
        self.rest.clear();
    }
}
