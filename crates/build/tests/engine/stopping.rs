//! The first failure ends everything else, whatever it is doing or waiting for; what is built next knows nothing of that.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use kiln_build::error::BuildErrorKind;
use kiln_build::event::{Event, TaskOutcome};
use kiln_build::remote::{
    Ask, CheckedOut, CheckoutOrder, Fetched, Fetcher, RemoteError, Repositories, Repository, Resolved, Within,
};

use kiln_build::request::{Compression, LayerForm};

use crate::Case;
use crate::ground::Ground;
use crate::shelf::{FOR_EVER, Tape, busybox};

pub(crate) const CASES: &[Case] = &[
    ("stopping: a failure ends downloads and checkouts", servers),
    ("stopping: an image that is not there ends the question for another", questions),
    ("stopping: a failure ends the hashing of a large file", hashing),
    ("stopping: a command whose changes are being read says that it was cancelled", changes),
    ("stopping: the build after a failed one asks again", resumed),
    ("stopping: Ctrl-C ends a block that takes long", compressing),
];

/// Servers that never answer. The file `fails` is not there, and that is said once `waiting` others wait.
#[derive(Default)]
struct Deaf {
    state: Mutex<State>,
    changed: Condvar,
    waiting: usize,
}

#[derive(Default)]
struct State {
    waiting: usize,
    abandoned: bool,
}

impl Deaf {
    fn until(&self, over: impl Fn(&State) -> bool) {
        let state = self.state.lock().unwrap();
        let waited = self.changed.wait_timeout_while(state, FOR_EVER, |state| !over(state));
        assert!(!waited.unwrap().1.timed_out(), "nobody said that it was over");
    }

    fn begins(&self) {
        self.state.lock().unwrap().waiting += 1;
        self.changed.notify_all();
    }
}

impl Fetcher for Deaf {
    fn fetch(&self, ask: &Ask<'_>, _: &mut dyn Write) -> Result<Fetched, RemoteError> {
        if ask.url.ends_with("fails") {
            self.until(|state| state.waiting == self.waiting);
            return Err(RemoteError::NotFound { detail: "404".to_owned() });
        }
        self.begins();
        self.until(|state| state.abandoned);
        Err(RemoteError::Cancelled)
    }

    fn abandon(&self) {
        self.state.lock().unwrap().abandoned = true;
        self.changed.notify_all();
    }

    fn resume(&self) {
        self.state.lock().unwrap().abandoned = false;
    }
}

