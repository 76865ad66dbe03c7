//! The store after builds: collection, damage, strangers.

use std::path::{Path, PathBuf};

use kiln_build::collect::PruneOptions;
use kiln_build::engine::{Engine, EngineOptions};
use kiln_build::error::BuildErrorKind;
use kiln_build::request::Request;
use kiln_sandbox::Rung;

use crate::Case;
use crate::ground::Ground;
use crate::shelf::Tape;

pub(crate) const CASES: &[Case] = &[
    ("store: pruning keeps named images and the cache", prune),
    ("store: pruning everything keeps named images", prune_all),
    ("store: what is counted is what is on disk", usage),
    ("store: a build keeps collection away until its result is dropped", leases),
    ("store: any file missing is made again", missing_files),
    ("store: any file damaged heals or is said", damaged_files),
    ("store: bytes that rot are never copied on", rot),
    ("store: a folder of something else is refused", strangers),
    ("store: an older kiln's keeps its images", older),
    ("store: what is damaged is found and let go", mended),
    ("store: what was left by a killed build does no harm", leftovers),
];

const ALL: PruneOptions =
    PruneOptions { all: true, older_than: None, keep_storage: None, filters: Vec::new(), dry_run: false };

const TEXT: &str = "FROM base\nCOPY d /d\nWORKDIR /w\n";

fn ground() -> Ground {
    let ground = Ground::new();
    ground.write("d/a", "1");
    ground.write("d/b", "2");
    ground.shelf.put("base", &[Tape::new().with("f", b"0", (0o644, 0)).bytes()], |_| {});
    ground
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn prune() {
    let ground = ground();
    let digest = ground.build(TEXT).image.digest;
    let pruned = ground.engine().prune(&PruneOptions::default(), &|| true).unwrap();
    assert!(pruned.objects > 0, "locks at least");
    ground.verify();
    let again = ground.build(TEXT);
    assert!(again.all_cached(), "{:?}", again.steps);
    assert_eq!((again.image.digest.clone(), ground.shelf.asked().1), (digest, 1));
    drop(again);
    // A record that cannot be read does not stop it.
    let record = files(&ground.store().join("step")).remove(0);
    fs_err::write(record, b"\xff\xfe{").unwrap();
    ground.engine().prune(&PruneOptions::default(), &|| true).unwrap();
    ground.verify();
}

fn prune_all() {
    let ground = ground();
    let digest = ground.build(TEXT).image.digest;
    ground.engine().prune(&ALL, &|| true).unwrap();
    ground.verify();
    for folder in ["step", "layer", "tree", "chain", "base", "tmp", "context", "cache", "log"] {
        assert_eq!(files(&ground.store().join(folder)), Vec::<PathBuf>::new(), "{folder}");
    }
    let again = ground.build(TEXT);
    assert!(!again.all_cached());
    assert_eq!(again.image.digest, digest);
    drop(again);
    let engine = ground.engine();
    let content = engine.store().content();
    content.layout().untag("image:latest").unwrap();
    engine.prune(&ALL, &|| true).unwrap();
    assert_eq!(content.list().unwrap(), []);
}

fn usage() {
    let ground = ground();
    drop(ground.build(TEXT));
    let engine = ground.engine();
    let before = engine.usage().unwrap();
    assert!(before.images > 0 && before.records > 0 && before.unfinished < 64 << 10, "{before:?}");
    let pruned = engine.prune(&ALL, &|| true).unwrap();
    let after = engine.usage().unwrap();
    assert_eq!(before.total() - after.total(), pruned.bytes, "{before:?} {after:?}");
}

fn leases() {
    let ground = ground();
    let done = ground.build(TEXT);
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ground.engine().prune(&ALL, &|| true).unwrap();
            told.send(()).unwrap();
        });
        let early = heard.recv_timeout(std::time::Duration::from_millis(100));
        assert!(early.is_err(), "collected under a finished build's feet");
        drop(done);
        heard.recv().unwrap();
    });
}

