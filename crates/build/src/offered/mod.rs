//! What caches elsewhere hold (`--cache-from`): records and layers of steps, as [`crate::carry`] writes them.
//!
//! A cache is an artifact ([`kiln_oci::artifact`]): its configuration holds the records, its layers are the layers' blobs and
//! indexes. Opening one reads the records only; [`crate::layers::import`] fetches a layer's forms when a step wants them.

pub(crate) mod inline;
pub(crate) mod records;

use std::sync::Arc;

use kiln_oci::artifact::{ArtifactError, ArtifactPlace, read_small};
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_oci::manifest::Manifest;
use kiln_oci::media_type;
use kiln_oci::source::SourceErrorKind;

use records::{CONFIG, CarriedStep, Records};
use serde_json::Value;

use crate::error::BuildErrorKind;
use crate::event::{TaskKind, TaskOutcome};
use crate::report::Reporter;
use crate::store::{Offer, OfferedBlob, Store, read_json};

/// What is wrong with an image that somebody took for a cache.
const BARE: &str = "it is an image that carries none; build it with --cache-to type=inline";

/// Reads what the caches at `places` offer. One that is not there or makes no sense is told of and left out: a cache only ever
/// saves work.
pub(crate) fn open(store: &Store, places: &[Arc<dyn ArtifactPlace>], reporter: &Reporter<'_>) {
    let imports = store.imports();
    imports.clear();
    for place in places {
        let task = reporter.announce(TaskKind::Resolve, format!("read the cache in {}", place.name()), None);
        reporter.started(task);
        match read(store, place) {
            Ok(true) => reporter.finished(task, TaskOutcome::Done),
            Ok(false) => {
                let message = format!("{}: there is no cache yet; building without it", place.name());
                reporter.notice(Some(task), message);
                reporter.finished(task, TaskOutcome::Done);
            }
            Err(error) => {
                reporter.notice(Some(task), format!("{error}; building without this cache"));
                reporter.finished(task, TaskOutcome::Failed);
            }
        }
    }
}

/// Takes in what is at `place` now; whether there is anything.
fn read(store: &Store, place: &Arc<dyn ArtifactPlace>) -> Result<bool, ArtifactError> {
    let manifests = place.manifests()?;
    let mut bare = None;
    let mut found = false;
    for manifest in &manifests {
        match media_type::is_config(&manifest.config.media_type) {
            false => offer(store, place, read_records(place.as_ref(), manifest)?),
            true if in_image(store, place, manifest)? => {}
            true => {
                bare = Some(malformed(place.as_ref(), BARE.to_owned()));
                continue;
            }
        }
        found = true;
    }
    match bare {
        Some(error) if !found => Err(error),
        _ => Ok(found),
    }
}

/// Takes in what an image carries; whether it carries anything.
fn in_image(
    store: &Store,
    place: &Arc<dyn ArtifactPlace>,
    manifest: &Manifest,
) -> Result<bool, ArtifactError> {
    let config = read_small(place.as_ref(), &manifest.config)?;
    let read = inline::read(place, manifest, &config).map_err(|e| malformed(place.as_ref(), e))?;
    let Some((place, steps)) = read else { return Ok(false) };
    for found in steps {
        add(store, &place, (found.key, found.step), (found.index, found.blob));
    }
    Ok(true)
}

fn malformed(place: &dyn ArtifactPlace, detail: String) -> ArtifactError {
    let kind = SourceErrorKind::Malformed { what: "the cache".to_owned(), detail };
    ArtifactError { place: place.name(), kind }
}

/// The records of a cache whose manifest is known.
pub(crate) fn read_records(place: &dyn ArtifactPlace, manifest: &Manifest) -> Result<Records, ArtifactError> {
    if manifest.config.media_type != CONFIG {
        return Err(malformed(place, format!("it is something else ({:?})", manifest.config.media_type)));
    }
    let bytes = read_small(place, &manifest.config)?;
    Records::parse(&bytes).map_err(|detail| malformed(place, detail))
}

fn offer(store: &Store, place: &Arc<dyn ArtifactPlace>, records: Records) {
    for (blob, base) in records.bases {
        store.imports().add_base(blob, place, base);
    }
    for (key, step) in records.steps {
        let Some(named) = step.named() else { continue };
        let Some(layer) = records.layers.get(&named.layer) else { continue };
        add(store, place, (key, step), (Some(layer.index.clone()), layer.blob.clone()));
    }
}

fn add(
    store: &Store,
    place: &Arc<dyn ArtifactPlace>,
    (key, step): (Digest, CarriedStep),
    (index, blob): (Option<Descriptor>, Option<OfferedBlob>),
) {
    let imports = store.imports();
    let Some(named) = step.named() else { return };
    imports.add_layer(named.layer, Offer { place: place.clone(), content: named.content, index, blob });
    imports.add_step(key, step.record);
    if let Some((chain, record)) = step.chain {
        imports.add_chain(chain, record);
    }
}

/// What is recorded of the step with this key and chain, without what is of this machine only; `None` if it is not there any more.
pub(crate) fn carried(
    store: &Store,
    key: &Digest,
    chain: &Digest,
) -> Result<Option<CarriedStep>, BuildErrorKind> {
    let Some(mut record) = read_json::<Value>(&store.step_path(key))? else { return Ok(None) };
    // Where its output is kept.
    record.as_object_mut().map(|fields| fields.remove("log"));
    // One that came out of a cache itself stays there until somebody asks.
    let followed = read_json::<Value>(&store.chain_path(chain))?.or_else(|| store.imports().chain(chain));
    Ok(Some(CarriedStep { record, chain: followed.map(|record| (*chain, record)) }))
}
