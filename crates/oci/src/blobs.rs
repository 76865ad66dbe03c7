//! The blobs of an image layout, read-only: by digest, checked against it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use crate::error::StoreError;
use crate::seal;

/// The largest document (manifest, index, configuration) that is read into memory, in bytes.
pub const LARGEST_DOCUMENT: u64 = 32 << 20;

/// The `blobs/` of an image layout (image-layout.md).
#[derive(Clone, Debug)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// The blobs of the layout at `root`, which need not exist yet.
    pub fn of_layout(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The file of a blob, whether it exists or not.
    pub fn path_of(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether the blob exists (its bytes are not looked at).
    pub fn contains(&self, digest: &Digest) -> bool {
        self.size_of(digest).is_some()
    }

    /// The blob's size in bytes, if it exists.
    pub fn size_of(&self, digest: &Digest) -> Option<u64> {
        fs_err::metadata(self.path_of(digest)).ok().filter(|m| m.is_file()).map(|m| m.len())
    }

    /// Opens a blob as it is. The bytes are not verified; see [`Blobs::open_verified`].
    pub fn open_blob(&self, digest: &Digest) -> Result<fs_err::File, StoreError> {
        let path = self.path_of(digest);
        match fs_err::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::Missing { digest: *digest, path })
            }
            other => Ok(other?),
        }
    }

    /// Opens a blob of the size that its descriptor says, which finds torn ones. The bytes are not verified.
    pub fn open_sized(&self, blob: &Descriptor) -> Result<fs_err::File, StoreError> {
        let file = self.open_blob(&blob.digest)?;
        let size = file.metadata()?.len();
        if size == blob.size {
            return Ok(file);
        }
        Err(StoreError::Damaged {
            path: self.path_of(&blob.digest),
            expected: format!("{} bytes", blob.size),
            got: format!("{size} bytes"),
        })
    }

    /// Opens a blob and checks its size at once; the last read (the one that returns 0) fails with `InvalidData` unless
    /// all that was read hashes to the digest.
    pub fn open_verified(&self, blob: &Descriptor) -> Result<VerifiedBlob, StoreError> {
        let file = self.open_sized(blob)?;
        Ok(VerifiedBlob { file, hasher: Some(Hasher::new()), expected: blob.digest })
    }

    /// Opens a blob that was hashed since this machine has started and not been written to since; `None` for any other, which is to be
    /// read by [`Blobs::open_verified`].
    pub fn open_known(&self, blob: &Descriptor) -> Result<Option<fs_err::File>, StoreError> {
        let file = self.open_sized(blob)?;
        Ok(if seal::holds(&file.metadata()?, &blob.digest) { Some(file) } else { None })
    }

    /// Reads a whole blob and verifies it. For documents: at most [`LARGEST_DOCUMENT`] bytes.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.path_of(digest);
        let mut bytes = Vec::new();
        self.open_blob(digest)?.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            let detail = format!("a document of more than {LARGEST_DOCUMENT} bytes");
            return Err(StoreError::Malformed { path, detail });
        }
        let got = Digest::of(&bytes);
        if got != *digest {
            let (expected, got) = (digest.to_string(), format!("{got} ({} bytes)", bytes.len()));
            return Err(StoreError::Damaged { path, expected, got });
        }
        Ok(bytes)
    }

    /// Every blob and its size, sorted by digest. Files whose name is no digest are left out.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut found = Vec::new();
        for entry in fs_err::read_dir(self.root.join("blobs/sha256"))? {
            let entry = entry?;
            let name = entry.file_name();
            if let Ok(digest) = format!("sha256:{}", name.to_string_lossy()).parse() {
                found.push((digest, entry.metadata()?.len()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// A blob that is hashed while it is read; made by [`Blobs::open_verified`].
pub struct VerifiedBlob {
    file: fs_err::File,
    hasher: Option<Hasher>,
    expected: Digest,
}

impl Read for VerifiedBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
            return Ok(count);
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some(got) = self.hasher.take().map(Hasher::finish) else { return Ok(0) };
        if got == self.expected {
            seal::put(self.file.file(), &got);
            return Ok(0);
        }
        let (path, expected) = (self.file.path().to_path_buf(), self.expected.to_string());
        let damaged = StoreError::Damaged { path, expected, got: got.to_string() };
        Err(io::Error::new(io::ErrorKind::InvalidData, damaged))
    }
}
