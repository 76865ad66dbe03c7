//! `--cache-to`: from what was built to an artifact that `offered` reads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_oci::artifact::{ArtifactBlob, ArtifactPlace, BlobBytes};
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::Digest;
use kiln_oci::manifest::Manifest;

use crate::engine::{Built, Engine};
use crate::error::{BuildError, BuildErrorKind};
use crate::event::Sink;
use crate::layers::forms::{self, Packing};
use crate::layers::{Layer, import};
use crate::offered::records::{ARTIFACT, CONFIG, CarriedLayer, CarriedStep, INDEX, Records};
use crate::offered::{carried, read_records};
use crate::report::Reporter;
use crate::request::LayerForm;
use crate::store::{OfferedBase, OfferedBlob, Store};

/// How a cache is written.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// What was built: records of an earlier build of the same are replaced, those of others stay.
    pub build: String,
    /// `mode=max`: the layers of all steps; else those of the result, and of the others only what is in them.
    pub all: bool,
    /// The form of the layers.
    pub form: LayerForm,
    /// Blocks that are compressed at once.
    pub threads: usize,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Exported {
    /// The artifact's manifest.
    pub digest: Digest,
    /// Steps of this build.
    pub steps: usize,
}

impl Engine {
    /// Writes the records and layers of `built` to `place`. What is there of other builds stays; what nothing there refers to any
    /// more goes, where the place allows that.
    ///
    /// # Errors
    /// If the place refuses. A layer that cannot be had any more is left out and told of.
    pub fn export_cache(
        &self,
        built: &[Built],
        place: &dyn ArtifactPlace,
        options: &CacheOptions,
        (sink, cancel): (&dyn Sink, &AtomicBool),
    ) -> Result<Exported, BuildError> {
        let reporter = Reporter::new(sink, cancel);
        let _lease = self.store.lease()?;
        let spool = self.store.temporary("indexes-").map_err(BuildErrorKind::Io)?;
        let mut export = Export {
            store: &self.store,
            spool: spool.path(),
            place,
            options,
            reporter: &reporter,
            steps: BTreeMap::new(),
            layers: BTreeMap::new(),
            bases: BTreeMap::new(),
            blobs: HashMap::new(),
        };
        for one in built {
            export.add(one)?;
        }
        Ok(export.publish()?)
    }
}

/// An artifact in the making.
struct Export<'a> {
    store: &'a Store,
    /// Where large indexes wait.
    spool: &'a Path,
    place: &'a dyn ArtifactPlace,
    options: &'a CacheOptions,
    reporter: &'a Reporter<'a>,
    steps: BTreeMap<Digest, CarriedStep>,
    layers: BTreeMap<Digest, CarriedLayer>,
    bases: BTreeMap<Digest, OfferedBase>,
    blobs: HashMap<Digest, ArtifactBlob>,
}

