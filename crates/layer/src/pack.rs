//! From entries and wherever their bytes are to the tar of a layer, and to its tree.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use kiln_oci::digest::{DiffId, Hasher};
use rustix::fs::Stat;

use crate::handle::{ContentError, Contents, LayerHandle, open_in};
use crate::index::{Entry, Index, Kind};
use crate::path::LayerPath;
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

/// A tar that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    entries: &[PackEntry],
    opaque: &[LayerPath],
    out: impl Write,
    clamp: Option<i64>,
) -> Result<Packed, PackError> {
    let mut index = Index::default();
    let written = |entry: &Entry, offset| {
        index.entries.push(Entry { offset, ..as_written(entry, clamp) });
    };
    let (diff_id, size) = write_tar(entries, opaque, Packer::new(out, clamp), written)?;
    index.opaque = opaque.to_vec();
    Ok(Packed { index, diff_id, size })
}

/// As [`pack`]; what a file's offset in the tar is goes into its entry, and nothing else is kept of it: for layers of very many
/// files.
///
/// # Errors
/// As [`pack`].
pub fn pack_placed(
    entries: &mut [PackEntry],
    opaque: &[LayerPath],
    out: impl Write,
    clamp: Option<i64>,
) -> Result<DiffId, PackError> {
    let mut offsets = Vec::with_capacity(entries.len());
    let packer = Packer::new(out, clamp);
    let (diff_id, _) = write_tar(entries, opaque, packer, |_, offset| offsets.push(offset))?;
    for (item, offset) in entries.iter_mut().zip(offsets) {
        item.entry.offset = offset;
    }
    Ok(diff_id)
}

/// Writes everything and tells `written` of each entry. The result is the tar's digest and size.
fn write_tar<W: Write>(
    entries: &[PackEntry],
    opaque: &[LayerPath],
    mut packer: Packer<W>,
    mut written: impl FnMut(&Entry, Option<u64>),
) -> Result<(DiffId, u64), PackError> {
    let mut sources = Sources::of(entries)?;
    let mut marks = Marks { opaque };
    for item in entries {
        marks.before(&item.entry.path, &mut packer)?;
        let opened = sources.open(item)?;
        let offset = packer.add(&item.entry, opened)?;
        written(&item.entry, offset);
    }
    marks.rest(&mut packer)?;
    packer.finish()
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
    let entries: Vec<PackEntry> = layer.index.entries.iter().map(|e| PackEntry::of(layer, e)).collect();
    pack(&entries, &layer.index.opaque, out, clamp)
}

/// Writes the tar `reader` anew with clamped times and in normal form but for the order, which stays the archive's.
///
/// # Errors
/// [`PackError::Tar`].
pub fn repack(reader: impl Read, out: impl Write, clamp: Option<i64>) -> Result<Packed, PackError> {
    let mut sink = Repacker { packer: Packer::new(out, clamp), offsets: HashMap::new() };
    let scanned = scan(reader, &mut sink)?;
    let (diff_id, size) = sink.packer.finish()?;
    let mut index = scanned.index;
    for entry in &mut index.entries {
        let offset = sink.offsets.get(&entry.path).copied();
        *entry = Entry { offset, ..as_written(entry, clamp) };
    }
    Ok(Packed { index, diff_id, size })
}

