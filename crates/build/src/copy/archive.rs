//! Local archives that ADD unpacks.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use kiln_layer::compress::{Format, decompressor};
use kiln_layer::handle::{BlobForm, LayerHandle};
use kiln_layer::index::{Entry, Index, Kind};
use kiln_layer::pack::PackError;
use kiln_layer::path::LayerPath;
use kiln_layer::stop::{Stop, Stoppable};
use kiln_layer::tar::scan::{NullSink, scan};
use kiln_layer::tar::{TarError, looks_like_tar};
use kiln_oci::digest::{Digest, Hasher};
use rustix::fs::OFlags;

use crate::copy::place::{Chain, Placement};
use crate::copy::runs::Bytes;
use crate::error::BuildErrorKind;
use crate::files::context::ContextFiles;

/// An archive: recognised by its content, whatever its name and compression.
pub(crate) struct Archive {
    /// Of the file as it is.
    pub(crate) digest: Digest,
    name: String,
    file: File,
    unpacked: Option<(tempfile::NamedTempFile, Arc<LayerHandle>)>,
}

impl Archive {
    /// The file at `path` of a context; `None` if it is no archive.
    pub(crate) fn of_context(
        context: &ContextFiles,
        path: &LayerPath,
        digest: Digest,
    ) -> Result<Option<Self>, BuildErrorKind> {
        let file =
            File::from(context.open_beneath(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?);
        Self::sniff(file, path.display(), digest)
    }

    /// A file of the store; `None` if it is no archive.
    pub(crate) fn of_file(path: &Path, digest: Digest) -> Result<Option<Self>, BuildErrorKind> {
        let (file, _) = fs_err::File::open(path)?.into_parts();
        Self::sniff(file, path.display().to_string(), digest)
    }

    fn sniff(mut file: File, name: String, digest: Digest) -> Result<Option<Self>, BuildErrorKind> {
        let mut head = Vec::new();
        // What cannot be decompressed is no archive, just a file that looks like one.
        let read = decompressor(&mut file, None).and_then(|reader| reader.take(512).read_to_end(&mut head));
        if read.is_err() || !looks_like_tar(&head) {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(0))?;
        Ok(Some(Self { digest, name, file, unpacked: None }))
    }

    /// Decompresses it into a file in `tmp` and reads its table of contents.
    pub(crate) fn open(&mut self, tmp: &Path, stop: Stop<'_>) -> Result<(), BuildErrorKind> {
        if self.unpacked.is_some() {
            return Ok(());
        }
        let wrong = |error: &dyn std::fmt::Display| BuildErrorKind::Copy {
            message: format!("cannot unpack {}: {error}", self.name),
            help: Some("use COPY, or ADD --unpack=false, to copy an archive as it is".to_owned()),
        };
        self.file.seek(SeekFrom::Start(0))?;
        let mut plain = tempfile::NamedTempFile::new_in(tmp)?;
        let mut file = self.file.as_fd().try_clone_to_owned().map(File::from)?;
        let mut hashed = Hashed { inner: stop.over(&mut file), hasher: Hasher::new() };
        let unpacked = decompressor(&mut hashed, None)
            .and_then(|mut reader| io::copy(&mut stop.over(&mut reader), plain.as_file_mut()));
        stop.check().map_err(io::Error::from)?;
        io::copy(&mut hashed, &mut io::sink())?;
        // The step's key says what the file was; a result of anything else must not be kept under it.
        if hashed.hasher.finish() != self.digest {
            return Err(PackError::Changed { path: self.name.clone() }.into());
        }
        unpacked.map_err(|e| wrong(&e))?;
        plain.flush()?;
        let again = fs_err::File::open(plain.path())?;
        let scanned = scan(stop.over(again), tmp, &mut NullSink);
        stop.check().map_err(io::Error::from)?;
        let scanned = scanned.map_err(|error| match error {
            TarError::List { .. } => error.into(),
            error => wrong(&error),
        })?;
        let blob = BlobForm { path: plain.path().to_owned(), format: Format::None };
        let handle =
            LayerHandle { index: Arc::new(scanned.index), trees: Vec::new(), blob: Some(blob), later: None };
        self.unpacked = Some((plain, Arc::new(handle)));
        Ok(())
    }

    /// Its content, once open.
    pub(crate) fn handle(&self) -> Option<Arc<LayerHandle>> {
        self.unpacked.as_ref().map(|(_, handle)| handle.clone())
    }

    /// Puts all its members below `dest`; `number` is its own in [`Bytes::Archive`].
    pub(crate) fn put(
        &self,
        number: usize,
        placement: &mut Placement<'_>,
        dest: &LayerPath,
    ) -> Result<(), BuildErrorKind> {
        let dest = placement.unpack_into(dest)?;
        let put = self.put_members(number, placement, &dest);
        placement.unpacked();
        put
    }

    fn put_members(
        &self,
        number: usize,
        placement: &mut Placement<'_>,
        dest: &LayerPath,
    ) -> Result<(), BuildErrorKind> {
        let Some(handle) = self.handle() else { return Ok(()) };
        // Only of files with several names is it remembered which they are: archives of very many files exist.
        let several = handle.index.hard_linked()?;
        for (place, entry) in handle.index.iter().enumerate() {
            let entry = entry?;
            // `./` is about the folder that was packed, not about where it goes.
            if entry.path.is_root() {
                continue;
            }
            let (kind, bytes, link) = match &entry.kind {
                Kind::Whiteout => {
                    return Err(BuildErrorKind::Copy {
                        message: format!(
                            "{}: {} is a whiteout, which only layers have",
                            self.name,
                            entry.path.display()
                        ),
                        help: None,
                    });
                }
                Kind::File { .. } => {
                    let bytes = Bytes::Archive(number, entry.path.clone());
                    let is_linked = several.contains(&entry.path);
                    (entry.kind.clone(), bytes, is_linked.then_some((number as u64, place as u64)))
                }
                Kind::Hardlink { target } => {
                    let index = &handle.index;
                    let Some((place, carrier)) = index.position(target)?.zip(index.get(target)?) else {
                        continue;
                    };
                    let bytes = Bytes::Archive(number, target.clone());
                    (carrier.kind, bytes, Some((number as u64, place as u64)))
                }
                other => (other.clone(), Bytes::None, None),
            };
            let mut copied = Entry { kind, offset: None, ..entry.clone() };
            placement.apply_owner(&mut copied);
            placement.put_entry(copied, &dest.join(entry.path.as_bytes()), true, (bytes, link))?;
        }
        Ok(())
    }
}

/// Whether members of `archives`, all of which are unpacked into `dest`, can be in each other's way: because one has a directory where
/// another has none, or because a link that stands where one has a directory leads elsewhere.
pub(crate) fn are_entangled(
    archives: &[&Index],
    (placement, dest): (&Placement<'_>, &LayerPath),
    stop: Stop<'_>,
) -> Result<bool, BuildErrorKind> {
    let dest = placement.resolve(dest, true)?;
    let has_other = |archive: usize, dir: &LayerPath| -> io::Result<bool> {
        for (_, other) in archives.iter().enumerate().filter(|(i, _)| *i != archive) {
            if other.is_directory(dir)? == Some(false) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    for (i, index) in archives.iter().enumerate() {
        let mut chain = Chain::default();
        for entry in index.iter() {
            stop.check().map_err(io::Error::from)?;
            let entry = entry?;
            let is_dir = entry.kind == Kind::Directory;
            let in_the_way =
                |dir: &LayerPath| Ok(placement.is_link(&dest.join(dir.as_bytes()))? || has_other(i, dir)?);
            if chain.any(&entry.path, is_dir, in_the_way)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Hashes what passes.
struct Hashed<'a> {
    inner: Stoppable<'a, &'a mut File>,
    hasher: Hasher,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
