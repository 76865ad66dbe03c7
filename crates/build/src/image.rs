//! From what was built to what leaves the store.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use kiln_layer::flatten::flatten;
use kiln_layer::index::Mtime;
use kiln_layer::pack::{PackEntry, pack, write_tree};
use kiln_layer::unpack::Owners;
use kiln_layer::view::View;
use kiln_oci::compose::{ImageParts, config_bytes};

use crate::engine::{Built, Engine};
use crate::error::{BuildError, BuildErrorKind};
use crate::event::{Sink, TaskKind, TaskOutcome};
use crate::layers::forms::{self, Blob, Packing};
use crate::report::Reporter;
use crate::request::LayerForm;
use crate::schedule::side_by_side;

impl Engine {
    /// Makes the blobs of all layers in `form` that are not in the store yet, several at once, and completes the configuration.
    /// Annotations are the caller's to add.
    pub fn parts(
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
        Ok(ImageParts {
            platform: built.platform.clone(),
            config: config_bytes(&config),
            layers: blobs.into_iter().map(|b| b.descriptor).collect(),
            manifest_annotations: BTreeMap::new(),
            descriptor_annotations: BTreeMap::new(),
        })
    }

    fn blobs(
        &self,
        built: &Built,
        form: &LayerForm,
        reporter: &Reporter<'_>,
    ) -> Result<Vec<Blob>, BuildErrorKind> {
        let layers = &built.rootfs.layers;
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

    /// Writes the built root filesystem into the empty directory `dest` (`--output type=local`). As with buildx, everything
    /// belongs to who runs kiln, and everything has the time `SOURCE_DATE_EPOCH` if the build has one.
    pub fn write_rootfs(&self, built: &Built, dest: &Path) -> Result<(), BuildError> {
        let _lease = self.store.lease()?;
        let entries = self.files(built)?;
        write_tree(&entries, &[], dest, Owners::Mine, &View::default()).map_err(BuildErrorKind::from)?;
        Ok(())
    }

    /// Writes the built root filesystem to `out` as a tar (`--output type=tar`), with times as [`Engine::write_rootfs`] has them.
    pub fn write_rootfs_tar(&self, built: &Built, out: &mut dyn Write) -> Result<(), BuildError> {
        let _lease = self.store.lease()?;
        pack(&self.files(built)?, &[], out, None).map_err(BuildErrorKind::from)?;
        Ok(())
    }

    fn files(&self, built: &Built) -> Result<Vec<PackEntry>, BuildErrorKind> {
        let mut entries = flatten(&built.rootfs.view(&self.store)?);
        if let Some(secs) = built.source_date_epoch {
            entries.iter_mut().for_each(|e| e.entry.mtime = Mtime { secs, nanos: 0 });
        }
        Ok(entries)
    }
}
