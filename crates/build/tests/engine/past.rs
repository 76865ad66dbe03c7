//! Records of builds, and what is foreseen from them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_build::collect::PruneOptions;
use kiln_build::error::BuildErrorKind;
use kiln_build::history::{BuildId, HistoryError, Kept};
use kiln_build::record::{BaseRecord, BuildOutcome, Ending, Place, Recording, StepOutcome};
use kiln_build::request::{Mode, Request};
use kiln_build::why::{Change, Why};

use crate::Case;
use crate::ground::Ground;
use crate::shelf::Tape;

pub(crate) const CASES: &[Case] = &[
    ("past: a record tells what was done", told),
    ("past: each build has its number, and the last fifty are kept", numbers),
    ("past: a damaged record is named, passed over and pruned", damaged),
    ("past: what is foreseen comes", foreseen),
    ("past: a base that is not here is foreseen", foreseen_base),
    ("past: another base is told", other_base),
    ("past: the difference of two root filesystems", delta),
];

const TEXT: &str = "FROM base AS one\nARG A=1\nCOPY d /d\nCOPY <<f /\n$A\nf\nFROM scratch\nCOPY --from=one /d /d\nCOPY --link e /e\n";

fn ground() -> Ground {
    let ground = Ground::new();
    ground.shelf.put("base", &[Tape::new().with("etc/", b"", (0o755, 0)).bytes()], |_| {});
    ground.write("d/a", "1");
    ground.write("d/b", "2");
    ground.write("e", "3");
    ground
}

/// Builds with a record, which is kept.
fn build(ground: &Ground, request: &mut Request) -> Kept {
    let recording = Arc::new(Recording::new());
    request.recording = Some(recording.clone());
    let outcome = match ground.try_build(request) {
        Ok(_) => BuildOutcome::Done,
        Err(_) => BuildOutcome::Failed,
    };
    let engine = ground.engine();
    let id = engine.keep_record(&recording, Ending { outcome, ..Ending::default() }).unwrap();
    engine.history().load(id).unwrap()
}

fn outcomes(kept: &Kept) -> Vec<(String, StepOutcome)> {
    let record = &kept.record;
    record.places().map(|place| (record.name_of(place), record.step(place).unwrap().outcome)).collect()
}

fn told() {
    let ground = ground();
    let first = build(&ground, &mut ground.request(TEXT));
    let names: Vec<_> = outcomes(&first).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["one:1", "one:2", "one:3", "stage-1:1", "stage-1:2", "stage-1:3"]);
    let BaseRecord::Image { reference, digest, layers, .. } = &first.record.plans[0].stages[0].base else {
        panic!("{:?}", first.record.plans[0].stages[0].base)
    };
    assert_eq!((reference.as_str(), digest.is_some(), layers.len()), ("base", true, 1));
    assert_eq!(first.record.plans[0].layers_before(0, 3).unwrap().len(), 2);
    assert_eq!(first.record.plans[0].layers_after(1).unwrap().len(), 2);
    let again = build(&ground, &mut ground.request(TEXT));
    let hits = outcomes(&again).into_iter().filter(|(_, outcome)| *outcome == StepOutcome::Hit).count();
    assert_eq!((again.id, hits), (BuildId(2), 4));
    ground.write("d/a", "x");
    fs_err::remove_file(ground.context("e")).unwrap();
    let failed = build(&ground, &mut ground.request(TEXT));
    assert_eq!(failed.record.outcome, BuildOutcome::Failed);
    let place = failed.record.failed_step().unwrap();
    assert_eq!(failed.record.name_of(place), "stage-1:3");
}

fn numbers() {
    let ground = ground();
    let engine = ground.engine();
    let keep = || engine.keep_record(&Recording::new(), Ending::default()).unwrap();
    let ids: Vec<BuildId> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..6).map(|_| scope.spawn(|| (0..10).map(|_| keep()).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 60, "no number twice");
    let kept = engine.history().ids().unwrap();
    assert!((50..=56).contains(&kept.len()), "{} are kept", kept.len());
    assert_eq!(kept.last(), Some(&BuildId(60)));
    engine.keep_record(&Recording::new(), Ending::default()).unwrap();
    let kept = engine.history().ids().unwrap();
    assert_eq!((kept.first(), kept.len()), (Some(&BuildId(12)), 50));
    assert!(matches!(engine.history().load(BuildId(3)), Err(HistoryError::UnknownBuild { .. })));
}

