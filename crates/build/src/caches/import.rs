//! From chunks to directories.

use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use kiln_layer::index::{Index, Kind};
use kiln_layer::tar::Member;
use kiln_layer::unpack::{Form, Unpacker};
use kiln_oci::artifact::{ArtifactError, ArtifactPlace, read_small};
use kiln_oci::digest::{Digest, Hasher};
use kiln_oci::source::SourceErrorKind;
use rustix::fs::{CWD, RenameFlags};

use crate::caches::export::is_machines;
use crate::caches::format::{Cache, Chunk};
use crate::caches::{Which, alone, chosen, malformed, read};
use crate::engine::Engine;
use crate::error::{BuildError, BuildErrorKind};
use crate::event::{Sink, TaskKind, TaskOutcome};
use crate::layers::import::{unpack, unpack_index};
use crate::report::Reporter;
use crate::schedule::side_by_side;
use crate::store::{Store, write_bytes};

/// The most that a chunk may have, in bytes: memory holds [`AT_ONCE`] of them.
const LARGEST_CHUNK: u64 = 16 << 20;
/// Chunks that are fetched side by side.
const AT_ONCE: usize = 4;

impl Engine {
    /// Puts cache mounts of the artifact at `place` into the store; those of the same id that are there are replaced, each in one step, when
    /// all of the new one is there and proved. The ids are the result.
    ///
    /// # Errors
    /// [`BuildErrorKind::NoCache`]; if something at the place is missing or not what it should be: then that cache stays as it was.
    pub fn import_caches(
        &self,
        which: &Which,
        place: &dyn ArtifactPlace,
        (sink, cancel): (&dyn Sink, &AtomicBool),
    ) -> Result<Vec<String>, BuildError> {
        let reporter = Reporter::new(sink, cancel);
        let _lease = self.store.lease()?;
        let nothing = || ArtifactError { place: place.name(), kind: SourceErrorKind::NotFound };
        let manifest = place.manifest().map_err(BuildErrorKind::from)?;
        let manifest = manifest.ok_or_else(nothing).map_err(BuildErrorKind::from)?;
        let caches = read(place, &manifest).map_err(BuildErrorKind::from)?.caches;
        let ids = chosen(which, &caches, &format!("in {}", place.name()))?;
        for id in &ids {
            let import = Import { store: &self.store, place, reporter: &reporter };
            reporter.during(TaskKind::Unpack, format!("restore cache {id}"), None, |_| {
                Ok((import.cache(id, &caches[id])?, TaskOutcome::Done))
            })?;
        }
        Ok(ids)
    }
}

struct Import<'a> {
    store: &'a Store,
    place: &'a dyn ArtifactPlace,
    reporter: &'a Reporter<'a>,
}

