//! Collection: what goes first, what stays, and that the count is right.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use kiln_build::collect::{CacheKind, Filter, Limit, PruneOptions, Subject};

use crate::Case;
use crate::ground::Ground;

pub(crate) const CASES: &[Case] = &[
    ("collect: the count is du's", du),
    ("collect: what is unused longest goes first", by_age),
    ("collect: a dry run tells what a run then does", dry_run),
    ("collect: filters", filters),
    ("collect: what killed processes left is found", leftovers),
    ("collect: stat caches forget what was deleted", stat_caches),
    ("collect: a limit in bytes is kept", limit),
    ("collect: whoever waits can give up", giving_up),
];

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A store with what two builds left, the older one unused for ten days.
fn two_builds() -> Ground {
    let ground = Ground::new();
    ground.write("old", vec![b'o'; 300_000]);
    drop(ground.build("FROM scratch\nCOPY old /old\n"));
    age_everything(&ground.store(), 10 * DAY);
    ground.write("new", vec![b'n'; 100_000]);
    drop(ground.build("FROM scratch\nCOPY new /new\n"));
    let engine = ground.engine();
    engine.store().content().layout().untag("image:latest").unwrap();
    ground
}

fn age_everything(dir: &Path, age: Duration) {
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age_everything(&path, age);
        } else {
            fs_err::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(SystemTime::now() - age)
                .unwrap();
        }
    }
}

fn is_cached(ground: &Ground, name: &str) -> bool {
    ground.build(&format!("FROM scratch\nCOPY {name} /{name}\n")).all_cached()
}

fn du() {
    let ground = two_builds();
    let store = ground.store();
    fs_err::write(store.join("cache/one"), vec![1; 70_000]).unwrap();
    fs_err::hard_link(store.join("cache/one"), store.join("cache/two")).unwrap();
    fs_err::create_dir_all(store.join("tree/x/deep/er")).unwrap();
    fs_err::hard_link(store.join("cache/one"), store.join("tree/x/deep/er/three")).unwrap();
    fs_err::write(store.join("tmp/.half"), vec![1; 5000]).unwrap();
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(&store).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let said: u64 = said.split_whitespace().next().unwrap().parse().unwrap();
    let usage = ground.engine().usage().unwrap();
    assert_eq!(usage.total(), said, "{usage:?}");
    assert!(usage.unfinished >= 5000 && usage.caches >= 70_000 && usage.blobs >= 400_000, "{usage:?}");
}

fn by_age() {
    let ground = two_builds();
    let older = PruneOptions { older_than: Some(DAY), ..PruneOptions::default() };
    let pruned = ground.engine().prune(&older, &|| true).unwrap();
    assert!((300_000..400_000).contains(&pruned.bytes), "{pruned:?}");
    assert!(is_cached(&ground, "new"));
    assert!(!is_cached(&ground, "old"));

    let ground = two_builds();
    let keep = PruneOptions { keep_storage: Some(250_000), ..PruneOptions::default() };
    ground.engine().prune(&keep, &|| true).unwrap();
    assert!(is_cached(&ground, "new") && !is_cached(&ground, "old"));

    // A use counts, also of what was made long ago.
    let ground = two_builds();
    assert!(is_cached(&ground, "old"));
    ground.engine().store().content().layout().untag("image:latest").unwrap();
    ground.engine().prune(&older, &|| true).unwrap();
    assert!(is_cached(&ground, "old"));
}

fn dry_run() {
    let ground = two_builds();
    let engine = ground.engine();
    let before = engine.usage().unwrap();
    let options = PruneOptions { all: true, dry_run: true, ..PruneOptions::default() };
    let told = engine.prune(&options, &|| true).unwrap();
    assert_eq!(engine.usage().unwrap(), before);
    let done = engine.prune(&PruneOptions { dry_run: false, ..options }, &|| true).unwrap();
    assert_eq!(done, told);
    assert_eq!(engine.usage().unwrap().total(), before.total() - done.bytes);
}

