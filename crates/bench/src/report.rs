//! The figures as a document.

use std::fmt::Write;
use std::path::Path;

use crate::binary::{MOST_CRATES, MOST_MIB, Sizes};
use crate::curve::Curve;
use crate::failure::Failure;
use crate::figure::{figure, seconds};
use crate::machine::{Load, Machine};
use crate::meter::Reading;
use crate::round::{Outcome, Readings};
use crate::tool::Candidate;
use crate::workload::{Goal, Workload};

/// What all figures of one document have in common.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Where.
    pub(crate) machine: Machine,
    /// The machine's load before and after.
    pub(crate) load: (Load, Load),
    /// How often each was measured, where the row does not say less.
    pub(crate) runs: usize,
    /// The program's own size.
    pub(crate) sizes: Sizes,
}

const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// Puts the text between the document's two marker lines; what people wrote around them stays.
///
/// # Errors
/// [`Failure::NoMarker`] when one is missing.
pub(crate) fn write(document: &Path, text: &str) -> Result<(), Failure> {
    let old = fs_err::read_to_string(document)?;
    let missing = |marker| Failure::NoMarker { document: document.to_owned(), marker };
    let (before, rest) = old.split_once(BEGIN).ok_or_else(|| missing(BEGIN))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    Ok(fs_err::write(document, format!("{before}{BEGIN}\n{text}{END}{after}"))?)
}

/// The part of the document that is measured.
pub(crate) fn text(session: &Session, tools: &[Candidate], outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    let parts = [
        preamble(session, tools),
        times(tools, outcomes),
        memory(tools, outcomes),
        curves(outcomes),
        sizes(session.sizes),
        reasons(tools, outcomes),
        details(tools, outcomes),
    ];
    for part in parts.iter().filter(|part| !part.is_empty()) {
        writeln!(out, "\n{}", part.trim_end()).ok();
    }
    out.push('\n');
    out
}

fn preamble(session: &Session, tools: &[Candidate]) -> String {
    let Session { machine, load: (before, after), runs, .. } = session;
    let mut out = format!("Measured on {}; {}.\n", machine.date, machine.facts.join(", "));
    let Load(before, long_before) = before;
    let Load(after, long_after) = after;
    writeln!(
        out,
        "Load average over one (and five) minutes: {before:.1} ({long_before:.1}) when it began, {after:.1} ({long_after:.1}) when it \
         ended; the second is mostly the benchmark's own. Medians of {runs} runs unless the table of all runs shows fewer or more; tools take \
         turns.\n"
    )
    .ok();
    for tool in tools {
        match &tool.found {
            Ok(found) => writeln!(out, "- {}: {}", tool.name, found.about()).ok(),
            Err(failure) => writeln!(out, "- {}: not measured: {failure}", tool.name).ok(),
        };
    }
    out
}

fn times(tools: &[Candidate], outcomes: &[Outcome]) -> String {
    let names: Vec<_> = tools.iter().map(|t| t.name).collect();
    let mut out = "## Time\n\n| workload |".to_owned();
    names.iter().for_each(|name| out += &format!(" {name} |"));
    names[1..].iter().for_each(|name| out += &format!(" {name} : kiln |"));
    out += " goal for kiln |\n|---|";
    out += &"--:|".repeat(names.len() * 2 - 1);
    out += "---|\n";
    for outcome in outcomes.iter().filter(|o| o.workload.curve.is_none()) {
        let figures: Vec<_> = outcome.tools.iter().map(|t| figure(outcome.workload, t)).collect();
        out += &format!("| {} |", outcome.workload.title);
        figures.iter().for_each(|f| out += &format!(" {} |", f.map_or("-".to_owned(), seconds)));
        for peer in &figures[1..] {
            let ratio = figures[0].zip(*peer).map(|(kiln, peer)| format!("{:.1}", peer / kiln));
            out += &format!(" {} |", ratio.unwrap_or("-".to_owned()));
        }
        let goals = outcome.workload.goals.iter().filter_map(|goal| verdict(*goal, &figures));
        out += &format!(" {} |\n", goals.collect::<Vec<_>>().join("; "));
    }
    out
}

/// A goal about time in words, with whether it is reached. None for one about memory.
fn verdict(goal: Goal, figures: &[Option<f64>]) -> Option<String> {
    let (what, reached) = match goal {
        Goal::Seconds(most) => (format!("at most {}", seconds(most)), figures[0].map(|kiln| kiln <= most)),
        Goal::Share(share) => {
            let best = figures[1..].iter().flatten().copied().reduce(f64::min);
            let what = format!("at most {share} of the best other");
            (what, figures[0].zip(best).map(|(kiln, best)| kiln <= share * best))
        }
        Goal::Memory(_) | Goal::Straight(_) | Goal::Flat(_) => return None,
    };
    Some(format!("{what}: {}", word(reached)))
}

fn word(reached: Option<bool>) -> &'static str {
    match reached {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "not known",
    }
}

fn memory(tools: &[Candidate], outcomes: &[Outcome]) -> String {
    let mut out = "## Peak memory\n\nThe largest process of each tool, resident, in MiB (VmHWM). For BuildKit this is its daemon, set \
                   back before each run to what the daemon holds when idle.\n\n| workload |"
        .to_owned();
    tools.iter().for_each(|tool| out += &format!(" {} |", tool.name));
    out += " goal for kiln |\n|---|";
    out += &"--:|".repeat(tools.len());
    out += "---|\n";
    for outcome in outcomes {
        let peaks: Vec<_> = outcome.tools.iter().map(peak).collect();
        out += &format!("| {} |", outcome.workload.title);
        peaks.iter().for_each(|p| out += &format!(" {} |", p.map_or("-".to_owned(), |p| format!("{p:.0}"))));
        let goals = outcome.workload.goals.iter().filter_map(|goal| match goal {
            Goal::Memory(most) => {
                Some(format!("at most {most}: {}", word(peaks[0].map(|p| p <= *most as f64))))
            }
            Goal::Seconds(_) | Goal::Share(_) | Goal::Straight(_) | Goal::Flat(_) => None,
        });
        out += &format!(" {} |\n", goals.collect::<Vec<_>>().join("; "));
    }
    out
}

