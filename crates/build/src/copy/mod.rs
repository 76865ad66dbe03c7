//! COPY and ADD: choose entries, give them owner and mode, make a layer of them.
//!
//! First everything that is read is gathered and hashed ([`gather`], [`archive`]); that gives the step's key. Only if the key
//! is not in the store are places found for it ([`place`]) and bytes moved.

pub(crate) mod archive;
pub(crate) mod entries;
pub(crate) mod foreseen;
pub(crate) mod gather;
pub(crate) mod parents;
pub(crate) mod place;
pub(crate) mod remote;
pub(crate) mod runs;
pub(crate) mod select;
pub(crate) mod source;
#[cfg(test)]
mod tests;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_dockerfile::chmod;
use kiln_layer::index::{Entry, Kind, Mtime};
use kiln_layer::path::LayerPath;
use kiln_layer::rows::Rows;
use kiln_layer::stop::Stop;
use kiln_oci::digest::Digest;
use kiln_plan::CopiedPath;
use kiln_plan::model::{CopyOp, CopySource, Origin};

use crate::copy::archive::{Archive, are_entangled};
use crate::copy::foreseen::Foreseen;
use crate::copy::gather::{Gathered, Linked, Looking, add_to_key, gather};
use crate::copy::place::{Attributes, Placement};
use crate::copy::remote::{Checkout, Download};
use crate::copy::runs::{Bytes, Planned};
use crate::error::BuildErrorKind;
use crate::files::context::ContextFiles;
use crate::files::rootfs::RootfsFiles;
use crate::files::{Files, Node, NodeKind};
use crate::key::KeyParts;
use crate::remote::Sources;
use crate::users::Ids;

/// The file system that paths are taken from.
#[derive(Clone)]
pub(crate) enum From {
    Context(Arc<ContextFiles>),
    Rootfs(Arc<RootfsFiles>),
}

impl From {
    pub(crate) fn files(&self) -> &dyn Files {
        match self {
            Self::Context(files) => files.as_ref(),
            Self::Rootfs(files) => files.as_ref(),
        }
    }

    /// Whether owners are copied along: those of an image are, those of the host are not.
    pub(crate) fn keeps_owners(&self) -> bool {
        matches!(self, Self::Rootfs(_))
    }
}

/// Everything that a COPY reads, hashed.
pub(crate) struct Reading {
    pub(crate) from: Option<From>,
    pub(crate) sources: Vec<Taken>,
    /// Archives that are unpacked, by the number in [`Bytes::Archive`].
    pub(crate) archives: Vec<Archive>,
    /// Files fetched from URLs, by the number in [`Bytes::Download`].
    pub(crate) downloads: Vec<Download>,
    /// Commits of repositories, by the number in [`Bytes::Checkout`].
    pub(crate) checkouts: Vec<Checkout>,
}

/// One source, read.
pub(crate) enum Taken {
    /// What a path or pattern names.
    Files { found: Gathered, pattern: String },
    /// A here-document.
    Inline { name: String, content: String },
    /// An archive to unpack: its number.
    Archive(usize),
    /// A file from a URL: its number.
    Download(usize),
    /// The files of a commit: its number.
    Checkout(usize),
}

/// Reads and hashes what `op` names. What it reads from is opened only if paths are among the sources; `foreseen` knows some of
/// the main context.
pub(crate) fn read(
    op: &CopyOp,
    foreseen: &Foreseen,
    open: impl Fn() -> Result<From, BuildErrorKind>,
    sources: &Sources<'_>,
) -> Result<Reading, BuildErrorKind> {
    let tmp = &sources.store().tmp();
    let mut reading = Reading {
        from: None,
        sources: Vec::new(),
        archives: Vec::new(),
        downloads: Vec::new(),
        checkouts: Vec::new(),
    };
    for source in &op.sources {
        match source {
            CopySource::Inline { name, content } => {
                reading.sources.push(Taken::Inline { name: name.clone(), content: content.clone() });
            }
            CopySource::Path { pattern, .. } => {
                let from = match &reading.from {
                    Some(from) => from.clone(),
                    None => reading.from.insert(open()?).clone(),
                };
                let looking = Looking { tmp, stop: sources.stop() };
                let found = match op.from {
                    Origin::Context => foreseen.gather(from.files(), &wanted(op, pattern), looking)?,
                    _ => gather(from.files(), &wanted(op, pattern), looking)?,
                };
                read_path(op, pattern, &from, (found, tmp), &mut reading)?;
            }
            CopySource::Http { url, .. } => {
                let download = Download::of(url, op, sources)?;
                if op.unpack == Some(true)
                    && let Some(archive) = download.archive(sources)?
                {
                    reading.sources.push(Taken::Archive(reading.archives.len()));
                    reading.archives.push(archive);
                    continue;
                }
                reading.sources.push(Taken::Download(reading.downloads.len()));
                reading.downloads.push(download);
            }
            CopySource::Git { url, .. } => {
                reading.sources.push(Taken::Checkout(reading.checkouts.len()));
                reading.checkouts.push(Checkout::of(url, op, sources)?);
            }
        }
    }
    Ok(reading)
}