fn filters() {
    let of = |of: Subject, not: bool| PruneOptions {
        filters: vec![Filter { not, of }],
        ..PruneOptions::default()
    };
    let kinds = |options: &PruneOptions| {
        let ground = two_builds();
        let cache = ground.store().join("cache/abc");
        fs_err::create_dir_all(cache.join("data")).unwrap();
        fs_err::write(cache.join("id"), "go-build").unwrap();
        let pruned = ground.engine().prune(options, &|| true).unwrap();
        assert!(ground.store().join("tmp").is_dir());
        let mut kinds: Vec<CacheKind> = pruned.removed.iter().map(|r| r.kind).collect();
        kinds.sort_unstable();
        kinds
    };
    use CacheKind::{CacheMount, Context, Step};
    let steps = kinds(&of(Subject::Kind(vec![Step]), false));
    assert_eq!(steps, [Step, Step]);
    assert_eq!(kinds(&of(Subject::Kind(vec![CacheMount]), false)), [CacheMount]);
    assert_eq!(kinds(&of(Subject::Id("go-build".to_owned()), false)), [CacheMount]);
    // A context's stat cache is there only if its files are old enough to be believed.
    let others = kinds(&of(Subject::Id("go-build".to_owned()), true));
    assert_eq!(others.into_iter().filter(|kind| *kind != Context).collect::<Vec<_>>(), [Step, Step]);
    assert_eq!(kinds(&of(Subject::Until(SystemTime::now() - DAY), false)).first(), Some(&Step));
    assert_eq!(kinds(&of(Subject::Kind(Vec::new()), false)), []);
}

fn leftovers() {
    let ground = two_builds();
    let store = ground.store();
    for name in [".kiln-probe-4000001", ".kiln-probe-4000002"] {
        fs_err::create_dir_all(store.join(name).join("work/work")).unwrap();
    }
    fs_err::write(store.join("log/00000000000000000001-0123456789abcdef.log"), "nobody's").unwrap();
    let working = fs_err::File::open(store.join(".kiln-probe-4000002")).unwrap();
    working.file().lock_shared().unwrap();
    ground.engine().prune(&PruneOptions::default(), &|| true).unwrap();
    assert!(!store.join(".kiln-probe-4000001").exists());
    assert!(store.join(".kiln-probe-4000002").exists(), "somebody is at work there");
    assert_eq!(fs_err::read_dir(store.join("log")).unwrap().count(), 0);
    assert!(is_cached(&ground, "new") && is_cached(&ground, "old"), "nothing else went");
}

fn stat_caches() {
    let ground = two_builds();
    let caches = || {
        fs_err::read_dir(ground.store().join("context"))
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
    };
    // Files that were written within the clock's grain are not believed, so nothing is remembered of them.
    std::thread::sleep(Duration::from_millis(60));
    assert!(is_cached(&ground, "old") && is_cached(&ground, "new"));
    let sizes: Vec<u64> = caches().collect();
    assert_eq!(sizes.len(), 1);
    fs_err::remove_file(ground.context("old")).unwrap();
    ground.engine().prune(&PruneOptions::default(), &|| true).unwrap();
    assert!(caches().next().unwrap() < sizes[0], "one file less is known");
    fs_err::remove_dir_all(ground.path("context")).unwrap();
    ground.engine().prune(&PruneOptions::default(), &|| true).unwrap();
    assert_eq!(caches().count(), 0);
}

fn limit() {
    let ground = two_builds();
    let engine = ground.engine();
    let before = engine.usage().unwrap().total();
    assert_eq!(engine.tend(Limit::Bytes(before)).unwrap().unwrap().removed, []);
    engine.tend(Limit::Bytes(before - 200_000)).unwrap().unwrap();
    assert!(engine.usage().unwrap().total() <= before - 200_000);
    drop(engine);
    assert!(is_cached(&ground, "new"));
    let built = ground.build("FROM scratch\nCOPY new /new\n");
    assert_eq!(ground.engine().tend(Limit::Bytes(0)).unwrap(), None, "never under a build's feet");
    drop(built);
}

fn giving_up() {
    let ground = two_builds();
    let built = ground.build("FROM scratch\nCOPY new /new\n");
    let error = ground.engine().prune(&PruneOptions::default(), &|| false).unwrap_err();
    assert_eq!(error.to_string(), "interrupted");
    drop(built);
}
