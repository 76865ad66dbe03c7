//! From directories to chunks.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use fastcdc::v2020::StreamCDC;
use kiln_layer::diff::diff_upper;
use kiln_layer::index::{Entry, Index, Iter, Kind, Mtime};
use kiln_layer::path::LayerPath;
use kiln_layer::rows::HELD;
use kiln_layer::tree::Root;
use kiln_layer::view::View;
use kiln_oci::artifact::{ArtifactBlob, ArtifactPlace, BlobBytes};
use kiln_oci::descriptor::Descriptor;
use kiln_oci::digest::{Digest, Hasher};
use kiln_oci::manifest::Manifest;

use crate::caches::format::{ARTIFACT, CHUNK, CONFIG, Cache, Caches, Chunk, INDEX, SIZES};
use crate::caches::{Which, alone, chosen, list, read};
use crate::engine::Engine;
use crate::error::{BuildError, BuildErrorKind};
use crate::event::{Sink, TaskKind, TaskOutcome};
use crate::layers::import::stored_index;
use crate::report::Reporter;
use crate::schedule::side_by_side;
use crate::store::Store;

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CachesExported {
    /// The artifact's manifest.
    pub digest: Digest,
    /// The caches, by id.
    pub ids: Vec<String>,
    /// Bytes of their files.
    pub bytes: u64,
    /// Chunks of them.
    pub chunks: usize,
    /// Chunks that the place did not have yet.
    pub new_chunks: usize,
    /// Bytes of those as they are stored.
    pub new_bytes: u64,
}

impl Engine {
    /// Writes cache mounts to `place`, beside those of other ids that it has. The same files give the same bytes. Memory is flat.
    ///
    /// # Errors
    /// [`BuildErrorKind::NoCache`]; if the place refuses; if a file changes meanwhile.
    pub fn export_caches(
        &self,
        which: &Which,
        place: &dyn ArtifactPlace,
        threads: usize,
        (sink, cancel): (&dyn Sink, &AtomicBool),
    ) -> Result<CachesExported, BuildError> {
        let reporter = Reporter::new(sink, cancel);
        let _lease = self.store.lease()?;
        let ids = chosen(which, &list(&self.store)?, "in the store")?;
        let spool = self.store.temporary("chunks-").map_err(BuildErrorKind::Io)?;
        // What cannot be read is replaced.
        let earlier = place.manifest().ok().flatten().and_then(|manifest| read(place, &manifest).ok());
        let there = earlier.iter().flat_map(Caches::chunks).filter(|chunk| place.has(&chunk.blob));
        let mut export = Export {
            store: &self.store,
            reporter: &reporter,
            threads,
            spool: spool.path(),
            known: there.map(|chunk| (chunk.raw, chunk.clone())).collect(),
            blobs: Vec::new(),
            caches: Caches::default(),
            bytes: 0,
        };
        for id in &ids {
            reporter.during(TaskKind::Export, format!("read cache {id}"), None, |_| {
                Ok((export.cache(id)?, TaskOutcome::Done))
            })?;
        }
        let name = format!("write caches to {}", place.name());
        let digest = reporter
            .during(TaskKind::Export, name, None, |_| Ok((export.publish(place)?, TaskOutcome::Done)))?;
        let chunks = || export.blobs.iter().filter(|blob| blob.descriptor.media_type == CHUNK);
        Ok(CachesExported {
            digest,
            bytes: export.bytes,
            chunks: export.caches.chunks().count(),
            new_chunks: chunks().count(),
            new_bytes: chunks().map(|blob| blob.descriptor.size).sum(),
            ids,
        })
    }
}

struct Export<'a> {
    store: &'a Store,
    reporter: &'a Reporter<'a>,
    threads: usize,
    /// Where new chunks and large indexes wait.
    spool: &'a Path,
    /// Chunks that need not be made again.
    known: HashMap<Digest, Chunk>,
    blobs: Vec<ArtifactBlob>,
    caches: Caches,
    bytes: u64,
}