/// What `op` takes of the files that `pattern` names.
pub(crate) fn wanted(op: &CopyOp, pattern: &str) -> CopiedPath {
    CopiedPath { pattern: pattern.to_owned(), parents: op.parents, excludes: op.excludes.clone() }
}

fn read_path(
    op: &CopyOp,
    pattern: &str,
    from: &From,
    (mut found, tmp): (Gathered, &Path),
    reading: &mut Reading,
) -> Result<(), BuildErrorKind> {
    if op.add
        && op.unpack != Some(false)
        && !found.only_directories()
        && let From::Context(context) = from
    {
        let mut files = Gathered::new(tmp);
        for item in found.items() {
            let item = item?;
            if item.name.is_some() && matches!(item.node.kind, NodeKind::File { .. }) {
                let digest = item.digest.unwrap_or_else(|| Digest::of(b""));
                if let Some(archive) = Archive::of_context(context, &item.real, digest)? {
                    reading.sources.push(Taken::Archive(reading.archives.len()));
                    reading.archives.push(archive);
                    continue;
                }
            }
            files.push(&item)?;
        }
        found = files;
    }
    reading.sources.push(Taken::Files { found, pattern: pattern.to_owned() });
    Ok(())
}

impl Reading {
    /// Fetches what the key could do without: commits, and files whose digest was given.
    pub(crate) fn fetch(&mut self, op: &CopyOp, sources: &Sources<'_>) -> Result<(), BuildErrorKind> {
        self.downloads.iter_mut().try_for_each(|download| download.fetch(sources))?;
        self.checkouts.iter_mut().try_for_each(|checkout| checkout.fetch(op, sources))
    }

    /// Adds what was read to the key.
    pub(crate) fn add_to_key(&self, parts: &mut KeyParts, stop: Stop<'_>) -> Result<(), BuildErrorKind> {
        let owners = self.from.as_ref().is_some_and(From::keeps_owners);
        let mut linked = Linked::default();
        for source in &self.sources {
            match source {
                Taken::Files { found, pattern } => {
                    add_to_key(parts, pattern, (found, stop), (owners, &mut linked))?;
                }
                Taken::Inline { name, content } => parts.add("inline", name, content),
                Taken::Archive(i) => {
                    parts.add("archive", i.to_string(), self.archives[*i].digest.to_string())
                }
                Taken::Download(i) => self.downloads[*i].add_to_key(parts),
                Taken::Checkout(i) => self.checkouts[*i].add_to_key(parts),
            }
        }
        Ok(())
    }
}

/// The parts of a COPY's key that its text gives; what comes to them may go to a file in `tmp`.
pub(crate) fn text_key(op: &CopyOp, tmp: PathBuf) -> KeyParts {
    let mut parts = KeyParts::new(tmp);
    parts.add("operation", "", if op.add { "ADD" } else { "COPY" });
    let slash = if into_directory(op) { "/" } else { "" };
    parts.add("destination", "", format!("{}{slash}", LayerPath::clean(&op.dest).display()));
    let flags = [
        ("chown", op.chown.as_deref()),
        ("chmod", op.chmod.as_deref()),
        ("checksum", op.checksum.as_deref()),
    ];
    for (name, value) in flags {
        if let Some(value) = value {
            parts.add("flag", name, value);
        }
    }
    for (name, set) in [("link", op.link), ("parents", op.parents), ("keep-git-dir", op.keep_git_dir)] {
        if set {
            parts.add("flag", name, "true");
        }
    }
    if let Some(unpack) = op.unpack {
        parts.add("flag", "unpack", unpack.to_string());
    }
    for exclude in &op.excludes {
        parts.add("flag", "exclude", exclude);
    }
    parts
}

/// Whether the destination is written as a directory.
fn into_directory(op: &CopyOp) -> bool {
    op.dest.ends_with('/') || op.dest.ends_with("/.") || op.parents
}

