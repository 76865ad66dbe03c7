//! One process in the sandbox: its output goes to the sink and to a log file, without secrets; a stopping build kills it.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use kiln_layer::stop::Stopping;
use kiln_sandbox::{Exit, Running, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::BuildErrorKind;
use crate::event::{Stream, TaskId};
use crate::report::Reporter;
use crate::run::redact::Redactor;
use crate::work::{Turn, Work};

/// How often a running step looks whether the build is being stopped, in nanoseconds.
const LOOK: i64 = 20_000_000;

/// A line that is longer than this is written in pieces.
const LONGEST_LINE: usize = 64 * 1024;

/// How a process came to its end.
#[expect(clippy::large_enum_variant, reason = "there is one for each process")]
pub(crate) enum Outcome {
    /// By itself.
    Ended(Exit),
    /// It was killed, since the build stops for this reason. Its mounts may last a while, as long as this does.
    Stopped(BuildErrorKind, Running),
}

/// Runs `spec` to its end. `command` is what errors call it, `hidden` what its output must not show.
pub(crate) fn run(
    work: &Work<'_>,
    turn: &Turn<'_>,
    spec: &Spec,
    (command, log, hidden): (&str, &Path, &Redactor),
) -> Result<Outcome, BuildErrorKind> {
    let sandbox = |source| BuildErrorKind::Sandbox { command: command.to_owned(), source };
    let mut log = fs_err::File::create(log)?;
    let mut running = work.helpers.spawn(spec).map_err(sandbox)?;
    if turn.runs_later {
        work.helpers.prepare(spec);
        work.scratches.prepare(work.store);
        // Without it the next step only takes a little longer.
        let _ = work.squashes.prepare(work.store);
    }
    follow((work.reporter, turn.task), &mut running, &mut log, hidden)?;
    if let Err(reason) = work.reporter.check() {
        return Ok(Outcome::Stopped(reason, running));
    }
    let exit = running.wait();
    work.reporter.check()?;
    exit.map(Outcome::Ended).map_err(sandbox)
}

/// Passes the output on until no process of the sandbox is left, all of which are killed if the build is being stopped.
fn follow(
    (reporter, task): (&Reporter<'_>, TaskId),
    running: &mut Running,
    log: &mut fs_err::File,
    hidden: &Redactor,
) -> io::Result<()> {
    let outlet = |stream| Outlet { reporter, task, stream, hidden: hidden.clone(), lines: Lines::default() };
    let mut stdout = running.stdout.take().map(|pipe| (pipe, outlet(Stream::Stdout)));
    let mut stderr = running.stderr.take().map(|pipe| (pipe, outlet(Stream::Stderr)));
    let mut buffer = vec![0; 16 * 1024];
    while stdout.is_some() || stderr.is_some() {
        let (from_stdout, from_stderr) = ready(stdout.as_ref().map(|s| &s.0), stderr.as_ref().map(|s| &s.0))?;
        if reporter.stopping() {
            running.kill();
        }
        if from_stdout {
            pump(&mut stdout, &mut buffer, log);
        }
        if from_stderr {
            pump(&mut stderr, &mut buffer, log);
        }
    }
    Ok(())
}

/// Waits a moment for either of the two to have something to read, or to have ended.
fn ready(stdout: Option<&impl AsFd>, stderr: Option<&impl AsFd>) -> io::Result<(bool, bool)> {
    let mut events: Vec<PollFd<'_>> = Vec::with_capacity(2);
    events.extend(stdout.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    events.extend(stderr.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    match poll(&mut events, Some(&Timespec { tv_sec: 0, tv_nsec: LOOK })) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok((false, false)),
        Err(error) => return Err(error.into()),
    }
    let mut events = events.iter().map(|event| !event.revents().is_empty());
    let mut next = |asked: bool| asked && events.next().unwrap_or_default();
    Ok((next(stdout.is_some()), next(stderr.is_some())))
}

/// Reads once; `None` in the pipe's place says that it has ended.
fn pump(from: &mut Option<(impl Read, Outlet<'_>)>, buffer: &mut [u8], log: &mut fs_err::File) {
    let Some((pipe, outlet)) = from else { return };
    match pipe.read(buffer) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Ok(count) if count > 0 => {
            let shown = outlet.hidden.feed(&buffer[..count]);
            outlet.say(&shown, log);
        }
        Ok(_) | Err(_) => {
            let shown = outlet.hidden.finish();
            outlet.say(&shown, log);
            outlet.lines.write(log);
            *from = None;
        }
    }
}

/// Where one of the two streams goes.
struct Outlet<'a> {
    reporter: &'a Reporter<'a>,
    task: TaskId,
    stream: Stream,
    hidden: Redactor,
    lines: Lines,
}

impl Outlet<'_> {
    fn say(&mut self, bytes: &[u8], log: &mut fs_err::File) {
        if !bytes.is_empty() {
            self.lines.push(bytes, log);
            self.reporter.output(self.task, self.stream, bytes);
        }
    }
}

/// One of the two streams that share a log: what is no whole line yet waits, so that a line of the other one does not tear it.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], log: &mut fs_err::File) {
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest.extend_from_slice(&bytes[..whole]);
        if whole > 0 || self.rest.len() > LONGEST_LINE {
            self.write(log);
        }
        self.rest.extend_from_slice(&bytes[whole..]);
    }

    fn write(&mut self, log: &mut fs_err::File) {
        // A full disk must not stop the step's output from reaching the screen; the step itself will fail if it matters.
        let _ = log.write_all(&self.rest);
        self.rest.clear();
    }
}
