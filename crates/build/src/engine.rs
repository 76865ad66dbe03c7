//! The engine: a store, a source of images, and builds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::parse;
use kiln_layer::unpack::Owners;
use kiln_oci::config::ImageConfig;
use kiln_oci::digest::Digest;
use kiln_oci::platform::Platform;
use kiln_plan::model::Plan;
use kiln_plan::{BaseImage, CopiedPath, Inputs, Planner};
use kiln_sandbox::Rung;

use crate::absent;
use crate::ahead::Ahead;
use crate::bases::Bases;
use crate::checks::Checks;
use crate::contexts::Contexts;
use crate::datings;
use crate::epoch;
use crate::error::{BuildError, BuildErrorKind};
use crate::event::Sink;
use crate::history::{Explainer, History, HistoryError};
use crate::key::KeyParts;
use crate::layers::pull::Puller;
use crate::layers::thin::Squashes;
use crate::layers::{Layer, Rootfs, forms};
use crate::needs;
use crate::offered;
use crate::record::{Asked, BuildId, BuildRecord, Ending, PlanTasks, Recording, Uncached};
use crate::remote::{Access, FetchedContext, RemoteContext, Sources};
use crate::report::Reporter;
use crate::request::{Context, Images, Mode, NamedContext, Network, Request};
use crate::schedule::{Permits, Slots};
use crate::scratch::Scratches;
use crate::stage::Stage;
use crate::store::{Lock, Store};
use crate::work::{Explain, StageResult, Used, Work};

/// Commands that may run at once for each thing that kiln itself may do at once.
const COMMANDS: usize = 8;

/// How to open an engine.
pub struct EngineOptions {
    /// Where the store is; made if there is none.
    pub store: PathBuf,
    /// Where images of registries come from.
    pub images: Images,
    /// What this process can do *now*: the rung of the namespace that it has entered, [`Rung::Root`], or [`Rung::None`].
    pub rung: Rung,
}

/// Builds images into a store.
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) images: Images,
    rung: Rung,
}

/// What a build gave for one platform. Its layers are in the store; blobs are made by [`Engine::parts`]. As long as it lives,
/// [`Engine::prune`] waits, in this process too.
pub struct Built {
    /// The image's platform.
    pub platform: Platform,
    /// Its configuration, complete but for the diff ids.
    pub config: ImageConfig,
    /// `SOURCE_DATE_EPOCH` if the command line, the environment or the Dockerfile set it.
    pub source_date_epoch: Option<i64>,
    pub(crate) rootfs: Rootfs,
    /// Its steps, those of all stages, by key.
    pub(crate) used: Vec<Used>,
    /// What is known of the layers of its base images, those of all stages.
    pub(crate) bases: Vec<Arc<Layer>>,
    /// Whether its image carries records of its steps.
    pub(crate) inline: bool,
    _lease: Arc<Lock>,
}