/// Finds the place of everything. `below` is the root filesystem; it is not looked at for `--link`. Archives are decompressed into
/// `tmp`, unless `stop` says that nobody wants them any more.
pub(crate) fn place(
    op: &CopyOp,
    reading: &mut Reading,
    (below, owner): (&dyn Files, Option<&Ids>),
    (tmp, stop): (&Path, Stop<'_>),
) -> Result<Rows<Planned>, BuildErrorKind> {
    let chmod = match op.chmod.as_deref().map(chmod::parse).transpose() {
        Ok(chmod) => chmod,
        Err(error) => return Err(BuildErrorKind::Copy { message: format!("--chmod: {error}"), help: None }),
    };
    let attributes = Attributes { owner: owner.map(|ids| (ids.uid, ids.gid)), chmod, made: Mtime::default() };
    let mut placement = Placement::new((!op.link).then_some(below), attributes, tmp);
    let dest = LayerPath::clean(&op.dest);
    let count: usize = reading
        .sources
        .iter()
        .map(|source| match source {
            Taken::Files { found, .. } => found.sources,
            _ => 1,
        })
        .sum();
    reading.archives.iter_mut().try_for_each(|archive| archive.open(tmp, stop))?;
    let handles: Vec<_> = reading.archives.iter().filter_map(Archive::handle).collect();
    let indexes: Vec<_> = handles.iter().map(|handle| &*handle.index).collect();
    if !indexes.is_empty() && (count > indexes.len() || are_entangled(&indexes, (&placement, &dest), stop)?) {
        placement.hold_files();
    }
    let into = into_directory(op) || placement.is_directory(&dest)?;
    // A link that is itself the destination is written through, wherever it leads to inside the root.
    let dest = if into { dest } else { placement.resolve(&dest, true)? };
    if count > 1 && !into && !only_directories(reading) {
        return Err(BuildErrorKind::Copy {
            message: format!("{count} sources cannot become one file {:?}", op.dest),
            help: Some(format!("end the destination with a slash to make it a directory: {}/", op.dest)),
        });
    }
    let to = To { dest: &dest, into, alone: count == 1, stop };
    for source in &reading.sources {
        place_source(source, reading, &mut placement, &to)?;
    }
    let from = reading.from.as_ref();
    placement.finish(|planned| {
        stop.check().map_err(io::Error::from)?;
        settle(planned, from)
    })
}

/// Finds the layer that has the bytes of what comes from a root filesystem.
pub(crate) fn settle(planned: &mut Planned, from: Option<&From>) -> Result<(), BuildErrorKind> {
    if let (Some(From::Rootfs(files)), Bytes::Source(path)) = (from, &planned.bytes) {
        let (layer, path) = files.carrier(path)?.ok_or_else(|| BuildErrorKind::Copy {
            message: format!("the bytes of {} are not there any more", planned.entry.path.display()),
            help: None,
        })?;
        planned.bytes = Bytes::Layer(layer, path);
    }
    Ok(())
}

/// A wildcard that matched only directories merges them: no file is lost.
fn only_directories(reading: &Reading) -> bool {
    reading.sources.iter().all(|source| match source {
        Taken::Files { found, .. } => found.only_directories(),
        Taken::Archive(_) | Taken::Checkout(_) => true,
        _ => false,
    })
}

struct To<'a> {
    dest: &'a LayerPath,
    into: bool,
    /// Whether there is one source only.
    alone: bool,
    stop: Stop<'a>,
}

impl To<'_> {
    /// Where the source called `name` goes.
    fn place_of(&self, name: &[u8], is_dir: bool) -> LayerPath {
        if self.into && !is_dir { self.dest.join(name) } else { self.dest.clone() }
    }
}

fn put(placement: &mut Placement<'_>, found: &Gathered, to: &To<'_>) -> Result<(), BuildErrorKind> {
    let place_of = |name: &[u8], is_dir| to.place_of(name, is_dir);
    if to.alone {
        placement.put_alone((found, to.stop), place_of)
    } else {
        placement.put((found, to.stop), place_of)
    }
}

fn place_source(
    source: &Taken,
    Reading { archives, downloads, checkouts, .. }: &Reading,
    placement: &mut Placement<'_>,
    to: &To<'_>,
) -> Result<(), BuildErrorKind> {
    let dest = |name| to.place_of(name, false);
    match source {
        // `COPY *.nope /x/` makes nothing, not even /x.
        Taken::Files { found, .. } => put(placement, found, to),
        Taken::Inline { name, content } => {
            let bytes = content.clone().into_bytes();
            let kind = Kind::File { size: bytes.len() as u64, digest: Digest::of(&bytes) };
            let file = (&dest(name.as_bytes()), Mtime::default(), Bytes::Inline(bytes));
            put_file(placement, kind, 0o644, file)
        }
        Taken::Download(n) => {
            let file = downloads[*n].file()?;
            let kind = Kind::File { size: file.size, digest: file.digest };
            let mtime = Mtime { secs: file.last_modified.unwrap_or_default(), nanos: 0 };
            let path = dest(downloads[*n].name().as_bytes());
            put_file(placement, kind, 0o600, (&path, mtime, Bytes::Download(*n)))
        }
        Taken::Checkout(n) => {
            placement.take_from(Some(*n));
            let put = put(placement, checkouts[*n].found()?, to);
            placement.take_from(None);
            put
        }
        Taken::Archive(n) => archives[*n].put(*n, placement, to.dest),
    }
}

fn put_file(
    placement: &mut Placement<'_>,
    kind: Kind,
    mode: u32,
    (path, mtime, bytes): (&LayerPath, Mtime, Bytes),
) -> Result<(), BuildErrorKind> {
    let node = Node {
        kind: NodeKind::File { size: 0 },
        mode,
        uid: 0,
        gid: 0,
        mtime,
        xattrs: std::collections::BTreeMap::new(),
        unread: false,
        link: None,
        stamp: None,
        digest: None,
    };
    let mut entry = Entry {
        path: LayerPath::root(),
        kind,
        mode,
        uid: 0,
        gid: 0,
        mtime,
        xattrs: std::collections::BTreeMap::new(),
        offset: None,
    };
    placement.apply_flags(&mut entry, &node);
    placement.put_entry(entry, path, true, (bytes, None))
}
