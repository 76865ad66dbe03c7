//! Everything that a COPY takes, before it is known where it goes.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;

use kiln_dockerfile::glob::PatternSet;
use kiln_layer::path::LayerPath;
use kiln_layer::stop::Stop;
use kiln_oci::digest::{Digest, Hasher};
use kiln_plan::CopiedPath;

use crate::copy::parents;
use crate::copy::select::select;
pub(crate) use crate::copy::source::{Gathered, Gathering, Item, Looking};
use crate::copy::walk::{Spot, walk};
use crate::error::BuildErrorKind;
use crate::files::{Files, Node, NodeKind};
use crate::key::KeyParts;

/// Gathers what `path` names.
pub(crate) fn gather(
    files: &dyn Files,
    path: &CopiedPath,
    looking: Looking<'_>,
) -> Result<Gathered, BuildErrorKind> {
    let excludes = excludes(path)?;
    if path.parents {
        return parents::gather(files, path, (&excludes, looking));
    }
    let mut gathering = Gathering::new(files, looking);
    for found in select(files, &path.pattern, &|named| is_excluded(&excludes, named))? {
        if !found.node.is_dir() && is_excluded(&excludes, &found.named) {
            continue;
        }
        gathering.push(Item::top(&found, found.named.name()))?;
        if found.node.is_dir() {
            let look = |real, below| see(files, (real, below), &excludes);
            walk((files, &found.real), &look, looking.stop, &mut |item, taken| {
                if taken { gathering.push(item) } else { Ok(()) }
            })?;
        }
    }
    gathering.finish()
}

/// Finds out whether [`gather`] would find what `path` names, without a look at what that is.
pub(crate) fn look(files: &dyn Files, path: &CopiedPath) -> Result<(), BuildErrorKind> {
    let excludes = excludes(path)?;
    if path.parents {
        return parents::look(files, path);
    }
    select(files, &path.pattern, &|named| is_excluded(&excludes, named)).map(drop)
}

fn excludes(path: &CopiedPath) -> Result<PatternSet, BuildErrorKind> {
    PatternSet::new(&path.excludes).map_err(|e| BuildErrorKind::Copy {
        message: format!("--exclude: {e}"),
        help: Some("the patterns are those of .dockerignore".to_owned()),
    })
}

/// Whether something that is no directory is left out by what it is called.
fn is_excluded(excludes: &PatternSet, named: &LayerPath) -> bool {
    !excludes.is_empty()
        && (excludes.matches_or_parent(named.as_bytes()) || excludes.matches_or_parent(named.name()))
}

fn see(
    files: &dyn Files,
    (real, below): (LayerPath, LayerPath),
    excludes: &PatternSet,
) -> Result<Option<Spot>, BuildErrorKind> {
    let Some(node) = files.node(&real)? else { return Ok(None) };
    let excluded = !excludes.is_empty() && excludes.decide(below.as_bytes()).0;
    let taken_back = || excludes.may_exclude_below(below.as_bytes()) && excludes.has_exclusions();
    if excluded && !(node.is_dir() && taken_back()) {
        return Ok(None);
    }
    let deeper = node.is_dir();
    let digest = files.known(&real, &node);
    Ok(Some(Spot { item: Item { name: None, below, real, node, digest }, taken: !excluded, deeper }))
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
    (gathered, stop): (&Gathered, Stop<'_>),
    (owners, linked): (bool, &mut Linked),
) -> Result<(), BuildErrorKind> {
    // However it is written: what it names is told below.
    parts.add("source", LayerPath::clean(source).display(), gathered.sources.to_string());
    let (mut exact, mut name) = (Vec::new(), String::new());
    let (mut path, mut value) = (String::new(), String::new());
    for item in gathered.items() {
        stop.check().map_err(io::Error::from)?;
        let item = item?;
        if let Some(own) = &item.name {
            exact.clone_from(own);
            name = String::from_utf8_lossy(own).into_owned();
        }
        path.clone_from(&name);
        if !item.below.is_root() {
            path.push('/');
            path.push_str(&String::from_utf8_lossy(item.below.as_bytes()));
        }
        value.clear();
        describe(&mut value, &exact, &item, owners);
        // Which names belong to one file counts; the inode numbers that tell so do not.
        if let Some(first) = linked.earlier(&item.node) {
            say(&mut value, format_args!(" linked to {first}"));
        }
        parts.add("file", &path, &value);
    }
    Ok(())
}

/// Appends to `line` what changes whenever the copied file would; `source` is the name of its source.
fn describe(line: &mut String, source: &[u8], item: &Item, owners: bool) {
    let node = &item.node;
    match &node.kind {
        NodeKind::File { size } => {
            say(line, format_args!("file {size} "));
            line.push_str(&item.digest.map_or_else(String::new, |digest| digest.hex()));
        }
        NodeKind::Directory => line.push_str("directory"),
        NodeKind::Symlink { target } => say(line, format_args!("symlink {}", Digest::of(target).hex())),
        NodeKind::CharDevice { major, minor } => say(line, format_args!("char {major} {minor}")),
        NodeKind::BlockDevice { major, minor } => say(line, format_args!("block {major} {minor}")),
        NodeKind::Fifo => line.push_str("fifo"),
    }
    say(line, format_args!(" {:04o}", node.mode));
    if owners {
        say(line, format_args!(" {}:{}", node.uid, node.gid));
    }
    let is_text = |name: &[u8]| std::str::from_utf8(name).is_ok();
    if node.xattrs.is_empty() && is_text(source) && is_text(item.below.as_bytes()) {
        return;
    }
    // The lossy forms of names that are not UTF-8 could stand for two names in the key.
    let mut exact = Hasher::new();
    exact.part(source);
    exact.part(item.below.as_bytes());
    for (name, value) in &node.xattrs {
        exact.part(name);
        exact.part(value);
    }
    say(line, format_args!(" {}", exact.finish().hex()));
}

/// Appends to `line`, which never fails.
fn say(line: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = line.write_fmt(what);
}