/// After `damage` to each file of the store in turn, a build gives the right image or one message about the store.
fn after_each(damage: impl Fn(&Path), must_heal: bool) {
    let ground = ground();
    let digest = ground.build(TEXT).image.digest;
    let whole = ground.path("whole");
    copy_tree(&ground.store(), &whole);
    let names: Vec<PathBuf> =
        files(&whole).into_iter().map(|path| path.strip_prefix(&whole).unwrap().to_owned()).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let text = name.display().to_string();
        // The layout's own two files and the mark are what makes it a store.
        if ["oci/index.json", "oci/oci-layout", "kiln-store"].contains(&text.as_str())
            || text.starts_with("locks")
        {
            continue;
        }
        fs_err::remove_dir_all(ground.store()).unwrap();
        copy_tree(&whole, &ground.store());
        let _ = ground.engine().store().content().layout().untag("image:latest");
        damage(&ground.store().join(&name));
        let outcome = build_unverified(&ground);
        match outcome {
            Ok(found) => assert_eq!(found, digest, "{text}"),
            Err(error) if !must_heal => assert!(
                matches!(error, BuildErrorKind::Store { .. } | BuildErrorKind::Content(_)),
                "{text}: {error:?}"
            ),
            Err(error) => panic!("{text}: {error:?}"),
        }
    }
}

/// Digest of the image, made of whatever bytes the store has.
fn build_unverified(ground: &Ground) -> Result<String, BuildErrorKind> {
    build_unverified_of(ground, &ground.request(TEXT))
}

fn build_unverified_of(ground: &Ground, request: &Request) -> Result<String, BuildErrorKind> {
    let never = std::sync::atomic::AtomicBool::new(false);
    let engine = ground.engine();
    let built = engine.build(request, &|_| {}, &never).map_err(|e| e.kind)?;
    let parts = engine.parts(&built[0], &ground.form, &|_| {}, &never).map_err(|e| e.kind)?;
    // Also as an export would: out of whatever form there is.
    engine.write_rootfs_tar(&built[0], &mut std::io::sink(), &never).map_err(|e| e.kind)?;
    let composed = kiln_oci::compose::compose(engine.store().content(), &[parts], &Default::default());
    Ok(composed.map_err(BuildErrorKind::from)?.root.digest.to_string())
}

fn copy_tree(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs_err::copy(entry.path(), target).unwrap();
        }
    }
}

fn missing_files() {
    after_each(|path| fs_err::remove_file(path).unwrap(), true);
}