/// Writes `entries` as a tree through `unpacker`, which is new; files share their bytes with their originals where the filesystem
/// can. Digests are checked as in [`pack`].
///
/// # Errors
/// See [`PackError`]. What was written until then stays.
pub fn write_tree(
    entries: &[PackEntry],
    opaque: &[LayerPath],
    mut unpacker: Unpacker<'_>,
) -> Result<Unpacked, PackError> {
    let mut sources = Sources::of(entries)?;
    for item in entries {
        let member = Member::from(&item.entry);
        if unpacker.may_clone() && sources.clone_file(item, &member, &mut unpacker)? {
            continue;
        }
        let mut reader = Checked::new(sources.open(item)?.reader);
        match unpacker.place(&member, &mut reader) {
            // The file became shorter.
            Err(UnpackError::Place { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(PackError::Changed { path: item.entry.path.display() });
            }
            placed => placed?,
        }
        reader.verdict(&item.entry)?;
    }
    for dir in opaque {
        unpacker.place(&Member::mark(dir.clone(), Body::Opaque), &mut io::empty())?;
    }
    Ok(unpacker.finish()?)
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

/// Whether there are no bytes to read: no file, or an empty one.
fn is_empty(entry: &Entry) -> bool {
    !matches!(entry.kind, Kind::File { size: 1.., .. })
}

/// The readers of all the layers that entries come from.
struct Sources<'a> {
    layers: HashMap<*const LayerHandle, Contents<'a>>,
}

impl<'a> Sources<'a> {
    fn of(entries: &'a [PackEntry]) -> Result<Self, PackError> {
        let unsorted = entries.windows(2).find(|pair| pair[0].entry.path >= pair[1].entry.path);
        if let Some(pair) = unsorted {
            return Err(PackError::Order { path: pair[1].entry.path.display() });
        }
        let mut orders: HashMap<*const LayerHandle, (&LayerHandle, Vec<LayerPath>)> = HashMap::new();
        for item in entries {
            if let (Content::Layer { layer, path }, false) = (&item.content, is_empty(&item.entry)) {
                let order = orders.entry(Arc::as_ptr(layer)).or_insert((layer, Vec::new()));
                order.1.push(path.clone());
            }
        }
        let mut layers = HashMap::new();
        for (key, (layer, order)) in orders {
            layers.insert(key, layer.open(&order)?);
        }
        Ok(Self { layers })
    }

    fn open<'s>(&'s mut self, item: &'s PackEntry) -> Result<Opened<'s>, PackError> {
        let path = || item.entry.path.display();
        let missing = || PackError::Missing { path: path() };
        if is_empty(&item.entry) {
            return Ok(Opened { reader: Box::new(io::empty()), known: false });
        }
        let reader: Box<dyn Read> = match &item.content {
            Content::None => return Err(missing()),
            Content::Bytes(bytes) => Box::new(bytes.as_ref()),
            Content::File { root, path: file } => {
                let (file, known) =
                    root.open_known(file).map_err(|source| PackError::Open { path: path(), source })?;
                let Kind::File { digest, .. } = &item.entry.kind else { return Err(missing()) };
                let seen = known.filter(|(known, _)| known == digest).map(|(_, stat)| stat);
                let known = seen.is_some();
                return Ok(Opened { reader: Box::new(Whole { file, ended: false, seen }), known });
            }
            Content::Layer { layer, path: file } => match self.layers.get_mut(&Arc::as_ptr(layer)) {
                Some(contents) => contents.read(file)?,
                None => return Err(missing()),
            },
        };
        Ok(Opened { reader, known: false })
    }

    /// Makes the file as a reflink and checks the copy, which nobody else can change any more. `false`: not possible here.
    fn clone_file(
        &mut self,
        item: &PackEntry,
        member: &Member,
        unpacker: &mut Unpacker<'_>,
    ) -> Result<bool, PackError> {
        let opened = |source| PackError::Open { path: item.entry.path.display(), source };
        let original: File = match &item.content {
            _ if !matches!(item.entry.kind, Kind::File { size: 4096.., .. }) => return Ok(false),
            Content::File { root, path } => root.open_file(path).map_err(opened)?,
            Content::Layer { layer, path } => match layer.carrier(path) {
                Some(carrier) if !layer.trees.is_empty() => {
                    let roots: io::Result<Vec<Root>> =
                        layer.trees.iter().map(|tree| Root::open(tree)).collect();
                    open_in(&roots.map_err(opened)?, &carrier.path).map_err(opened)?
                }
                _ => return Ok(false),
            },
            _ => return Ok(false),
        };
        let Some(copy) = unpacker.place_clone(member, &original)? else { return Ok(false) };
        let mut reader = Checked::new(Box::new(unpacker.stop().over(copy)));
        io::copy(&mut reader, &mut io::sink()).map_err(opened)?;
        reader.verdict(&item.entry)?;
        Ok(true)
    }
}

/// A file's bytes.
struct Opened<'s> {
    reader: Box<dyn Read + 's>,
    /// Whether they are what the entry says if they can be read to the end.
    known: bool,
}

/// A regular file, whose end shows by a read that gives less than was asked for: one call for each small file.
struct Whole {
    file: File,
    ended: bool,
    /// Its state before the first read, if it must be the same after the last.
    seen: Option<Stat>,
}

/// A file did not stay as it was while it was read.
#[derive(Debug, thiserror::Error)]
#[error("the file changed while it was read")]
struct Altered;

impl Whole {
    fn check(&mut self) -> io::Result<()> {
        let Some(before) = self.seen.take() else { return Ok(()) };
        let after = rustix::fs::fstat(&self.file)?;
        let state = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec);
        if state(&before) == state(&after) { Ok(()) } else { Err(io::Error::other(Altered)) }
    }
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            self.check()?;
            return Ok(0);
        }
        let n = self.file.read(buffer)?;
        self.ended = n < buffer.len();
        if n == 0 {
            self.check()?;
        }
        Ok(n)
    }
}

/// Hashes what passes.
struct Checked<'a> {
    inner: Box<dyn Read + 'a>,
    hasher: Hasher,
}

impl<'a> Checked<'a> {
    fn new(inner: Box<dyn Read + 'a>) -> Self {
        Self { inner, hasher: Hasher::new() }
    }

    /// Whether what passed is what `entry` says, nothing being left.
    fn verdict(mut self, entry: &Entry) -> Result<(), PackError> {
        let Kind::File { digest, .. } = &entry.kind else { return Ok(()) };
        let ended = matches!(self.inner.read(&mut [0]), Ok(0));
        if ended && self.hasher.finish() == *digest {
            return Ok(());
        }
        Err(PackError::Changed { path: entry.path.display() })
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        Ok(n)
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
