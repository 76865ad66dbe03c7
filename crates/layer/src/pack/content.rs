//! Where the bytes of entries come from, and whether they are still what was looked at.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use kiln_oci::digest::Hasher;
use rustix::fs::Stat;

use crate::handle::{Asked, Contents, LayerHandle, open_in};
use crate::index::{Entry, Kind};
use crate::pack::{Content, Entries, Order, PackEntry, PackError};
use crate::tar::Member;
use crate::tree::Root;
use crate::unpack::Unpacker;

/// Whether there are no bytes to read: no file, or an empty one.
pub(super) fn is_empty(entry: &Entry) -> bool {
    !matches!(entry.kind, Kind::File { size: 1.., .. })
}

/// The readers of all the layers that entries come from.
pub(super) struct Sources {
    layers: HashMap<*const LayerHandle, Contents>,
}

impl Sources {
    /// Makes ready for `entries`, which come in this order.
    pub(super) fn of(entries: &(impl Entries + ?Sized)) -> Result<Self, PackError> {
        let mut asked: HashMap<*const LayerHandle, Asked> = HashMap::new();
        let mut order = Order::default();
        entries.each(&mut |item| {
            order.next(&item.entry.path)?;
            if let (Content::Layer { layer, path }, false) = (&item.content, is_empty(&item.entry)) {
                let asked = asked.entry(Arc::as_ptr(layer)).or_insert_with(|| Asked::of(layer));
                asked.add(path)?;
            }
            Ok(())
        })?;
        let opened = asked.into_iter().map(|(key, asked)| Ok((key, asked.open()?)));
        Ok(Self { layers: opened.collect::<Result<_, PackError>>()? })
    }

    pub(super) fn open<'s>(&'s mut self, item: &'s PackEntry) -> Result<Opened<'s>, PackError> {
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
    pub(super) fn clone_file(
        &mut self,
        item: &PackEntry,
        member: &Member,
        unpacker: &mut Unpacker<'_>,
    ) -> Result<bool, PackError> {
        let opened = |source| PackError::Open { path: item.entry.path.display(), source };
        let original: File = match &item.content {
            _ if !matches!(item.entry.kind, Kind::File { size: 4096.., .. }) => return Ok(false),
            Content::File { root, path } => root.open_file(path).map_err(opened)?,
            Content::Layer { layer, path } => match layer.carrier(path).map_err(opened)? {
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
pub(super) struct Opened<'s> {
    pub(super) reader: Box<dyn Read + 's>,
    /// Whether they are what the entry says if they can be read to the end.
    pub(super) known: bool,
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
pub(super) struct Altered;

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
pub(super) struct Checked<'a> {
    inner: Box<dyn Read + 'a>,
    hasher: Hasher,
}

impl<'a> Checked<'a> {
    pub(super) fn new(inner: Box<dyn Read + 'a>) -> Self {
        Self { inner, hasher: Hasher::new() }
    }

    /// Whether what passed is what `entry` says, nothing being left.
    pub(super) fn verdict(mut self, entry: &Entry) -> Result<(), PackError> {
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
