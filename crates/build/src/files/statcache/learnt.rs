//! What was seen since the cache was read: the latest in memory, the rest in sorted runs, each in an unnamed temporary file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use super::known::Known;
use super::table::{Table, Writer};

/// How much is kept where.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Entries of a block of a file, at least two. Each look for a file decodes one unless it is among the latest.
    pub(super) block: usize,
    /// Entries in memory: less than a megabyte.
    pub(super) held: usize,
    /// So many runs of one size become one of the next, at least two. A look for a file may have to go through all of them.
    pub(super) runs: usize,
}

impl Limits {
    pub(super) const USUAL: Self = Self { block: 64, held: 4096, runs: 8 };
}

/// A file and what is known of it, in the order of paths.
pub(super) type Entries<'a> = Box<dyn Iterator<Item = (Vec<u8>, Known)> + 'a>;

/// What was seen.
pub(super) struct Learnt {
    tmp: PathBuf,
    limits: Limits,
    latest: BTreeMap<Vec<u8>, Known>,
    /// The oldest comes first.
    runs: Vec<Run>,
}

struct Run {
    table: Table<Known>,
    first: Vec<u8>,
    last: Vec<u8>,
    /// How often what is in it was merged.
    merged: usize,
}

impl Learnt {
    /// Nothing yet; files are made in `tmp` if it comes to that.
    pub(super) fn new(tmp: PathBuf, limits: Limits) -> Self {
        Self { tmp, limits, latest: BTreeMap::new(), runs: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.latest.is_empty() && self.runs.is_empty()
    }

    /// What was seen of `path` last.
    pub(super) fn get(&self, path: &[u8]) -> Option<Known> {
        let in_run = |run: &Run| {
            let within = *run.first <= *path && *path <= *run.last;
            within.then(|| run.table.get(path)).flatten()
        };
        self.latest.get(path).copied().or_else(|| self.runs.iter().rev().find_map(in_run))
    }

    /// Notes what is known of `path` now.
    pub(super) fn put(&mut self, path: &[u8], known: Known) -> io::Result<()> {
        self.latest.insert(path.to_vec(), known);
        if self.latest.len() < self.limits.held {
            return Ok(());
        }
        let held = std::mem::take(&mut self.latest);
        self.runs.push(write_run(&self.tmp, self.limits.block, held.into_iter())?);
        while let Some((merged, from)) = self.equal_runs() {
            let parts = self.runs[from..].iter().rev().map(|run| Box::new(run.table.rows()) as Entries<'_>);
            let whole = write_run(&self.tmp, self.limits.block, newest(parts))?;
            self.runs.truncate(from);
            self.runs.push(Run { merged: merged + 1, ..whole });
        }
        Ok(())
    }

    /// Where the latest runs begin that are of one size and so many that they should be one.
    fn equal_runs(&self) -> Option<(usize, usize)> {
        let from = self.runs.len().checked_sub(self.limits.runs)?;
        let merged = self.runs[from].merged;
        self.runs[from..].iter().all(|run| run.merged == merged).then_some((merged, from))
    }

    /// All of it, the newest first; what comes in several counts where it comes first.
    pub(super) fn parts(&self) -> impl Iterator<Item = Entries<'_>> {
        let latest = self.latest.iter().map(|(path, known)| (path.clone(), *known));
        let runs = self.runs.iter().rev().map(|run| Box::new(run.table.rows()) as Entries<'_>);
        std::iter::once(Box::new(latest) as Entries<'_>).chain(runs)
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, Vec<usize>) {
        (self.latest.len(), self.runs.iter().map(|run| run.table.held()).collect())
    }
}

fn write_run(tmp: &Path, block: usize, entries: impl Iterator<Item = (Vec<u8>, Known)>) -> io::Result<Run> {
    let file: File = tempfile::tempfile_in(tmp)?;
    let mut out = BufWriter::new(&file);
    let mut writer = Writer::new(&mut out, 0, block);
    let (mut first, mut last) = (None, Vec::new());
    for (path, known) in entries {
        writer.push(&path, &known)?;
        first.get_or_insert_with(|| path.clone());
        last = path;
    }
    let top = writer.finish()?;
    out.flush()?;
    drop(out);
    let damaged = "a temporary file does not hold what was written to it";
    let table = Table::open(file, top).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, damaged))?;
    Ok(Run { table, first: first.unwrap_or_default(), last, merged: 0 })
}

/// Merges lists, of which each is in the order of paths; a path that comes in several counts where it comes first.
pub(super) fn newest<'a>(parts: impl Iterator<Item = Entries<'a>>) -> impl Iterator<Item = (Vec<u8>, Known)> {
    let mut parts: Vec<Peekable<Entries<'a>>> = parts.map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let heads = parts.iter_mut().enumerate();
        let (_, from) = heads.filter_map(|(i, part)| part.peek().map(|(path, _)| (path, i))).min()?;
        let entry = parts[from].next()?;
        for part in &mut parts {
            part.next_if(|(path, _)| *path == entry.0);
        }
        Some(entry)
    })
}
