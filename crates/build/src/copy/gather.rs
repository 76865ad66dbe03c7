//! Everything that a COPY takes, before it is known where it goes.

use std::collections::HashMap;

use kiln_dockerfile::glob::PatternSet;
use kiln_layer::path::LayerPath;
use kiln_layer::stop::Stop;
use kiln_oci::digest::{Digest, Hasher};
use kiln_plan::CopiedPath;

use crate::copy::select::{Match, select};
use crate::error::BuildErrorKind;
use crate::files::{Files, Node, NodeKind};
use crate::key::KeyParts;
use crate::schedule::side_by_side;

/// A file, directory or anything else to be copied.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Where it stands below its source; the root for the source itself.
    pub(crate) below: LayerPath,
    /// Where it is in the file system that is read.
    pub(crate) real: LayerPath,
    pub(crate) node: Node,
    /// Of a regular file.
    pub(crate) digest: Option<Digest>,
}

/// One source and all below it.
#[derive(Clone, Debug)]
pub(crate) struct Gathered {
    /// Its own name, for when it goes *into* the destination.
    pub(crate) name: Vec<u8>,
    /// Directories above it that `--parents` takes along, outermost first; `below` is where they go.
    pub(crate) parents: Vec<Item>,
    /// The source itself first, then what is below it in order.
    pub(crate) items: Vec<Item>,
}

impl Gathered {
    pub(crate) fn is_dir(&self) -> bool {
        self.items.first().is_some_and(|i| i.node.is_dir())
    }
}

/// Gathers what `path` names.
pub(crate) fn gather(
    files: &dyn Files,
    path: &CopiedPath,
    stop: Stop<'_>,
) -> Result<Vec<Gathered>, BuildErrorKind> {
    let excludes = PatternSet::new(&path.excludes).map_err(|e| BuildErrorKind::Copy {
        message: format!("--exclude: {e}"),
        help: Some("the patterns are those of .dockerignore".to_owned()),
    })?;
    let mut all = Vec::new();
    for found in select(files, &path.pattern, path.parents)? {
        let alone = !found.node.is_dir() && !excludes.is_empty();
        if alone
            && (excludes.matches_or_parent(found.named.as_bytes())
                || excludes.matches_or_parent(found.named.name()))
        {
            continue;
        }
        all.push(gather_match(files, &found, path.parents, (&excludes, stop))?);
    }
    Ok(all)
}