impl Engine {
    /// Opens the store.
    ///
    /// # Errors
    /// If it cannot be made or read, or if the folder holds something else.
    pub fn open(options: EngineOptions) -> Result<Self, BuildError> {
        let owners = match options.rung {
            Rung::Root | Rung::SubIds => Owners::Keep,
            Rung::SingleId | Rung::None => Owners::Mine,
        };
        let store = Store::open(&options.store, owners)?;
        Ok(Self { store, images: options.images, rung: options.rung })
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether a stage that the target needs has a RUN, as far as the text tells; mistakes in it count as no.
    pub fn needs_sandbox(request: &Request) -> bool {
        let file = parse(&request.dockerfile).dockerfile;
        request.platforms.iter().any(|platform| {
            Planner::new(&file, request.inputs(platform)).is_ok_and(|planner| planner.uses_run())
        })
    }

    /// Builds `request` for each of its platforms.
    ///
    /// # Errors
    /// The first failure; mistakes in the Dockerfile all at once. The store stays whole.
    pub fn build(
        &self,
        request: &Request,
        sink: &dyn Sink,
        cancel: &AtomicBool,
    ) -> Result<Vec<Built>, BuildError> {
        let reporter = Reporter::new(sink, cancel).recorded_by(request.recording.as_deref());
        reporter.record(|recording| recording.asked(asked(request)));
        let parsed = parse(&request.dockerfile);
        let mut checks = Checks::before(request, &parsed)?;
        self.remark(request, &reporter);
        let lease = self.store.lease()?;
        // A store that counts on a cache elsewhere is likely to be empty, and without a base there is nothing to be foreseen.
        let frozen = request.mode == Mode::Foresee && request.cache_from.is_empty();
        let puller = Puller { frozen, ..Puller::new(&self.store, &reporter) };
        let bases = Bases::new(puller, self.images.clone(), request.pull);
        let sources = Sources::new(&self.store, request.access(), &reporter);
        let contexts = Contexts::new(&self.store, request, &sources);
        let first = request.inputs(&request.platforms[0]);
        let epoch = epoch::resolve(&parsed.dockerfile, request, &first, &sources)?;
        let explainer = self.explainer(request, &reporter).map(Mutex::new);
        let explain = explainer.as_ref().map(|explainer| {
            |record: &BuildRecord, place, parts: &KeyParts| {
                let mut explainer = explainer.lock().unwrap_or_else(PoisonError::into_inner);
                explainer.why(record, place, Some(parts))
            }
        });
        offered::open(&self.store, &request.cache_from, &reporter);
        let mut attempt = |look: &dyn Fn(BTreeSet<CopiedPath>)| -> Result<Vec<Built>, BuildError> {
            // An earlier attempt may have failed. Whoever cancels first takes it back and looks then, or Ctrl-C would be lost.
            bases.resume();
            sources.resume();
            reporter.check_cancelled()?;
            for_each(&request.platforms, |number, platform| {
                let inputs = epoch::known(request.inputs(platform), epoch.as_deref());
                let plan = plan(&parsed.dockerfile, inputs, (&bases, look))?;
                checks.tell(&parsed, &plan, &reporter)?;
                let shared = (&reporter, &bases, &contexts, &sources);
                let mut work = self.work(request, (&plan, number), shared)?;
                if work.can_run {
                    bases.want_trees(needs::run_on(&plan).into_iter());
                }
                work.explainer = explain.as_ref().map(|explain| explain as &Explain<'_>);
                execute(&work, lease.clone())
            })
        };
        let built = self.until_kept(&reporter, || contexts.looking_ahead(&mut attempt));
        // What was learnt about the contexts serves the next try, too. Without it that reads files again, and is right nevertheless.
        if let Err(error) = contexts.save() {
            let lost = "the digests of the context's files are not kept, so the next build reads them again";
            reporter.notice(None, format!("{lost}: {error}"));
        }
        built
    }

    /// Says what is odd before anything is done.
    fn remark(&self, request: &Request, reporter: &Reporter<'_>) {
        if let Some(format) = self.store.was_older() {
            let message =
                format!("the store was of format {format}: its images were taken over, its cache was not");
            reporter.notice(None, message);
        }
        for platform in &request.platforms {
            if let Some(near) = kiln_plan::likely(platform) {
                reporter.notice(None, format!("nobody knows a platform {platform}: did you mean {near}?"));
            }
        }
    }

    /// Fetches a build context that lies elsewhere, if the store does not have it. Secrets and agents of `access` serve here, too.
    ///
    /// # Errors
    /// [`BuildErrorKind::Fetch`] says what is wrong.
    pub fn fetch_context(
        &self,
        context: &RemoteContext,
        access: Access<'_>,
        cancel: &AtomicBool,
    ) -> Result<FetchedContext, BuildError> {
        let nobody = |_| {};
        let reporter = Reporter::new(&nobody, cancel);
        let lease = self.store.lease()?;
        let tree = Sources::new(&self.store, access, &reporter).context(context)?;
        let name = context.shown();
        Ok(FetchedContext { root: tree.root, file: tree.file, time: tree.time, name, _lease: lease })
    }

    fn explainer(&self, request: &Request, reporter: &Reporter<'_>) -> Option<Explainer<'_>> {
        if !request.explain {
            return None;
        }
        let failed = |error| reporter.notice(None, format!("steps cannot be explained: {error}"));
        Explainer::new(self.history(), None).map_err(failed).ok()
    }

    /// Its past builds.
    pub fn history(&self) -> History<'_> {
        History::of(&self.store)
    }

    /// Keeps the record of a build that has ended. Atomic; of several processes each gets a number of its own. It is not synced: after
    /// a power loss the record may be damaged.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep_record(&self, recording: &Recording, ending: Ending) -> Result<BuildId, HistoryError> {
        // What is in `tmp` is a collection's to take.
        let _lease = self.store.shared_lease()?;
        self.history().end(recording, ending)
    }

    /// Builds again as long as a cache elsewhere does not keep its word: what was lost is not counted on any more, and what was done
    /// meanwhile is in the store.
    fn until_kept<T>(
        &self,
        reporter: &Reporter<'_>,
        mut attempt: impl FnMut() -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        loop {
            let built = attempt();
            let lost = self.store.imports().settle();
            if built.is_ok() || lost.is_empty() || reporter.check_cancelled().is_err() {
                return built;
            }
            for why in lost {
                reporter.notice(None, format!("a cached layer cannot be had and is made again: {why}"));
            }
            reporter.go_on();
        }
    }

    fn work<'a>(
        &'a self,
        request: &'a Request,
        (plan, number): (&'a Plan, usize),
        (reporter, bases, contexts, sources): (
            &'a Reporter<'a>,
            &'a Bases<'a>,
            &'a Contexts<'a>,
            &'a Sources<'a>,
        ),
    ) -> Result<Work<'a>, BuildError> {
        let epoch = epoch_of(request, plan)?;
        for name in unknown_filters(request, plan) {
            reporter.notice(
                None,
                format!("--no-cache-filter: the Dockerfile has no stage {name:?} that is needed"),
            );
        }
        if !plan.unused_args.is_empty() {
            reporter
                .notice(None, format!("build arguments that no ARG takes: {}", plan.unused_args.join(", ")));
        }
        Ok(Work {
            store: &self.store,
            request,
            reporter,
            bases,
            contexts,
            sources,
            plan,
            number,
            unforeseen: AtomicUsize::new(0),
            explainer: None,
            slots: Slots::new(plan.stages.len()),
            permits: Permits::new(request.jobs),
            ahead: Ahead::new(request.wanted, request.jobs),
            // `--jobs 1` asks for one thing after the other and gets it.
            runs: Permits::new(if request.jobs > 1 { request.jobs * COMMANDS } else { 1 }),
            epoch,
            helpers: kiln_sandbox::Helpers::default(),
            scratches: Scratches::default(),
            squashes: Squashes::default(),
            can_run: self.rung != Rung::None,
            used: Mutex::default(),
            wants_namespace: AtomicBool::new(false),
        })
    }
}

