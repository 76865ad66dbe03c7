//! `kiln cache`: lists cache mounts and carries them from machine to machine.

use std::path::PathBuf;

use kiln_build::caches::{CachesExported, Which};
use kiln_build::engine::Engine;
use kiln_oci::artifact::{ArtifactPlace, LayoutPlace};
use kiln_registry::Client;
use kiln_sandbox::{StopSignal, install_signal_flag, termination_requested};

use crate::args::caches::{CacheArgs, CacheVerb, HowArgs};
use crate::args::{Format, ListArgs};
use crate::carry::RegistryPlace;
use crate::commands::{Failed, Setting, answer, answer_json, table};
use crate::errors::CliError;
use crate::excerpt;
use crate::interrupt::watched;
use crate::render::Screen;
use crate::render::text::bytes;
use crate::rootless;

/// The tag in a directory, where it does not meet that of `--cache-to`.
const TAG: &str = "caches";

pub(super) fn run(args: &CacheArgs, setting: &Setting<'_>) -> Result<(), Failed> {
    match &args.verb {
        CacheVerb::Ls(list) => Ok(list_them(*list, setting)?),
        CacheVerb::Export(args) => {
            let which = which(args.all, &args.ids);
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let work = Work { place: (&args.output, &args.reference), how: &args.how, setting };
            let done = work.run(|engine, place, screen| {
                engine.export_caches(&which, place, threads, (screen, termination_requested()))
            })?;
            Ok(exported(&done, args.how.list)?)
        }
        CacheVerb::Import(args) => {
            let which = if args.ids.is_empty() { Which::All } else { Which::Ids(args.ids.clone()) };
            let work = Work { place: (&args.input, &args.reference), how: &args.how, setting };
            let ids = work.run(|engine, place, screen| {
                engine.import_caches(&which, place, (screen, termination_requested()))
            })?;
            Ok(match args.how.list.format {
                Format::Json => answer_json(&ids),
                Format::Text => answer(&ids.iter().map(|id| format!("{}\n", shown(id))).collect::<String>()),
            }?)
        }
    }
}

fn which(all: bool, ids: &[String]) -> Which {
    if all { Which::All } else { Which::Ids(ids.to_vec()) }
}

/// An export or an import.
struct Work<'a> {
    /// A directory or a reference.
    place: (&'a Option<PathBuf>, &'a Option<String>),
    how: &'a HowArgs,
    setting: &'a Setting<'a>,
}

impl Work<'_> {
    fn run<T>(
        &self,
        work: impl FnOnce(&Engine, &dyn ArtifactPlace, &Screen) -> Result<T, kiln_build::error::BuildError>,
    ) -> Result<T, Failed> {
        // Files of caches belong to the ids of steps: an ordinary user begins anew in a namespace here.
        let rung = rootless::climb(&self.setting.store)?.rung;
        install_signal_flag(&StopSignal::ALL).map_err(CliError::from)?;
        let client = self.setting.client(&self.how.insecure_registry);
        let place = self.open(&client)?;
        let engine = self.setting.engine(client.clone(), rung)?;
        let look = self.setting.environment.look();
        let mut screen = Screen::new(self.how.progress, look);
        let stop = || client.cancel();
        let done = watched(&stop, termination_requested(), || work(&engine, place.as_ref(), &screen));
        screen.finish();
        done.map_err(|error| Failed::Told(excerpt::tell(&CliError::from(error), look, false)))
    }

    fn open(&self, client: &Client) -> Result<Box<dyn ArtifactPlace>, CliError> {
        Ok(match self.place {
            (Some(path), _) => Box::new(LayoutPlace::new(&std::path::absolute(path)?, TAG)),
            (None, reference) => {
                let text = reference.as_deref().unwrap_or_default();
                Box::new(RegistryPlace::new(client.clone(), text)?)
            }
        })
    }
}

fn exported(done: &CachesExported, list: ListArgs) -> Result<(), CliError> {
    if list.format == Format::Json {
        return answer_json(done);
    }
    let (count, all, new) = (done.ids.len(), done.chunks, done.new_chunks);
    let caches = if count == 1 { "cache" } else { "caches" };
    answer(&format!(
        "{count} {caches}, {} in {all} chunks; {new} of them new ({} compressed)\n{}\n",
        bytes(done.bytes),
        bytes(done.new_bytes),
        done.digest
    ))
}

fn list_them(list: ListArgs, setting: &Setting<'_>) -> Result<(), CliError> {
    let rung = rootless::climb(&setting.store)?.rung;
    let caches = setting.engine(setting.client(&[]), rung)?.caches()?;
    if list.format == Format::Json {
        return answer_json(&caches);
    }
    let heads = ["ID", "SIZE", "FILES"].map(str::to_owned).to_vec();
    let rows = caches.iter().map(|c| vec![shown(&c.id), bytes(c.bytes), c.files.to_string()]);
    answer(&table(&std::iter::once(heads).chain(rows).collect::<Vec<_>>()))
}

/// An id came out of a Dockerfile or an artifact: nothing in it may reach the terminal as a command.
fn shown(id: &str) -> String {
    if id.chars().any(char::is_control) { id.escape_debug().to_string() } else { id.to_owned() }
}
