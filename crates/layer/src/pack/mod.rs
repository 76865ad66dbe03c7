//! From entries and wherever their bytes are to the tar of a layer, and to its tree.

mod content;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use kiln_oci::digest::{DiffId, Hasher};

use crate::handle::{ContentError, LayerHandle};
use crate::index::{Entry, Index, Kind};
use crate::pack::content::{Altered, Checked, Opened, Sources, is_empty};
use crate::path::LayerPath;
use crate::rows::HELD;
use crate::stop::Stop;
use crate::tar::scan::{Sink, scan};
use crate::tar::write::{TarWriter, written_mtime};
use crate::tar::{Body, Member, TarError};
use crate::tree::Root;
use crate::unpack::{UnpackError, Unpacked, Unpacker};

/// An entry and where its bytes are.
#[derive(Clone, Debug)]
pub struct PackEntry {
    /// What the layer is to say. A file's digest is that of the bytes that were looked at when the entry was made.
    pub entry: Entry,
    /// A file's bytes; [`Content::None`] for everything else.
    pub content: Content,
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub enum Content {
    /// There are none: the entry is no file, or an empty one.
    None,
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a directory outside, such as a build context. No symbolic link is followed.
    File {
        /// The directory.
        root: Arc<Root>,
        /// The file below it.
        path: LayerPath,
    },
    /// In another layer.
    Layer {
        /// That layer.
        layer: Arc<LayerHandle>,
        /// The file's path in it; hard links count as what they name.
        path: LayerPath,
    },
}

/// Entries to be packed, which may be more than memory should hold: sorted by path and each path once, as often as they are asked for.
pub trait Entries {
    /// How many they are.
    ///
    /// # Errors
    /// [`PackError::List`] if that takes a look at them and they cannot be had.
    fn count(&self) -> Result<usize, PackError>;

    /// Hands over each in order, until `take` fails.
    ///
    /// # Errors
    /// Those of `take`, and [`PackError::List`] if the entries cannot be had.
    fn each(&self, take: &mut Take<'_>) -> Result<(), PackError>;
}

/// Takes one entry after the other.
pub type Take<'a> = dyn FnMut(&PackEntry) -> Result<(), PackError> + 'a;

/// Is told of each entry that was written, and where a file's bytes start in the tar.
pub type Written<'a> = dyn FnMut(&Entry, Option<u64>) -> Result<(), PackError> + 'a;

impl<T: AsRef<[PackEntry]> + ?Sized> Entries for T {
    fn count(&self) -> Result<usize, PackError> {
        Ok(self.as_ref().len())
    }

    fn each(&self, take: &mut Take<'_>) -> Result<(), PackError> {
        self.as_ref().iter().try_for_each(take)
    }
}

/// Entries of which no more come when it is time to stop: then that is the error, as a [`PackError::List`] with [`crate::stop::Stopped`].
pub struct Until<'a> {
    /// All of them.
    pub entries: &'a dyn Entries,
    /// Says when.
    pub stop: Stop<'a>,
}

impl Entries for Until<'_> {
    fn count(&self) -> Result<usize, PackError> {
        self.entries.count()
    }

    fn each(&self, take: &mut Take<'_>) -> Result<(), PackError> {
        self.entries.each(&mut |item| {
            self.stop.check().map_err(|stopped| PackError::List { source: stopped.into() })?;
            take(item)
        })
    }
}

/// A tar that was written.
#[derive(Clone, Debug)]
pub struct Packed {
    /// What it says: the times as written, each file with its offset. A scan of the tar gives exactly this.
    pub index: Index,
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// Bytes of the tar.
    pub size: u64,
}