fn damaged() {
    let ground = ground();
    let first = build(&ground, &mut ground.request(TEXT));
    let second = build(&ground, &mut ground.request(TEXT));
    let path = ground.store().join("build/2.json");
    let whole = fs_err::read(&path).unwrap();
    let engine = ground.engine();
    let history = engine.history();
    for bytes in [&whole[..whole.len() / 2], b"", b"{\"format\":1}", b"\xff"] {
        fs_err::write(&path, bytes).unwrap();
        let error = history.load(second.id).unwrap_err();
        assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
        assert!(matches!(error, HistoryError::Damaged { .. }));
    }
    fs_err::write(&path, b"{\"format\":2}").unwrap();
    assert!(matches!(history.load(second.id), Err(HistoryError::OtherForm { form: 2, .. })));
    ground.write("d/a", "x");
    let third = build(&ground, &mut ground.request(TEXT));
    let reports = history.explain(&third).unwrap();
    assert!(
        matches!(&reports[1].why, Some(Why::Changed { earlier, .. }) if *earlier == first.id),
        "{:?}",
        reports[1]
    );
    engine.prune(&PruneOptions::default(), &|| true).unwrap();
    assert_eq!(history.ids().unwrap(), [first.id, third.id]);
}

/// What nothing may touch when nothing is to be done.
fn shape(ground: &Ground) -> BTreeSet<String> {
    let entries = walkdir::WalkDir::new(ground.store()).into_iter().map(|entry| entry.unwrap());
    let paths = entries.map(|entry| entry.path().strip_prefix(ground.store()).unwrap().display().to_string());
    // What was learnt of the context is no work that was done.
    paths.filter(|path| !path.starts_with("context/")).collect()
}

fn foreseen() {
    type Edit = fn(&Ground, &mut Request);
    let table: &[(&str, Edit, usize)] = &[
        ("nothing", |_, _| {}, 0),
        ("a file of the last step", |g, _| g.write("e", "x"), 1),
        ("a file of the first", |g, _| g.write("d/a", "x"), 3),
        ("an argument", |_, r| drop(r.build_args.insert("A".to_owned(), "2".to_owned())), 2),
        ("all at once", |_, r| r.no_cache = true, 4),
        ("one stage", |_, r| r.no_cache_filter = vec!["one".to_owned()], 3),
    ];
    for (name, edit, missing) in table {
        let ground = ground();
        build(&ground, &mut ground.request(TEXT));
        let mut request = ground.request(TEXT);
        edit(&ground, &mut request);
        let before = shape(&ground);
        let recording = Arc::new(Recording::new());
        request.mode = Mode::Foresee;
        request.recording = Some(recording.clone());
        let engine = ground.engine();
        let done = engine.build(&request, &|_| {}, &AtomicBool::new(false));
        let steps = match done.map_err(|error| error.kind) {
            Ok(_) => 0,
            Err(BuildErrorKind::NotCached { steps }) => steps,
            Err(other) => panic!("{name}: {other:?}"),
        };
        assert_eq!(steps, *missing, "{name}");
        // The store of a foreseen build may have locks more: they are no results.
        let after: BTreeSet<_> =
            shape(&ground).into_iter().filter(|path| !path.starts_with("locks/")).collect();
        let before: BTreeSet<_> = before.into_iter().filter(|path| !path.starts_with("locks/")).collect();
        assert_eq!(before, after, "{name}: nothing was made");
        let foreseen = recording.record();
        let reports = engine.history().foresee(&recording).unwrap();
        assert!(
            reports.iter().all(|r| (r.outcome == StepOutcome::Hit) == r.why.is_none()),
            "{name}: {reports:?}"
        );
        request.mode = Mode::Build;
        let kept = build(&ground, &mut request);
        for place in foreseen.places().filter(|place| place.step > 0) {
            let (said, came) =
                (foreseen.step(place).unwrap().outcome, kept.record.step(place).unwrap().outcome);
            let fits = match said {
                StepOutcome::Hit => came == StepOutcome::Hit,
                StepOutcome::WouldRun => matches!(came, StepOutcome::Miss | StepOutcome::Same),
                StepOutcome::Depends => came.is_done(),
                _ => false,
            };
            assert!(fits, "{name}: {} was foreseen as {said:?}, came {came:?}", foreseen.name_of(place));
        }
    }
}

