//! Entries as bytes: what an index is on disk and in memory.
//!
//! Of its path each entry has what it does not share with that before, then its kind, metadata and attributes. There is one way only to encode
//! something: numbers are as short, shared parts as long as can be, attributes are sorted. Two lists of entries are thus the
//! same if their bytes are, and to find a path none has to be put together.

use kiln_oci::digest::Digest;

use crate::bytes::{Cursor, put_bytes, put_number, put_signed};
use crate::entry::{Entry, Kind, Mtime};
use crate::path::LayerPath;
use crate::rows::Row;

/// Appends `path`, which sorts after `before`.
pub(crate) fn put_path(out: &mut Vec<u8>, before: &[u8], path: &[u8]) {
    let shared = common(before, path);
    put_number(out, shared as u64);
    put_bytes(out, &path[shared..]);
}

/// How many bytes `a` and `b` start with are the same.
pub(crate) fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Appends all of `entry` but its path.
pub(crate) fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    Parts::of(&entry.kind).put(out);
    for number in [entry.mode, entry.uid, entry.gid, entry.mtime.nanos] {
        put_number(out, u64::from(number));
    }
    put_signed(out, entry.mtime.secs);
    put_number(out, entry.xattrs.len() as u64);
    for (name, value) in &entry.xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    put_number(out, entry.offset.map_or(0, |offset| offset + 1));
}

/// Reads paths of strangers, that sort one after the other.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    last: Vec<u8>,
    begun: bool,
}

impl Paths {
    /// The next one; `None` if it is not clean, does not sort after the last, or is not encoded as [`put_path`] does it.
    pub(crate) fn take(&mut self, from: &mut Cursor<'_>) -> Option<&[u8]> {
        let shared = usize::try_from(from.number()?).ok()?;
        let rest = from.bytes()?;
        let sorted = match (self.last.get(shared), rest.first()) {
            (Some(old), Some(new)) => old < new,
            (None, Some(_)) => shared == self.last.len(),
            // Only the root, which comes first.
            (_, None) => !self.begun && shared == 0,
        };
        self.begun = true;
        self.last.truncate(shared);
        // What stands before a slash that is shared was looked at before.
        let start = self.last.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        self.last.extend_from_slice(rest);
        (sorted && LayerPath::is_clean(&self.last[start..])).then_some(self.last.as_slice())
    }
}

impl Paths {
    /// The one that was taken last.
    pub(crate) fn last(&self) -> &[u8] {
        &self.last
    }
}

/// What an entry is, as flat as it is encoded and hashed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// Which [`Kind`].
    pub(crate) tag: u8,
    /// A file's size, a device's numbers; else zero.
    pub(crate) numbers: [u64; 2],
    /// A file's digest, a link's target.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(crate) fn of(kind: &'a Kind) -> Self {
        let (tag, numbers, bytes): (u8, [u64; 2], &[u8]) = match kind {
            Kind::File { size, digest } => (b'f', [*size, 0], digest.as_bytes()),
            Kind::Hardlink { target } => (b'h', [0, 0], target.as_bytes()),
            Kind::Directory => (b'd', [0, 0], b""),
            Kind::Symlink { target } => (b'l', [0, 0], target),
            Kind::CharDevice { major, minor } => (b'c', [u64::from(*major), u64::from(*minor)], b""),
            Kind::BlockDevice { major, minor } => (b'b', [u64::from(*major), u64::from(*minor)], b""),
            Kind::Fifo => (b'p', [0, 0], b""),
            Kind::Whiteout => (b'w', [0, 0], b""),
        };
        Self { tag, numbers, bytes }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.tag);
        match self.tag {
            b'f' => {
                put_number(out, self.numbers[0]);
                out.extend_from_slice(self.bytes);
            }
            b'h' | b'l' => put_bytes(out, self.bytes),
            b'c' | b'b' => self.numbers.iter().for_each(|number| put_number(out, *number)),
            _ => {}
        }
    }

    fn take(from: &mut Cursor<'a>) -> Option<Self> {
        let tag = from.take(1)?[0];
        let (mut numbers, mut bytes): ([u64; 2], &[u8]) = ([0, 0], b"");
        match tag {
            b'f' => {
                numbers[0] = from.number()?;
                bytes = from.take(32)?;
            }
            b'h' | b'l' => bytes = from.bytes()?,
            b'c' | b'b' => numbers = [u64::from(from.small()?), u64::from(from.small()?)],
            b'd' | b'p' | b'w' => {}
            _ => return None,
        }
        Some(Self { tag, numbers, bytes })
    }

    fn kind(&self) -> Option<Kind> {
        let [major, minor] = self.numbers.map(|number| number as u32);
        Some(match self.tag {
            b'f' => {
                Kind::File { size: self.numbers[0], digest: Digest::from_bytes(self.bytes.try_into().ok()?) }
            }
            b'h' => Kind::Hardlink { target: LayerPath::of_clean(self.bytes.to_vec()) },
            b'd' => Kind::Directory,
            b'l' => Kind::Symlink { target: self.bytes.to_vec() },
            b'c' => Kind::CharDevice { major, minor },
            b'b' => Kind::BlockDevice { major, minor },
            b'p' => Kind::Fifo,
            b'w' => Kind::Whiteout,
            _ => return None,
        })
    }
}

