//! What is in a build's main context, and which rule of its ignore file says so: for people whose context is larger than they thought.
//!
//! The walk goes once from the top and hands the patterns' results down, so it costs about what listing the directory costs. Below
//! a directory that is kept out for good no pattern is tried any more; only sizes are added up.

use std::os::fd::OwnedFd;

use kiln_dockerfile::glob::ParentMatches;
use kiln_dockerfile::ignore::Ignore;
use kiln_layer::path::LayerPath;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, StatxFlags, openat2, statx};
use rustix::io::Errno;

use crate::contexts;
use crate::error::{BuildError, BuildErrorKind};
use crate::request::{Context, Request};

/// The main context of a build.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The ignore file, relative to the context if it is inside; `None` if there is none or it holds no pattern.
    pub ignore_file: Option<String>,
    /// The context itself; its name is empty.
    pub root: Listed,
}

/// A file or directory.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The last component of its path.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: ListedKind,
    /// What is in the context: of this file, or of all below this directory.
    pub inside: Sum,
    /// What is kept out of it.
    pub outside: Sum,
    /// Whether the context has it. A directory that is kept out is there nevertheless if something below it is let in.
    pub is_in: bool,
    /// The line that decided about this path; `None` if no line matches it.
    pub rule: Option<ListedRule>,
    /// What is in a directory, biggest first, then by name; empty where nothing more is decided (see [`Listed::is_in`]).
    pub children: Vec<Listed>,
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device or a fifo.
    Special,
    /// A socket, which no image can hold.
    Socket,
}

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Size in bytes; of a symbolic link the length of its target.
    pub bytes: u64,
    /// How many, directories not counted.
    pub files: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.files += other.files;
    }
}

/// A line of the ignore file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// 1-based.
    pub line: usize,
    /// As written, trimmed.
    pub pattern: String,
}

/// Looks at the whole main context of `request`. No file's content is read.
///
/// # Errors
/// If the build has no context, if its ignore file cannot be used, or if a directory cannot be read.
pub fn list_context(request: &Request) -> Result<Listing, BuildError> {
    let (root, candidates) = match &request.context {
        Context::Directory(root) => (root, contexts::main_ignore_files(request)),
        // All of it is the context.
        Context::Fetched(fetched) => (&fetched.root, Vec::new()),
        Context::Empty => return Err(contexts::no_context().into()),
    };
    let ignore = contexts::ignore_file(root, &candidates)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(root, flags, Mode::empty()).map_err(|e| failed(&LayerPath::root(), e))?;
    let walk = Walk { ignore: ignore.as_ref().map(|(_, ignore)| ignore) };
    let mut top = Listed::new(Vec::new(), ListedKind::Directory, true);
    walk.directory(&handle, &LayerPath::root(), &mut top, &Above::Patterns(None))?;
    Ok(Listing { ignore_file: ignore.map(|(name, _)| name), root: top })
}

fn failed(path: &LayerPath, errno: Errno) -> BuildErrorKind {
    let error = std::io::Error::from(errno);
    let text = format!("cannot list {:?} of the build context: {error}", path.display());
    BuildErrorKind::Io(std::io::Error::new(error.kind(), text))
}

impl Listed {
    fn new(name: Vec<u8>, kind: ListedKind, is_in: bool) -> Self {
        let (inside, outside) = (Sum::default(), Sum::default());
        Self { name, kind, inside, outside, is_in, rule: None, children: Vec::new() }
    }

    /// Bytes inside and outside together.
    fn weight(&self) -> u64 {
        self.inside.bytes + self.outside.bytes
    }
}

/// What a directory hands down.
enum Above<'a> {
    /// Which patterns matched it.
    Patterns(Option<&'a ParentMatches>),
    /// It is kept out with everything below it.
    KeptOut,
}

struct Walk<'a> {
    ignore: Option<&'a Ignore>,
}

impl Walk<'_> {
    /// Fills `dir`, which stands at `path` and is open as `handle`.
    fn directory(
        &self,
        handle: &OwnedFd,
        path: &LayerPath,
        dir: &mut Listed,
        above: &Above<'_>,
    ) -> Result<(), BuildErrorKind> {
        for entry in Dir::read_from(handle).map_err(|e| failed(path, e))? {
            let entry = entry.map_err(|e| failed(path, e))?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let Some(child) = self.child(handle, &path.join(name), above)? else { continue };
            dir.inside.add(child.inside);
            dir.outside.add(child.outside);
            dir.children.push(child);
        }
        dir.children.sort_by(|a, b| b.weight().cmp(&a.weight()).then_with(|| a.name.cmp(&b.name)));
        Ok(())
    }

    /// `None` if it went away meanwhile.
    fn child(
        &self,
        dir: &OwnedFd,
        path: &LayerPath,
        above: &Above<'_>,
    ) -> Result<Option<Listed>, BuildErrorKind> {
        let stat = match statx(dir, path.name(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(failed(path, e)),
        };
        let kind = kind_of(FileType::from_raw_mode(u32::from(stat.stx_mode)));
        let (ignored, rule, matches) = self.verdict(path, above);
        let mut listed = Listed::new(path.name().to_vec(), kind, !ignored);
        listed.rule = rule;
        if kind != ListedKind::Directory {
            listed.is_in &= kind != ListedKind::Socket;
            let sum = Sum { bytes: stat.stx_size, files: 1 };
            *(if listed.is_in { &mut listed.inside } else { &mut listed.outside }) = sum;
            return Ok(Some(listed));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let handle = openat2(dir, path.name(), flags, Mode::empty(), resolve).map_err(|e| failed(path, e))?;
        let is_over = ignored && !self.ignore.is_some_and(|i| i.may_hold_reincluded(path.as_bytes()));
        let below = if is_over { Above::KeptOut } else { Above::Patterns(matches.as_ref()) };
        self.directory(&handle, path, &mut listed, &below)?;
        listed.is_in |= listed.children.iter().any(|child| child.is_in);
        if is_over {
            listed.children = Vec::new();
        }
        Ok(Some(listed))
    }

    fn verdict(
        &self,
        path: &LayerPath,
        above: &Above<'_>,
    ) -> (bool, Option<ListedRule>, Option<ParentMatches>) {
        let (ignore, parent) = match (self.ignore, above) {
            (None, _) => return (false, None, None),
            (_, Above::KeptOut) => return (true, None, None),
            (Some(ignore), Above::Patterns(parent)) => (ignore, *parent),
        };
        let (ignored, decisive, matches) = ignore.patterns().step(path.as_bytes(), parent);
        let rule = decisive.and_then(|i| ignore.rules().get(i));
        let rule = rule.map(|rule| ListedRule { line: rule.line, pattern: rule.text.clone() });
        (ignored, rule, Some(matches))
    }
}

fn kind_of(kind: FileType) -> ListedKind {
    match kind {
        FileType::RegularFile => ListedKind::File,
        FileType::Directory => ListedKind::Directory,
        FileType::Symlink => ListedKind::Symlink,
        FileType::Socket => ListedKind::Socket,
        _ => ListedKind::Special,
    }
}
