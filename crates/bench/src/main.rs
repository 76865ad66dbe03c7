//! Measures kiln side by side with Debian's Buildah and with the BuildKit inside Debian's Docker, and writes the figures into
//! `docs/benchmarks.md`. A tool for development; nothing depends on it.
//!
//! [`workload`] holds what is measured as data: a row says which files, which Dockerfile, in which state the cache is, where
//! the result goes and what kiln is meant to reach. A new workload is a new row there and nothing anywhere else. [`tool`] turns
//! one build into the commands of each tool. [`round`] goes through the rows: it makes the files once, lets each tool build once
//! unmeasured so that the base image is in its store, then takes turns between the tools. [`meter`] times commands and watches
//! their memory. [`report`] makes the document's tables out of the results.
//!
//! Nothing is estimated. A tool that is missing, or that fails at a workload, has a dash in the table and its reason below it.
//!
//! ```text
//! cargo run --release -p kiln-bench -- --runs 5 --write docs/benchmarks.md
//! ```
//!
//! It runs as root on Debian, since that is where the two others are at their best (overlay mounts in the kernel).
//! The registry and the Docker daemon that it needs are its own, below its work folder and on free ports and sockets; they end with
//! it, by process id.

use std::io::Write;
use std::process::ExitCode;

mod arguments;
mod binary;
mod curve;
mod disk;
mod failure;
mod figure;
mod files;
mod machine;
mod meter;
mod picture;
mod place;
mod quiet;
mod report;
mod round;
mod server;
mod tool;
mod workload;

use arguments::Arguments;
use failure::Failure;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            round::say(&format!("kiln-bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::NotRoot);
    }
    let chosen = workload::chosen(&arguments.only)?;
    let kiln = binary::locate(arguments.kiln.clone())?;
    // First, for it is quick and may fail.
    let sizes = binary::Sizes::of(&kiln)?;
    let before = machine::Load::now();
    let mut bases: Vec<_> = chosen.iter().map(|row| row.base).chain([workload::Base::Busybox]).collect();
    bases.sort();
    bases.dedup();
    let place = place::Place::make(&arguments.work, &tool::FOLDERS, &bases)?;
    let tools = tool::all(&place, &kiln);
    for tool in &tools {
        round::say(&match &tool.found {
            Ok(found) => format!("{}: {}", tool.name, found.about()),
            Err(failure) => format!("{}: not measured: {failure}", tool.name),
        });
    }
    let mut results = Vec::new();
    for workload in chosen {
        results.push(round::measure(workload, &tools, &place, arguments.runs)?);
    }
    let session = report::Session {
        machine: machine::Machine::of_this_process()?,
        load: (before, machine::Load::now()),
        runs: arguments.runs,
        sizes,
    };
    let text = report::text(&session, &tools, &results);
    match &arguments.write {
        Some(document) => {
            fs_err::write(document.with_extension("svg"), picture::svg(&session, &tools, &results))?;
            report::write(document, &text)
        }
        None => Ok(std::io::stdout().write_all(text.as_bytes())?),
    }
}
