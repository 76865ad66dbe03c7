//! A layer in whatever forms there are of it, and the bytes of its files out of any of them.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::compress::{Format, decompressor};
use crate::index::{Entry, Index, Kind};
use crate::path::LayerPath;
use crate::places::{Place, Places};
use crate::tar::scan::{Sink, scan};
use crate::tar::{Body, Member, TarError};
use crate::tree::Root;

/// A layer: always its index, and the tree and the blob if they have been made.
#[derive(Clone, Debug)]
pub struct LayerHandle {
    /// What is in it.
    pub index: Arc<Index>,
    /// Its unpacked directory. More than one if its tree is that of another layer with changes: each of its files is in the first that has
    /// something at its path. None if it is not unpacked.
    pub trees: Vec<PathBuf>,
    /// Its tar. The offsets of `index` belong to it.
    pub blob: Option<BlobForm>,
    /// Gets the tar if there is neither tree nor blob and somebody needs bytes.
    pub later: Option<Arc<dyn Later>>,
}

/// Gets a layer's blob when its bytes are needed for the first time.
pub trait Later: std::fmt::Debug + Send + Sync {
    /// Fetches it; idempotent. Offsets of an index that was read before need not belong to it.
    fn blob(&self) -> io::Result<BlobForm>;
}

/// A layer's tar on disk.
#[derive(Clone, Debug)]
pub struct BlobForm {
    /// Where.
    pub path: PathBuf,
    /// How it is compressed.
    pub format: Format,
}

/// Why a file's bytes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The layer has no regular file there.
    #[error("{path} is no file of the layer")]
    NoFile {
        /// What was asked for.
        path: String,
    },
    /// The layer is an index only.
    #[error("the bytes of {path} are not here: the layer has neither tree nor blob")]
    NoForm {
        /// What was asked for.
        path: String,
    },
    /// Reading failed, or the receiver of the bytes did.
    #[error("cannot read {path}")]
    Read {
        /// What was being read.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The blob is not the tar that the index tells of.
    #[error("cannot read the layer {blob}")]
    Blob {
        /// The blob's path.
        blob: PathBuf,
        /// Why.
        source: Box<TarError>,
    },
}

impl LayerHandle {
    /// A layer of which only the index is known.
    pub fn of(index: Arc<Index>) -> Self {
        Self { index, trees: Vec::new(), blob: None, later: None }
    }

    /// Its blob, fetched if need be; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be fetched.
    pub fn any_blob(&self) -> io::Result<Option<BlobForm>> {
        match (&self.blob, &self.later) {
            (None, Some(later)) => later.blob().map(Some),
            (blob, _) => Ok(blob.clone()),
        }
    }

    /// The entry that carries the content of the file at `path`: itself, or for a hard link the first of its names.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn carrier(&self, path: &LayerPath) -> io::Result<Option<Entry>> {
        self.index.get(path)?.map_or(Ok(None), |entry| self.carrier_of(&entry))
    }

    /// As [`LayerHandle::carrier`], for an entry of this layer.
    ///
    /// # Errors
    /// See [`Index`].
    pub fn carrier_of(&self, entry: &Entry) -> io::Result<Option<Entry>> {
        match &entry.kind {
            Kind::File { .. } => Ok(Some(entry.clone())),
            Kind::Hardlink { target } => {
                let carrier = self.index.get(target)?;
                Ok(carrier.filter(|found| matches!(found.kind, Kind::File { .. })))
            }
            _ => Ok(None),
        }
    }

    /// Hands the bytes of each of the files `wanted` (hard links count as what they name) to `each`, in the order in which
    /// they are cheapest to have. A blob that is compressed is decompressed once, up to the last of them.
    ///
    /// # Errors
    /// See [`ContentError`]; an error of `each` comes back as [`ContentError::Read`].
    pub fn contents(
        &self,
        wanted: &[LayerPath],
        each: &mut dyn FnMut(&Entry, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), ContentError> {
        let mut carriers = wanted.iter().map(|path| self.file(path)).collect::<Result<Vec<_>, _>>()?;
        carriers.sort_by_key(|entry| entry.offset);
        carriers.dedup_by(|a, b| a.path == b.path);
        let mut asked = Asked::of(&Arc::new(self.clone()));
        carriers.iter().try_for_each(|entry| asked.add(&entry.path))?;
        let mut contents = asked.open()?;
        for entry in carriers {
            let failed = |source| ContentError::Read { path: entry.path.display(), source };
            let mut reader = contents.read(&entry.path)?;
            each(&entry, &mut reader).map_err(failed)?;
        }
        Ok(())
    }

    fn file(&self, path: &LayerPath) -> Result<Entry, ContentError> {
        let failed = |source| ContentError::Read { path: path.display(), source };
        self.carrier(path).map_err(failed)?.ok_or_else(|| ContentError::NoFile { path: path.display() })
    }
}

