//! Sends an image of the store to a registry, with a bar for each blob.

use std::collections::BTreeMap;
use std::io::{self, Read};

use kiln_build::event::{Event, Sink, TaskId, TaskKind};
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_oci::graph::Graph;
use kiln_oci::media_type::{is_index, is_manifest};
use kiln_oci::reference::Reference;
use kiln_oci::store::ContentStore;
use kiln_registry::{Client, Failure, Push, PushBlob, PushEvent, RawManifest};

use crate::errors::CliError;
use crate::output::image::interrupted;
use crate::render::Screen;

/// Where to.
pub(crate) struct Destination<'a> {
    /// The names that the image gets.
    pub(crate) names: &'a [Reference],
    /// Without any tag.
    pub(crate) by_digest: bool,
    /// Images whose repositories may have the layers already: the registry is asked to take them from there.
    pub(crate) bases: &'a [Reference],
}

/// Where the image is.
pub(crate) struct Origin<'a> {
    /// Its manifests and most of its blobs.
    pub(crate) store: &'a ContentStore,
    /// Gets the blobs that are not in the store.
    pub(crate) fetch: &'a (dyn Fn() -> Result<(), CliError> + Sync),
}

impl Origin<'_> {
    fn open(&self, blob: &Descriptor) -> io::Result<Box<dyn Read>> {
        if !self.store.contains(&blob.digest) {
            (self.fetch)().map_err(io::Error::other)?;
        }
        Ok(Box::new(self.store.open_blob(&blob.digest).map_err(io::Error::other)?))
    }
}

/// Pushes `root` under each name, once for each repository.
pub(crate) fn push(
    client: &Client,
    (origin, root): (&Origin<'_>, &Descriptor),
    destination: &Destination<'_>,
    screen: &Screen,
) -> Result<(), CliError> {
    let Destination { names, by_digest, bases } = *destination;
    let load = Load::of(origin.store, root)?;
    let mut repositories: BTreeMap<String, (&Reference, Vec<String>)> = BTreeMap::new();
    for name in names {
        let (_, tags) = repositories.entry(name.name()).or_insert_with(|| (name, Vec::new()));
        tags.extend(name.tag.clone().filter(|_| !by_digest));
    }
    for (target, tags) in repositories.values() {
        let load = load.mounting(target, bases);
        screen.during(TaskKind::Push, format!("push {}", target.familiar()), |task| {
            load.send(client, origin, (*target, tags), (screen, task))
        })?;
    }
    Ok(())
}

/// What is sent.
#[derive(Clone)]
struct Load {
    blobs: Vec<PushBlob>,
    manifests: Vec<RawManifest>,
    root: RawManifest,
}

impl Load {
    fn of(store: &ContentStore, root: &Descriptor) -> Result<Self, CliError> {
        let graph = Graph::walk(store, root)?;
        let raw =
            |d: &Descriptor| Ok::<_, CliError>(RawManifest::new(&d.media_type, store.read_blob(&d.digest)?));
        let (mut blobs, mut manifests) = (Vec::new(), Vec::new());
        // Parents come first in the graph; the registry wants what they name before them.
        for descriptor in graph.blobs.iter().rev().filter(|d| d.digest != root.digest) {
            if is_manifest(&descriptor.media_type) || is_index(&descriptor.media_type) {
                manifests.push(raw(descriptor)?);
            } else {
                blobs.push(PushBlob { descriptor: descriptor.clone(), mount_from: Vec::new() });
            }
        }
        // The order of the layers again, for those who watch.
        blobs.reverse();
        Ok(Self { blobs, manifests, root: raw(root)? })
    }

    /// The same, blobs mounted from those `bases` that lie in `target`'s registry.
    fn mounting(&self, target: &Reference, bases: &[Reference]) -> Self {
        let near =
            bases.iter().filter(|b| b.registry == target.registry && b.repository != target.repository);
        let near: Vec<String> = near.map(|b| b.repository.clone()).collect();
        let mut load = self.clone();
        load.blobs.iter_mut().for_each(|blob| blob.mount_from.clone_from(&near));
        load
    }

    fn send(
        &self,
        client: &Client,
        origin: &Origin<'_>,
        (target, tags): (&Reference, &[String]),
        (screen, task): (&Screen, TaskId),
    ) -> Result<Digest, CliError> {
        let push = Push { target, tags, blobs: &self.blobs, manifests: &self.manifests, root: &self.root };
        let open = |blob: &Descriptor| origin.open(blob);
        let tell = |event: PushEvent<'_>| {
            let (blob, current) = match event {
                PushEvent::Sending { blob, sent } => (blob, sent),
                PushEvent::Exists { blob } | PushEvent::Mounted { blob, .. } | PushEvent::Sent { blob } => {
                    (blob, blob.size)
                }
                _ => return,
            };
            let item = blob.digest.to_string().chars().take(19).collect();
            screen.event(Event::Progress { task, item, current, total: Some(blob.size) });
        };
        client.push(&push, &open, &tell).map_err(|error| match *error.failure {
            Failure::Cancelled => interrupted(),
            _ => error.into(),
        })
    }
}
