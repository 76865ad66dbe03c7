//! The content store: an image layout that is written to.
//!
//! # What is promised
//!
//! A blob gets its name by rename, after its last byte was written and its digest taken from the bytes that were
//! written. A kill at any instant therefore leaves no wrong blob, only an unnamed temporary (see
//! [`ContentStore::sweep`]). A full disk gives an error that names the file, and the temporary is removed.
//!
//! # What a power loss can do
//!
//! With [`SyncPolicy::Deferred`], the default, nothing is flushed, because flushing costs more than most builds. If the
//! power fails within the kernel's write-back time, a file system that orders renames before data may keep the name and
//! lose the bytes: the blob is then empty, short or full of zeros. Such a torn blob is never taken for good: its size is
//! compared whenever it is opened or would be skipped as present, and [`Blobs::read_blob`] and [`Blobs::open_verified`]
//! hash what they read. [`ContentStore::sync`] or [`SyncPolicy::EachBlob`] close the gap for those who need it.

use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::blobs::Blobs;
use crate::crash;
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::error::{StoreError, at};
use crate::layout::Layout;
use crate::seal;

const TEMPORARY: &str = ".blob-";

/// When blobs are flushed to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Never, except by [`ContentStore::sync`].
    #[default]
    Deferred,
    /// Each blob before it gets its name.
    EachBlob,
}

/// A content-addressed store that is an image layout. It dereferences to [`Blobs`] for reading; clones share it, and so
/// may any number of processes.
#[derive(Clone, Debug)]
pub struct ContentStore {
    blobs: Blobs,
    layout: Layout,
    temporaries: PathBuf,
    sync: SyncPolicy,
}

/// A blob that is in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl ContentStore {
    /// Opens the layout at `root`, or makes it. Temporary files go into the directory `tmp` beside it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let beside = root.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::open_with(root, &beside.join("tmp"), SyncPolicy::default())
    }

    /// Opens or makes the layout at `root`, with temporary files in `temporaries`, which must be on the same file system.
    pub fn open_with(root: &Path, temporaries: &Path, sync: SyncPolicy) -> Result<Self, StoreError> {
        let layout = Layout::create(root, temporaries)?;
        Ok(Self { blobs: layout.blobs(), layout, temporaries: temporaries.to_path_buf(), sync })
    }

    /// The layout: names of images.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The layout's directory.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Stores bytes. Does nothing if the blob is there.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if self.size_of(&digest) != Some(bytes.len() as u64) {
            let mut writer = self.writer()?;
            writer.write_all(bytes)?;
            writer.finish()?;
        }
        Ok(digest)
    }

    /// Stores a document and gives its descriptor.
    pub fn put_document(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, StoreError> {
        Ok(Descriptor::new(media_type, self.put(bytes)?, bytes.len() as u64))
    }

    /// Begins a blob whose digest is not known yet.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        let file =
            tempfile::Builder::new().prefix(TEMPORARY).permissions(mode).tempfile_in(&self.temporaries)?;
        // Says to `sweep` that somebody still writes.
        file.as_file().lock_shared().map_err(at(file.path()))?;
        Ok(BlobWriter {
            file: Unfinished(Some(file)),
            hasher: Hasher::new(),
            size: 0,
            blobs: self.blobs.clone(),
            sync: self.sync,
        })
    }

    /// Removes a blob; tells whether it was there.
    pub fn remove(&self, digest: &Digest) -> Result<bool, StoreError> {
        match fs_err::remove_file(self.path_of(digest)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Flushes the file system of the store to the disk: after it, a power loss takes nothing that was finished before.
    pub fn sync(&self) -> Result<(), StoreError> {
        let directory = fs_err::File::open(self.root())?;
        rustix::fs::syncfs(directory.file()).map_err(|e| at(self.root())(e.into()))?;
        Ok(())
    }

    /// Removes what killed writers left: temporaries older than `age` that no process holds. Returns the bytes freed.
    pub fn sweep(&self, age: Duration) -> Result<u64, StoreError> {
        let mut freed = 0;
        for entry in fs_err::read_dir(&self.temporaries)? {
            let entry = entry?;
            let (path, name) = (entry.path(), entry.file_name());
            if !name.to_string_lossy().starts_with(TEMPORARY) {
                continue;
            }
            let Ok(file) = fs_err::File::open(&path) else { continue };
            let metadata = file.metadata()?;
            let elapsed = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
            if elapsed >= age && file.try_lock().is_ok() && fs_err::remove_file(&path).is_ok() {
                freed += metadata.len();
            }
        }
        Ok(freed)
    }
}

impl Deref for ContentStore {
    type Target = Blobs;

    fn deref(&self) -> &Blobs {
        &self.blobs
    }
}

/// A blob in the making. Dropped without [`BlobWriter::finish`], it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    file: Unfinished,
    hasher: Hasher,
    size: u64,
    blobs: Blobs,
    sync: SyncPolicy,
}

/// A file that goes when it is dropped, unless it was taken. For the disk to be free of a large one takes a tenth of a second for each gigabyte,
/// so that is a thread's affair: the name is gone at once.
#[derive(Debug)]
struct Unfinished(Option<tempfile::NamedTempFile>);

/// A file of so many bytes is large.
const LARGE: u64 = 64 << 20;

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some((file, name)) = self.0.take().map(tempfile::NamedTempFile::into_parts) else { return };
        drop(name);
        if file.metadata().is_ok_and(|meta| meta.len() > LARGE) {
            // If there is no thread the file is closed here and now.
            let _ = std::thread::Builder::new().name("close".to_owned()).spawn(move || drop(file));
        }
    }
}

impl Unfinished {
    fn file(&mut self) -> io::Result<&mut tempfile::NamedTempFile> {
        self.0.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl BlobWriter {
    /// Names the blob by what was written.
    pub fn finish(self) -> Result<StoredBlob, StoreError> {
        let blob = StoredBlob { digest: self.hasher.clone().finish(), size: self.size };
        self.store(&blob.digest)?;
        Ok(blob)
    }

    /// Names the blob if it is what `expected` promises, else fails with [`StoreError::Mismatch`] and keeps nothing.
    pub fn finish_verified(self, expected: &Descriptor) -> Result<StoredBlob, StoreError> {
        let blob = StoredBlob { digest: self.hasher.clone().finish(), size: self.size };
        let mismatch =
            |expected: String, got: String| StoreError::Mismatch { what: "blob".to_owned(), expected, got };
        if blob.size != expected.size {
            let what = format!("{} of {} bytes", expected.digest, expected.size);
            return Err(mismatch(what, format!("{} bytes", blob.size)));
        }
        if blob.digest != expected.digest {
            return Err(mismatch(expected.digest.to_string(), blob.digest.to_string()));
        }
        self.store(&blob.digest)?;
        Ok(blob)
    }

    /// How many bytes were written.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn store(mut self, digest: &Digest) -> Result<(), StoreError> {
        // One of another size is torn (see above) and is replaced.
        if self.blobs.size_of(digest) == Some(self.size) {
            return Ok(());
        }
        let Some(file) = self.file.0.take() else { return Ok(()) };
        if self.sync == SyncPolicy::EachBlob {
            file.as_file().sync_data().map_err(at(file.path()))?;
        }
        let path = self.blobs.path_of(digest);
        seal::put(file.as_file(), digest);
        crash::around(|| file.persist(&path)).map_err(|e| at(&path)(e.error))?;
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.file.file()?.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