/// Why a layer cannot be packed or written out.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file is not what it was when it was looked at.
    #[error("{path} changed while building")]
    Changed {
        /// Its path in the layer.
        path: String,
    },
    /// Entries out of order, or two with one path.
    #[error("{path} is out of order")]
    Order {
        /// The entry that should stand elsewhere.
        path: String,
    },
    /// A file that has bytes came without.
    #[error("{path} has no content")]
    Missing {
        /// Its path in the layer.
        path: String,
    },
    /// A file outside cannot be opened.
    #[error("cannot pack {path}")]
    Open {
        /// Its path in the layer.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The entries themselves, which do not all fit into memory, cannot be kept or read back.
    #[error("cannot keep the list of what is packed")]
    List {
        /// Why.
        source: io::Error,
    },
    /// Another layer's bytes cannot be had.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The tar cannot be written, or for a repack not be read.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The tree cannot be written.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// Packs `entries`, sorted by path and each path once, to `out` in normal form (see [`crate::tar::write`]) and checks on
/// the way that each file still has the digest of its entry. Times later than `clamp` become it. Memory is flat.
///
/// # Errors
/// See [`PackError`]. What was written to `out` until then is of no use.
pub fn pack(
    entries: &(impl Entries + ?Sized),
    opaque: &[LayerPath],
    out: impl Write,
    clamp: Option<i64>,
) -> Result<Packed, PackError> {
    let mut index = Index::builder();
    let written = &mut |entry: &Entry, offset| {
        index.push(&Entry { offset, ..as_written(entry, clamp) });
        Ok(())
    };
    let (diff_id, size) = write_tar(entries, opaque, Packer::new(out, clamp), written)?;
    Ok(Packed { index: index.finish(opaque.to_vec()), diff_id, size })
}

/// As [`pack`], for layers of very many files: each entry that was written goes to `written` with the offset of its file in the tar, and
/// nothing is kept of it.
///
/// # Errors
/// As [`pack`], and those of `written`.
pub fn pack_telling(
    entries: &(impl Entries + ?Sized),
    opaque: &[LayerPath],
    (out, clamp): (impl Write, Option<i64>),
    written: &mut Written<'_>,
) -> Result<DiffId, PackError> {
    write_tar(entries, opaque, Packer::new(out, clamp), written).map(|(diff_id, _)| diff_id)
}

/// Writes everything and tells `written` of each entry. The result is the tar's digest and size.
fn write_tar<W: Write>(
    entries: &(impl Entries + ?Sized),
    opaque: &[LayerPath],
    mut packer: Packer<W>,
    written: &mut Written<'_>,
) -> Result<(DiffId, u64), PackError> {
    let mut sources = Sources::of(entries)?;
    let mut marks = Marks { opaque };
    entries.each(&mut |item| {
        marks.before(&item.entry.path, &mut packer)?;
        let opened = sources.open(item)?;
        let offset = packer.add(&item.entry, opened)?;
        written(&item.entry, offset)
    })?;
    marks.rest(&mut packer)?;
    packer.finish()
}

/// Sees that entries come in order.
#[derive(Default)]
struct Order {
    last: Option<LayerPath>,
}

impl Order {
    fn next(&mut self, path: &LayerPath) -> Result<(), PackError> {
        if self.last.as_ref().is_some_and(|last| last >= path) {
            return Err(PackError::Order { path: path.display() });
        }
        match &mut self.last {
            Some(last) => last.clone_from(path),
            None => self.last = Some(path.clone()),
        }
        Ok(())
    }
}

/// Packs the layer whose unpacked tree is `dir`.
///
/// # Errors
/// As [`pack`].
pub fn pack_tree(
    index: &Index,
    dir: &Path,
    out: impl Write,
    clamp: Option<i64>,
) -> Result<Packed, PackError> {
    let handle =
        LayerHandle { index: Arc::new(index.clone()), trees: vec![dir.to_owned()], blob: None, later: None };
    pack_layer(&Arc::new(handle), out, clamp)
}

/// Packs a layer out of whatever form there is of it.
///
/// # Errors
/// As [`pack`].
pub fn pack_layer(
    layer: &Arc<LayerHandle>,
    out: impl Write,
    clamp: Option<i64>,
) -> Result<Packed, PackError> {
    pack(&AllOf(Arc::clone(layer)), layer.index.opaque(), out, clamp)
}

/// Writes the tar `reader` anew with clamped times and in normal form but for the order, which stays the archive's. What memory need not
/// hold is put into unnamed files in the directory `tmp`.
///
/// # Errors
/// [`PackError::Tar`].
pub fn repack(
    reader: impl Read,
    out: impl Write,
    clamp: Option<i64>,
    tmp: &Path,
) -> Result<Packed, PackError> {
    let mut sink = Repacker { packer: Packer::new(out, clamp), offsets: HashMap::new() };
    let scanned = scan(reader, tmp, &mut sink)?;
    let (diff_id, size) = sink.packer.finish()?;
    let mut index = Index::builder_in(tmp, HELD);
    for entry in &scanned.index {
        let entry = entry.map_err(|source| PackError::List { source })?;
        let offset = sink.offsets.get(&entry.path).copied();
        index.push(&Entry { offset, ..as_written(&entry, clamp) });
    }
    Ok(Packed { index: index.finish(scanned.index.opaque().to_vec()), diff_id, size })
}

/// Writes `entries` as a tree through `unpacker`, which is new; files share their bytes with their originals where the filesystem
/// can. Digests are checked as in [`pack`].
///
/// # Errors
/// See [`PackError`]. What was written until then stays.
pub fn write_tree(
    entries: &(impl Entries + ?Sized),
    opaque: &[LayerPath],
    mut unpacker: Unpacker<'_>,
) -> Result<Unpacked, PackError> {
    let mut sources = Sources::of(entries)?;
    entries.each(&mut |item| {
        let member = Member::from(&item.entry);
        if unpacker.may_clone() && sources.clone_file(item, &member, &mut unpacker)? {
            return Ok(());
        }
        let mut reader = Checked::new(sources.open(item)?.reader);
        match unpacker.place(&member, &mut reader) {
            // The file became shorter.
            Err(UnpackError::Place { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(PackError::Changed { path: item.entry.path.display() });
            }
            placed => placed?,
        }
        reader.verdict(&item.entry)
    })?;
    for dir in opaque {
        unpacker.place(&Member::mark(dir.clone(), Body::Opaque), &mut io::empty())?;
    }
    Ok(unpacker.finish()?)
}

/// All entries of a layer, their bytes coming from there.
#[derive(Debug)]
pub struct AllOf(pub Arc<LayerHandle>);

impl Entries for AllOf {
    fn count(&self) -> Result<usize, PackError> {
        Ok(self.0.index.len())
    }

    fn each(&self, take: &mut Take<'_>) -> Result<(), PackError> {
        self.0.index.iter().try_for_each(|entry| {
            let entry = entry.map_err(|source| PackError::List { source })?;
            take(&PackEntry::of(&self.0, &entry))
        })
    }
}

impl PackEntry {
    /// An entry of a layer, its bytes coming from there.
    pub fn of(layer: &Arc<LayerHandle>, entry: &Entry) -> Self {
        let content = if is_empty(entry) {
            Content::None
        } else {
            Content::Layer { layer: Arc::clone(layer), path: entry.path.clone() }
        };
        Self { entry: entry.clone(), content }
    }
}

/// Writes entries.
struct Packer<W> {
    writer: TarWriter<HashingWriter<W>>,
}

impl<W: Write> Packer<W> {
    fn new(out: W, clamp: Option<i64>) -> Self {
        let out = HashingWriter { inner: out, hasher: Hasher::new() };
        Self { writer: TarWriter::new(out, clamp) }
    }

    /// Gives where a file's bytes start.
    fn add(&mut self, entry: &Entry, mut content: Opened<'_>) -> Result<Option<u64>, PackError> {
        let changed = |error| match error {
            TarError::Size { .. } => PackError::Changed { path: entry.path.display() },
            TarError::Content { source, .. } if source.get_ref().is_some_and(|e| e.is::<Altered>()) => {
                PackError::Changed { path: entry.path.display() }
            }
            other => other.into(),
        };
        let member = Member::from(entry);
        if content.known {
            return self.writer.member(&member, &mut content.reader).map_err(changed);
        }
        let mut checked = Checked::new(content.reader);
        let offset = self.writer.member(&member, &mut checked).map_err(changed)?;
        checked.verdict(entry)?;
        Ok(offset)
    }

    fn mark(&mut self, dir: &LayerPath) -> Result<(), PackError> {
        let mark = Member::mark(dir.clone(), Body::Opaque);
        self.writer.member(&mark, &mut io::empty())?;
        Ok(())
    }

    /// The tar's digest and size.
    fn finish(self) -> Result<(DiffId, u64), PackError> {
        let size = self.writer.position() + 1024;
        let out = self.writer.finish()?;
        Ok((DiffId(out.hasher.finish()), size))
    }
}

/// The entry that a scan of the written tar will find.
fn as_written(entry: &Entry, clamp: Option<i64>) -> Entry {
    let mut written = Entry { mtime: written_mtime(entry.mtime, clamp), ..entry.clone() };
    match entry.kind {
        Kind::Symlink { .. } => written.mode = 0o777,
        Kind::Whiteout => {
            (written.mode, written.uid, written.gid) = (0, 0, 0);
            written.mtime = crate::index::Mtime::default();
            written.xattrs.clear();
        }
        _ => written.mode &= 0o7777,
    }
    written
}

/// Opaque marks still to be written; each comes right after its directory's entry.
struct Marks<'a> {
    opaque: &'a [LayerPath],
}

impl Marks<'_> {
    /// Writes the marks of all directories that sort before `next`.
    fn before<W: Write>(&mut self, next: &LayerPath, packer: &mut Packer<W>) -> Result<(), PackError> {
        while let Some((dir, rest)) = self.opaque.split_first().filter(|(dir, _)| *dir < next) {
            packer.mark(dir)?;
            self.opaque = rest;
        }
        Ok(())
    }

    fn rest<W: Write>(&mut self, packer: &mut Packer<W>) -> Result<(), PackError> {
        for dir in std::mem::take(&mut self.opaque) {
            packer.mark(dir)?;
        }
        Ok(())
    }
}

struct HashingWriter<W> {
    inner: W,
    hasher: Hasher,
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Repacker<W> {
    packer: Packer<W>,
    offsets: HashMap<LayerPath, u64>,
}

impl<W: Write> Sink for Repacker<W> {
    fn member(&mut self, member: &Member, content: &mut dyn Read) -> io::Result<()> {
        let offset = self.packer.writer.member(member, content).map_err(io::Error::other)?;
        if let Some(offset) = offset {
            self.offsets.insert(member.path.clone(), offset);
        }
        Ok(())
    }
}