/// Does `build` for each of `platforms`. What is missing for one does not say what is for the next, so that is counted over all.
fn for_each(
    platforms: &[Platform],
    mut build: impl FnMut(usize, &Platform) -> Result<Built, BuildError>,
) -> Result<Vec<Built>, BuildError> {
    let (mut all, mut missing) = (Vec::new(), 0);
    for (number, platform) in platforms.iter().enumerate() {
        match build(number, platform) {
            Err(BuildError { kind: BuildErrorKind::NotCached { steps }, .. }) => missing += steps,
            built => all.push(built?),
        }
    }
    match missing {
        0 => Ok(all),
        steps => Err(BuildErrorKind::NotCached { steps }.into()),
    }
}

/// Does what `work` is about.
fn execute(work: &Work<'_>, lease: Arc<Lock>) -> Result<Built, BuildError> {
    let (plan, reporter, request) = (work.plan, work.reporter, work.request);
    let stages: Vec<Stage<'_>> = plan
        .stages
        .iter()
        .enumerate()
        .map(|(index, stage)| Stage {
            work,
            plan: stage,
            index,
            cached: uncached(request, stage.name.as_deref()).is_none(),
        })
        .collect();
    let announced: Vec<_> = stages.iter().map(Stage::announce).collect();
    reporter.record(|recording| {
        let tasks = announced.iter().zip(&plan.stages).map(|((from, steps), stage)| PlanTasks {
            from: from.0,
            steps: steps.iter().map(|task| task.map(|t| t.0)).collect(),
            uncached: uncached(request, stage.name.as_deref()),
        });
        recording.plan(plan, &tasks.collect::<Vec<_>>());
    });
    let ran = compressing(work, || {
        work.slots.run_all(reporter, |i| {
            let done = stages[i].run(announced[i].0, &announced[i].1);
            // Others look for themselves whether to stop, but cannot while they wait for a network.
            done.inspect_err(|_| {
                reporter.fail();
                work.bases.abandon();
                work.sources.abandon();
            })
        })
    });
    if work.wants_namespace.load(Ordering::Relaxed) {
        let at = ran.err().filter(|e| matches!(e.kind, BuildErrorKind::NeedsNamespace)).and_then(|e| e.at);
        return Err(BuildError::new(at, BuildErrorKind::NeedsNamespace));
    }
    ran.map_err(|error| absent::with_others(error, &stages))?;
    match work.unforeseen.load(Ordering::Relaxed) {
        0 => {}
        steps => return Err(BuildErrorKind::NotCached { steps }.into()),
    }
    let result = work.slots.wait(plan.target)?;
    if request.delivers && request.mode != Mode::Foresee {
        // While the build can still do without a cache that does not keep its word.
        for layer in result.rootfs.parts().1 {
            forms::ensure_bytes(work.store, layer)?;
        }
    }
    Ok(finish(&result, work, lease))
}

/// Does `steps` while finished layers are compressed. A failed step counts for more than a blob that could not be made.
fn compressing(work: &Work<'_>, steps: impl FnOnce() -> Result<(), BuildError>) -> Result<(), BuildError> {
    if !work.ahead.is_wanted() {
        return steps();
    }
    std::thread::scope(|scope| {
        let blobs = scope.spawn(|| work.ahead.work(work.store, work.reporter));
        // Closed also if a step panics, or the scope would wait for ever.
        let done = {
            let _end = Closing(&work.ahead);
            steps()
        };
        let blobs = blobs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        done.and_then(|()| Ok(blobs?))
    })
}