/// An entry's bytes, understood as far as needed to know where they end. Its path stands before them.
#[derive(Clone, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) kind: Parts<'a>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Mtime,
    pub(crate) xattrs: Xattrs<'a>,
    /// One more than it is; zero for none.
    offset: u64,
}

impl<'a> Encoded<'a> {
    pub(crate) fn take(from: &mut Cursor<'a>) -> Option<Self> {
        let kind = Parts::take(from)?;
        let (mode, uid, gid, nanos) = (from.small()?, from.small()?, from.small()?, from.small()?);
        let secs = from.signed()?;
        let count = from.count()?;
        let xattrs = Xattrs { count, from: from.clone() };
        for _ in 0..2 * count {
            from.bytes()?;
        }
        let offset = from.number()?;
        Some(Self { kind, mode, uid, gid, mtime: Mtime { secs, nanos }, xattrs, offset })
    }

    /// Passes over an entry that is valid.
    pub(crate) fn skip(from: &mut Cursor<'a>) -> Option<()> {
        match from.take(1)?[0] {
            b'f' => {
                from.skip_numbers(1)?;
                from.take(32)?;
            }
            b'h' | b'l' => drop(from.bytes()?),
            b'c' | b'b' => from.skip_numbers(2)?,
            _ => {}
        }
        // Mode, user, group, nanoseconds, seconds.
        from.skip_numbers(5)?;
        for _ in 0..2 * from.count()? {
            from.bytes()?;
        }
        from.skip_numbers(1)
    }

    /// Passes over the rest of a valid entry and the path of the next: how much that shares with this one's, and what comes then. `None` at
    /// the end.
    pub(crate) fn next_path(from: &mut Cursor<'a>) -> Option<(usize, &'a [u8])> {
        Self::skip(from)?;
        Self::take_path(from)
    }

    /// How much a path shares with the one before, and what comes then.
    pub(crate) fn take_path(from: &mut Cursor<'a>) -> Option<(usize, &'a [u8])> {
        Some((usize::try_from(from.number()?).ok()?, from.bytes()?))
    }

    /// Whether an [`Entry`] can be like that, and is encoded so.
    pub(crate) fn is_valid(&self) -> bool {
        self.mode <= 0o7777
            && self.mtime.nanos < 1_000_000_000
            && (self.kind.tag != b'h' || LayerPath::is_clean(self.kind.bytes))
            && (self.xattrs.count < 2 || self.xattrs.iter().map(|(name, _)| name).is_sorted_by(|a, b| a < b))
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.kind.tag == b'd'
    }

    /// Whether it is a whiteout.
    pub(crate) fn is_whiteout(&self) -> bool {
        self.kind.tag == b'w'
    }

    /// What it is another name of, if it is a hard link.
    pub(crate) fn hard_link(&self) -> Option<&'a [u8]> {
        (self.kind.tag == b'h').then_some(self.kind.bytes)
    }

    /// As a value. `None` only of what is not valid.
    pub(crate) fn entry(&self, path: LayerPath) -> Option<Entry> {
        Some(Entry {
            path,
            kind: self.kind.kind()?,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: self.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
            offset: self.offset.checked_sub(1),
        })
    }
}

/// Extended attributes.
#[derive(Clone, Debug)]
pub(crate) struct Xattrs<'a> {
    count: usize,
    from: Cursor<'a>,
}

impl<'a> Xattrs<'a> {
    /// Names and values.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut from = self.from.clone();
        (0..self.count).map(move |_| (from.bytes().unwrap_or_default(), from.bytes().unwrap_or_default()))
    }
}

impl Row for Entry {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.path.as_bytes());
        put_entry(out, self);
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        let path = LayerPath::exact(from.bytes()?)?;
        Encoded::take(from).filter(Encoded::is_valid)?.entry(path)
    }
}
