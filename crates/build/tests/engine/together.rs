//! Many builds at once in one store: threads, processes, kills, and being told to stop.

use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_build::collect::PruneOptions;
use kiln_build::error::BuildErrorKind;
use kiln_build::event::{Event, TaskOutcome};
use kiln_build::request::{Context, Request};

use crate::Case;
use crate::ground::Ground;

pub(crate) const CASES: &[Case] = &[
    ("together: a store is made by many at once", making),
    ("together: threads make each step once", threads),
    ("together: processes share a store, one collecting", processes),
    ("together: processes killed at any instant leave a good store", killed),
    ("together: a build that is stopped says so at once", stopped),
    ("together: the first real failure is the one that is told", failure),
    ("together: a wait for another build's step can be stopped", waiting),
];

const TEXT: &str = "FROM scratch AS a\nCOPY d /d\nFROM scratch AS b\nCOPY d/f1 /x\nFROM scratch\n\
    COPY --from=a /d /a\nCOPY --from=b /x /b\nWORKDIR /w\n";

/// Says that this process is one of many, and in which folder.
const FOLDER: &str = "KILN_TEST_TOGETHER";

/// Builds once, if this program was started for that.
pub(crate) fn act_as_asked() -> Option<ExitCode> {
    let folder = std::env::var_os(FOLDER)?;
    let ground = Ground::new();
    let request = elsewhere(&ground, Path::new(&folder));
    let engine = ground.engine_at(&Path::new(&folder).join("store"));
    let never = AtomicBool::new(false);
    let built = engine.build(&request, &|_| {}, &never).unwrap();
    let parts = engine.parts(&built[0], &ground.form, &|_| {}, &never).unwrap();
    println!("{}", kiln_oci::digest::Digest::of(&parts.config));
    Some(ExitCode::SUCCESS)
}

fn elsewhere(ground: &Ground, folder: &Path) -> Request {
    let mut request = ground.request(TEXT);
    request.context = Context::Directory(folder.join("context"));
    request
}

fn ground() -> Ground {
    let ground = Ground::new();
    for n in 0..40 {
        ground.write(&format!("d/f{n}"), vec![n; 5000]);
    }
    ground
}

fn process(ground: &Ground) -> Child {
    Command::new("/proc/self/exe")
        .env(FOLDER, ground.path(""))
        // What a process that is killed leaves goes with the test.
        .env("TMPDIR", ground.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn making() {
    for _ in 0..20 {
        let ground = Ground::new();
        std::thread::scope(|scope| {
            (0..8).for_each(|_| drop(scope.spawn(|| drop(ground.engine()))));
        });
    }
}

fn threads() {
    let ground = ground();
    let made = std::sync::atomic::AtomicUsize::new(0);
    let digests: Vec<_> = std::thread::scope(|scope| {
        let build = || {
            let done = ground.build(TEXT);
            let new = done.outcomes().iter().filter(|o| **o == TaskOutcome::Done).count();
            made.fetch_add(new, Ordering::Relaxed);
            done.image.digest
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(build)).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(digests.iter().all(|d| *d == digests[0]));
    assert_eq!(made.into_inner(), 5);
}

fn processes() {
    let ground = ground();
    let children: Vec<Child> = (0..4).map(|_| process(&ground)).collect();
    for _ in 0..3 {
        ground.engine().prune(&PruneOptions { all: true, ..PruneOptions::default() }, &|| true).unwrap();
    }
    let mut said = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        said.push(String::from_utf8(output.stdout).unwrap());
    }
    let config = ground.build(TEXT).image.manifest["config"]["digest"].as_str().unwrap().to_owned();
    assert!(said.iter().all(|line| line.trim() == config), "{said:?} {config}");
}

fn killed() {
    let ground = ground();
    let other = ground.fresh();
    let expected = other.build_request(&elsewhere(&ground, &ground.path(""))).image.digest;
    for delay in [3, 6, 9, 12, 15, 20, 25, 30] {
        let mut child = process(&ground);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(ground.build(TEXT).image.digest, expected);
    ground.engine().prune(&PruneOptions::default(), &|| true).unwrap();
    assert_eq!(fs_err::read_dir(ground.store().join("tmp")).unwrap().count(), 0);
    assert!(ground.build(TEXT).all_cached());
}

fn stopped() {
    let ground = ground();
    let cancel = AtomicBool::new(false);
    let sink = |event: Event| {
        if matches!(event, Event::Started { .. }) {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let error = ground.engine().build(&ground.request(TEXT), &sink, &cancel).err().unwrap();
    assert!(matches!(error.kind, BuildErrorKind::Interrupted), "{error:?}");
}

fn failure() {
    let ground = ground();
    let text = "FROM scratch AS a\nCOPY none /\nFROM scratch AS b\nCOPY d /\nCOPY --from=a / /\n\
        FROM scratch\nCOPY --from=b / /\nCOPY --from=a / /\n";
    let error = ground.try_build(&ground.request(text)).err().unwrap();
    assert!(matches!(error.kind, BuildErrorKind::MissingSource { .. }), "{error:?}");
    let at = error.at.unwrap();
    assert_eq!((at.line, at.step.as_str()), (2, "[a 2/2] COPY none /"));
}

fn waiting() {
    let ground = ground();
    drop(ground.build(TEXT));
    // Somebody else holds the locks of all steps and takes for ever.
    let locks: Vec<_> = fs_err::read_dir(ground.store().join("locks"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
        .map(|entry| kiln_build::store::Lock::exclusive(&entry.path()).unwrap())
        .collect();
    assert_eq!(locks.len(), 5);
    let cancel = AtomicBool::new(false);
    let mut request = ground.request(TEXT);
    request.no_cache = true;
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            cancel.store(true, Ordering::Relaxed);
        });
        let error = ground.engine().build(&request, &|_| {}, &cancel).err().unwrap();
        assert!(matches!(error.kind, BuildErrorKind::Interrupted), "{error:?}");
    });
    assert!(began.elapsed() < Duration::from_secs(5));
}
