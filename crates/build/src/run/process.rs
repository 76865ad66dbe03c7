//! One process in the sandbox: its output goes to the sink and to a log file, a stopping build kills it.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kiln_sandbox::{Exit, Spec, Stdio, spawn};

use crate::error::BuildErrorKind;
use crate::event::{Stream, TaskId};
use crate::report::Reporter;

/// How often a running step looks whether the build is being stopped.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `spec` to its end. `command` is what errors call it.
pub(crate) fn run(
    reporter: &Reporter<'_>,
    task: TaskId,
    spec: &Spec,
    (command, log): (&str, &Path),
) -> Result<Exit, BuildErrorKind> {
    let sandbox = |source| BuildErrorKind::Sandbox { command: command.to_owned(), source };
    let log = Mutex::new(fs_err::File::create(log)?);
    let mut running = spawn(spec, Stdio::Piped).map_err(sandbox)?;
    let (stdout, stderr) = (running.stdout.take(), running.stderr.take());
    let killer = running.killer();
    let (ended, end) = channel::<()>();
    let exit = std::thread::scope(|scope| {
        scope.spawn(|| pump(reporter, task, Stream::Stdout, stdout, &log));
        scope.spawn(|| pump(reporter, task, Stream::Stderr, stderr, &log));
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
    reporter: &Reporter<'_>,
    task: TaskId,
    stream: Stream,
    pipe: Option<impl Read>,
    log: &Mutex<fs_err::File>,
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                // A full disk must not stop the step's output from reaching the screen; the step itself will fail if it matters.
                let _ = log.lock().unwrap_or_else(PoisonError::into_inner).write_all(&buffer[..count]);
                reporter.output(task, stream, &buffer[..count]);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
