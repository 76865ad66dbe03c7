//! From what was built to what leaves the store.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kiln_layer::flatten::{Flattened, flatten};
use kiln_layer::index::{Entry, Mtime};
use kiln_layer::pack::{Content, Entries, PackEntry, PackError, Take, pack_telling, write_tree};
use kiln_layer::path::LayerPath;
use kiln_layer::stop::{Stop, was_stopped};
use kiln_layer::unpack::{Form, Owners, Unpacker};
use kiln_layer::view::{View, implicit_directory};
use kiln_oci::compose::{ImageParts, config_bytes};
use kiln_oci::config::ImageConfig;
use kiln_oci::descriptor::Descriptor;

use crate::engine::{Built, Engine};
use crate::error::{BuildError, BuildErrorKind};
use crate::event::{Sink, TaskKind, TaskOutcome};
use crate::layers::Layer;
use crate::layers::forms::{self, Packing};
use crate::layers::kept::Blob;
use crate::layers::pull::Puller;
use crate::offered::{self, inline};
use crate::report::Reporter;
use crate::request::LayerForm;
use crate::schedule::side_by_side;

impl Engine {
    /// Makes the blobs of all layers in `form` that are not in the store yet, several at once, and completes the configuration. Layers
    /// of the base image that nobody needed so far are fetched. Annotations are the caller's to add.
    pub fn parts(
        &self,
        built: &Built,
        form: &LayerForm,
        sink: &dyn Sink,
        cancel: &AtomicBool,
    ) -> Result<ImageParts, BuildError> {
        self.complete(built, sink, cancel)?;
        self.known_parts(built, form, sink, cancel)
    }

    /// [`Engine::parts`] for an image that goes to where its base may be already: the base's layers are named, but need not be in the
    /// store. [`Engine::complete`] fetches them.
    pub fn known_parts(
        &self,
        built: &Built,
        form: &LayerForm,
        sink: &dyn Sink,
        cancel: &AtomicBool,
    ) -> Result<ImageParts, BuildError> {
        let reporter = Reporter::new(sink, cancel);
        let _lease = self.store.lease()?;
        let form = LayerForm { clamp: built.source_date_epoch, ..*form };
        let blobs = self.blobs(built, &form, &reporter)?;
        let mut config = built.config.clone();
        config.rootfs.diff_ids = blobs.iter().map(|b| b.diff_id).collect();
        self.inline(built, &form, (blobs.len(), &mut config))?;
        Ok(ImageParts {
            platform: built.platform.clone(),
            config: config_bytes(&config),
            layers: blobs.into_iter().map(|b| b.descriptor).collect(),
            manifest_annotations: BTreeMap::new(),
            descriptor_annotations: BTreeMap::new(),
        })
    }

    /// Records of steps in the configuration: its own if they are wanted, the base image's never.
    fn inline(
        &self,
        built: &Built,
        form: &LayerForm,
        (count, config): (usize, &mut ImageConfig),
    ) -> Result<(), BuildErrorKind> {
        inline::forget(config);
        if !built.inline {
            return Ok(());
        }
        let above = built.rootfs.parts().1;
        let below = vec![None; count.saturating_sub(above.len())];
        let mut steps = Vec::new();
        for used in &built.used {
            if let Some(step) = offered::carried(&self.store, &used.key, &used.chain)? {
                steps.push((used.key, step, used.layer.as_ref()));
            }
        }
        let layers = below.into_iter().chain(above.iter().map(|layer| Some(layer.as_ref()))).collect();
        let form = |layer: &Layer| forms::form_name(&forms::for_layer(layer, form));
        inline::write(&self.store, &inline::Parts { layers, steps, form: &form }, config)
    }

    /// Fetches the layers of the base image that are not in the store: a build that passed them on untouched did without.
    pub fn complete(&self, built: &Built, sink: &dyn Sink, cancel: &AtomicBool) -> Result<(), BuildError> {
        let reporter = Reporter::new(sink, cancel);
        let _lease = self.store.lease()?;
        built.rootfs.layers(&Puller::new(&self.store, &reporter))?;
        Ok(())
    }

    /// Whether the store has all layers of the base image.
    pub fn is_complete(&self, built: &Built) -> bool {
        let here = |d: &Descriptor| self.store.content().size_of(&d.digest) == Some(d.size);
        built.rootfs.parts().0.iter().all(|pulled| here(&pulled.descriptor))
    }

    fn blobs(
        &self,
        built: &Built,
        form: &LayerForm,
        reporter: &Reporter<'_>,
    ) -> Result<Vec<Blob>, BuildErrorKind> {
        let (base, above) = built.rootfs.parts();
        // As it was pulled, unless the form forces something else upon it.
        let as_pulled = base.iter().map(|pulled| forms::as_pulled(pulled, form)).collect::<Option<Vec<_>>>();
        let (mut ready, layers) = match as_pulled {
            Some(blobs) => (blobs, above.to_vec()),
            None => (Vec::new(), built.rootfs.layers(&Puller::new(&self.store, reporter))?),
        };
        ready.extend(self.made(&layers, form, reporter)?);
        Ok(ready)
    }

