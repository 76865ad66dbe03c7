//! What an image consists of: walks from an index or manifest to everything it names.

use std::collections::HashSet;

use crate::blobs::Blobs;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::{Document, Manifest};
use crate::media_type::{is_index, is_nondistributable};

const DEEPEST: usize = 8;

/// Everything under one root, each blob once.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The root, indexes, manifests, configurations and layers; parents come before what they name.
    pub blobs: Vec<Descriptor>,
    /// The manifests with their parsed form, in the order of the index. Attestations are among them.
    pub manifests: Vec<(Descriptor, Manifest)>,
}

impl Graph {
    /// Walks the image at `root`. Each document is verified as it is read; layers and configurations are not opened.
    /// Foreign layers that are not there are left out. A nested document that is missing from `blobs` is an error.
    pub fn walk(blobs: &Blobs, root: &Descriptor) -> Result<Self, StoreError> {
        let mut graph = Self::default();
        graph.visit(blobs, root, &mut HashSet::new(), 0)?;
        Ok(graph)
    }

    /// The digests of everything in it: what must be kept for this image.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.blobs.iter().map(|b| b.digest)
    }

    fn visit(
        &mut self,
        blobs: &Blobs,
        at: &Descriptor,
        seen: &mut HashSet<Digest>,
        depth: usize,
    ) -> Result<(), StoreError> {
        if !seen.insert(at.digest) {
            return Ok(());
        }
        let malformed = |detail: String| StoreError::Malformed { path: blobs.path_of(&at.digest), detail };
        let bytes = blobs.read_blob(&at.digest)?;
        self.blobs.push(at.clone());
        match Document::parse(&bytes).map_err(|e| malformed(e.to_string()))? {
            Document::Index(_) if depth == DEEPEST => {
                Err(malformed(format!("indexes are nested more than {DEEPEST} deep")))
            }
            Document::Index(index) => {
                index.manifests.iter().try_for_each(|d| self.visit(blobs, d, seen, depth + 1))
            }
            Document::Manifest(_) if is_index(&at.media_type) => {
                Err(malformed("its descriptor calls it an index, but it is a manifest".to_owned()))
            }
            Document::Manifest(manifest) => {
                for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    let absent = is_nondistributable(&blob.media_type) && !blobs.contains(&blob.digest);
                    if !absent && seen.insert(blob.digest) {
                        self.blobs.push(blob.clone());
                    }
                }
                self.manifests.push((at.clone(), manifest));
                Ok(())
            }
        }
    }
}
