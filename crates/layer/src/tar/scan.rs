//! Reading foreign layers: one pass over an uncompressed tar gives its index, its diff id, and whatever a [`Sink`] makes
//! of the bytes on the way.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::Path;

use kiln_oci::digest::{DiffId, Hasher};

use super::error::shown;
use super::fold::{Fold, clean_name};
use super::member::{Body, Member};
use super::read::{Members, Raw};
use super::{OPAQUE, TarError, WHITEOUT, WHITEOUT_META};
use crate::index::Index;
use crate::path::LayerPath;
use crate::places::Places;
use crate::xattr;

/// Receives the members of an archive while it is scanned.
pub trait Sink {
    /// Takes one member. Paths are clean and stand behind no symbolic link of the same archive; hard links name an earlier
    /// member; a later member replaces an earlier one with the same path. `content` holds a file's bytes and is empty for
    /// everything else; what is left unread of it is skipped.
    ///
    /// # Errors
    /// Whatever goes wrong; it ends the scan as [`TarError::Sink`].
    fn member(&mut self, member: &Member, content: &mut dyn Read) -> io::Result<()>;
}

/// A sink that wants nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl Sink for NullSink {
    fn member(&mut self, _: &Member, _: &mut dyn Read) -> io::Result<()> {
        Ok(())
    }
}

/// What a scan found.
#[derive(Clone, Debug)]
pub struct Scanned {
    /// Everything in the archive, with the offsets of the files' bytes (sparse files have none).
    pub index: Index,
    /// Digest of the whole stream, what follows the end-of-archive mark included.
    pub diff_id: DiffId,
    /// Bytes of the whole stream.
    pub size: u64,
}

/// Reads `reader`, an uncompressed tar, to its very end: ustar, GNU and PAX with long names, sparse files, hard links,
/// attributes, whiteouts and opaque marks (OCI image spec, layer.md).
/// Memory is flat: what it need not hold of very many members is put into unnamed files in the directory `tmp`.
///
/// Names lose `./` and leading slashes. Character devices 0:0 count as whiteouts, since overlayfs will take them for such;
/// overlayfs's own attributes are dropped; an archive's metadata for a second name of a file gives way to that of the first.
///
/// # Errors
/// See [`TarError`]: anything malformed or hostile is refused, nothing is guessed.
pub fn scan(reader: impl Read, tmp: &Path, sink: &mut dyn Sink) -> Result<Scanned, TarError> {
    let hashed = Hashed { inner: reader, hasher: Hasher::new(), size: 0 };
    let mut buffered = BufReader::with_capacity(64 << 10, hashed);
    let mut members = Members::new(&mut buffered);
    let mut fold = Fold::new(Places::new(tmp));
    while let Some(raw) = members.next()? {
        let offset = raw.offset;
        let Some(member) = interpret(raw)? else { continue };
        let ops = fold.admit(member)?;
        for op in &ops {
            let failed = |source| TarError::Sink { path: op.path.display(), source };
            if !matches!(op.body, Body::File { .. }) {
                sink.member(op, &mut io::empty()).map_err(failed)?;
                continue;
            }
            let mut content = Summed { inner: members.content(), hasher: Hasher::new(), failed: None };
            let taken = sink.member(op, &mut content);
            // A broken archive shows as an error of the sink that reads it: tell the cause, not the symptom.
            let drained = match content.failed.take() {
                Some(error) => Err(error),
                None => taken.map_err(failed).map(|()| content.drain())?,
            };
            let digest = content.hasher.finish();
            drained.map_err(|source| members.cut_off(source))?;
            fold.filled(digest, offset)?;
        }
    }
    io::copy(&mut buffered, &mut io::sink()).map_err(|source| TarError::Read { position: 0, source })?;
    let hashed = buffered.into_inner();
    Ok(Scanned { index: fold.finish()?, diff_id: DiffId(hashed.hasher.finish()), size: hashed.size })
}

/// Gives a raw member its meaning; `None` for aufs's leftovers.
fn interpret(raw: Raw) -> Result<Option<Member>, TarError> {
    let path = clean_name(&raw.name)?;
    let base = path.name();
    if base.starts_with(WHITEOUT) {
        return whiteout(&path, &raw.name);
    }
    let body = match raw.flag {
        b'0' => Body::File { size: raw.size },
        b'1' => Body::Hardlink { target: clean_name(&raw.link)? },
        b'2' if raw.link.is_empty() || raw.link.len() > 4095 || raw.link.contains(&0) => {
            return Err(TarError::Name { name: shown(&raw.link) });
        }
        b'2' => Body::Symlink { target: raw.link },
        b'3' if (raw.major, raw.minor) == (0, 0) => {
            return Ok(Some(Member::mark(path, Body::Whiteout)));
        }
        b'3' => Body::CharDevice { major: raw.major, minor: raw.minor },
        b'4' => Body::BlockDevice { major: raw.major, minor: raw.minor },
        b'5' => Body::Directory,
        b'6' => Body::Fifo,
        flag => return Err(TarError::Type { path: path.display(), flag: char::from(flag) }),
    };
    Ok(Some(Member {
        uid: owner(raw.uid, &path)?,
        gid: owner(raw.gid, &path)?,
        body,
        mode: if raw.flag == b'2' { 0o777 } else { raw.mode },
        mtime: raw.mtime,
        xattrs: own_xattrs(raw.xattrs),
        path,
    }))
}

fn whiteout(path: &LayerPath, raw: &[u8]) -> Result<Option<Member>, TarError> {
    let parent = path.parent().unwrap_or_default();
    let base = path.name();
    if base == OPAQUE {
        return Ok(Some(Member::mark(parent, Body::Opaque)));
    }
    if base.starts_with(WHITEOUT_META) {
        return Ok(None);
    }
    match &base[WHITEOUT.len()..] {
        b"" | b"." | b".." => Err(TarError::Whiteout { name: shown(raw) }),
        name => Ok(Some(Member::mark(parent.join(name), Body::Whiteout))),
    }
}

fn owner(id: i128, path: &LayerPath) -> Result<u32, TarError> {
    // The highest number is chown's "leave it".
    match u32::try_from(id) {
        Ok(id) if id < u32::MAX => Ok(id),
        _ => Err(TarError::Owner { path: path.display(), id }),
    }
}

fn own_xattrs(mut xattrs: BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    xattrs.retain(|name, _| !xattr::is_overlay(name) && !name.is_empty() && !name.contains(&0));
    xattrs
}

/// Hashes everything that is read, for the diff id.
struct Hashed<R> {
    inner: R,
    hasher: Hasher,
    size: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

/// Hashes a file's bytes and remembers whether the archive broke below it.
struct Summed<R> {
    inner: R,
    hasher: Hasher,
    failed: Option<io::Error>,
}

impl<R: Read> Summed<R> {
    fn drain(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink()).map(|_| ()).map_err(|error| self.failed.take().unwrap_or(error))
    }
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(n) => {
                self.hasher.update(&buffer[..n]);
                Ok(n)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}