fn damaged_files() {
    after_each(|path| fs_err::write(path, b"").unwrap(), false);
    after_each(
        |path| {
            let bytes = fs_err::read(path).unwrap();
            fs_err::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        false,
    );
}

fn rot() {
    let ground = Ground::new();
    ground.write("f", "the very content");
    ground.build("FROM scratch AS a\nCOPY f /f\nFROM scratch\nCOPY --from=a /f /g\n");
    for blob in files(&ground.store().join("oci/blobs/sha256")) {
        let bytes = fs_err::read(&blob).unwrap();
        let rotten = String::from_utf8_lossy(&bytes).replace("the very content", "the vary content");
        if rotten.as_bytes() != bytes {
            fs_err::write(&blob, rotten).unwrap();
        }
    }
    let error = ground.fails("FROM scratch AS a\nCOPY f /f\nFROM scratch\nCOPY --from=a /f /h\n");
    assert!(matches!(error, BuildErrorKind::Pack(_)), "{error:?}");
}

fn strangers() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| {
        let images = std::sync::Arc::new(crate::shelf::Shelf::default());
        Engine::open(EngineOptions { store: path.to_owned(), images, rung: Rung::None })
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    fs_err::write(dir.path().join("photo.jpg"), "").unwrap();
    assert!(open(dir.path()).unwrap_err().contains("not a kiln store"));
    let store = dir.path().join("new");
    open(&store).unwrap();
    open(&store).unwrap();
    fs_err::write(store.join("kiln-store"), "kiln store 99\n").unwrap();
    assert!(open(&store).unwrap_err().contains("kiln store 99"));
    fs_err::write(store.join("kiln-store"), "nonsense\n").unwrap();
    assert!(open(&store).unwrap_err().contains("kiln-store holds \"nonsense\""));
    // What a power loss leaves of a mark that was just made.
    fs_err::write(store.join("kiln-store"), "").unwrap();
    open(&store).unwrap();
    assert_eq!(fs_err::read_to_string(store.join("kiln-store")).unwrap(), "kiln store 1\n");
    // As root another's store can be had.
    if std::os::unix::fs::chown(store.join("kiln-store"), Some(12), None).is_ok() {
        assert!(open(&store).unwrap_err().contains("belongs to user id 12"));
    }
    fs_err::write(dir.path().join("file"), "").unwrap();
    assert!(open(&dir.path().join("file")).unwrap_err().contains("file"));
}

fn older() {
    let ground = ground();
    let digest = ground.build(TEXT).image.digest;
    fs_err::write(ground.store().join("kiln-store"), "kiln store 0\n").unwrap();
    // A record that means something else in the older format is never looked at.
    for record in files(&ground.store().join("step")) {
        fs_err::write(record, "{\"layer\":\"of another meaning\"}").unwrap();
    }
    let engine = ground.engine();
    assert_eq!(engine.store().was_older(), Some(0));
    assert_eq!(engine.store().content().layout().list().unwrap().len(), 1, "images are taken over");
    drop(engine);
    ground.verify();
    assert_eq!(ground.engine().store().was_older(), None);
    let again = ground.build(TEXT);
    assert!(!again.all_cached());
    assert_eq!(again.image.digest, digest);
    assert_eq!(fs_err::read_dir(ground.store().join("tmp")).unwrap().count(), 0);
}

/// Every file of the store is damaged in turn, sizes kept, after which a build fails or not; once mended, the next one is right.
fn mended() {
    let ground = ground();
    let text = "FROM base AS a\nCOPY d /d\nFROM base\nCOPY --from=a /d /e\nWORKDIR /w\n";
    let request = || Request { recording: Some(Default::default()), ..ground.request(text) };
    let digest = ground.build_request(&request()).image.digest;
    let whole = ground.path("whole");
    copy_tree(&ground.store(), &whole);
    let kinds = ["layer", "oci/blobs"];
    let mut healed = 0;
    for path in kinds.iter().flat_map(|kind| files(&whole.join(kind))) {
        let name = path.strip_prefix(&whole).unwrap();
        fs_err::remove_dir_all(ground.store()).unwrap();
        copy_tree(&whole, &ground.store());
        // What is above has to be made again, out of what is damaged.
        for record in files(&ground.store().join("step")) {
            fs_err::remove_file(record).unwrap();
        }
        let mut bytes = fs_err::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        fs_err::write(ground.store().join(name), bytes).unwrap();
        let request = request();
        let recording = request.recording.clone().unwrap();
        let engine = ground.engine();
        let error = match build_unverified_of(&ground, &request) {
            // What is not read is not in question.
            Ok(found) => {
                assert_eq!(found, digest, "{}", name.display());
                continue;
            }
            Err(error) => error,
        };
        assert!(error.may_be_damage(), "{}: {error:?}", name.display());
        let removed = engine.mend(&recording.record(), None).unwrap();
        assert_eq!(removed.len(), 1, "{}: {error:?}", name.display());
        healed += 1;
        recording.begin_again();
        assert_eq!(build_unverified_of(&ground, &request).unwrap(), digest, "{}", name.display());
        assert_eq!(engine.mend(&recording.record(), None).unwrap().len(), 0, "{}", name.display());
    }
    assert!(healed > 0);
}

fn leftovers() {
    let ground = ground();
    let digest = ground.build(TEXT).image.digest;
    let tmp = ground.store().join("tmp");
    fs_err::create_dir_all(tmp.join("run-x/work/work")).unwrap();
    std::os::unix::fs::symlink("/", tmp.join("run-x/root")).unwrap();
    fs_err::set_permissions(tmp.join("run-x/work/work"), std::os::unix::fs::PermissionsExt::from_mode(0o000))
        .unwrap();
    fs_err::write(tmp.join(".tmpabc"), "half").unwrap();
    assert_eq!(ground.build(TEXT).image.digest, digest);
    ground.engine().prune(&PruneOptions::default(), &|| true).unwrap();
    assert_eq!(fs_err::read_dir(&tmp).unwrap().count(), 0);
}
