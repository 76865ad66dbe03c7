//! `--parents`: what a pattern matches, with the directories that stand above it.
//!
//! As with BuildKit the part before `/./` names directories as any source does, links followed, and what follows is a pattern like those of an
//! ignore file for what is below them. Links in there are copied as links, and `--exclude` counts from the same place.

use std::collections::BTreeSet;

use kiln_dockerfile::glob::{PatternSet, has_wildcard, matches};
use kiln_layer::bytes::Cursor;
use kiln_layer::index::Mtime;
use kiln_layer::path::LayerPath;
use kiln_layer::rows::{Row, Rows};
use kiln_plan::CopiedPath;

use crate::copy::select::{Match, bad_pattern, select};
use crate::copy::source::{Gathered, Gathering, Item, Looking};
use crate::copy::walk::{Spot, walk};
use crate::error::BuildErrorKind;
use crate::files::{Files, NodeKind, follow};

/// Gathers what `path` names below each directory that its part before the pivot names.
pub(crate) fn gather(
    files: &dyn Files,
    path: &CopiedPath,
    (excludes, looking): (&PatternSet, Looking<'_>),
) -> Result<Gathered, BuildErrorKind> {
    let (wanted, bases) = find(files, path)?;
    let mut gathering = Gathering::new(files, looking);
    for base in bases {
        let mut top = Item::top(&base, b"");
        if base.real.is_root() {
            // That of a whole context or image is nobody's intention.
            top.node.mtime = Mtime::default();
        }
        gathering.push(top)?;
        if base.node.is_dir() {
            wanted.below((files, &base.real), (excludes, looking), &mut gathering)?;
        }
    }
    gathering.finish()
}

/// Finds out whether [`gather`] would find what `path` names.
pub(crate) fn look(files: &dyn Files, path: &CopiedPath) -> Result<(), BuildErrorKind> {
    find(files, path).map(drop)
}

/// The part of `path` behind the pivot, and the directories that the part before it names.
fn find(files: &dyn Files, path: &CopiedPath) -> Result<(Wanted, Vec<Match>), BuildErrorKind> {
    let (head, tail) = split_pivot(&path.pattern);
    let wanted = Wanted::new(tail)?;
    let as_written = |error| match error {
        BuildErrorKind::MissingSource { whence, nearest, hidden_by, .. } => {
            BuildErrorKind::MissingSource { pattern: path.pattern.clone(), whence, nearest, hidden_by }
        }
        BuildErrorKind::DanglingSource { link, target, whence, hidden_by, .. } => {
            let pattern = path.pattern.clone();
            BuildErrorKind::DanglingSource { pattern, link, target, whence, hidden_by }
        }
        other => other,
    };
    if !has_wildcard(&path.pattern) {
        // Only to say so if it is not there.
        let whole = LayerPath::clean(head).join(wanted.pattern.as_bytes());
        select(files, &String::from_utf8_lossy(whole.as_bytes()), &|_| false).map_err(as_written)?;
    }
    // Nothing is below a link that leads nowhere, so a wildcard may meet one on the way.
    let bases = select(files, head, &|_| true).map_err(as_written)?;
    Ok((wanted, bases))
}

/// `a/b/./c` is split where the first `/./` stands.
fn split_pivot(pattern: &str) -> (&str, &str) {
    let skip = if pattern.starts_with("./") { 2 } else { 0 };
    match pattern[skip..].find("/./") {
        Some(at) => (&pattern[..skip + at], &pattern[skip + at + 3..]),
        None => ("/", pattern),
    }
}

/// The part behind the pivot.
struct Wanted {
    pattern: LayerPath,
    set: PatternSet,
}

impl Wanted {
    fn new(tail: &str) -> Result<Self, BuildErrorKind> {
        let pattern = LayerPath::clean(tail);
        let text = String::from_utf8_lossy(pattern.as_bytes()).into_owned();
        let set = PatternSet::new([text].iter().filter(|text| !text.is_empty()))
            .map_err(|_| bad_pattern(&pattern))?;
        Ok(Self { pattern, set })
    }

    fn includes(&self, below: &LayerPath) -> bool {
        self.pattern.is_root() || self.set.matches_or_parent(below.as_bytes())
    }

    /// Whether something below the directory `dir` could match, though it does not itself.
    fn may_match_below(&self, dir: &LayerPath) -> bool {
        let mut parts = self.pattern.components().map(String::from_utf8_lossy);
        for name in dir.components() {
            match parts.next() {
                Some(part) if part.contains("**") => return true,
                Some(part) if matches(&part, name).unwrap_or(true) => {}
                _ => return false,
            }
        }
        parts.next().is_some()
    }

    /// Whether `path` is written out, so that a link there is a way to what is behind it.
    fn leads_through(&self, path: &LayerPath) -> bool {
        let depth = path.components().count();
        let head = self.pattern.components().take(depth).map(String::from_utf8_lossy);
        self.may_match_below(path) && head.into_iter().all(|part| !has_wildcard(&part))
    }

    /// Gathers what is wanted below `base`, and the directories that stand above it; in order.
    fn below(
        &self,
        (files, base): (&dyn Files, &LayerPath),
        (excludes, looking): (&PatternSet, Looking<'_>),
        gathering: &mut Gathering<'_>,
    ) -> Result<(), BuildErrorKind> {
        let look = |real, below| self.see(files, (real, below), excludes);
        // Whether a directory has something in it that is taken shows later.
        let mut found = Rows::new(looking.tmp);
        let mut above = BTreeSet::new();
        walk((files, base), &look, looking.stop, &mut |item, taken| {
            let mut at = item.below.parent().filter(|_| taken);
            while let Some(dir) = at {
                at = dir.parent();
                if !above.insert(dir) {
                    break;
                }
            }
            if taken || item.node.is_dir() {
                found.push(&Met { item, taken })?;
            }
            Ok(())
        })?;
        for met in &found {
            let Met { item, taken } = met?;
            if taken || above.contains(&item.below) {
                gathering.push(item)?;
            }
        }
        Ok(())
    }

    fn see(
        &self,
        files: &dyn Files,
        (mut real, below): (LayerPath, LayerPath),
        excludes: &PatternSet,
    ) -> Result<Option<Spot>, BuildErrorKind> {
        let Some(mut node) = files.node(&real)? else { return Ok(None) };
        let included = self.includes(&below);
        if !included
            && matches!(node.kind, NodeKind::Symlink { .. })
            && self.leads_through(&below)
            && let Some(behind) = follow(files, &real)?
        {
            (real, node) = behind;
        }
        let excluded = !excludes.is_empty() && excludes.decide(below.as_bytes()).0;
        let taken_back = || excludes.has_exclusions() && excludes.may_exclude_below(below.as_bytes());
        let deeper =
            node.is_dir() && (included || self.may_match_below(&below)) && (!excluded || taken_back());
        let digest = files.known(&real, &node);
        let item = Item { name: None, below, real, node, digest };
        Ok(Some(Spot { item, taken: included && !excluded, deeper }))
    }
}

/// Something on the way, and whether it is wanted itself.
struct Met {
    item: Item,
    taken: bool,
}

impl Row for Met {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.taken));
        self.item.put(out);
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        let taken = from.number()? > 0;
        Item::take(from).map(|item| Self { item, taken })
    }
}
