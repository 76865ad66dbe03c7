//! What the cases stand on: a context, a store, and builds whose images are verified whole.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use kiln_build::engine::{Built, Engine, EngineOptions};
use kiln_build::error::{BuildError, BuildErrorKind};
use kiln_build::event::{Event, TaskId, TaskKind, TaskOutcome};
use kiln_build::request::{Compression, Context, LayerForm, Request};
use kiln_oci::compose::{ComposeOptions, compose};
use kiln_oci::layout::EntryName;
use kiln_sandbox::Rung;
use kiln_testkit::image::Layout;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use tempfile::TempDir;

use crate::shelf::Shelf;

/// The time of modification of every file that is written.
pub(crate) const MTIME: u64 = 1_600_000_000;

/// `SOURCE_DATE_EPOCH` of every build: configurations of equal builds are then equal.
pub(crate) const EPOCH: i64 = 1_700_000_000;

static RUNG: OnceLock<Rung> = OnceLock::new();

/// Says what cases with RUN run on.
pub(crate) fn set_rung(rung: Rung) {
    RUNG.get_or_init(|| rung);
}

/// A context, a store and a shelf of images.
pub(crate) struct Ground {
    dir: TempDir,
    pub(crate) shelf: Arc<Shelf>,
    rung: Rung,
    /// `SOURCE_DATE_EPOCH` of its builds.
    pub(crate) epoch: i64,
    /// The form in which layers leave.
    pub(crate) form: LayerForm,
}

/// A finished build.
pub(crate) struct Done {
    pub(crate) image: Layout,
    /// What became of each step with a layer, by its name without the brackets.
    pub(crate) steps: Vec<(String, TaskOutcome)>,
    pub(crate) events: Vec<Event>,
    /// Keeps the layers in the store.
    _built: Vec<Built>,
}

impl Ground {
    /// One where nothing can RUN.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("context")).unwrap();
        let form =
            LayerForm { compression: Compression::Uncompressed, force: false, clamp: None, rewrite: false };
        Self { dir, shelf: Arc::new(Shelf::default()), rung: Rung::None, epoch: EPOCH, form }
    }

    /// One with what this process may do.
    pub(crate) fn with_run() -> Self {
        Self { rung: *RUNG.get().unwrap(), ..Self::new() }
    }

    /// Another store, the same shelf and rung; contexts have to be given to its requests.
    pub(crate) fn fresh(&self) -> Self {
        Self { shelf: self.shelf.clone(), rung: self.rung, epoch: self.epoch, form: self.form, ..Self::new() }
    }

    /// From now on this process may do nothing.
    pub(crate) fn descend(&mut self) {
        self.rung = Rung::None;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A path of the context.
    pub(crate) fn context(&self, name: &str) -> PathBuf {
        self.path("context").join(name)
    }

    /// Writes a file of the context, mode 0644.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        write(&self.context(name), content.as_ref());
    }

    pub(crate) fn symlink(&self, name: &str, target: &str) {
        let path = self.context(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, &path).unwrap();
        // Like files: two contexts made in two seconds are the same.
        let time = Timespec { tv_sec: MTIME.cast_signed(), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        fs_err::set_permissions(self.context(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine_at(&self.store())
    }

    /// An engine on another store.
    pub(crate) fn engine_at(&self, store: &Path) -> Engine {
        let options = EngineOptions { store: store.to_owned(), images: self.shelf.clone(), rung: self.rung };
        Engine::open(options).unwrap()
    }

    /// A build of `dockerfile` with the context.
    pub(crate) fn request(&self, dockerfile: &str) -> Request {
        Request {
            source_date_epoch: Some(self.epoch),
            jobs: 2,
            wanted: Some(self.form),
            ..Request::new(dockerfile, Context::Directory(self.path("context")))
        }
    }

    /// Builds `dockerfile`.
    #[track_caller]
    pub(crate) fn build(&self, dockerfile: &str) -> Done {
        self.build_request(&self.request(dockerfile))
    }

    #[track_caller]
    pub(crate) fn build_request(&self, request: &Request) -> Done {
        self.try_build(request).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// What fails when `dockerfile` is built.
    #[track_caller]
    pub(crate) fn fails(&self, dockerfile: &str) -> BuildErrorKind {
        match self.try_build(&self.request(dockerfile)) {
            Ok(_) => panic!("this should fail:\n{dockerfile}"),
            Err(error) => error.kind,
        }
    }

    /// Builds, tags the image `image` and verifies all that is in the store.
    pub(crate) fn try_build(&self, request: &Request) -> Result<Done, BuildError> {
        self.try_build_named(request, "image")
    }

    pub(crate) fn try_build_named(&self, request: &Request, name: &str) -> Result<Done, BuildError> {
        let events = Mutex::new(Vec::new());
        let sink = |event| events.lock().unwrap().push(event);
        let never = AtomicBool::new(false);
        let engine = self.engine();
        let built = engine.build(request, &sink, &never)?;
        let mut parts = Vec::new();
        for one in &built {
            parts.push(engine.parts(one, &self.form, &sink, &never)?);
        }
        let content = engine.store().content();
        let composed = compose(content, &parts, &ComposeOptions::default()).unwrap();
        content.layout().tag(&EntryName::stored(&name.parse().unwrap()), &composed.root).unwrap();
        self.verify();
        let image = self.image(&composed.root.digest.to_string());
        let events = events.into_inner().unwrap();
        Ok(Done { image, steps: steps(&events), events, _built: built })
    }

    /// Every image of the store is whole.
    #[track_caller]
    pub(crate) fn verify(&self) {
        let report = kiln_oci::verify::verify(&self.store().join("oci")).unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
    }

    fn image(&self, digest: &str) -> Layout {
        let path = self.store().join("oci");
        let document = |digest: &str| {
            let bytes = fs_err::read(kiln_testkit::image::blob(&path, digest)).unwrap();
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()
        };
        let manifest = document(digest);
        let config = document(manifest["config"]["digest"].as_str().unwrap());
        Layout { path, digest: digest.to_owned(), manifest, config }
    }
}

/// Writes a file, mode 0644, with the usual time.
pub(crate) fn write(path: &Path, content: &[u8]) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, content).unwrap();
    fs_err::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    touch(path, MTIME);
}

/// Sets the time of modification.
pub(crate) fn touch(path: &Path, secs: u64) {
    let file = fs_err::File::open(path).unwrap().into_parts().0;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(secs)).unwrap();
}

