//! Archives: a deterministic tar of a layout, written front to back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Write};

use rustix::fs::FileType;

use super::{Export, ExportError, blob_path, docker_manifest, was_interrupted};
use crate::blobs::VerifiedBlob;
use crate::descriptor::Descriptor;
use crate::error::StoreError;
use crate::layout::index_json;
use crate::platform::Platform;

const BLOCK: usize = 512;
/// Bytes moved at once.
const COPY: usize = 256 << 10;

/// Where an archive goes.
pub enum ArchiveSink<'a> {
    /// A file or a pipe.
    File(&'a File),
    /// Anything else.
    Writer(&'a mut dyn Write),
}

enum Member {
    Directory,
    Bytes(Vec<u8>),
    Blob(Descriptor),
}

pub(super) fn write(
    export: &Export<'_>,
    sink: ArchiveSink<'_>,
    docker: Option<&Platform>,
) -> Result<(), ExportError> {
    let mut tar = Tar { export, sink };
    for (path, member) in members(export, docker)? {
        match member {
            Member::Directory => tar.header(&path, 0o755, tar::EntryType::Directory, 0),
            Member::Bytes(bytes) => tar.bytes(&path, &bytes),
            // A damaged blob never leaves the store unnoticed: one that is not known to be whole is hashed on the way out.
            Member::Blob(blob) => match export.store.open_known(&blob)? {
                Some(file) => tar.known(&path, file, blob.size),
                None => tar.blob(&path, export.store.open_verified(&blob)?, blob.size),
            },
        }
        .map_err(trouble)?;
    }
    tar.finish().map_err(ExportError::Write)
}

/// Tells a damaged blob, which is found while it is read, from a sink that failed.
fn trouble(error: io::Error) -> ExportError {
    if was_interrupted(&error) {
        return ExportError::Interrupted;
    }
    match error.downcast::<StoreError>() {
        Ok(damaged) => ExportError::Store(damaged),
        Err(error) => ExportError::Write(error),
    }
}

/// The members, sorted by path.
fn members(export: &Export<'_>, docker: Option<&Platform>) -> Result<BTreeMap<String, Member>, ExportError> {
    let graph = export.graph()?;
    let mut members = BTreeMap::new();
    members.insert("blobs/".to_owned(), Member::Directory);
    members.insert("blobs/sha256/".to_owned(), Member::Directory);
    if let Some(platform) = docker {
        let manifest = docker_manifest(&graph, export.names, platform)?;
        members.insert("manifest.json".to_owned(), Member::Bytes(manifest));
    }
    for blob in graph.blobs {
        members.insert(blob_path(&blob.digest), Member::Blob(blob));
    }
    let index = index_json(&export.entry_names(), export.root);
    members.insert("index.json".to_owned(), Member::Bytes(index));
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
    members.insert("oci-layout".to_owned(), Member::Bytes(version));
    Ok(members)
}

fn is_pipe(file: &File) -> io::Result<bool> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(file)?.st_mode);
    Ok(matches!(kind, FileType::Fifo | FileType::Socket))
}

struct Tar<'e, 'a> {
    export: &'e Export<'e>,
    sink: ArchiveSink<'a>,
}

impl Tar<'_, '_> {
    fn header(&mut self, path: &str, mode: u32, kind: tar::EntryType, size: u64) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(path)?;
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(kind);
        // More than 8 GiB becomes a binary number, which every reader of layers knows.
        header.set_size(size);
        header.set_cksum();
        self.put(header.as_bytes())
    }

    fn bytes(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.header(path, 0o644, tar::EntryType::Regular, bytes.len() as u64)?;
        self.put(bytes)?;
        self.pad(bytes.len() as u64)
    }

    fn blob(&mut self, path: &str, blob: VerifiedBlob, size: u64) -> io::Result<()> {
        self.header(path, 0o644, tar::EntryType::Regular, size)?;
        let mut blob = BufReader::with_capacity(COPY, blob);
        match &mut self.sink {
            ArchiveSink::File(file) => self.export.copy(&mut blob, &mut &**file)?,
            ArchiveSink::Writer(writer) => self.export.copy(&mut blob, writer)?,
        };
        self.pad(size)
    }

    /// Between files, and into pipes, the kernel moves the bytes by itself.
    fn known(&mut self, path: &str, file: fs_err::File, size: u64) -> io::Result<()> {
        self.header(path, 0o644, tar::EntryType::Regular, size)?;
        let mut blob = file.into_parts().0;
        let copied = match &mut self.sink {
            ArchiveSink::File(file) if is_pipe(file)? => self.export.send(&blob, file)?,
            ArchiveSink::File(file) => self.export.copy(&mut blob, &mut &**file)?,
            ArchiveSink::Writer(writer) => {
                self.export.copy(&mut BufReader::with_capacity(COPY, blob), writer)?
            }
        };
        if copied != size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{path} is cut short")));
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = (size % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.put(&[0; BLOCK][over..]) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.put(&[0; 2 * BLOCK])?;
        match &mut self.sink {
            ArchiveSink::File(file) => (&**file).flush(),
            ArchiveSink::Writer(writer) => writer.flush(),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.sink {
            ArchiveSink::File(file) => (&**file).write_all(bytes),
            ArchiveSink::Writer(writer) => writer.write_all(bytes),
        }
    }
}