impl Import<'_> {
    fn cache(&self, id: &str, cache: &Cache) -> Result<(), BuildErrorKind> {
        let index = self.index(cache)?;
        let unfinished = tempfile::Builder::new().prefix("cache-").tempdir_in(self.store.tmp())?.keep();
        let filled = self.fill(&unfinished, &index, cache).and_then(|()| self.install(id, &unfinished));
        // Either what failed, or what was replaced.
        let removed = if unfinished.exists() { crate::remove::remove_tree(&unfinished) } else { Ok(()) };
        filled?;
        Ok(removed?)
    }

    fn index(&self, cache: &Cache) -> Result<Index, BuildErrorKind> {
        let wrong = |detail: String| malformed(self.place, &format!("index {}", cache.index.digest), detail);
        let bytes = read_small(self.place, &cache.index)?;
        let index = unpack_index(self.store, &bytes).map_err(|e| wrong(e.to_string()))?;
        let mut files = 0;
        for entry in &index {
            let entry = entry?;
            if is_machines(&entry.kind) {
                let detail = format!("{} is a device, which has no place in a cache", entry.path.display());
                return Err(wrong(detail).into());
            }
            if let Kind::File { size, .. } = entry.kind {
                files += u128::from(size);
            }
        }
        let chunks: u128 = cache.chunks.iter().map(|chunk| u128::from(chunk.size)).sum();
        if files != chunks {
            return Err(wrong(format!("its files have {files} bytes, its chunks {chunks}")).into());
        }
        Ok(index)
    }

    /// Writes the files below `dest`. Paths are resolved by handle, nothing outside is reached whatever the index says.
    fn fill(&self, dest: &Path, index: &Index, cache: &Cache) -> Result<(), BuildErrorKind> {
        let mut unpacker = Unpacker::new(dest, Form::Plain, self.store.owners())?;
        let mut bytes = Pieces { import: self, left: &cache.chunks, ready: Vec::new(), at: 0, failed: None };
        for entry in index {
            let entry = entry?;
            let member = Member::from(&entry);
            let Kind::File { size, digest } = &entry.kind else {
                unpacker.place(&member, &mut io::empty())?;
                continue;
            };
            let mut content = Hashed { inner: (&mut bytes).take(*size), hasher: Hasher::new() };
            let placed = unpacker.place(&member, &mut content);
            let got = content.hasher.finish();
            if let Some(error) = bytes.failed.take() {
                return Err(error);
            }
            placed?;
            if got != *digest {
                let detail = "its bytes are not those that the index tells of".to_owned();
                return Err(malformed(self.place, &entry.path.display(), detail).into());
            }
        }
        unpacker.finish()?;
        Ok(())
    }

    /// Gives the directory `unfinished` the place of the cache, and takes what was there in its stead.
    fn install(&self, id: &str, unfinished: &Path) -> Result<(), BuildErrorKind> {
        let _alone = alone(self.store, id, self.reporter)?;
        let base = self.store.cache_path(&Digest::of(id.as_bytes()));
        fs_err::create_dir_all(&base)?;
        write_bytes(&self.store.tmp(), &base.join("id"), id.as_bytes())?;
        let data = base.join("data");
        if !data.exists() {
            return Ok(fs_err::rename(unfinished, &data)?);
        }
        let exchanged = rustix::fs::renameat_with(CWD, unfinished, CWD, &data, RenameFlags::EXCHANGE);
        if exchanged.is_ok() {
            return Ok(());
        }
        // A file system that cannot exchange: for an instant the cache is empty, which a build would take for a new one.
        let old = unfinished.with_extension("old");
        fs_err::rename(&data, &old)?;
        fs_err::rename(unfinished, &data)?;
        Ok(crate::remove::remove_tree(&old)?)
    }

    fn chunk(&self, chunk: &Chunk) -> Result<Vec<u8>, BuildErrorKind> {
        let wrong =
            |detail: &str| malformed(self.place, &format!("chunk {}", chunk.blob.digest), detail.to_owned());
        if chunk.size > LARGEST_CHUNK || chunk.blob.size > 2 * LARGEST_CHUNK {
            return Err(wrong("it is larger than a chunk may be").into());
        }
        let bytes = read_small(self.place, &chunk.blob)?;
        let piece = unpack(&bytes, chunk.size as usize).map_err(|e| wrong(&e.to_string()))?;
        if piece.len() as u64 == chunk.size { Ok(piece) } else { Err(wrong("it is too short").into()) }
    }
}

/// Chunks as one stream, a few of them fetched ahead.
struct Pieces<'a> {
    import: &'a Import<'a>,
    left: &'a [Chunk],
    ready: Vec<u8>,
    at: usize,
    /// Why reading stopped: what reads from here wraps errors.
    failed: Option<BuildErrorKind>,
}

impl Pieces<'_> {
    fn refill(&mut self) -> Result<(), BuildErrorKind> {
        self.import.reporter.check()?;
        let (now, later) = self.left.split_at(self.left.len().min(AT_ONCE));
        let got = side_by_side(AT_ONCE, now.len(), |i| self.import.chunk(&now[i]))?;
        (self.ready, self.at, self.left) = (got.concat(), 0, later);
        Ok(())
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.ready.len() && !self.left.is_empty() {
            if let Err(error) = self.refill() {
                self.failed = Some(error);
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let n = (self.ready.len() - self.at).min(buffer.len());
        buffer[..n].copy_from_slice(&self.ready[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

struct Hashed<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}
