//! One process in the sandbox: its output goes to the sink and to a log file, without secrets; a stopping build kills it.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kiln_sandbox::{Exit, Spec, Stdio, spawn};

use crate::error::BuildErrorKind;
use crate::event::{Stream, TaskId};
use crate::report::Reporter;
use crate::run::redact::Redactor;

/// How often a running step looks whether the build is being stopped.
const LOOK: Duration = Duration::from_millis(20);

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
    let say = |bytes: &[u8]| {
        if bytes.is_empty() {
            return;
        }
        // A full disk must not stop the step's output from reaching the screen; the step itself will fail if it matters.
        let _ = log.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes);
        reporter.output(task, stream, bytes);
    };
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(count) => say(&hidden.feed(&buffer[..count])),
        }
    }
    say(&hidden.finish());
}
