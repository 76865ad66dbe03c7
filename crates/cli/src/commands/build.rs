//! `kiln build`: from arguments to outputs.

use std::io::{Read, Seek, SeekFrom};

use kiln_build::engine::Engine;
use kiln_build::error::{BuildError, BuildErrorKind};
use kiln_build::event::{Event, Sink};
use kiln_build::history::StepReport;
use kiln_build::record::{self, BuildOutcome};
use kiln_oci::compose::ComposedImage;
use kiln_oci::layout::EntryName;
use kiln_oci::reference::Reference;
use kiln_registry::Client;
use kiln_sandbox::{Rung, StopSignal, install_signal_flag, termination_requested};

use crate::args::build::{BuildArgs, Progress};
use crate::args::call::Method;
use crate::args::output::{ImageSpec, Output};
use crate::carry;
use crate::commands::{Failed, Setting, answer, check, context, past};
use crate::errors::{CliError, status};
use crate::excerpt;
use crate::interrupt::watched;
use crate::output::image::Maker;
use crate::output::{asked, load, metadata, push, rootfs, target};
use crate::remote::{Elsewhere, Fetched, Network};
use crate::render::json::Ending;
use crate::render::{Screen, write_stderr};
use crate::request::{self, Prepared, layer_form};
use crate::rootless::{self, Footing};

pub(super) fn run(args: &BuildArgs, setting: &Setting<'_>) -> Result<(), Failed> {
    let outputs = asked::outputs(args)?;
    let network = Network::new(setting.network(&args.insecure_registry), setting.environment, &setting.store);
    let (fetched, early) = fetch(args, setting, &network)?;
    let mut prepared = request::prepare(args, &outputs, setting.environment, &fetched)?;
    if let Some(extent) = args.print_context {
        return Ok(context::print(&prepared, extent, args.format)?);
    }
    if args.method() != Method::Build {
        return Ok(check::run(args, prepared, setting)?);
    }
    if args.fix {
        return Err(CliError::usage("--fix", "it goes with --check, which builds nothing").into());
    }
    let mut footing = Footing::now();
    if Engine::needs_sandbox(&prepared.request) {
        (footing, prepared) = climb(footing, prepared, setting, || {
            request::prepare(args, &outputs, setting.environment, &fetched)
        })?;
    }
    prepared.request.fetcher = Some(network.http.clone());
    prepared.request.repositories = Some(network.git.clone());
    let client = setting.client(&insecure(args, &outputs)?);
    prepared.request.cache_from = carry::sources(args, &client)?;
    prepared.request.inline = carry::inline(args, &prepared.request.build_args);
    let mut screen = early.map_or_else(|| begin(args, setting), Ok)?;
    let job = Job {
        args,
        outputs: &outputs,
        prepared: &prepared,
        network: &network,
        client: &client,
        rung: footing.rung,
    };
    // It lasts until everything is told: what the store still removes then may take a while.
    let (engine, done) = match setting.engine(client.clone(), footing.rung) {
        Ok(engine) => {
            let done = job.run(&engine, &screen);
            (Some(engine), done)
        }
        Err(error) => (None, Err(error)),
    };
    screen.finish();
    // Of a failed build the failure is what counts; a trace that could not be written then is missing, and seen to be.
    let traced = write_trace(args, &screen);
    let error = match done {
        Ok(done) => {
            traced?;
            // What is foreseen was said.
            return if args.dry_run.is_some() { Ok(()) } else { Ok(finish(args, &outputs, done, &screen)?) };
        }
        Err(CliError::Build { mut error, dockerfile, lacks_ids }) if wants_namespace(&error) => {
            if !footing.is_hopeless() {
                // An ONBUILD of a base image has a RUN, which the text did not tell. Threads have ended; what was done is
                // cached.
                drop((engine, prepared));
                footing = rootless::climb(&setting.store)?;
            }
            error.kind = footing.obstacles();
            CliError::Build { error, dockerfile, lacks_ids }
        }
        Err(error) => error,
    };
    Err(Failed::Told(fail(&error, setting, &screen)))
}

/// To where commands can be run. An ordinary user does not come back from there, but begins anew as the root of a namespace; a context
/// that was unpacked has to be gone by then, so it is prepared `again`.
fn climb(
    from: Footing,
    prepared: Prepared,
    setting: &Setting<'_>,
    again: impl FnOnce() -> Result<Prepared, CliError>,
) -> Result<(Footing, Prepared), CliError> {
    if from.rung != Rung::None {
        return Ok((rootless::climb(&setting.store)?, prepared));
    }
    drop(prepared);
    let footing = rootless::climb(&setting.store)?;
    Ok((footing, again()?))
}

