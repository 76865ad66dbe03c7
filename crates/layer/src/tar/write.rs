//! kiln's normal form of a tar: ustar, PAX records only where ustar cannot say it.
//!
//! - Entries stand in the order given (callers sort by path), names without a leading slash, directories with a trailing one.
//! - No user or group names, no access or change times, no device numbers of the host.
//! - Times are whole seconds, cut off below, as Docker and BuildKit write them.
//! - Marks (whiteouts, opaque) have mode, owner and time zero; symbolic links have mode 0777.
//! - Sparse files are written out, zeros and all: readers of layers differ in what sparse formats they know, and
//!   compression takes the zeros away.
//! - Names that are not UTF-8 keep their bytes, in the header and in PAX records alike.

use std::io::{self, Read, Write};

use super::header::{Header, octal_limit, split_name};
use super::member::{Body, Member};
use super::pax::{push_record, push_xattr};
use super::{BLOCK, OPAQUE, TarError, WHITEOUT};
use crate::index::Mtime;
use crate::path::LayerPath;

/// Writes members one after the other. The same members give the same bytes, always.
pub struct TarWriter<W> {
    out: W,
    position: u64,
    clamp: Option<i64>,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// A writer into `out`. Times later than `clamp` (seconds since 1970) become it.
    pub fn new(out: W, clamp: Option<i64>) -> Self {
        Self { out, position: 0, clamp, buffer: Vec::new() }
    }

