//! Images: from what was built to manifests in the store, and from there into layouts and archives.

use std::sync::atomic::AtomicBool;

use kiln_build::engine::{Built, Engine};
use kiln_build::error::{BuildError, BuildErrorKind};
use kiln_build::event::TaskKind;
use kiln_build::request::LayerForm;
use kiln_oci::compose::{ComposeOptions, ComposedImage, ImageParts, compose};
use kiln_oci::export::{ArchiveSink, Export, ExportError, Placement};
use kiln_oci::media_type::Flavour;
use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;

use crate::args::annotation::{Annotation, Level};
use crate::args::output::{Dest, ImageSpec, Output};
use crate::errors::CliError;
use crate::output::target::Target;
use crate::render::Screen;

/// Where the parts come from.
pub(crate) struct Maker<'a> {
    /// The engine that built.
    pub(crate) engine: &'a Engine,
    /// What it built, one for each platform.
    pub(crate) built: &'a [Built],
    /// The screen.
    pub(crate) screen: &'a Screen,
    /// Whether there is to be an index even for one platform.
    pub(crate) index: bool,
    /// Set when it is to end.
    pub(crate) cancel: &'a AtomicBool,
}

impl Maker<'_> {
    /// Makes the image that `spec` describes: layers in their form, configuration, manifest, index. All of it is in the store
    /// afterwards, named by nothing yet; but layers of the base that nobody needed so far are still where they were, see
    /// [`Maker::complete`].
    pub(crate) fn make(&self, spec: &ImageSpec, form: &LayerForm) -> Result<ComposedImage, CliError> {
        let mut parts = Vec::new();
        for built in self.built {
            let mut one = self.engine.known_parts(built, form, self.screen, self.cancel)?;
            annotate(&mut one, &spec.annotations);
            parts.push(one);
        }
        let of = |level| pairs(&spec.annotations, level, None);
        let options = ComposeOptions {
            flavour: if spec.oci_mediatypes == Some(false) { Flavour::Docker } else { Flavour::Oci },
            index: self.index,
            index_annotations: of(Level::Index),
            index_descriptor_annotations: of(Level::IndexDescriptor),
        };
        Ok(compose(self.engine.store().content(), &parts, &options)?)
    }

    /// Fetches what of the base image's layers is not here: for everything but a push to where they are.
    pub(crate) fn complete(&self) -> Result<(), CliError> {
        let complete = |built| self.engine.complete(built, self.screen, self.cancel);
        Ok(self.built.iter().try_for_each(complete)?)
    }

    /// Whether nothing is left to [`Maker::complete`].
    pub(crate) fn is_complete(&self) -> bool {
        self.built.iter().all(|built| self.engine.is_complete(built))
    }

    /// Writes an image out as `output` says; a no-op for outputs of other kinds.
    pub(crate) fn write(
        &self,
        output: &Output,
        image: &ComposedImage,
        names: &[Reference],
    ) -> Result<(), CliError> {
        let export = Export {
            store: self.engine.store().content(),
            root: &image.root,
            names,
            cancel: Some(self.cancel),
        };
        match output {
            Output::OciDirectory { dest, .. } => {
                let place = dest.display().to_string();
                self.screen.during(TaskKind::Export, format!("export OCI layout to {place}"), |_| {
                    export.oci_directory(dest, Placement::Share).map_err(|e| failed(place.clone(), e))
                })
            }
            Output::OciArchive { dest, .. } => self.archive(dest, "OCI", |sink| export.oci_archive(sink)),
            Output::DockerArchive { dest, .. } => {
                let platform = self.built.first().map_or_else(Platform::host, |b| b.platform.clone());
                self.archive(dest, "Docker", |sink| export.docker_archive(sink, &platform))
            }
            Output::Image { .. } | Output::Load { .. } | Output::Local { .. } | Output::Tar { .. } => Ok(()),
        }
    }

    fn archive(
        &self,
        dest: &Dest,
        what: &str,
        write: impl FnOnce(ArchiveSink<'_>) -> Result<(), ExportError>,
    ) -> Result<(), CliError> {
        let place = place(dest);
        self.screen.during(TaskKind::Export, format!("export {what} archive to {place}"), |_| {
            let mut target = Target::open(dest)?;
            write(ArchiveSink::File(target.file())).map_err(|e| failed(place.clone(), e))?;
            target.finish()
        })
    }
}

/// What to call a destination.
pub(crate) fn place(dest: &Dest) -> String {
    match dest {
        Dest::Stdout => "standard output".to_owned(),
        Dest::Path(path) => path.display().to_string(),
    }
}

fn failed(dest: String, source: ExportError) -> CliError {
    match source {
        ExportError::Write(error) if error.kind() == std::io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
        ExportError::Interrupted => interrupted(),
        source => CliError::Export { dest, source },
    }
}

/// Ctrl-C, whatever was being done.
pub(super) fn interrupted() -> CliError {
    BuildError::from(BuildErrorKind::Interrupted).into()
}

fn annotate(parts: &mut ImageParts, annotations: &[Annotation]) {
    parts.manifest_annotations = pairs(annotations, Level::Manifest, Some(&parts.platform));
    parts.descriptor_annotations = pairs(annotations, Level::ManifestDescriptor, Some(&parts.platform));
}

fn pairs(
    annotations: &[Annotation],
    level: Level,
    platform: Option<&Platform>,
) -> std::collections::BTreeMap<String, String> {
    let fits = |a: &&Annotation| a.level == level && a.platform.as_ref().is_none_or(|p| Some(p) == platform);
    annotations.iter().filter(fits).map(|a| (a.key.clone(), a.value.clone())).collect()
}