fn is_not_cached(error: &BuildError) -> bool {
    matches!(error.kind, BuildErrorKind::NotCached { .. })
}

/// `--trace`
fn write_trace(args: &BuildArgs, screen: &Screen) -> Result<(), CliError> {
    match (&args.trace, screen.trace()) {
        (Some(path), Some(trace)) => target::write_whole(path, trace.json().as_bytes()),
        _ => Ok(()),
    }
}

/// From here on signals end the build in an orderly way, and there is something to be seen.
fn begin(args: &BuildArgs, setting: &Setting<'_>) -> Result<Screen, CliError> {
    install_signal_flag(&StopSignal::ALL)?;
    let silent = args.quiet || args.dry_run.is_some() && args.progress != Progress::Rawjson;
    let progress = if silent { Progress::Quiet } else { args.progress };
    Ok(Screen::new(progress, setting.environment.look()).tracing(args.trace.is_some()))
}

/// Fetches a context or a Dockerfile that lies elsewhere, without which nothing is known about the build. Then the screen is there already.
fn fetch(
    args: &BuildArgs,
    setting: &Setting<'_>,
    network: &Network,
) -> Result<(Fetched, Option<Screen>), Failed> {
    let elsewhere = Elsewhere::of(args, &request::build_args(args, setting.environment))?;
    if elsewhere.is_empty() {
        return Ok((Fetched::default(), None));
    }
    // Whether a step has to run nobody knows yet. Should one have to, an ordinary user begins anew in a namespace; that costs less than
    // asking a server twice.
    rootless::climb(&setting.store)?;
    let mut screen = begin(args, setting)?;
    let engine = setting.engine(setting.client(&[]), Rung::None)?;
    let secrets = request::secrets(&args.secrets, setting.environment)?;
    let agents = request::agents(args, setting.environment)?;
    match elsewhere.fetch(network, (&secrets, &agents.sockets), (&engine, &screen), termination_requested()) {
        Ok(fetched) => Ok((fetched, Some(screen))),
        Err(error) => {
            screen.finish();
            Err(Failed::Told(fail(&error, setting, &screen)))
        }
    }
}

fn wants_namespace(error: &BuildError) -> bool {
    matches!(error.kind, BuildErrorKind::NeedsNamespace)
}

/// Tells of a failure in the form that the screen has.
fn fail(error: &CliError, setting: &Setting<'_>, screen: &Screen) -> u8 {
    if screen.is_json() {
        let report = error.report();
        let status = report.status;
        screen.ending(&Ending::of(report));
        return status;
    }
    excerpt::tell(error, setting.environment.look(), !screen.shows_whole_logs())
}