    fn made(
        &self,
        layers: &[Arc<Layer>],
        form: &LayerForm,
        reporter: &Reporter<'_>,
    ) -> Result<Vec<Blob>, BuildErrorKind> {
        let mut ready = Vec::new();
        for layer in layers {
            ready.push(forms::known_blob(&self.store, layer, form)?);
        }
        let missing: Vec<usize> = (0..layers.len()).filter(|i| ready[*i].is_none()).collect();
        if !missing.is_empty() {
            let name = format!("compress {} of {} layers", missing.len(), layers.len());
            let made = reporter.during(TaskKind::Export, name, None, |task| {
                let packing = Packing { threads: 2, reporter, task };
                // Blocks of one layer are compressed side by side already; two layers at a time hide the reading.
                let made = side_by_side(2, missing.len(), |i| {
                    reporter.check()?;
                    forms::ensure_blob(&self.store, &layers[missing[i]], form, &packing)
                });
                Ok((made?, TaskOutcome::Done))
            })?;
            for (i, blob) in missing.into_iter().zip(made) {
                ready[i] = Some(blob);
            }
        }
        Ok(ready.into_iter().flatten().collect())
    }

    /// Whoever wants to watch layers come has called [`Engine::complete`] before.
    fn view(&self, built: &Built) -> Result<View, BuildErrorKind> {
        let never = AtomicBool::new(false);
        let reporter = Reporter::new(&|_| {}, &never);
        built.rootfs.view(&Puller::new(&self.store, &reporter))
    }

    /// Writes the built root filesystem into the empty directory `dest` (`--output type=local`). As with buildx, everything
    /// belongs to who runs kiln, and everything has the time `SOURCE_DATE_EPOCH` if the build has one.
    pub fn write_rootfs(&self, built: &Built, dest: &Path, cancel: &AtomicBool) -> Result<(), BuildError> {
        let _lease = self.store.lease()?;
        let entries = self.files(built)?;
        let unpacker = Unpacker::new(dest, Form::Overlay, Owners::Mine).map_err(BuildErrorKind::from)?;
        let written = write_tree(&entries, &[], unpacker.until(Stop::when(cancel)));
        Ok(written.map(drop).map_err(interrupted)?)
    }

    /// Writes the built root filesystem to `out` as a tar (`--output type=tar`), with times as [`Engine::write_rootfs`] has them.
    pub fn write_rootfs_tar(
        &self,
        built: &Built,
        out: &mut dyn Write,
        cancel: &AtomicBool,
    ) -> Result<(), BuildError> {
        let _lease = self.store.lease()?;
        let out = Stop::when(cancel).over(out);
        let files = self.files(built)?;
        Ok(pack_telling(&files, &[], (out, None), &mut |_, _| Ok(())).map(drop).map_err(interrupted)?)
    }

    /// As [`Engine::write_rootfs_tar`] for several platforms: each in a folder of the archive.
    pub fn write_rootfs_folders(
        &self,
        parts: &[(String, &Built)],
        out: &mut dyn Write,
        cancel: &AtomicBool,
    ) -> Result<(), BuildError> {
        let _lease = self.store.lease()?;
        let mut all = Vec::new();
        for (folder, built) in parts {
            let folder = LayerPath::clean(folder);
            let secs = built.source_date_epoch.unwrap_or_default();
            let entry = Entry { mtime: Mtime { secs, nanos: 0 }, ..implicit_directory(folder.clone()) };
            all.push((entry, self.files(built)?.in_directory(folder)));
        }
        all.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        let out = Stop::when(cancel).over(out);
        Ok(pack_telling(&Folders(all), &[], (out, None), &mut |_, _| Ok(()))
            .map(drop)
            .map_err(interrupted)?)
    }

    fn files(&self, built: &Built) -> Result<Flattened, BuildErrorKind> {
        let time = built.source_date_epoch.map(|secs| Mtime { secs, nanos: 0 });
        Ok(flatten(&self.view(built)?)?.at(time))
    }
}

/// Directories, sorted, and what is in each.
struct Folders(Vec<(Entry, Flattened)>);

impl Entries for Folders {
    fn count(&self) -> Result<usize, PackError> {
        self.0.iter().map(|(_, files)| Ok(1 + files.count()?)).sum()
    }

    fn each(&self, take: &mut Take<'_>) -> Result<(), PackError> {
        // `a-x` comes after `a` and before what is in it.
        let mut waiting: BTreeMap<LayerPath, &Flattened> = BTreeMap::new();
        for (folder, files) in &self.0 {
            while let Some(first) = waiting.first_entry().filter(|first| *first.key() < folder.path) {
                first.remove().each(take)?;
            }
            take(&PackEntry { entry: folder.clone(), content: Content::None })?;
            waiting.insert(folder.path.join([0]), files);
        }
        waiting.into_values().try_for_each(|files| files.each(take))
    }
}

/// What an export that ended with `error` failed of: nothing but Ctrl-C stops one.
fn interrupted(error: PackError) -> BuildErrorKind {
    if was_stopped(&error) { BuildErrorKind::Interrupted } else { error.into() }
}