    /// Writes one member; `content` is read for files only. Returns where a file's bytes start.
    ///
    /// # Errors
    /// [`TarError::Size`] if `content` is shorter or longer than the member says, [`TarError::Content`] if it fails,
    /// [`TarError::Attribute`], [`TarError::Write`]. After an error the archive is unfinished and of no use.
    pub fn member(&mut self, member: &Member, content: &mut dyn Read) -> Result<Option<u64>, TarError> {
        let header = self.header(member)?;
        self.put(&header)?;
        let Body::File { size } = member.body else { return Ok(None) };
        let start = self.position;
        self.copy(member, size, content)?;
        self.pad()?;
        Ok(Some(start))
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Writes the end-of-archive mark, flushes, and gives the destination back.
    ///
    /// # Errors
    /// [`TarError::Write`].
    pub fn finish(mut self) -> Result<W, TarError> {
        self.put(&[0; 2 * BLOCK])?;
        let position = self.position;
        self.out.flush().map_err(|source| TarError::Write { position, source })?;
        Ok(self.out)
    }

    fn header(&self, member: &Member) -> Result<Vec<u8>, TarError> {
        let (flag, link) = match &member.body {
            Body::File { .. } | Body::Whiteout | Body::Opaque => (b'0', Vec::new()),
            Body::Hardlink { target } => (b'1', target.as_bytes().to_vec()),
            Body::Symlink { target } => (b'2', target.clone()),
            Body::CharDevice { .. } => (b'3', Vec::new()),
            Body::BlockDevice { .. } => (b'4', Vec::new()),
            Body::Directory => (b'5', Vec::new()),
            Body::Fifo => (b'6', Vec::new()),
        };
        let (major, minor) = match member.body {
            Body::CharDevice { major, minor } | Body::BlockDevice { major, minor } => (major, minor),
            _ => (0, 0),
        };
        let mark = matches!(member.body, Body::Whiteout | Body::Opaque);
        let mode = match member.body {
            Body::Whiteout | Body::Opaque => 0,
            Body::Symlink { .. } => 0o777,
            _ => member.mode & 0o7777,
        };
        let header = Header {
            name: archive_name(member),
            link,
            mode,
            uid: if mark { 0 } else { member.uid.into() },
            gid: if mark { 0 } else { member.gid.into() },
            size: if let Body::File { size } = member.body { size } else { 0 },
            mtime: if mark { 0 } else { written_mtime(member.mtime, self.clamp).secs },
            flag,
            major,
            minor,
        };
        let records = records(&header, member)?;
        let mut bytes = Vec::with_capacity(BLOCK);
        if !records.is_empty() {
            let name = [b"PaxHeaders.0/", printable(member.path.name()).as_slice()].concat();
            let size = records.len() as u64;
            let extended = Header { name, mode: 0o644, size, flag: b'x', ..Header::default() };
            bytes.extend_from_slice(&extended.ustar());
            bytes.extend_from_slice(&records);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.extend_from_slice(&header.ustar());
        Ok(bytes)
    }

    fn copy(&mut self, member: &Member, size: u64, content: &mut dyn Read) -> Result<(), TarError> {
        let failed = |source| TarError::Content { path: member.path.display(), source };
        let wrong = || TarError::Size { path: member.path.display(), expected: size };
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(COPY, 0);
        let mut left = size;
        loop {
            // One byte more than is left, so that a file that grew shows without a read of its own.
            let length = left.saturating_add(1).min(COPY as u64) as usize;
            let n = read_some(content, &mut buffer[..length]).map_err(failed)?;
            if n as u64 > left || (n == 0 && left > 0) {
                return Err(wrong());
            }
            if n == 0 {
                break;
            }
            self.put(&buffer[..n])?;
            left -= n as u64;
        }
        self.buffer = buffer;
        Ok(())
    }

    fn pad(&mut self) -> Result<(), TarError> {
        let rest = self.position.next_multiple_of(BLOCK as u64) - self.position;
        self.put(&[0; BLOCK][..rest as usize])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), TarError> {
        let position = self.position;
        self.out.write_all(bytes).map_err(|source| TarError::Write { position, source })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// Bytes moved at once.
const COPY: usize = 128 << 10;

fn read_some(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A time as a layer tells it: whole seconds, none later than `clamp`.
pub fn written_mtime(mtime: Mtime, clamp: Option<i64>) -> Mtime {
    Mtime { secs: clamp.map_or(mtime.secs, |limit| mtime.secs.min(limit)), nanos: 0 }
}

fn archive_name(member: &Member) -> Vec<u8> {
    let path = &member.path;
    match member.body {
        Body::Directory if path.is_root() => b"./".to_vec(),
        Body::Directory => [path.as_bytes(), b"/"].concat(),
        Body::Opaque => path.join(OPAQUE).as_bytes().to_vec(),
        Body::Whiteout => {
            let parent = path.parent().unwrap_or_else(LayerPath::root);
            parent.join([WHITEOUT, path.name()].concat()).as_bytes().to_vec()
        }
        _ => path.as_bytes().to_vec(),
    }
}

/// The PAX records that `header` needs, in a fixed order.
fn records(header: &Header, member: &Member) -> Result<Vec<u8>, TarError> {
    let mut out = Vec::new();
    if split_name(&header.name).is_none() {
        push_record(&mut out, b"path", &header.name);
    }
    if header.link.len() > 100 {
        push_record(&mut out, b"linkpath", &header.link);
    }
    let mut number = |key: &[u8], value: i128, width: usize| {
        if value < 0 || value > i128::from(octal_limit(width)) {
            push_record(&mut out, key, value.to_string().as_bytes());
        }
    };
    number(b"size", header.size.into(), 12);
    number(b"uid", header.uid, 8);
    number(b"gid", header.gid, 8);
    number(b"mtime", header.mtime.into(), 12);
    // The attributes of a file stand with the name that carries its content.
    if matches!(member.body, Body::Hardlink { .. } | Body::Whiteout | Body::Opaque) {
        return Ok(out);
    }
    for (name, value) in &member.xattrs {
        if name.contains(&b'=') {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(TarError::Attribute { path: member.path.display(), name });
        }
        push_xattr(&mut out, name, value);
    }
    Ok(out)
}

/// A name for the extended header itself; unpackers ignore it, people see it in listings.
fn printable(name: &[u8]) -> Vec<u8> {
    let safe = |b: &u8| if b.is_ascii_graphic() { *b } else { b'_' };
    name.iter().take(80).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::read::Members;

    fn member(body: Body) -> Member {
        Member { mode: 0o644, ..Member::mark(LayerPath::clean("big"), body) }
    }

    /// Header and PAX records only: nobody wants to wait for the bytes.
    #[test]
    fn sizes_and_times_beyond_octal() {
        let mut limits = Vec::new();
        for size in [(8 << 30) - 1, 8 << 30, 9 << 30, 1 << 50] {
            let header = TarWriter::new(io::sink(), None).header(&member(Body::File { size })).unwrap();
            let raw = Members::new(header.as_slice()).next().unwrap().unwrap();
            assert_eq!((raw.size, raw.offset), (size, Some(header.len() as u64)));
            limits.push(header.len() / BLOCK);
        }
        // Only what does not fit costs a PAX header.
        assert_eq!(limits, [1, 3, 3, 3]);
        for secs in [i64::MIN, -1, 0, (8 << 30) - 1, 8 << 30, i64::MAX] {
            let mut late = member(Body::Fifo);
            late.mtime = Mtime { secs, nanos: 999_999_999 };
            let header = TarWriter::new(io::sink(), None).header(&late).unwrap();
            let raw = Members::new(header.as_slice()).next();
            // The lowest number has no positive twin, so its text cannot be read back; nobody has such a clock.
            if secs != i64::MIN {
                assert_eq!(raw.unwrap().unwrap().mtime, Mtime { secs, nanos: 0 });
            }
        }
    }

    /// A file that grows or shrinks while it is written.
    #[test]
    fn content_of_another_size() {
        for bytes in [&b"abc"[..], b"abcde"] {
            let written =
                TarWriter::new(io::sink(), None).member(&member(Body::File { size: 4 }), &mut &bytes[..]);
            assert!(matches!(written, Err(TarError::Size { expected: 4, .. })), "{written:?}");
        }
    }

    #[test]
    fn ustar_prefixes() {
        let cases = [
            (vec![100], true),
            (vec![101], false),
            (vec![50, 60], true),
            (vec![155, 100], true),
            (vec![156, 100], false),
            (vec![155, 101], false),
            (vec![20, 200], false),
        ];
        for (lengths, fits) in cases {
            let parts: Vec<String> = lengths.iter().map(|n| "x".repeat(*n)).collect();
            let mut file = member(Body::File { size: 0 });
            file.path = LayerPath::clean(parts.join("/"));
            let header = TarWriter::new(io::sink(), None).header(&file).unwrap();
            assert_eq!(header.len() == BLOCK, fits, "{lengths:?}");
            let raw = Members::new(header.as_slice()).next().unwrap().unwrap();
            assert_eq!(raw.name, file.path.as_bytes(), "{lengths:?}");
        }
    }
}