/// Whether the log of the step that failed ends as it does when the kernel refuses an id that is not mapped.
fn was_refused(error: &BuildError) -> bool {
    let BuildErrorKind::Exit { log, .. } = &error.kind else { return false };
    let tail = || -> std::io::Result<String> {
        let mut file = fs_err::File::open(log)?;
        let length = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(length.saturating_sub(8 << 10)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    // EINVAL for an id that has no counterpart outside, EPERM for one that may not be taken on.
    tail().is_ok_and(|tail| tail.contains("Invalid argument") || tail.contains("Operation not permitted"))
}

/// What came out.
struct Done {
    image: Option<ComposedImage>,
    names: Vec<Reference>,
}

/// One build.
struct Job<'a> {
    args: &'a BuildArgs,
    outputs: &'a [Output],
    prepared: &'a Prepared,
    client: &'a Client,
    network: &'a Network,
    rung: Rung,
}

impl Job<'_> {
    fn run(&self, engine: &Engine, screen: &Screen) -> Result<Done, CliError> {
        let client = self.client;
        let cancel = termination_requested();
        let stop = || {
            client.cancel();
            self.network.http.cancel();
        };
        let build = || {
            let built = engine.build(&self.prepared.request, screen, cancel);
            let built = built.map_err(|e| self.with_source(e))?;
            if let Some(format) = self.args.dry_run {
                past::foreseen(&self.foreseen(engine)?, format)?;
                return Ok(Done { image: None, names: Vec::new() });
            }
            let maker = Maker { engine, built: &built, screen, index: self.wants_index(), cancel };
            // Held until the images have their names: nothing of them may be collected in between.
            let _lease = engine.store().lease()?;
            let done = self.deliver(&maker, client)?;
            self.keep_caches(&maker)?;
            Ok(done)
        };
        let done = watched(&stop, cancel, || match build() {
            Err(error) if self.mended(engine, &error, screen) => build(),
            other => other,
        });
        match (done, self.args.dry_run) {
            (Err(CliError::Build { error, .. }), Some(format)) if is_not_cached(&error) => {
                past::foreseen(&self.foreseen(engine)?, format)?;
                Ok(Done { image: None, names: Vec::new() })
            }
            (done, _) => {
                self.keep_record(engine, &done, screen);
                if let (Err(CliError::Build { error, .. }), false) = (&done, screen.is_json())
                    && is_not_cached(error)
                {
                    screen.explain(&self.foreseen(engine)?);
                }
                done
            }
        }
    }

    fn foreseen(&self, engine: &Engine) -> Result<Vec<StepReport>, CliError> {
        match &self.prepared.request.recording {
            Some(recording) => Ok(engine.history().foresee(recording)?),
            None => Ok(Vec::new()),
        }
    }

    /// Leaves a record of what was built, or of what failed. Mistakes in the Dockerfile and a build that begins anew in a namespace are
    /// no builds yet.
    fn keep_record(&self, engine: &Engine, done: &Result<Done, CliError>, screen: &Screen) {
        if self.args.dry_run.is_some() {
            return;
        }
        let Some(recording) = &self.prepared.request.recording else { return };
        let ending = match done {
            Ok(done) => record::Ending {
                outcome: BuildOutcome::Done,
                error: None,
                names: done.names.iter().map(Reference::familiar).collect(),
                digest: done.image.as_ref().map(|image| image.root.digest),
            },
            Err(CliError::Build { error, .. })
                if wants_namespace(error) || matches!(error.kind, BuildErrorKind::Dockerfile(_)) =>
            {
                return;
            }
            Err(error) => {
                let report = error.report();
                let stopped = report.status == status::INTERRUPTED;
                let outcome = if stopped { BuildOutcome::Cancelled } else { BuildOutcome::Failed };
                record::Ending { outcome, error: Some(report.message), ..record::Ending::default() }
            }
        };
        if let Err(error) = engine.keep_record(recording, ending) {
            // The build is what was asked for, and it ended as it did: that its record is lost is worth a line.
            let message = format!("`kiln history` will not know this build: {error}");
            screen.event(Event::Notice { task: None, message });
        }
    }

    /// `BUILDKIT_MULTI_PLATFORM`, whose truth BuildKit reads as Go does.
    fn wants_index(&self) -> bool {
        let given = self.prepared.request.build_args.get("BUILDKIT_MULTI_PLATFORM");
        given.is_some_and(|v| carry::is_true(v))
    }

    /// Whether something in the store was to blame for `error` and is gone now, so that another try can make it again.
    fn mended(&self, engine: &Engine, error: &CliError, screen: &Screen) -> bool {
        let Some(recording) = &self.prepared.request.recording else { return false };
        let Some(suspect) = error.damage() else { return false };
        // If it cannot be mended, the error itself says what is wrong.
        let removed = engine.mend(&recording.record(), suspect).unwrap_or_default();
        for path in &removed {
            let message = format!("{}: it was damaged and is removed; it is made again", path.display());
            screen.event(Event::Notice { task: None, message });
        }
        recording.begin_again();
        !removed.is_empty()
    }

    /// `--cache-to`
    fn keep_caches(&self, maker: &Maker<'_>) -> Result<(), CliError> {
        let keeping = carry::Keeping {
            args: self.args,
            client: self.client,
            dockerfile: &self.prepared.source.name,
            image: self.outputs.iter().find_map(Output::image),
            threads: self.prepared.request.jobs,
        };
        keeping.write((maker.engine, maker.built), maker.screen, maker.cancel)
    }

    fn with_source(&self, error: BuildError) -> CliError {
        let lacks_ids = self.rung == Rung::SingleId && was_refused(&error);
        let dockerfile = Box::new(self.prepared.source.clone());
        CliError::Build { error: Box::new(error), dockerfile, lacks_ids }
    }

    fn names(&self, spec: &ImageSpec) -> Result<Vec<Reference>, CliError> {
        names(self.args, spec)
    }

    fn deliver(&self, maker: &Maker<'_>, client: &Client) -> Result<Done, CliError> {
        let mut done = Done { image: None, names: request::names(&self.args.tags)? };
        let mut made: Vec<(ImageSpec, ComposedImage)> = Vec::new();
        for output in self.outputs {
            if !matches!(output, Output::Image { push: true, .. }) {
                maker.complete()?;
            }
            match output {
                Output::Local { dest, delete, split } => rootfs::directory(maker, dest, *delete, *split)?,
                Output::Tar { dest, split } => rootfs::tar(maker, dest, *split)?,
                _ => {}
            }
            let Some(spec) = output.image() else { continue };
            let image = self.image(maker, spec, &mut made)?;
            let names = self.names(spec)?;
            self.image_to(output, (maker, client), &image, &names)?;
            done = Done { image: Some(image), names };
        }
        let asked = self.args.iidfile.is_some() || self.args.quiet || self.args.metadata_file.is_some();
        // Files alone have no id, and an image that nobody gets is not made for one.
        if self.outputs.is_empty() && asked {
            done.image = Some(self.image(maker, &ImageSpec::default(), &mut made)?);
        }
        Ok(done)
    }

    /// The same image for outputs that want the same.
    fn image(
        &self,
        maker: &Maker<'_>,
        spec: &ImageSpec,
        made: &mut Vec<(ImageSpec, ComposedImage)>,
    ) -> Result<ComposedImage, CliError> {
        let form = ImageSpec { names: Vec::new(), ..spec.clone() };
        if let Some((_, image)) = made.iter().find(|(known, _)| *known == form) {
            return Ok(image.clone());
        }
        let image = maker.make(&form, &layer_form(&form))?;
        made.push((form, image.clone()));
        Ok(image)
    }

    fn image_to(
        &self,
        output: &Output,
        (maker, client): (&Maker<'_>, &Client),
        image: &ComposedImage,
        names: &[Reference],
    ) -> Result<(), CliError> {
        match output {
            Output::Image { push, by_digest, .. } => {
                let store = maker.engine.store().content();
                let entries: Vec<EntryName> = names.iter().map(EntryName::stored).collect();
                // What is named in the store can be had from it; an image whose base stayed where it was cannot.
                if !entries.is_empty() && maker.is_complete() {
                    store.layout().put(&entries, &image.root)?;
                }
                if *push {
                    let bases = &self.prepared.bases;
                    let destination = push::Destination { names, by_digest: *by_digest, bases };
                    let from = push::Origin { store, fetch: &|| maker.complete() };
                    push::push(client, (&from, &image.root), &destination, maker.screen)?;
                }
                Ok(())
            }
            Output::Load { .. } => load::load(maker, image, names),
            _ => maker.write(output, image, names),
        }
    }
}

fn names(args: &BuildArgs, spec: &ImageSpec) -> Result<Vec<Reference>, CliError> {
    request::names(args.tags.iter().chain(&spec.names))
}

/// Registries that need not prove who they are; `registry.insecure=true` is about those of that output's names, or of that cache.
fn insecure(args: &BuildArgs, outputs: &[Output]) -> Result<Vec<String>, CliError> {
    let mut hosts = args.insecure_registry.clone();
    hosts.extend(carry::insecure(args)?);
    for output in outputs {
        if let Output::Image { insecure: true, image, .. } = output {
            hosts.extend(names(args, image)?.into_iter().map(|name| name.registry));
        }
    }
    Ok(hosts)
}

/// The files about the image, and the last words.
fn finish(args: &BuildArgs, outputs: &[Output], done: Done, screen: &Screen) -> Result<(), CliError> {
    let id = done.image.as_ref().map(metadata::id);
    if let Some(path) = &args.iidfile {
        target::write_whole(path, id.map(|id| id.to_string()).unwrap_or_default().as_bytes())?;
    }
    if let Some(path) = &args.metadata_file {
        let value = metadata::metadata(done.image.as_ref(), &done.names);
        let text = serde_json::to_string_pretty(&value).map_err(std::io::Error::from)?;
        target::write_whole(path, text.as_bytes())?;
    }
    let names: Vec<String> = done.names.iter().map(Reference::familiar).collect();
    screen.ending(&Ending::Built {
        digest: done.image.as_ref().map(|i| i.root.digest.to_string()),
        names: names.clone(),
    });
    if args.quiet {
        return match id {
            Some(id) if !outputs.iter().any(Output::to_stdout) => answer(&format!("{id}\n")),
            _ => Ok(()),
        };
    }
    if screen.is_json() || args.progress == Progress::Quiet {
        return Ok(());
    }
    write_stderr(&match id {
        Some(id) if names.is_empty() => format!("image {id}\n"),
        Some(id) => format!("image {id} as {}\n", names.join(", ")),
        None if outputs.is_empty() => {
            "built; without -t NAME or --output the result stays in the build cache\n".to_owned()
        }
        None => String::new(),
    });
    Ok(())
}
