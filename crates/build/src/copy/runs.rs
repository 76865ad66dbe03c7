//! The files of a layer in the making, sorted by path, however many they are.
//!
//! They come in the order of their paths for the most part. Each stretch that does is a run; runs are merged two by two whenever a few have
//! gathered, so that there are never many, and all of them in the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use kiln_layer::bytes::{Cursor, put_bytes, put_number};
use kiln_layer::index::{Entry, Kind};
use kiln_layer::path::LayerPath;
use kiln_layer::rows::{Row, Rows};

use crate::error::BuildErrorKind;

/// Where the bytes of a planned file come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// Not a regular file.
    None,
    /// Of the file system that is read, at this path.
    Source(LayerPath),
    /// Given here.
    Inline(Vec<u8>),
    /// Entry of an unpacked archive: which archive, and the path in it.
    Archive(usize, LayerPath),
    /// A download: which one.
    Download(usize),
    /// A file of a commit: which commit, and the path in it.
    Checkout(usize, LayerPath),
    /// In a layer of the root filesystem that is read: which one, and the path in it.
    Layer(usize, LayerPath),
}

/// An entry of the new layer.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) entry: Entry,
    pub(crate) bytes: Bytes,
    /// Equal for two names of one file that come from one source.
    pub(crate) link: Option<u64>,
    /// Of two for one path that with the higher number was put later, and counts.
    pub(crate) turn: u64,
}

/// Files in order.
pub(crate) struct Runs {
    tmp: PathBuf,
    /// Each in the order of paths; of equal paths the later comes later.
    runs: Vec<Rows<Planned>>,
    /// The path that came last.
    last: LayerPath,
}

/// Takes entries in order.
pub(crate) type Take<'a> = dyn FnMut(Planned) -> Result<(), BuildErrorKind> + 'a;

impl Runs {
    pub(crate) fn new(tmp: &Path) -> Self {
        Self { tmp: tmp.to_owned(), runs: Vec::new(), last: LayerPath::root() }
    }

    /// Where long lists are kept.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.tmp.clone()
    }

    pub(crate) fn push(&mut self, planned: Planned) -> Result<(), BuildErrorKind> {
        if self.runs.is_empty() || planned.entry.path < self.last {
            self.shorten()?;
            self.runs.push(Rows::new(self.tmp.as_path()));
        }
        if let Some(run) = self.runs.last_mut() {
            run.push(&planned)?;
        }
        self.last = planned.entry.path;
        Ok(())
    }

    /// Merges the last two runs as long as the one before is not much longer: there are never more than the logarithm of their lengths.
    fn shorten(&mut self) -> Result<(), BuildErrorKind> {
        while let [.., before, last] = self.runs.as_slice()
            && before.len() < 2 * last.len()
        {
            let mut merged = Rows::new(self.tmp.as_path());
            let two = &self.runs[self.runs.len() - 2..];
            merge(two, std::iter::empty(), &mut |planned| Ok(merged.push(&planned)?))?;
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push(merged);
        }
        Ok(())
    }

    /// Hands the files and what is `held` (sorted) to `take` in the order of paths, of each path what was put last.
    pub(crate) fn merged(
        self,
        held: impl Iterator<Item = Planned>,
        take: &mut Take<'_>,
    ) -> Result<(), BuildErrorKind> {
        merge(&self.runs, held, take)
    }
}

/// What comes next of a run: sorted by path, then by turn.
struct Next {
    planned: Planned,
    run: usize,
}

impl Next {
    fn order(&self) -> (&LayerPath, u64) {
        (&self.planned.entry.path, self.planned.turn)
    }
}

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

fn merge(
    runs: &[Rows<Planned>],
    held: impl Iterator<Item = Planned>,
    take: &mut Take<'_>,
) -> Result<(), BuildErrorKind> {
    let mut runs: Vec<_> = runs.iter().map(Rows::iter).collect();
    let mut held = held.peekable();
    let mut heap = BinaryHeap::new();
    for (run, rows) in runs.iter_mut().enumerate() {
        heap.extend(rows.next().transpose()?.map(|planned| Reverse(Next { planned, run })));
    }
    let mut waiting: Option<Planned> = None;
    loop {
        let first = heap.peek().map(|Reverse(next)| next.order());
        let from_held = held.next_if(|one| first.is_none_or(|first| (&one.entry.path, one.turn) < first));
        let next = match (from_held, heap.pop()) {
            (Some(one), popped) => {
                heap.extend(popped);
                one
            }
            (None, Some(Reverse(Next { planned, run }))) => {
                heap.extend(runs[run].next().transpose()?.map(|planned| Reverse(Next { planned, run })));
                planned
            }
            (None, None) => break,
        };
        // The later of two takes the place of the other.
        if let Some(before) = waiting.replace(next)
            && let Some(next) = &waiting
        {
            if before.entry.path != next.entry.path {
                take(before)?;
            } else if (before.entry.kind == Kind::Directory) != (next.entry.kind == Kind::Directory) {
                return Err(BuildErrorKind::Copy {
                    message: format!(
                        "a directory cannot replace {}, which is not one",
                        next.entry.path.display()
                    ),
                    help: None,
                });
            }
        }
    }
    waiting.map_or(Ok(()), take)
}

impl Row for Planned {
    fn put(&self, out: &mut Vec<u8>) {
        self.entry.put(out);
        let (kind, number, content): (u64, usize, &[u8]) = match &self.bytes {
            Bytes::None => (0, 0, &[]),
            Bytes::Source(path) => (1, 0, path.as_bytes()),
            Bytes::Inline(bytes) => (2, 0, bytes),
            Bytes::Archive(n, path) => (3, *n, path.as_bytes()),
            Bytes::Download(n) => (4, *n, &[]),
            Bytes::Checkout(n, path) => (5, *n, path.as_bytes()),
            Bytes::Layer(n, path) => (6, *n, path.as_bytes()),
        };
        put_number(out, kind);
        put_number(out, number as u64);
        put_bytes(out, content);
        put_number(out, self.link.map_or(0, |link| link + 1));
        put_number(out, self.turn);
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        let entry = Entry::take(from)?;
        let (kind, number) = (from.number()?, usize::try_from(from.number()?).ok()?);
        let content = from.bytes()?;
        let path = || LayerPath::exact(content);
        let bytes = match kind {
            0 => Bytes::None,
            1 => Bytes::Source(path()?),
            2 => Bytes::Inline(content.to_vec()),
            3 => Bytes::Archive(number, path()?),
            4 => Bytes::Download(number),
            5 => Bytes::Checkout(number, path()?),
            6 => Bytes::Layer(number, path()?),
            _ => return None,
        };
        Some(Self { entry, bytes, link: from.number()?.checked_sub(1), turn: from.number()? })
    }
}
