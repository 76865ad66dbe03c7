//! Base images: found once per build, pulled when a step needs their files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_oci::digest::Digest;
use kiln_oci::layout_source::LayoutSource;
use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;
use kiln_oci::source::{ImageSource, ResolvedImage, SourceError, SourceErrorKind};
use kiln_plan::Need;
use kiln_plan::model::{BaseKey, ImageOrigin};
use serde::{Deserialize, Serialize};

use crate::error::{At, BuildError, BuildErrorKind};
use crate::event::{TaskKind, TaskOutcome};
use crate::layers::Layer;
use crate::layers::base::Base;
use crate::layers::pull::Puller;
use crate::report::worst;
use crate::store::{note_use, read_json, write_json};

/// An image and where its layers are to be had.
type Found = (Arc<dyn ImageSource>, ResolvedImage);

/// All bases of a build.
pub(crate) struct Bases<'a> {
    puller: Puller<'a>,
    images: Arc<dyn ImageSource>,
    ask_registry: bool,
    /// What a reference last was is good enough.
    pub(crate) trusts_memory: bool,
    known: Mutex<HashMap<BaseKey, Arc<Base>>>,
}

/// What a reference last resolved to.
#[derive(Serialize, Deserialize)]
struct Remembered {
    manifest: Digest,
    root: Digest,
    media_type: String,
}

impl<'a> Bases<'a> {
    /// With `ask_registry` images of the store itself are passed over (`--pull`).
    pub(crate) fn new(puller: Puller<'a>, images: Arc<dyn ImageSource>, ask_registry: bool) -> Self {
        Self { puller, images, ask_registry, trusts_memory: false, known: Mutex::new(HashMap::new()) }
    }

    /// Finds an image: manifest and configuration, no layer.
    pub(crate) fn find(&self, key: &BaseKey) -> Result<Arc<Base>, BuildErrorKind> {
        if let Some(base) = lock(&self.known).get(key) {
            return Ok(base.clone());
        }
        let (source, image) = match &key.origin {
            ImageOrigin::Registry(name) => self.look_up(name, &key.platform)?,
            ImageOrigin::Layout(spec) => from_layout(spec, &key.platform)?,
        };
        let base = Arc::new(Base::new(source, image));
        Ok(lock(&self.known).entry(key.clone()).or_insert(base).clone())
    }

