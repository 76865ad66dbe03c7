//! What caches elsewhere hold (`--cache-from`): records and layers of steps, as [`crate::carry`] writes them.
//!
//! A cache is an artifact ([`kiln_oci::artifact`]): its configuration holds the records, its layers are the layers' blobs and
//! indexes. Opening one reads the records only; [`crate::layers::import`] fetches a layer's forms when a step wants them.

pub(crate) mod records;

use std::sync::Arc;

use kiln_oci::artifact::{ArtifactError, ArtifactPlace, read_small};
use kiln_oci::manifest::Manifest;
use kiln_oci::source::SourceErrorKind;

use records::{CONFIG, Records};

use crate::event::{TaskKind, TaskOutcome};
use crate::report::Reporter;
use crate::store::{Offer, Store};

/// Reads what the caches at `places` offer. One that is not there or makes no sense is told of and left out: a cache only ever
/// saves work.
pub(crate) fn open(store: &Store, places: &[Arc<dyn ArtifactPlace>], reporter: &Reporter<'_>) {
    let imports = store.imports();
    imports.clear();
    for place in places {
        let task = reporter.announce(TaskKind::Resolve, format!("read the cache in {}", place.name()), None);
        reporter.started(task);
        match read(place.as_ref()) {
            Ok(Some(records)) => {
                offer(store, place, records);
                reporter.finished(task, TaskOutcome::Done);
            }
            Ok(None) => {
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

/// The records that are at `place` now.
fn read(place: &dyn ArtifactPlace) -> Result<Option<Records>, ArtifactError> {
    match place.manifest()? {
        Some(manifest) => read_records(place, &manifest).map(Some),
        None => Ok(None),
    }
}

/// The records of a cache whose manifest is known.
pub(crate) fn read_records(place: &dyn ArtifactPlace, manifest: &Manifest) -> Result<Records, ArtifactError> {
    let malformed = |detail: String| {
        let kind = SourceErrorKind::Malformed { what: "the cache".to_owned(), detail };
        ArtifactError { place: place.name(), kind }
    };
    if manifest.config.media_type != CONFIG {
        return Err(malformed(format!("it is something else ({:?})", manifest.config.media_type)));
    }
    let bytes = read_small(place, &manifest.config)?;
    Records::parse(&bytes).map_err(malformed)
}

fn offer(store: &Store, place: &Arc<dyn ArtifactPlace>, records: Records) {
    let imports = store.imports();
    for (key, step) in records.steps {
        let Some(named) = step.named() else { continue };
        let Some(layer) = records.layers.get(&named.layer) else { continue };
        let offer = Offer {
            place: place.clone(),
            content: named.content,
            index: Some(layer.index.clone()),
            blob: layer.blob.clone(),
        };
        imports.add_layer(named.layer, offer);
        imports.add_step(key, step.record);
        if let Some((chain, record)) = step.chain {
            imports.add_chain(chain, record);
        }
    }
}