struct Closing<'a>(&'a Ahead);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn finish(result: &StageResult, work: &Work<'_>, lease: Arc<Lock>) -> Built {
    let stage = &work.plan.stages[work.plan.target];
    let mut config = stage.config.clone();
    config.history = datings::dated(&result.history, work.epoch.map(|_| work.now()));
    let last = config.history.last().and_then(|h| h.created.clone());
    config.created = if work.epoch.is_some() { Some(work.now()) } else { result.created.clone().or(last) };
    let mut used = std::mem::take(&mut *work.used.lock().unwrap_or_else(PoisonError::into_inner));
    used.sort_by_key(|step| step.key);
    used.dedup_by_key(|step| step.key);
    Built {
        platform: config.platform(),
        config,
        source_date_epoch: work.epoch,
        rootfs: result.rootfs.clone(),
        used,
        bases: work.bases.told(),
        inline: work.request.inline,
        _lease: lease,
    }
}

/// The time that the build pretends it is. What the command line says wins over a default in the Dockerfile.
fn epoch_of(request: &Request, plan: &Plan) -> Result<Option<i64>, BuildErrorKind> {
    if request.source_date_epoch.is_some() {
        return Ok(request.source_date_epoch);
    }
    let Some(text) = plan.source_date_epoch.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(epoch) => Ok(Some(epoch)),
        Err(_) => {
            Err(BuildErrorKind::Epoch { value: text.to_owned(), problem: "it is no number".to_owned() })
        }
    }
}

/// Why the cache may not be used for a stage.
fn uncached(request: &Request, stage: Option<&str>) -> Option<Uncached> {
    let filtered = |name: &String| stage.is_some_and(|stage| stage.eq_ignore_ascii_case(name));
    if request.no_cache {
        return Some(Uncached::NoCache);
    }
    request.no_cache_filter.iter().any(filtered).then_some(Uncached::NoCacheFilter)
}

/// What the record of a build says of its request.
fn asked(request: &Request) -> Asked {
    let shown = |path: &Path| path.display().to_string();
    let contexts = request.contexts.iter().filter_map(|(name, context)| match context {
        NamedContext::Directory(path) => Some((name.clone(), shown(path))),
        NamedContext::Remote(remote) => Some((name.clone(), remote.shown())),
        NamedContext::Image(_) | NamedContext::Layout(_) => None,
    });
    Asked {
        dockerfile: request.dockerfile_name.clone(),
        text: Some(Digest::of(request.dockerfile.as_bytes())),
        dockerfile_path: request.dockerfile_path.as_deref().map(shown),
        context: match &request.context {
            Context::Directory(path) => Some(shown(path)),
            Context::Fetched(fetched) => Some(fetched.name.clone()),
            Context::Empty => None,
        },
        fetched: match &request.context {
            Context::Fetched(fetched) => Some(shown(&fetched.root)),
            Context::Directory(_) | Context::Empty => None,
        },
        contexts: contexts.collect(),
        target: request.target.clone(),
        no_network: request.run.network == Network::None,
        hosts: request.run.hosts.clone(),
        ulimits: request.run.ulimits.clone(),
        shm_size: request.run.shm_size,
    }
}

/// Names of `--no-cache-filter` that no stage of the plan has.
fn unknown_filters<'a>(request: &'a Request, plan: &Plan) -> Vec<&'a String> {
    let has = |name: &String| {
        plan.stages.iter().any(|s| s.name.as_ref().is_some_and(|stage| stage.eq_ignore_ascii_case(name)))
    };
    request.no_cache_filter.iter().filter(|name| !has(name)).collect()
}

/// Plans the build, finding base images as they turn out to be needed.
fn plan(
    file: &Dockerfile,
    inputs: Inputs,
    (bases, look): (&Bases<'_>, &dyn Fn(BTreeSet<CopiedPath>)),
) -> Result<Plan, BuildError> {
    let wrong = |diagnostics: Vec<Diagnostic>| BuildError::from(BuildErrorKind::Dockerfile(diagnostics));
    let mut planner = Planner::new(file, inputs).map_err(wrong)?;
    if !planner.needs().is_empty() {
        look(planner.outside().copied);
    }
    loop {
        let needs = planner.needs();
        if needs.is_empty() {
            return planner.finish().map_err(wrong);
        }
        let found = bases.find_all(&needs)?;
        for (need, base) in needs.iter().zip(found) {
            planner.supply(&need.key, BaseImage { config: base.image().config.clone() });
        }
    }
}