    /// Finds what all `needs` ask for, side by side: each costs a round trip to its registry. The first that fails ends the others.
    ///
    /// # Errors
    /// That of the first in the Dockerfile which failed by itself.
    pub(crate) fn find_all(&self, needs: &[Need]) -> Result<Vec<Arc<Base>>, BuildError> {
        let reporter = self.puller.reporter;
        let find = |need: &Need| {
            self.find(&need.key).map_err(|kind| {
                let kind = reporter.judged(kind);
                reporter.fail();
                self.abandon();
                let at = At { span: need.span, line: need.line, step: "FROM".to_owned() };
                BuildError::new(Some(at), kind)
            })
        };
        let found: Vec<Result<_, BuildError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = needs.iter().map(|need| scope.spawn(|| find(need))).collect();
            let stopped = |_| Err(BuildErrorKind::Cancelled.into());
            threads.into_iter().map(|t| t.join().unwrap_or_else(stopped)).collect()
        });
        let (mut bases, mut failed) = (Vec::new(), Vec::new());
        for one in found {
            match one {
                Ok(base) => bases.push(base),
                Err(error) => failed.push(error),
            }
        }
        worst(failed).map_or(Ok(bases), Err)
    }

    /// Commands will run on what `keys` name.
    pub(crate) fn want_trees<'k>(&self, keys: impl Iterator<Item = &'k BaseKey>) {
        let known = lock(&self.known);
        keys.filter_map(|key| known.get(key)).for_each(|base| base.want_trees());
    }

    /// What gets layers that are not in the store.
    pub(crate) fn puller(&self) -> &Puller<'a> {
        &self.puller
    }

    /// The build has failed: what still waits for a registry is to end.
    pub(crate) fn abandon(&self) {
        self.images.abandon();
    }

    /// Another attempt begins, perhaps after a failure that was made good.
    pub(crate) fn resume(&self) {
        self.images.resume();
        lock(&self.known).values().for_each(|base| base.forget_outline());
    }

    /// What is known of the layers of all images, each once.
    pub(crate) fn told(&self) -> Vec<Arc<Layer>> {
        let mut all: Vec<_> = lock(&self.known).values().flat_map(|base| base.told()).collect();
        all.sort_by_key(|layer| layer.id);
        all.dedup_by_key(|layer| layer.id);
        all
    }

    fn look_up(&self, name: &str, platform: &Platform) -> Result<Found, BuildErrorKind> {
        let failed = |source| BuildErrorKind::base(name, source);
        let reference: Reference = name.parse().map_err(|e| {
            let kind =
                SourceErrorKind::Malformed { what: "the image name".to_owned(), detail: format!("{e}") };
            failed(SourceError { reference: name.to_owned(), kind })
        })?;
        let memory = self.memory_of(&reference, platform);
        // A digest never comes to mean something else: what is in the store needs no registry.
        if (reference.digest.is_some() || self.trusts_memory)
            && let Some(image) = self.recall(&reference, &memory)?
        {
            return Ok((self.images.clone(), image));
        }
        if let Some(found) = self.in_store(&reference, platform)? {
            return Ok(found);
        }
        let task_name = format!("resolve {}", reference.familiar());
        let image = self.puller.reporter.during(TaskKind::Resolve, task_name, None, |task| {
            let known = self.recall(&reference, &memory)?;
            match (self.ask(&reference, platform, known.is_some()), known) {
                (Ok(image), _) => {
                    self.remember(&image, &memory)?;
                    Ok((image, TaskOutcome::Done))
                }
                (Err(error), Some(image)) if is_unreachable(&error) => {
                    let digest = image.root_digest;
                    let message = format!("{error}; using what it last was here, {digest}");
                    self.puller.reporter.notice(Some(task), message);
                    Ok((image, TaskOutcome::Cached))
                }
                (Err(error), _) => Err(failed(error)),
            }
        })?;
        Ok((self.images.clone(), image))
    }

    /// Asks the registry. One that cannot be reached is not asked again and again if its last answer is `known`, except when a new one
    /// is wanted above all; one that answers that it cannot answer now is given time.
    fn ask(
        &self,
        reference: &Reference,
        platform: &Platform,
        known: bool,
    ) -> Result<ResolvedImage, SourceError> {
        if !known || self.ask_registry {
            return self.images.resolve(reference, platform);
        }
        let passing = |kind: &SourceErrorKind| {
            matches!(
                kind,
                SourceErrorKind::RateLimited { .. } | SourceErrorKind::Server { status: 500.., .. }
            )
        };
        match self.images.resolve_at_once(reference, platform) {
            Err(error) if passing(&error.kind) => self.images.resolve(reference, platform),
            answer => answer,
        }
    }

    /// An image of this name that kiln built or was given before, unless the registry has to be asked.
    fn in_store(&self, reference: &Reference, platform: &Platform) -> Result<Option<Found>, BuildErrorKind> {
        if self.ask_registry {
            return Ok(None);
        }
        let source = LayoutSource::by_reference(self.puller.store.content().layout().clone());
        match source.resolve(reference, platform) {
            Ok(image) => Ok(Some((Arc::new(source), image))),
            Err(SourceError {
                kind: SourceErrorKind::NotFound | SourceErrorKind::NoPlatform { .. }, ..
            }) => Ok(None),
            Err(source) => Err(BuildErrorKind::base(&reference.familiar(), source)),
        }
    }

    fn memory_of(&self, reference: &Reference, platform: &Platform) -> std::path::PathBuf {
        self.puller.store.base_path(&Digest::of(format!("{reference} {platform}").as_bytes()))
    }

    fn remember(&self, image: &ResolvedImage, memory: &std::path::Path) -> Result<(), BuildErrorKind> {
        let store = self.puller.store;
        let content = store.content();
        content.put(&image.manifest_bytes)?;
        content.put(&image.config_bytes)?;
        let record = Remembered {
            manifest: image.manifest_digest,
            root: image.root_digest,
            media_type: image.manifest_media_type.clone(),
        };
        let same = read_json::<Remembered>(memory)?
            .is_some_and(|r| (r.manifest, r.root) == (record.manifest, record.root));
        if same {
            note_use(memory);
            return Ok(());
        }
        Ok(write_json(&store.tmp(), memory, &record)?)
    }

    /// What `reference` was when it was last asked for, if all of that is still in the store.
    fn recall(
        &self,
        reference: &Reference,
        memory: &std::path::Path,
    ) -> Result<Option<ResolvedImage>, BuildErrorKind> {
        let Some(record) = read_json::<Remembered>(memory)? else { return Ok(None) };
        let content = self.puller.store.content();
        let Ok(manifest_bytes) = content.read_blob(&record.manifest) else { return Ok(None) };
        let Ok(manifest) = kiln_oci::manifest::Manifest::parse(&manifest_bytes) else { return Ok(None) };
        let Ok(config_bytes) = content.read_blob(&manifest.config.digest) else { return Ok(None) };
        let Ok(config) = serde_json::from_slice(&config_bytes) else { return Ok(None) };
        note_use(memory);
        Ok(Some(ResolvedImage {
            reference: reference.clone(),
            manifest_digest: record.manifest,
            root_digest: record.root,
            manifest_bytes,
            manifest_media_type: record.media_type,
            config_descriptor: manifest.config.clone(),
            config_bytes,
            config,
            layers: manifest.layers.clone(),
        }))
    }
}

fn is_unreachable(error: &SourceError) -> bool {
    matches!(error.kind, SourceErrorKind::Unreachable { .. })
}

fn from_layout(spec: &str, platform: &Platform) -> Result<Found, BuildErrorKind> {
    let name = format!("oci-layout://{spec}");
    let source = LayoutSource::parse(spec)?;
    // A layout given by its path answers for any reference.
    let reference =
        Reference { registry: "layout".to_owned(), repository: "image".to_owned(), tag: None, digest: None };
    let failed = |source| BuildErrorKind::base(&name, source);
    let image = source.resolve(&reference, platform).map_err(failed)?;
    Ok((Arc::new(source), image))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