/// The files of a layer that will be read, in exactly this order.
pub struct Asked {
    layer: Arc<LayerHandle>,
    first: Option<LayerPath>,
    /// Where the bytes of the last start in the tar, as long as each comes after the one before.
    ascending: Option<u64>,
    /// Whether it is known of all where their bytes start.
    placed: bool,
    sizes: Sizes,
}

impl Asked {
    /// None yet of `layer`.
    pub fn of(layer: &Arc<LayerHandle>) -> Self {
        let layer = Arc::clone(layer);
        Self { layer, first: None, ascending: Some(0), placed: true, sizes: Sizes::default() }
    }

    /// The file at `path` is next; a hard link counts as what it names.
    ///
    /// # Errors
    /// [`ContentError::NoFile`].
    pub fn add(&mut self, path: &LayerPath) -> Result<(), ContentError> {
        self.first.get_or_insert_with(|| path.clone());
        if !self.layer.trees.is_empty() {
            return Ok(());
        }
        let entry = self.layer.file(path)?;
        self.ascending = match (self.ascending, entry.offset) {
            (Some(last), Some(offset)) if last < offset => Some(offset),
            _ => None,
        };
        self.placed &= entry.offset.is_some();
        if let Kind::File { size, .. } = entry.kind {
            self.sizes.add(size);
        }
        Ok(())
    }

    /// Makes ready to read them. Bytes come from the tree if there is one, else from the blob; if that is compressed and the order is
    /// not the archive's, the files go through an unnamed temporary file first.
    ///
    /// # Errors
    /// See [`ContentError`].
    pub fn open(self) -> Result<Contents, ContentError> {
        let Self { layer, first, ascending, placed, sizes } = self;
        let failed = |path: &Path| {
            let path = path.to_string_lossy().into_owned();
            move |source| ContentError::Read { path, source }
        };
        let first = || first.as_ref().map_or_else(String::new, LayerPath::display);
        let source = if !layer.trees.is_empty() {
            let open = |tree: &PathBuf| Root::open(tree).map_err(failed(tree));
            Source::Trees(layer.trees.iter().map(open).collect::<Result<_, _>>()?)
        } else if let (None, Some(later)) = (&layer.blob, &layer.later) {
            let blob = later.blob().map_err(|source| ContentError::Read { path: first(), source })?;
            spool(&blob, sizes)?
        } else if let Some(blob) = &layer.blob {
            if placed && blob.format == Format::None {
                Source::Plain(open(&blob.path).map_err(failed(&blob.path))?)
            } else if ascending.is_some() {
                Source::Stream { reader: blob.reader().map_err(failed(&blob.path))?, position: 0 }
            } else {
                spool(blob, sizes)?
            }
        } else {
            return Err(ContentError::NoForm { path: first() });
        };
        Ok(Contents { layer, source })
    }
}

/// Copies the files of `blob` that have one of `sizes` to an unnamed file.
fn spool(blob: &BlobForm, sizes: Sizes) -> Result<Source, ContentError> {
    let at_blob = |source| ContentError::Read { path: blob.path.to_string_lossy().into_owned(), source };
    let near = blob.path.parent().unwrap_or(Path::new("."));
    let file = tempfile::tempfile_in(near).or_else(|_| tempfile::tempfile()).map_err(at_blob)?;
    let mut spool = Spool { file, starts: Places::new(near), sizes };
    scan(blob.reader().map_err(at_blob)?, near, &mut spool)
        .map_err(|source| ContentError::Blob { blob: blob.path.clone(), source: Box::new(source) })?;
    Ok(Source::Spool { file: spool.file, starts: spool.starts })
}

impl BlobForm {
    /// The tar, decompressed.
    ///
    /// # Errors
    /// With the path in the message.
    pub fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        decompressor(open(&self.path)?, Some(self.format))
    }
}

/// Opens the file at `path` in the first of `roots` that has something there.
///
/// # Errors
/// As [`Root::open_file`].
pub fn open_in(roots: &[Root], path: &LayerPath) -> io::Result<File> {
    let mut failed = io::ErrorKind::NotFound.into();
    for root in roots {
        match root.open_file(path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                failed = error;
            }
            opened => return opened,
        }
    }
    Err(failed)
}