/// Gives every directory below `dir` the usual time and mode 0755.
pub(crate) fn settle(dir: &Path) {
    for entry in fs_err::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            settle(&entry.path());
        }
    }
    fs_err::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
    touch(dir, MTIME);
}

fn steps(events: &[Event]) -> Vec<(String, TaskOutcome)> {
    let ended: BTreeMap<TaskId, TaskOutcome> = events
        .iter()
        .filter_map(|event| match event {
            Event::Finished { task, outcome, .. } => Some((*task, outcome.clone())),
            _ => None,
        })
        .collect();
    let steps = events.iter().filter_map(|event| match event {
        Event::Announced { task, kind: TaskKind::Step, name, .. } => {
            let name = name.split_once("] ").map_or(name.as_str(), |(_, name)| name).to_owned();
            let outcome = ended.get(task)?.clone();
            (!name.starts_with("FROM")).then_some((name, outcome))
        }
        _ => None,
    });
    steps.collect()
}

impl Done {
    /// The outcomes of all steps in order.
    pub(crate) fn outcomes(&self) -> Vec<TaskOutcome> {
        self.steps.iter().map(|(_, outcome)| outcome.clone()).collect()
    }

    /// Whether every step came from the cache.
    pub(crate) fn all_cached(&self) -> bool {
        self.steps.iter().all(|(_, outcome)| *outcome == TaskOutcome::Cached)
    }

    /// `path mode uid:gid` of everything in the image, a line each; links with their targets.
    pub(crate) fn listing(&self) -> String {
        let line = |(path, e): (&String, &kiln_testkit::image::Entry)| {
            let link = e.link.as_ref().map_or(String::new(), |l| match e.kind {
                tar::EntryType::Link => format!(" = {}", l.display()),
                _ => format!(" -> {}", l.display()),
            });
            let slash = if e.kind == tar::EntryType::Directory { "/" } else { "" };
            format!("{path}{slash} {:o} {}:{}{link}\n", e.mode, e.uid, e.gid)
        };
        self.image.files().iter().map(line).collect()
    }

    /// The names of all files and links, directories left out.
    pub(crate) fn names(&self) -> Vec<String> {
        let files = self.image.files();
        files.into_iter().filter(|(_, e)| e.kind != tar::EntryType::Directory).map(|(path, _)| path).collect()
    }
}
