//! One workload, all tools by turns.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::meter::{self, Reading};
use crate::place::Place;
use crate::quiet;
use crate::tool::{Candidate, Job, Tool};
use crate::workload::{Base, Export, State, Workload};

/// What one tool did with one workload: for each size its runs, or why there are none.
pub(crate) type Readings = Result<Vec<Vec<Reading>>, String>;

/// One row's outcome.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The row.
    pub(crate) workload: &'static Workload,
    /// One for each tool, in the tools' order.
    pub(crate) tools: Vec<Readings>,
}

/// Tells the person who waits what is going on.
pub(crate) fn say(text: &str) {
    // Without anybody to read it, the figures are what counts.
    writeln!(std::io::stderr(), "{text}").ok();
}

/// Measures a workload with all tools. A tool that fails is left out from then on, with its reason.
///
/// # Errors
/// When the workload's own files cannot be made. That a tool fails is no error.
pub(crate) fn measure(
    workload: &'static Workload,
    tools: &[Candidate],
    place: &Place,
    runs: usize,
) -> Result<Outcome, Failure> {
    let runs = runs.max(workload.least_runs).min(workload.most_runs);
    let mut contexts = Vec::new();
    for size in workload.sizes {
        contexts.push((*size, make_context(workload, *size, place)?));
    }
    let lane = |(at, candidate): (usize, &Candidate)| match &candidate.found {
        _ if at > 0 && !workload.peers => Err("not asked to".to_owned()),
        Ok(_) => Ok(vec![Vec::new(); contexts.len()]),
        Err(failure) => Err(failure.to_string()),
    };
    let mut lanes: Vec<Readings> = tools.iter().enumerate().map(lane).collect();
    // Run 0 does not count: it brings the base into the tool's store, and for a cached build the cache.
    for run in 0..=runs {
        for (lane, candidate) in lanes.iter_mut().zip(tools) {
            let (Ok(readings), Ok(tool)) = (&mut *lane, &candidate.found) else { continue };
            let turn = Turn { workload, tool: tool.as_ref(), folder: candidate.folder, place, run };
            match turn.take(&contexts) {
                Ok(taken) if run > 0 => readings.iter_mut().zip(taken).for_each(|(all, one)| all.push(one)),
                Ok(_) => {}
                Err(failure) => *lane = Err(failure.to_string()),
            }
        }
    }
    for (candidate, lane) in tools.iter().zip(&lanes) {
        say(&format!("{}: {}: {}", workload.name, candidate.name, brief(lane)));
        if let Ok(tool) = &candidate.found {
            meter::run(tool.sweep(), None, &place.join("sweep.log"))?;
        }
    }
    for (_, context) in contexts {
        fs_err::remove_dir_all(context)?;
    }
    Ok(Outcome { workload, tools: lanes })
}

/// One tool's turn: each size once.
struct Turn<'a> {
    workload: &'static Workload,
    tool: &'a dyn Tool,
    folder: &'static str,
    place: &'a Place,
    run: usize,
}

impl Turn<'_> {
    fn take(&self, contexts: &[(u32, PathBuf)]) -> Result<Vec<Reading>, Failure> {
        contexts.iter().map(|(size, context)| self.build(*size, context)).collect()
    }

    fn build(&self, size: u32, context: &Path) -> Result<Reading, Failure> {
        if let State::Edited(file) = self.workload.state {
            // Bytes that no tool has seen, of one length, so that only the content differs.
            let nanos = std::time::UNIX_EPOCH.elapsed().map(|d| d.as_nanos()).unwrap_or_default();
            fs_err::write(context.join(file), format!("{nanos:040}\n"))?;
        }
        let zstd = self.workload.export == Export::Zstd;
        if zstd && !self.tool.has_zstd() {
            return Err(Failure::Cannot { what: "write layers in zstd" });
        }
        let archive =
            (self.workload.export != Export::Nowhere).then(|| self.place.join(self.folder).join("image.tar"));
        let job = Job {
            context: context.to_owned(),
            name: format!("bench-{}-{size}", self.workload.name),
            fresh: matches!(self.workload.state, State::Fresh | State::Bare),
            archive: archive.clone(),
            zstd,
        };
        if self.run == 0 && job.fresh {
            return self.warm_up();
        }
        if self.workload.state == State::Bare {
            meter::run(self.tool.empty(), None, &self.place.join("empty.log"))?;
        }
        read_all(context)?;
        // What an earlier build has still to bring to the disk is not this one's to pay.
        rustix::fs::sync();
        quiet::wait()?;
        let log = self.place.join("build.log");
        let reading = meter::run(self.tool.build(&job), self.tool.daemon(), &log);
        if let Some(archive) = archive
            && archive.exists()
        {
            fs_err::remove_file(archive)?;
        }
        reading
    }

    /// A base that is to be fetched while the clock runs is not brought in before.
    fn base(&self) -> Base {
        if self.workload.state == State::Bare { Base::Busybox } else { self.workload.base }
    }

    /// Brings the base image into the tool's store, unpacked.
    fn warm_up(&self) -> Result<Reading, Failure> {
        let context = self.place.join("contexts/probe");
        fs_err::create_dir_all(&context)?;
        let base = self.place.base(self.base());
        fs_err::write(context.join("Dockerfile"), format!("FROM {base}\nRUN true\n"))?;
        let job = Job { context, name: "bench-warm-up".to_owned(), fresh: true, archive: None, zstd: false };
        meter::run(self.tool.build(&job), None, &self.place.join("build.log"))
    }
}

fn make_context(workload: &Workload, size: u32, place: &Place) -> Result<PathBuf, Failure> {
    let context = place.join(&format!("contexts/{}-{size}", workload.name));
    if context.exists() {
        fs_err::remove_dir_all(&context)?;
    }
    fs_err::create_dir_all(&context)?;
    fs_err::write(context.join("Dockerfile"), (workload.dockerfile)(&place.base(workload.base), size))?;
    workload.files.write(&context, size)?;
    Ok(context)
}

/// Brings the context into memory, so that none of the tools reads it from the disk for the others.
fn read_all(context: &Path) -> Result<(), Failure> {
    for entry in walkdir::WalkDir::new(context) {
        let entry = entry.map_err(std::io::Error::from)?;
        if entry.file_type().is_file() {
            std::io::copy(&mut fs_err::File::open(entry.path())?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

fn brief(readings: &Readings) -> String {
    let one = |runs: &Vec<Reading>| {
        let runs: Vec<_> = runs.iter().map(|r| format!("{:.3}", r.seconds)).collect();
        format!("{} s", runs.join(" "))
    };
    match readings {
        Ok(sizes) => sizes.iter().map(one).collect::<Vec<_>>().join(" | "),
        Err(reason) => reason.clone(),
    }
}
