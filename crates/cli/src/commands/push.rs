//! `kiln push`

use kiln_oci::reference::Reference;

use crate::args::PushArgs;
use crate::args::build::Progress;
use crate::commands::{Failed, Setting, answer, names};
use crate::errors::CliError;
use crate::excerpt;
use crate::output::push::{Destination, Origin, push};
use crate::render::Screen;

pub(super) fn run(args: &PushArgs, setting: &Setting<'_>) -> Result<(), Failed> {
    let _lease = setting.lease()?;
    let store = setting.content()?;
    let root = names::find(&store, &args.image)?;
    let name = args.name.as_ref().unwrap_or(&args.image);
    let name: Reference = name.parse().map_err(CliError::from)?;
    let client = setting.client(&args.insecure_registry);
    let look = setting.environment.look();
    let progress = if args.quiet { Progress::Quiet } else { args.progress };
    let mut screen = Screen::new(progress, look);
    let destination = Destination { names: std::slice::from_ref(&name), by_digest: false, bases: &[] };
    // What has a name in the store is there with all of its blobs.
    let origin = Origin { store: &store, fetch: &|| Ok(()) };
    let pushed = push(&client, (&origin, &root), &destination, &screen);
    screen.finish();
    match pushed {
        Ok(()) => Ok(answer(&format!("{}@{}\n", name.name(), root.digest))?),
        Err(error) => Err(Failed::Told(excerpt::tell(&error, look, false))),
    }
}