impl Repositories for Deaf {
    fn resolve(&self, _: &Repository, _: &str, within: Within<'_>) -> Result<Resolved, RemoteError> {
        self.begins();
        let began = Instant::now();
        while within.stop.check().is_ok() {
            assert!(began.elapsed() < FOR_EVER, "nobody said that it was over");
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(RemoteError::Cancelled)
    }

    fn check_out(
        &self,
        _: &Repository,
        _: &CheckoutOrder<'_>,
        _: Within<'_>,
    ) -> Result<CheckedOut, RemoteError> {
        Err(RemoteError::Cancelled)
    }
}

/// The tasks that ended in this way.
fn ended(events: &Mutex<Vec<Event>>, with: &TaskOutcome) -> usize {
    let is_one = |event: &&Event| matches!(event, Event::Finished { outcome, .. } if outcome == with);
    events.lock().unwrap().iter().filter(is_one).count()
}

fn servers() {
    let ground = Ground::new();
    let deaf = Arc::new(Deaf { waiting: 2, ..Deaf::default() });
    let text = "FROM scratch AS a\nADD http://web/never /\nFROM scratch AS b\nADD https://web/never.git /\n\
        FROM scratch\nADD http://web/fails /\nCOPY --from=a / /\nCOPY --from=b / /\n";
    let mut request = ground.request(text);
    request.fetcher = Some(deaf.clone());
    request.repositories = Some(deaf);
    request.jobs = 8;
    let events = Mutex::new(Vec::new());
    let sink = |event| events.lock().unwrap().push(event);
    let never = AtomicBool::new(false);
    let error = ground.engine().build(&request, &sink, &never).err().unwrap();
    let BuildErrorKind::Fetch { url, .. } = error.kind else { panic!("{error:?}") };
    assert_eq!(url, "http://web/fails");
    // Those that follow in the failed stage never began.
    assert_eq!((ended(&events, &TaskOutcome::Failed), ended(&events, &TaskOutcome::Cancelled)), (1, 2));
}

fn questions() {
    let ground = Ground::new();
    *ground.shelf.deaf.lock().unwrap() = Some("slow:latest".to_owned());
    let text = "FROM nothing AS a\nFROM slow\nCOPY --from=a / /\n";
    let error = ground.try_build(&ground.request(text)).err().unwrap();
    assert!(matches!(&error.kind, BuildErrorKind::Base { image, .. } if image == "nothing"), "{error:?}");
    assert_eq!(error.at.unwrap().line, 1);
}

fn hashing() {
    let ground = Ground::new();
    ground.write("huge", "");
    let huge = fs_err::OpenOptions::new().write(true).open(ground.context("huge")).unwrap();
    // All of it holes; reading it takes many minutes.
    huge.set_len(1 << 40).unwrap();
    let deaf = Arc::new(Deaf { waiting: 1, ..Deaf::default() });
    let text = "FROM scratch AS a\nCOPY huge /\nFROM scratch\nADD http://web/fails /\nCOPY --from=a / /\n";
    let mut request = ground.request(text);
    request.fetcher = Some(deaf.clone());
    let sink = |event| {
        if matches!(event, Event::Started { .. }) && deaf.state.lock().unwrap().waiting == 0 {
            deaf.begins();
        }
    };
    let never = AtomicBool::new(false);
    let began = Instant::now();
    let error = ground.engine().build(&request, &sink, &never).err().unwrap();
    assert!(matches!(error.kind, BuildErrorKind::Fetch { .. }), "{error:?}");
    assert!(began.elapsed() < FOR_EVER);
}

/// The file that the command leaves takes many minutes to read, so that is where the failure finds it.
fn changes() {
    let ground = Ground::with_run();
    ground.shelf.put("base", &[busybox()], |_| {});
    let text =
        "FROM base AS a\nRUN truncate -s 500G /huge\nFROM base\nRUN sleep 1; exit 1\nCOPY --from=a /huge /\n";
    let outcomes = Mutex::new(Vec::new());
    let sink = |event| {
        if let Event::Finished { outcome, .. } = event {
            outcomes.lock().unwrap().push(outcome);
        }
    };
    let never = AtomicBool::new(false);
    let error = ground.engine().build(&ground.request(text), &sink, &never).err().unwrap();
    assert!(matches!(error.kind, BuildErrorKind::Exit { code: 1, .. }), "{error:?}");
    let outcomes = outcomes.into_inner().unwrap();
    let count = |of: &TaskOutcome| outcomes.iter().filter(|outcome| *outcome == of).count();
    assert_eq!((count(&TaskOutcome::Failed), count(&TaskOutcome::Cancelled)), (1, 1), "{outcomes:?}");
}

fn resumed() {
    let ground = Ground::new();
    ground.shelf.put("base", &[Tape::new().with("f", b"1", (0o644, 0)).bytes()], |_| {});
    let fails = ground.request("FROM base\nCOPY nothing /\n");
    let engine = ground.engine();
    let never = AtomicBool::new(false);
    engine.build(&fails, &|_| {}, &never).err().unwrap();
    assert!(ground.shelf.is_abandoned());
    engine.build(&ground.request("FROM base\nCOPY --from=base /f /g\n"), &|_| {}, &never).unwrap();
}

fn compressing() {
    let ground = Ground::new();
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()
    };
    let noise: Vec<u8> = (0..(24 << 20) / 8).flat_map(|_| next()).collect();
    ground.write("noise", noise);
    let engine = ground.engine();
    let cancel = AtomicBool::new(false);
    let built = engine.build(&ground.request("FROM scratch\nCOPY . /\n"), &|_| {}, &cancel).unwrap();
    let form = LayerForm { compression: Compression::Zstd(22), ..LayerForm::default() };
    // More than that is handed in only when the first block is done, which takes a second.
    let full = |event: &Event| matches!(event, Event::Progress { current, .. } if *current > 12 << 20);
    let (sender, is_full) = std::sync::mpsc::channel();
    let sender = Mutex::new(sender);
    let sink = move |event| {
        if full(&event) {
            sender.lock().unwrap().send(()).ok();
        }
    };
    let cancel = &cancel;
    let error = std::thread::scope(|scope| {
        scope.spawn(move || {
            is_full.recv().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            cancel.store(true, Ordering::Relaxed);
        });
        engine.parts(&built[0], &form, &sink, cancel).err().unwrap()
    });
    assert!(matches!(error.kind, BuildErrorKind::Interrupted), "{error:?}");
}
