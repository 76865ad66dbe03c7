//! Recomputes everything that an image claims about itself, and reports all that does not hold.
//!
//! Checked are: that each document parses and is of the type that its descriptor says; every digest and size; every diff
//! id (layers are decompressed); as many diff ids as layers; the history against the layers; the platform against the
//! index; that each layer is a well-formed tar, whose paths stay inside, occur once, and whose hard links have their
//! targets; and every blob that no image names. Each file is read once and as a stream.

mod docker;
mod image;
mod layer;
mod place;
mod problem;
mod tar_scan;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use layer::LayerFacts;
use place::Place;
pub use problem::{Problem, ProblemKind};
pub use tar_scan::TarDefect;

use crate::digest::Digest;
use crate::layout;
use crate::platform::Platform;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The system refused; the message names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Neither a layout nor an archive of one.
    #[error("{}: {detail}", path.display())]
    NotAnImage {
        /// What was given.
        path: PathBuf,
        /// Why it is none.
        detail: String,
    },
}

/// What verification found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The images, as they were come by. The same image under two names is there twice.
    pub images: Vec<VerifiedImage>,
    /// How many files were hashed.
    pub files: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// All that is wrong, in the order of the images.
    pub problems: Vec<Problem>,
}

/// An image that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedImage {
    /// Its name, or its digest.
    pub name: String,
    /// Digest of its manifest; `None` in an archive that has only Docker's `manifest.json`.
    pub manifest: Option<Digest>,
    /// By its configuration.
    pub platform: Option<Platform>,
    /// How many layers it has.
    pub layers: usize,
}

impl Report {
    /// Whether everything holds.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Verifies a layout directory (kiln's store is one), an OCI archive or a `docker save` archive; which of them it is, is
/// seen from its contents. An archive that is both is verified as both. Archives must be files, not pipes.
///
/// Fails only if there is nothing that could be verified; whatever is wrong with an image is in the report.
pub fn verify(target: &Path) -> Result<Report, VerifyError> {
    let place = Place::open(target)?;
    let mut run =
        Run { place: &place, report: Report::default(), layers: BTreeMap::new(), hashed: BTreeMap::new() };
    let is_layout = place.file("oci-layout")?.is_some() || place.file("index.json")?.is_some();
    let is_docker = place.file("manifest.json")?.is_some();
    if !is_layout && !is_docker {
        let detail = "neither an OCI image layout nor a docker archive".to_owned();
        return Err(VerifyError::NotAnImage { path: target.to_path_buf(), detail });
    }
    if is_layout {
        run.layout();
    }
    if is_docker {
        docker::check(&mut run);
    }
    run.unnamed_blobs();
    Ok(run.report)
}

/// One verification under way.
struct Run<'a> {
    place: &'a Place,
    report: Report,
    /// Layers that were examined, by file.
    layers: BTreeMap<String, Option<Rc<LayerFacts>>>,
    /// Other files that were hashed: digest and size.
    hashed: BTreeMap<String, Option<(Digest, u64)>>,
}

impl Run<'_> {
    fn layout(&mut self) {
        if let Some(bytes) = self.document("oci-layout", "oci-layout")
            && let Err(detail) = layout::check_version(&bytes)
        {
            self.problem("oci-layout", ProblemKind::Malformed { detail });
        }
        image::check_index_file(self);
    }

    fn problem(&mut self, place: &str, kind: ProblemKind) {
        self.report.problems.push(Problem { place: place.to_owned(), kind });
    }

    /// Reads a whole document. What is wrong is noted under `place`.
    fn document(&mut self, file: &str, place: &str) -> Option<Vec<u8>> {
        let kind = match image::read_document(self.place, file) {
            Ok(bytes) => {
                self.count(file, bytes.len() as u64, Digest::of(&bytes));
                return Some(bytes);
            }
            Err(kind) => kind,
        };
        self.problem(place, kind);
        None
    }

    fn count(&mut self, file: &str, size: u64, digest: Digest) {
        if self.hashed.insert(file.to_owned(), Some((digest, size))).is_none() {
            self.report.files += 1;
            self.report.bytes += size;
        }
    }

    /// Examines a layer once; what is wrong with its contents is noted under the first `place` that has it.
    fn layer(&mut self, file: &str, place: &str) -> Option<Rc<LayerFacts>> {
        if let Some(known) = self.layers.get(file) {
            return known.clone();
        }
        let examined = match self.place.file(file) {
            Ok(Some(opened)) => layer::examine(opened).map_err(unreadable),
            Ok(None) => Err(ProblemKind::Missing { path: file.to_owned() }),
            Err(error) => Err(unreadable(error)),
        };
        let facts = match examined {
            Ok(facts) => {
                self.count(file, facts.size, facts.digest);
                facts.problems.iter().for_each(|kind| self.problem(place, kind.clone()));
                Some(Rc::new(facts))
            }
            Err(kind) => {
                self.problem(place, kind);
                None
            }
        };
        self.layers.insert(file.to_owned(), facts.clone());
        facts
    }

    /// Digest and size of a file that is not looked into.
    fn hash(&mut self, file: &str, place: &str) -> Option<(Digest, u64)> {
        if let Some(known) = self.hashed.get(file) {
            return *known;
        }
        let hashed = match self.place.file(file) {
            Ok(Some((reader, _))) => {
                let mut hashing = layer::Hashing::new(reader);
                layer::drain(&mut hashing).map(|_| hashing.finish()).map_err(unreadable)
            }
            Ok(None) => Err(ProblemKind::Missing { path: file.to_owned() }),
            Err(error) => Err(unreadable(error)),
        };
        match hashed {
            Ok((digest, size)) => {
                self.count(file, size, digest);
                Some((digest, size))
            }
            Err(kind) => {
                self.problem(place, kind);
                self.hashed.insert(file.to_owned(), None);
                None
            }
        }
    }

    /// Blobs that no image named: a later build could take them for good.
    fn unnamed_blobs(&mut self) {
        let names = match self.place.blobs() {
            Ok(names) => names,
            Err(error) => return self.problem("blobs", unreadable(error)),
        };
        for name in names {
            let file = format!("blobs/sha256/{name}");
            if self.hashed.contains_key(&file) || self.layers.contains_key(&file) {
                continue;
            }
            let Ok(expected) = format!("sha256:{name}").parse::<Digest>() else {
                self.problem(&file, ProblemKind::Stray);
                continue;
            };
            if let Some((got, _)) = self.hash(&file, &file)
                && got != expected
            {
                let (expected, got) = (expected.to_string(), got.to_string());
                self.problem(&file, ProblemKind::Digest { expected, got });
            }
        }
    }
}

fn unreadable(error: io::Error) -> ProblemKind {
    ProblemKind::Unreadable { detail: error.to_string() }
}