impl Export<'_> {
    fn cache(&mut self, id: &str) -> Result<(), BuildErrorKind> {
        let _alone = alone(self.store, id, self.reporter)?;
        let data = self.store.cache_path(&Digest::of(id.as_bytes())).join("data");
        let found = if data.is_dir() {
            let how = (self.threads, self.reporter.stop());
            diff_upper(&data, &View::default(), self.store.owners(), how, &self.store.tmp())?
        } else {
            Index::default()
        };
        let mut index = Index::builder_in(self.store.tmp(), HELD);
        if data.is_dir() && found.get(&LayerPath::root())?.is_none() {
            index.push(&root_of(&data)?);
        }
        let mut left = 0;
        for entry in &found {
            let entry = entry?;
            if is_machines(&entry.kind) { left += 1 } else { index.push(&entry) }
        }
        let index = index.finish(found.opaque().to_vec());
        if left > 0 {
            self.reporter.notice(None, format!("cache {id:?}: {left} devices are left out"));
        }
        let chunks = if data.is_dir() { self.chunks(&data, &index)? } else { Vec::new() };
        self.bytes += chunks.iter().map(|chunk| chunk.size).sum::<u64>();
        let (descriptor, bytes) = stored_index(&index, INDEX, self.spool)?;
        self.blobs.push(ArtifactBlob { descriptor: descriptor.clone(), bytes, anew: false });
        self.caches.caches.insert(id.to_owned(), Cache { index: descriptor, chunks });
        Ok(())
    }

    fn chunks(&mut self, data: &Path, index: &Index) -> Result<Vec<Chunk>, BuildErrorKind> {
        let mut bytes = Bytes::of(data, index)?;
        let (least, average, most) = SIZES;
        let mut chunks = Vec::new();
        let mut waiting: Vec<(Digest, Vec<u8>)> = Vec::new();
        for piece in StreamCDC::new(&mut bytes, least as usize, average as usize, most as usize) {
            let piece = piece.map_err(io::Error::from)?;
            self.reporter.check()?;
            let raw = Digest::of(&piece.data);
            chunks.push(raw);
            if !self.known.contains_key(&raw) && waiting.iter().all(|(other, _)| *other != raw) {
                waiting.push((raw, piece.data));
            }
            if waiting.len() >= 4 * self.threads {
                self.pack(std::mem::take(&mut waiting))?;
            }
        }
        self.pack(waiting)?;
        bytes.verdict()?;
        Ok(chunks.iter().filter_map(|raw| self.known.get(raw).cloned()).collect())
    }

    /// Compresses new chunks, several at once.
    fn pack(&mut self, waiting: Vec<(Digest, Vec<u8>)>) -> Result<(), BuildErrorKind> {
        let made = side_by_side(self.threads, waiting.len(), |i| {
            let (raw, piece) = &waiting[i];
            let packed = zstd::bulk::compress(piece, 3)?;
            let blob = Descriptor::of(CHUNK, &packed);
            fs_err::write(self.spool.join(blob.digest.hex()), &packed)?;
            Ok(Chunk { raw: *raw, size: piece.len() as u64, blob })
        })?;
        for chunk in made {
            let bytes = BlobBytes::File(self.spool.join(chunk.blob.digest.hex()));
            self.blobs.push(ArtifactBlob { descriptor: chunk.blob.clone(), bytes, anew: false });
            self.known.insert(chunk.raw, chunk);
        }
        Ok(())
    }

    fn publish(&self, place: &dyn ArtifactPlace) -> Result<Digest, BuildErrorKind> {
        let digest = place.publish(&self.blobs, &mut |earlier: Option<&Manifest>| {
            // What cannot be read is replaced.
            let earlier = earlier.and_then(|manifest| read(place, manifest).ok());
            let mut all = earlier.unwrap_or_default();
            all.caches.extend(self.caches.caches.clone());
            let config = all.to_bytes();
            let descriptor = Descriptor::of(CONFIG, &config);
            Ok((Manifest::of_artifact(ARTIFACT, descriptor, all.blobs()), config))
        })?;
        Ok(digest)
    }
}

/// The cache's own directory, which no difference from an empty one tells of if it looks as any other.
fn root_of(data: &Path) -> Result<Entry, BuildErrorKind> {
    let meta = fs_err::metadata(data)?;
    Ok(Entry {
        path: LayerPath::root(),
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Mtime { secs: meta.mtime(), nanos: meta.mtime_nsec().unsigned_abs() as u32 },
        xattrs: std::collections::BTreeMap::new(),
        offset: None,
    })
}

/// Whether it belongs to a machine and not into a cache.
pub(super) fn is_machines(kind: &Kind) -> bool {
    matches!(kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Whiteout)
}

/// The bytes of an index's files, one after the other, each compared with what it was when it was listed.
struct Bytes<'a> {
    root: Root,
    entries: Iter<'a>,
    current: Option<(File, Hasher, LayerPath, Digest)>,
    changed: Option<LayerPath>,
}

impl<'a> Bytes<'a> {
    fn of(data: &Path, index: &'a Index) -> io::Result<Self> {
        Ok(Self { root: Root::open(data)?, entries: index.iter(), current: None, changed: None })
    }

    fn verdict(self) -> Result<(), BuildErrorKind> {
        match self.changed {
            Some(path) => Err(kiln_layer::pack::PackError::Changed { path: path.display() }.into()),
            None => Ok(()),
        }
    }
}

impl Read for Bytes<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some((file, hasher, ..)) = &mut self.current {
                let n = file.read(buffer)?;
                hasher.update(&buffer[..n]);
                if n > 0 || buffer.is_empty() {
                    return Ok(n);
                }
            }
            if let Some((_, hasher, path, digest)) = self.current.take()
                && hasher.finish() != digest
            {
                self.changed.get_or_insert(path);
            }
            let Some(Entry { path, kind, .. }) = self.entries.next().transpose()? else { return Ok(0) };
            if let Kind::File { size: 1.., digest } = kind {
                self.current = Some((self.root.open_file(&path)?, Hasher::new(), path, digest));
            }
        }
    }
}