impl Export<'_> {
    fn add(&mut self, built: &Built) -> Result<(), BuildErrorKind> {
        let result: HashSet<Digest> = built.rootfs.parts().1.iter().map(|layer| layer.id).collect();
        for step in &built.used {
            self.reporter.check()?;
            let Some(carried) = carried(self.store, &step.key, &step.chain)? else { continue };
            let wanted = self.options.all || result.contains(&step.layer.id);
            match self.layer(&step.layer, wanted) {
                Ok(()) => {}
                Err(BuildErrorKind::Lost { reason }) => {
                    self.reporter.notice(None, format!("a step is left out of the cache: {reason}"));
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.steps.insert(step.key, carried);
        }
        for layer in &built.bases {
            self.base(layer)?;
        }
        Ok(())
    }

    fn layer(&mut self, layer: &Arc<Layer>, wanted: bool) -> Result<(), BuildErrorKind> {
        if self.layers.get(&layer.id).is_some_and(|known| known.blob.is_some() || !wanted) {
            return Ok(());
        }
        let here = forms::has_bytes(self.store, &layer.id)?;
        let offers = self.store.imports().of_layer(&layer.id);
        // What the place has already is not fetched from elsewhere to be brought there.
        let known = offers.iter().find(|o| {
            let blob = o.blob.as_ref().is_some_and(|b| self.place.has(&b.descriptor));
            o.index.as_ref().is_some_and(|i| self.place.has(i)) && (blob || !wanted)
        });
        if let (Some(offer), false) = (known, here)
            && let Some(index) = offer.index.clone()
        {
            let blob = offer.blob.clone();
            self.layers.insert(layer.id, CarriedLayer { index, blob });
            return Ok(());
        }
        let index = self.index(layer)?;
        let blob = if wanted { Some(self.blob(layer)?) } else { None };
        self.layers.insert(layer.id, CarriedLayer { index, blob });
        Ok(())
    }

    /// What is in a layer of a base image: whoever finds every step in the cache needs no more of it.
    fn base(&mut self, layer: &Layer) -> Result<(), BuildErrorKind> {
        let Some(pulled) = &layer.pulled else { return Ok(()) };
        if self.bases.contains_key(&pulled.descriptor.digest) {
            return Ok(());
        }
        let offered = self.store.imports().base(&pulled.descriptor.digest).map(|told| told.base);
        let there = offered.filter(|base| base.layer == layer.id && self.place.has(&base.index));
        let base = match there {
            Some(base) => base,
            None => OfferedBase {
                layer: layer.id,
                content: layer.content,
                diff_id: pulled.diff_id,
                index: self.index(layer)?,
            },
        };
        self.bases.insert(pulled.descriptor.digest, base);
        Ok(())
    }

    fn index(&mut self, layer: &Layer) -> Result<Descriptor, BuildErrorKind> {
        let (descriptor, bytes) = import::stored_index(&*layer.index(self.store)?, INDEX, self.spool)?;
        self.bring(&descriptor, bytes);
        Ok(descriptor)
    }

    fn blob(&mut self, layer: &Layer) -> Result<OfferedBlob, BuildErrorKind> {
        let task = crate::event::TaskId(0);
        let packing = Packing { threads: self.options.threads, reporter: self.reporter, task };
        let form = &self.options.form;
        let blob = forms::ensure_blob(self.store, layer, form, &packing)?;
        self.bring(&blob.descriptor, BlobBytes::File(self.store.content().path_of(&blob.descriptor.digest)));
        Ok(OfferedBlob { descriptor: blob.descriptor, diff_id: blob.diff_id, form: forms::form_name(form) })
    }

    fn bring(&mut self, descriptor: &Descriptor, bytes: BlobBytes) {
        let anew = self.store.imports().is_suspect(&descriptor.digest);
        let blob = ArtifactBlob { descriptor: descriptor.clone(), bytes, anew };
        self.blobs.entry(descriptor.digest).or_insert(blob);
    }

    fn publish(self) -> Result<Exported, BuildErrorKind> {
        let mut blobs: Vec<ArtifactBlob> = self.blobs.into_values().collect();
        blobs.sort_by_key(|blob| blob.descriptor.digest);
        let steps = self.steps.len();
        let records = Records::of(&self.options.build, self.steps, self.layers, self.bases);
        let (place, reporter) = (self.place, self.reporter);
        let digest = place.publish(&blobs, &mut |earlier: Option<&Manifest>| {
            let earlier = earlier.map(|manifest| read_records(place, manifest));
            let records = match earlier {
                Some(Ok(earlier)) => records.clone().over(earlier),
                Some(Err(error)) => {
                    reporter.notice(None, format!("{error}; it is replaced"));
                    records.clone()
                }
                None => records.clone(),
            };
            let config = records.to_bytes();
            let descriptor = Descriptor::of(CONFIG, &config);
            Ok((Manifest::of_artifact(ARTIFACT, descriptor, records.blobs()), config))
        })?;
        Ok(Exported { digest, steps })
    }
}