fn open(path: &Path) -> io::Result<File> {
    fs_err::File::open(path).map(|file| file.into_parts().0)
}

/// Files of one layer, ready to be read; see [`Asked::open`].
pub struct Contents {
    layer: Arc<LayerHandle>,
    source: Source,
}

enum Source {
    Trees(Vec<Root>),
    Plain(File),
    Stream { reader: Box<dyn Read + Send>, position: u64 },
    Spool { file: File, starts: Places },
}

impl Contents {
    /// The bytes of the file at `path`.
    ///
    /// # Errors
    /// See [`ContentError`]; [`ContentError::NoFile`] also if `path` is not next in the order that was announced.
    pub fn read(&mut self, path: &LayerPath) -> Result<Box<dyn Read + '_>, ContentError> {
        let entry = self.layer.file(path)?;
        let missing = || ContentError::NoFile { path: path.display() };
        let failed = |source| ContentError::Read { path: path.display(), source };
        let Kind::File { size, .. } = entry.kind else { return Err(missing()) };
        Ok(match &mut self.source {
            Source::Trees(roots) => Box::new(open_in(roots, &entry.path).map_err(failed)?),
            Source::Plain(file) => Box::new(Span { file, at: entry.offset.ok_or_else(missing)?, left: size }),
            Source::Spool { file, starts } => {
                let start = start_of(starts, &entry.path).map_err(failed)?;
                Box::new(Span { file, at: start.ok_or_else(missing)?, left: size })
            }
            Source::Stream { reader, position } => {
                let offset = entry.offset.ok_or_else(missing)?;
                let skip = offset.checked_sub(*position).ok_or_else(missing)?;
                let skipped = io::copy(&mut reader.take(skip), &mut io::sink()).map_err(failed)?;
                if skipped < skip {
                    return Err(failed(io::ErrorKind::UnexpectedEof.into()));
                }
                *position = offset;
                Box::new(Through { reader, position, left: size })
            }
        })
    }
}

/// A piece of a file; others may read the same file at the same time.
struct Span<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Span<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (buffer.len() as u64).min(self.left) as usize;
        let n = self.file.read_at(&mut buffer[..length], self.at)?;
        if n == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// The next bytes of a stream, which keeps count.
struct Through<'a> {
    reader: &'a mut Box<dyn Read + Send>,
    position: &'a mut u64,
    left: u64,
}

impl Read for Through<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (buffer.len() as u64).min(self.left) as usize;
        let n = self.reader.read(&mut buffer[..length])?;
        if n == 0 && length > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *self.position += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

/// Keeps the files that may be wanted. Which name of a file the index calls the carrier is known only at the archive's end,
/// so sizes decide.
struct Spool {
    file: File,
    /// Files have the place where they start for a number.
    starts: Places,
    sizes: Sizes,
}

fn start_of(starts: &mut Places, path: &LayerPath) -> io::Result<Option<u64>> {
    Ok(match starts.get(path)? {
        Some(Place::Shared(start)) => Some(start),
        _ => None,
    })
}

/// Sizes of files: all that were added, and perhaps some others. However many they are, it is of one size.
struct Sizes(Box<[u64; 1 << 12]>);

impl Default for Sizes {
    fn default() -> Self {
        Self(Box::new([0; 1 << 12]))
    }
}

impl Sizes {
    /// Which bit of which number tells of `size`: any, but always the same.
    fn place(size: u64) -> (usize, u64) {
        let bit = size.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 46;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn add(&mut self, size: u64) {
        let (place, bit) = Self::place(size);
        self.0[place] |= bit;
    }

    fn may_have(&self, size: u64) -> bool {
        let (place, bit) = Self::place(size);
        self.0[place] & bit != 0
    }
}

impl Sink for Spool {
    fn member(&mut self, member: &Member, content: &mut dyn Read) -> io::Result<()> {
        match &member.body {
            Body::File { size } if self.sizes.may_have(*size) => {
                let start = self.file.stream_position()?;
                io::copy(content, &mut self.file)?;
                self.file.flush()?;
                self.starts.put(member.path.clone(), Place::Shared(start))?;
            }
            Body::Hardlink { target } => {
                if let Some(start) = start_of(&mut self.starts, target)? {
                    self.starts.put(member.path.clone(), Place::Shared(start))?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}