fn foreseen_base() {
    let ground = ground();
    let recording = Arc::new(Recording::new());
    let mut request = ground.request("FROM base\nCOPY d /d\nCOPY --link e /e\n");
    request.mode = Mode::Foresee;
    request.recording = Some(recording.clone());
    let engine = ground.engine();
    let Err(error) = engine.build(&request, &|_| {}, &AtomicBool::new(false)) else {
        panic!("nothing is here")
    };
    assert!(matches!(error.kind, BuildErrorKind::NotCached { steps: 3 }), "{error:?}");
    assert_eq!(ground.shelf.asked().1, 0, "no layer was pulled");
    let whys: Vec<_> = engine.history().foresee(&recording).unwrap().into_iter().map(|r| r.why).collect();
    let depends = Why::Depends { on: vec!["1".to_owned()], changes: Vec::new() };
    assert_eq!(whys, [Some(Why::NotPulled), Some(depends), Some(Why::New)]);
}

fn other_base() {
    let ground = ground();
    let text = "FROM base\nCOPY d /d\n";
    let first = build(&ground, &mut ground.request(text));
    ground.shelf.put("base", &[Tape::new().with("usr/", b"", (0o755, 0)).bytes()], |_| {});
    let mut request = ground.request(text);
    request.pull = true;
    let second = build(&ground, &mut request);
    let engine = ground.engine();
    for report in engine.history().explain(&second).unwrap() {
        match report.why {
            Some(Why::Changed { earlier, changes }) => {
                assert_eq!(earlier, first.id);
                let [Change::Base { old, new }] = changes.as_slice() else { panic!("{changes:?}") };
                assert_eq!((old.reference.as_str(), new.reference.as_str()), ("base", "base"));
                assert_ne!(old.digest, new.digest);
            }
            other => panic!("{}: {other:?}", report.step),
        }
    }
}

fn delta() {
    let ground = ground();
    let first = build(&ground, &mut ground.request(TEXT));
    ground.write("d/a", "longer");
    fs_err::remove_file(ground.context("d/b")).unwrap();
    ground.write("d/new", "");
    ground.chmod("e", 0o600);
    let second = build(&ground, &mut ground.request(TEXT));
    let engine = ground.engine();
    let after = |kept: &Kept| kept.record.plans[0].layers_after(1).unwrap();
    let delta = engine.history().delta(&after(&first), &after(&second)).unwrap();
    let lines: Vec<_> = delta
        .differences
        .iter()
        .map(|d| format!("{:?} {} {:?} {:?} {}", d.kind, d.path, d.old_size, d.new_size, d.aspects.join("+")))
        .collect();
    assert_eq!(
        lines,
        [
            "Changed /d/a Some(1) Some(6) content",
            "Removed /d/b Some(1) None ",
            "Changed /e Some(1) Some(1) mode",
            "Added /d/new None Some(0) ",
        ]
    );
    assert_eq!((delta.written, delta.dropped), (7, 3));
    let place = first.record.find_step("one:2").unwrap();
    assert_eq!(place, Place { plan: 0, stage: 0, step: 1 });
    for (text, known) in
        [("9", false), ("3", true), ("[one 3/3]", true), ("one:3@linux/none", false), ("", false)]
    {
        assert_eq!(first.record.find_step(text).is_ok(), known, "{text}");
    }
}
