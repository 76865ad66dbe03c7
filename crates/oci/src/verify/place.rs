//! Where the files of an image are: a directory or a tar.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::VerifyError;
use super::tar_scan::{ScanError, TarScan};

/// Files by their path in the layout or archive.
pub(super) enum Place {
    Directory(PathBuf),
    Archive { file: File, path: PathBuf, members: BTreeMap<String, Member> },
}

pub(super) struct Member {
    offset: u64,
    size: u64,
}

/// A file that was found, and its size.
pub(super) type Opened<'a> = (Box<dyn Read + 'a>, u64);

impl Place {
    pub(super) fn open(path: &Path) -> Result<Self, VerifyError> {
        if fs_err::metadata(path)?.is_dir() {
            return Ok(Self::Directory(path.to_path_buf()));
        }
        let file = fs_err::File::open(path)?.into_file();
        let members = index(&file, path)?;
        Ok(Self::Archive { file, path: path.to_path_buf(), members })
    }

    /// Where this is, for messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Directory(path) | Self::Archive { path, .. } => path,
        }
    }

    /// Opens a file; `None` if there is none.
    pub(super) fn file(&self, name: &str) -> io::Result<Option<Opened<'_>>> {
        match self {
            Self::Directory(root) => match fs_err::File::open(root.join(name)) {
                Ok(file) => {
                    let size = file.metadata()?.len();
                    Ok(Some((Box::new(file.into_file()), size)))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            Self::Archive { file, members, .. } => Ok(members.get(name).map(|member| {
                let section = Section { file, at: member.offset, left: member.size };
                (Box::new(section) as Box<dyn Read>, member.size)
            })),
        }
    }

    /// The names under `blobs/sha256/`, sorted.
    pub(super) fn blobs(&self) -> io::Result<Vec<String>> {
        let mut names = match self {
            Self::Directory(root) => match fs_err::read_dir(root.join("blobs/sha256")) {
                Ok(entries) => entries
                    .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()))
                    .collect::<io::Result<Vec<_>>>()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => return Err(error),
            },
            Self::Archive { members, .. } => {
                members.keys().filter_map(|k| k.strip_prefix("blobs/sha256/")).map(str::to_owned).collect()
            }
        };
        names.sort_unstable();
        Ok(names)
    }
}

/// The regular files of an archive. Symbolic links (old `docker save`) are followed once they are resolved to a name.
fn index(file: &File, path: &Path) -> Result<BTreeMap<String, Member>, VerifyError> {
    let not = |detail: String| VerifyError::NotAnImage { path: path.to_path_buf(), detail };
    let size = file.metadata()?.len();
    let mut scan = TarScan::new(BufReader::new(file), Some(skip));
    let mut members = BTreeMap::new();
    let mut links = Vec::new();
    loop {
        let entry = match scan.next() {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(ScanError::Tar(defect)) => return Err(not(format!("not a whole tar archive: {defect}"))),
            Err(ScanError::Read(error)) => return Err(error.into()),
        };
        let name = clean(&String::from_utf8_lossy(&entry.path));
        if entry.kind == b'2' {
            let target = String::from_utf8_lossy(&entry.link).into_owned();
            let parent = name.rsplit_once('/').map_or("", |(p, _)| p);
            links.push((name.clone(), clean(&format!("{parent}/{target}"))));
        } else if !entry.is_directory() {
            if entry.offset.saturating_add(entry.size) > size {
                return Err(not("not a whole tar archive: it ends within a file".to_owned()));
            }
            members.insert(name, Member { offset: entry.offset, size: entry.size });
        }
    }
    for (name, target) in links {
        if let Some(Member { offset, size }) = members.get(&target) {
            let member = Member { offset: *offset, size: *size };
            members.insert(name, member);
        }
    }
    Ok(members)
}

fn skip(file: &mut BufReader<&File>, count: u64) -> io::Result<()> {
    match i64::try_from(count) {
        Ok(count) => file.seek_relative(count),
        Err(_) => file.seek(SeekFrom::End(0)).map(drop),
    }
}

/// A path without `.`, `..` and doubled slashes.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}