/// How kiln's time grows: a row for each curve.
fn curves(outcomes: &[Outcome]) -> String {
    let mut rows = String::new();
    for outcome in outcomes {
        let Some(what) = outcome.workload.curve else { continue };
        let Some(line) = Curve::of(outcome) else { continue };
        let points = line.points.iter().map(|(x, y)| format!("{x}: {}", seconds(*y)));
        let points: Vec<_> = points.collect();
        let goals = outcome.workload.goals.iter().filter_map(|goal| match goal {
            Goal::Straight(most) => {
                let reached = word(Some(line.deviation() <= *most));
                Some(format!("at most {:.0} % off: {reached}", most * 100.0))
            }
            Goal::Flat(most) => {
                let reached = word(line.memory_grows().map(|grows| grows <= *most));
                Some(format!("memory at most {most} times that of the first: {reached}"))
            }
            _ => None,
        });
        let goals: Vec<_> = goals.collect();
        let memory: Vec<_> = line.memory.iter().map(|kib| (kib / 1024).to_string()).collect();
        rows += &format!(
            "| {} | {} | {} | {:.0} % | {} | {} |\n",
            outcome.workload.title,
            points.join(", "),
            format_args!("{:.3} ms for each of the {what}", line.slope * 1e3),
            line.deviation() * 100.0,
            memory.join(", "),
            goals.join("; ")
        );
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "## How kiln's time grows\n\nA straight line is fitted to the medians. What the worst of them is off by is given as a share of \
         the highest. The peak of the memory is that of each size in turn, in MiB.\n\n\
         | workload | medians | slope | off the line | memory | goal |\n|---|---|---|--:|---|---|\n{rows}"
    )
}

fn sizes(sizes: Sizes) -> String {
    let Sizes { bytes, is_static, crates } = sizes;
    let kind = if is_static { "static" } else { "dynamic" };
    format!(
        "## Size\n\n| what | kiln | goal |\n|---|--:|---|\n\
         | release binary ({kind}) | {:.1} MiB | static, at most {MOST_MIB} MiB: {} |\n\
         | crates in `cargo tree -p kiln-cli -e normal` | {crates} | at most {MOST_CRATES}: {} |\n",
        bytes as f64 / (1 << 20) as f64,
        word(Some(is_static && bytes <= MOST_MIB << 20)),
        word(Some(crates <= MOST_CRATES)),
    )
}

fn reasons(tools: &[Candidate], outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    for outcome in outcomes {
        for (tool, readings) in tools.iter().zip(&outcome.tools) {
            if let Err(reason) = readings {
                out += &format!("- {}, {}: {reason}\n", tool.name, outcome.workload.title);
            }
        }
    }
    if out.is_empty() { out } else { format!("## Why a dash\n\n{out}") }
}

fn details(tools: &[Candidate], outcomes: &[Outcome]) -> String {
    let mut out = "## What exactly, and all runs\n".to_owned();
    for outcome in outcomes {
        let Workload { name, title, about, sizes, .. } = outcome.workload;
        out += &format!("\n**{title}** (`--only {name}`). {about}\n\n");
        for (tool, readings) in tools.iter().zip(&outcome.tools) {
            let Ok(readings) = readings else { continue };
            for (size, runs) in sizes.iter().zip(readings) {
                let label =
                    if sizes.len() > 1 { format!("{}, {size}", tool.name) } else { tool.name.to_owned() };
                let runs: Vec<_> = runs.iter().map(|r| seconds(r.seconds)).collect();
                out += &format!("- {label}: {}\n", runs.join(", "));
            }
        }
    }
    out
}

/// In MiB.
fn peak(readings: &Readings) -> Option<f64> {
    let peaks = readings.as_ref().ok()?.iter().flatten().map(|Reading { peak, .. }| *peak);
    peaks.max().filter(|peak| *peak > 0).map(|kib| kib as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_the_faster_of_the_others() {
        let share = |kiln| verdict(Goal::Share(0.1), &[Some(kiln), Some(3.0), Some(2.0)]).unwrap();
        assert!(share(0.2).ends_with("yes"));
        assert!(share(0.21).ends_with("**no**"));
        assert!(verdict(Goal::Share(0.1), &[Some(0.1), None, None]).unwrap().ends_with("not known"));
        assert!(verdict(Goal::Seconds(0.01), &[Some(0.011)]).unwrap().ends_with("**no**"));
    }

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let folder = tempfile::tempdir().unwrap();
        let document = folder.path().join("doc.md");
        fs_err::write(&document, format!("# Before\n\n{BEGIN}\nold\n{END}\n\nafter\n")).unwrap();
        write(&document, "\nnew\n\n").unwrap();
        write(&document, "\nnew\n\n").unwrap();
        assert_eq!(
            fs_err::read_to_string(&document).unwrap(),
            format!("# Before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n")
        );
        fs_err::write(&document, "nothing").unwrap();
        assert!(matches!(write(&document, ""), Err(Failure::NoMarker { .. })));
    }
}
