//! Everything that is in a store, with its size.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use walkdir::WalkDir;

/// The folder of blobs, as [`Object::folder`] has it.
pub(super) const BLOBS: &str = "oci";

/// Threads that look at files. More only wait for the same disk.
const THREADS: usize = 4;

/// Objects that a thread takes at a time.
const BATCH: usize = 64;

/// What is removed whole or not at all: a blob, an index, a record, a tree, a cache directory.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) path: PathBuf,
    /// The store's folder that it is in, [`BLOBS`] for a blob; empty for what lies in the root itself.
    pub(super) folder: String,
    /// Its file name.
    pub(super) name: String,
    /// Blocks on disk, in bytes. An inode with several names counts for one of them.
    pub(super) bytes: u64,
    /// When it was last written, or noted as used.
    pub(super) used: SystemTime,
}

impl Object {
    /// The name up to its first dot: a digest's hex digits, for most.
    pub(super) fn stem(&self) -> &str {
        self.name.split('.').next().unwrap_or_default()
    }
}

/// A store's content.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Sorted by path.
    pub(super) objects: Vec<Object>,
    /// Bytes of what makes a folder a store: directories, the mark, the list of images.
    pub(super) frame: u64,
}

impl Survey {
    /// Looks at the store in `root`. What vanishes meanwhile (a build that is running takes its temporaries away) counts nothing.
    pub(super) fn of(root: &Path) -> io::Result<Self> {
        let mut survey = Self { objects: Vec::new(), frame: blocks(root)? };
        for (path, name) in children(root)? {
            if name == BLOBS {
                survey.add_layout(&path)?;
            } else if name.starts_with(".kiln-probe-") {
                survey.objects.push(object(path, "", name));
            } else if path.is_dir() && !path.is_symlink() {
                survey.frame += blocks(&path)?;
                survey.objects.extend(children(&path)?.into_iter().map(|(p, n)| object(p, &name, n)));
            } else {
                survey.frame += blocks(&path)?;
            }
        }
        survey.objects.sort_by(|a, b| a.path.cmp(&b.path));
        measure(&mut survey.objects)?;
        Ok(survey)
    }

    fn add_layout(&mut self, layout: &Path) -> io::Result<()> {
        let blobs = layout.join("blobs/sha256");
        for entry in WalkDir::new(layout)
            .into_iter()
            .filter_entry(|e| e.depth() == 0 || e.path().parent() != Some(&blobs))
        {
            if let Some(meta) = present(entry.and_then(|e| e.metadata()).map_err(io::Error::from))? {
                self.frame += meta.blocks() * 512;
            }
        }
        self.objects.extend(children(&blobs)?.into_iter().map(|(p, n)| object(p, BLOBS, n)));
        Ok(())
    }

    /// All bytes.
    pub(super) fn total(&self) -> u64 {
        self.frame + self.objects.iter().map(|o| o.bytes).sum::<u64>()
    }
}

fn object(path: PathBuf, folder: &str, name: String) -> Object {
    Object { path, folder: folder.to_owned(), name, bytes: 0, used: UNIX_EPOCH }
}

/// The entries of `dir`; none if it is not there. A name that is not text cannot be one of ours, but counts.
fn children(dir: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    let Some(entries) = present(fs_err::read_dir(dir))? else { return Ok(Vec::new()) };
    entries
        .map(|entry| {
            let entry = entry?;
            Ok((entry.path(), entry.file_name().to_string_lossy().into_owned()))
        })
        .collect()
}

fn blocks(path: &Path) -> io::Result<u64> {
    Ok(present(fs_err::symlink_metadata(path))?.map_or(0, |meta| meta.blocks() * 512))
}

/// `None` for what is not there any more.
fn present<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Fills in sizes and times, on a few threads: a store may have a hundred thousand files.
fn measure(objects: &mut [Object]) -> io::Result<()> {
    let linked = Mutex::new(HashSet::new());
    let next = AtomicUsize::new(0);
    let batches: Vec<Mutex<&mut [Object]>> = objects.chunks_mut(BATCH).map(Mutex::new).collect();
    let work = || -> io::Result<()> {
        while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            for object in batch.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
                (object.bytes, object.used) = weigh(&object.path, &linked)?;
            }
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(batches.len())).map(|_| scope.spawn(work)).collect();
        let mine = work();
        let all = others.into_iter().map(|t| t.join().unwrap_or(Err(io::ErrorKind::Interrupted.into())));
        all.fold(mine, |so_far, other| so_far.and(other))
    })
}

/// Bytes on disk of `path` and all below it, and when it was last written. Of inodes with several names, those that are in
/// `linked` already count nothing.
fn weigh(path: &Path, linked: &Mutex<HashSet<(u64, u64)>>) -> io::Result<(u64, SystemTime)> {
    let Some(top) = present(fs_err::symlink_metadata(path))? else { return Ok((0, UNIX_EPOCH)) };
    let mut bytes = own_blocks(&top, linked);
    if top.is_dir() {
        for entry in WalkDir::new(path).min_depth(1) {
            if let Some(meta) = present(entry.and_then(|e| e.metadata()).map_err(io::Error::from))? {
                bytes += own_blocks(&meta, linked);
            }
        }
    }
    Ok((bytes, written(&top)))
}

fn own_blocks(meta: &std::fs::Metadata, linked: &Mutex<HashSet<(u64, u64)>>) -> u64 {
    let several = !meta.is_dir() && meta.nlink() > 1;
    let is_first = || linked.lock().unwrap_or_else(PoisonError::into_inner).insert((meta.dev(), meta.ino()));
    if several && !is_first() { 0 } else { meta.blocks() * 512 }
}

/// The time of modification; times before 1970 are 1970.
fn written(meta: &std::fs::Metadata) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(meta.mtime().try_into().unwrap_or(0))
}