fn gather_match(
    files: &dyn Files,
    found: &Match,
    parents: bool,
    (excludes, stop): (&PatternSet, Stop<'_>),
) -> Result<Gathered, BuildErrorKind> {
    let top =
        Item { below: LayerPath::root(), real: found.real.clone(), node: found.node.clone(), digest: None };
    let mut gathered = Gathered { name: found.named.name().to_vec(), parents: Vec::new(), items: vec![top] };
    if parents {
        gathered.parents = gather_parents(files, found)?;
    }
    if found.node.is_dir() {
        let mut level = vec![(found.real.clone(), LayerPath::root())];
        while !level.is_empty() {
            let walked = in_parts(level.len(), DIRECTORIES, |i| {
                stop.check().map_err(std::io::Error::from)?;
                walk_one(files, &level[i], excludes)
            })?;
            level.clear();
            for (items, below) in walked {
                gathered.items.extend(items);
                level.extend(below);
            }
        }
        gathered.items.sort_unstable_by(|a, b| a.below.cmp(&b.below));
    }
    let is_unknown =
        |item: &&mut Item| matches!(item.node.kind, NodeKind::File { .. }) && item.digest.is_none();
    let mut unknown: Vec<&mut Item> = gathered.items.iter_mut().filter(is_unknown).collect();
    let contents = in_parts(unknown.len(), FILES, |i| files.read(&unknown[i].real, &unknown[i].node, stop))?;
    for (item, content) in unknown.iter_mut().zip(contents) {
        item.digest = Some(content.digest);
        if let Some(xattrs) = content.xattrs {
            item.node.xattrs = xattrs;
        }
    }
    Ok(gathered)
}

/// From so many of them on, directories are listed and files hashed on two threads: below, starting one costs more than it gives.
const DIRECTORIES: usize = 8;
const FILES: usize = 256;

/// `work` for 0 to `count`, in order; in two halves side by side if there are at least `worthwhile`.
fn in_parts<T: Send>(
    count: usize,
    worthwhile: usize,
    work: impl Fn(usize) -> Result<T, BuildErrorKind> + Sync,
) -> Result<Vec<T>, BuildErrorKind> {
    if count < worthwhile {
        return (0..count).map(work).collect();
    }
    // More parts than threads, so that one slow half does not hold up the other.
    let size = count.div_ceil(16);
    let parts = side_by_side(2, count.div_ceil(size), |part| {
        (part * size..count.min((part + 1) * size)).map(&work).collect::<Result<Vec<T>, _>>()
    })?;
    Ok(parts.into_iter().flatten().collect())
}

/// What one directory holds: the items to take, and the directories to go on with.
type Level = (Vec<Item>, Vec<(LayerPath, LayerPath)>);

fn walk_one(
    files: &dyn Files,
    (dir, below): &(LayerPath, LayerPath),
    excludes: &PatternSet,
) -> Result<Level, BuildErrorKind> {
    let (mut items, mut next) = (Vec::new(), Vec::new());
    for name in files.children(dir)? {
        let (real, below) = (dir.join(&name), below.join(&name));
        let Some(node) = files.node(&real)? else { continue };
        let excluded = !excludes.is_empty() && excludes.decide(below.as_bytes()).0;
        let taken_back = || excludes.may_exclude_below(below.as_bytes()) && excludes.has_exclusions();
        if excluded && !(node.is_dir() && taken_back()) {
            continue;
        }
        if node.is_dir() {
            next.push((real.clone(), below.clone()));
        }
        if !excluded {
            let digest = files.known(&real, &node);
            items.push(Item { below, real, node, digest });
        }
    }
    Ok((items, next))
}

/// The directories between the pivot and the match, the match's own path last if it is one.
fn gather_parents(files: &dyn Files, found: &Match) -> Result<Vec<Item>, BuildErrorKind> {
    let mut out = Vec::new();
    let (mut real, mut below) = (LayerPath::root(), LayerPath::root());
    let count = found.named.components().count();
    for (i, component) in found.named.components().enumerate() {
        real = real.join(component);
        if i < found.pivot {
            continue;
        }
        below = below.join(component);
        if i + 1 == count {
            break;
        }
        if let Some((real, node)) = crate::files::follow(files, &real)? {
            out.push(Item { below: below.clone(), real, node, digest: None });
        }
    }
    // Last, where the match itself goes.
    out.push(Item { below, real: found.real.clone(), node: found.node.clone(), digest: None });
    Ok(out)
}

/// Names of files that have several, across all sources of one step.
#[derive(Default)]
pub(crate) struct Linked {
    first: HashMap<(u64, u64), usize>,
    files: usize,
}

impl Linked {
    /// Which of the step's files is the first with the inode of this one, if an earlier one has it. A file with further names that the
    /// step does not take is like any other.
    fn earlier(&mut self, node: &Node) -> Option<usize> {
        self.files += 1;
        let number = self.files;
        let first = *self.first.entry(node.link?).or_insert(number);
        (first != number).then_some(first)
    }
}

/// Adds what was gathered to a step's key. Owners count only where they are copied (`owners`).
pub(crate) fn add_to_key(
    parts: &mut KeyParts,
    source: &str,
    gathered: &[Gathered],
    (owners, linked): (bool, &mut Linked),
) {
    // However it is written: what it names is told below.
    parts.add("source", LayerPath::clean(source).display(), gathered.len().to_string());
    for one in gathered {
        let name = String::from_utf8_lossy(&one.name).into_owned();
        for parent in &one.parents {
            parts.add("parent", parent.below.display(), describe(one, parent, owners));
        }
        for item in &one.items {
            let path =
                if item.below.is_root() { name.clone() } else { format!("{name}{}", item.below.display()) };
            let mut value = describe(one, item, owners);
            // Which names belong to one file counts; the inode numbers that tell so do not.
            if let Some(first) = linked.earlier(&item.node) {
                value = format!("{value} linked to {first}");
            }
            parts.add("file", path, value);
        }
    }
}

/// One line that changes whenever the copied file would.
fn describe(source: &Gathered, item: &Item, owners: bool) -> String {
    let node = &item.node;
    let what = match &node.kind {
        NodeKind::File { size } => {
            format!("file {size} {}", item.digest.map_or_else(String::new, |d| d.hex()))
        }
        NodeKind::Directory => "directory".to_owned(),
        NodeKind::Symlink { target } => format!("symlink {}", Digest::of(target).hex()),
        NodeKind::CharDevice { major, minor } => format!("char {major} {minor}"),
        NodeKind::BlockDevice { major, minor } => format!("block {major} {minor}"),
        NodeKind::Fifo => "fifo".to_owned(),
    };
    let owner = if owners { format!(" {}:{}", node.uid, node.gid) } else { String::new() };
    let plain = format!("{what} {:04o}{owner}", node.mode);
    let is_text = |name: &[u8]| std::str::from_utf8(name).is_ok();
    if node.xattrs.is_empty() && is_text(&source.name) && is_text(item.below.as_bytes()) {
        return plain;
    }
    // The lossy forms of names that are not UTF-8 could stand for two names in the key.
    let mut exact = Hasher::new();
    exact.part(&source.name);
    exact.part(item.below.as_bytes());
    for (name, value) in &node.xattrs {
        exact.part(name);
        exact.part(value);
    }
    format!("{plain} {}", exact.finish().hex())
}
