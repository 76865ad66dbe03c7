//! What is measured: a table. To measure something else, add a row.

use crate::failure::Failure;
use crate::files::Files;

/// The state of a tool's cache and of the files when the clock starts. The base image is in the tool's store unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    /// Every step is carried out (`--no-cache`).
    Fresh,
    /// Exactly this was built before.
    Unchanged,
    /// Exactly this was built before, then this file got other bytes.
    Edited(&'static str),
    /// The tool's store is empty: the base image, too, has to be fetched.
    Bare,
}

/// The base images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Base {
    /// A static busybox.
    Busybox,
    /// Debian with apt.
    Debian,
    /// Debian with a compiler and Python.
    Large,
}

impl Base {
    /// Name and tag in the registry, and the words of the script of `testdata/bases` that makes it, the path of the tar left out.
    pub(crate) fn recipe(self) -> (&'static str, &'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Busybox => ("busybox", &["busybox.sh"], &[]),
            Self::Debian => ("debian", &["debian.sh", "debian"], &[]),
            Self::Large => ("large", &["debian.sh", "large"], &["build-essential", "python3"]),
        }
    }
}

/// Where the result goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Export {
    /// It stays with the tool.
    Nowhere,
    /// Into a file that another tool can read; see each tool for which form.
    Archive,
    /// The same with layers in zstd.
    Zstd,
}

/// What kiln is meant to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// At most so many seconds, of the unit that the workload has.
    Seconds(f64),
    /// At most this share of the time of the faster of the others.
    Share(f64),
    /// At most so many MiB of memory at the peak.
    Memory(u64),
    /// No point of a curve further from the straight line than this share of its highest point.
    Straight(f64),
    /// At no size more memory than so many times what the smallest takes.
    Flat(f64),
}

/// One row.
#[derive(Debug)]
pub(crate) struct Workload {
    /// For `--only`.
    pub(crate) name: &'static str,
    /// For the table.
    pub(crate) title: &'static str,
    /// What exactly happens, for the reader who doubts.
    pub(crate) about: &'static str,
    /// What it begins with.
    pub(crate) base: Base,
    /// The context.
    pub(crate) files: Files,
    /// The Dockerfile for a base image and a size.
    pub(crate) dockerfile: fn(&str, u32) -> String,
    /// One size: the figure is the whole time. Several: the figure is the time for each unit between the first and the last, which is
    /// what a tool needs on top of starting and ending.
    pub(crate) sizes: &'static [u32],
    /// What the sizes count, if the time for each of them is what the row is about.
    pub(crate) curve: Option<&'static str>,
    /// Before each run.
    pub(crate) state: State,
    /// After it.
    pub(crate) export: Export,
    /// What counts as reached.
    pub(crate) goals: &'static [Goal],
    /// Whether the others take part.
    pub(crate) peers: bool,
    /// At most so many runs, where one takes long.
    pub(crate) most_runs: usize,
    /// At least so many, where one takes so little that the next one may take half as much again.
    pub(crate) least_runs: usize,
}

impl Workload {
    /// Whether the figure is for each unit and not for the whole.
    pub(crate) fn is_slope(&self) -> bool {
        self.sizes.len() > 1 && self.curve.is_none()
    }
}

const ROW: Workload = Workload {
    name: "",
    title: "",
    about: "",
    base: Base::Busybox,
    files: Files::None,
    dockerfile: true_steps,
    sizes: &[20],
    curve: None,
    state: State::Unchanged,
    export: Export::Nowhere,
    goals: &[],
    peers: true,
    most_runs: usize::MAX,
    least_runs: 1,
};

/// All workloads, in the order of the document.
pub(crate) const WORKLOADS: &[Workload] = &[
    Workload {
        name: "run-true",
        title: "`RUN true`, each beyond the first",
        about: "20 steps `RUN true N`, and 1 such step, nothing cached; the difference of the two medians by 19. Each step has a \
                container of its own and leaves a layer.",
        sizes: &[1, 20],
        state: State::Fresh,
        goals: &[Goal::Seconds(0.004)],
        ..ROW
    },
    Workload {
        name: "cached",
        title: "cached rebuild, 20 steps, 2,000 files",
        about: "`COPY . /src` of 2,000 files of 6,000 bytes and 19 RUN steps, built before, nothing changed.",
        files: Files::Many { count: 2000, size: 6000 },
        dockerfile: copy_then_run,
        goals: &[Goal::Share(0.1)],
        least_runs: 15,
        ..ROW
    },
    Workload {
        name: "cached-archive",
        title: "the same, exported again",
        about: "The same with an archive of the image at the end.",
        files: Files::Many { count: 2000, size: 6000 },
        dockerfile: copy_then_run,
        export: Export::Archive,
        goals: &[Goal::Share(0.15)],
        least_runs: 15,
        ..ROW
    },
    Workload {
        name: "edited",
        title: "one of 2,000 files edited, exported",
        about: "The same with 3 steps, after one file of the context got other bytes: COPY and 2 RUN steps run anew.",
        files: Files::Many { count: 2000, size: 6000 },
        dockerfile: copy_then_run,
        sizes: &[3],
        state: State::Edited("dir0020/file001000.txt"),
        export: Export::Archive,
        ..ROW
    },
    Workload {
        name: "edited-debian",
        title: "one of 20,000 files edited, on Debian, exported",
        about: "`COPY . /src` of 20,000 files of 4,000 bytes and one RUN step on a base of Debian, built before; then one file got other \
                bytes.",
        base: Base::Debian,
        files: Files::Many { count: 20_000, size: 4000 },
        dockerfile: copy_then_run,
        sizes: &[2],
        state: State::Edited("dir0200/file010000.txt"),
        export: Export::Archive,
        goals: &[Goal::Share(0.15)],
        most_runs: 2,
        ..ROW
    },
    Workload {
        name: "steps",
        title: "100 RUN steps",
        about: "100 steps that write a file of some bytes each, nothing cached. That the last ten are as fast as the first ten shows in the \
                curve over steps.",
        dockerfile: writing_steps,
        sizes: &[100],
        state: State::Fresh,
        most_runs: 1,
        ..ROW
    },
    Workload {
        name: "many-files",
        title: "COPY of 50,000 files, 200 MB, exported",
        about: "`COPY . /src` of 50,000 files of 4,000 bytes into an archive, nothing cached.",
        files: Files::Many { count: 50_000, size: 4000 },
        dockerfile: copy_only,
        state: State::Fresh,
        export: Export::Archive,
        goals: &[Goal::Share(0.1), Goal::Memory(64)],
        most_runs: 2,
        ..ROW
    },
    Workload {
        name: "stages",
        title: "6 stages that sleep 2 s each",
        about: "Six stages of `RUN sleep 2` that know nothing of each other, and one that copies from all. Each tool decides by itself \
                how many it runs at once.",
        dockerfile: sleeping_stages,
        sizes: &[6],
        state: State::Fresh,
        goals: &[Goal::Seconds(2.06)],
        most_runs: 2,
        ..ROW
    },
    Workload {
        name: "big-half",
        title: "COPY of one file of 1 GiB, half of it random, exported",
        about: "By turns one MiB of random bytes and one of text, into an archive, nothing cached.",
        files: Files::Half { mib: 1024, seed: 1 },
        dockerfile: copy_only,
        state: State::Fresh,
        export: Export::Archive,
        goals: &[Goal::Share(0.15), Goal::Memory(64)],
        most_runs: 1,
        ..ROW
    },
    Workload {
        name: "big-zstd",
        title: "COPY of such a file, zstd",
        about: "Other bytes of the same kind, with layers in zstd, level 3. Debian's Docker cannot write them.",
        files: Files::Half { mib: 1024, seed: 2 },
        dockerfile: copy_only,
        state: State::Fresh,
        export: Export::Zstd,
        goals: &[Goal::Share(0.2), Goal::Memory(64)],
        most_runs: 1,
        ..ROW
    },
    Workload {
        name: "run-files",
        title: "RUN that writes 2,000 files and deletes two trees, exported",
        about: "One RUN on a base of Debian: 2,000 files of 40 kB, `/usr/share/doc` and `/usr/share/locale` deleted, into an archive, \
                nothing cached.",
        base: Base::Debian,
        dockerfile: writing_run,
        sizes: &[1],
        state: State::Fresh,
        export: Export::Archive,
        goals: &[Goal::Share(0.6)],
        most_runs: 2,
        ..ROW
    },
    Workload {
        name: "pull",
        title: "pull of a large base into an empty store, and a RUN",
        about: "Debian with a compiler and Python from a registry on this machine, gzip, and `RUN true` on it; the store is empty.",
        base: Base::Large,
        sizes: &[1],
        state: State::Bare,
        goals: &[Goal::Share(0.5), Goal::Memory(64)],
        most_runs: 1,
        ..ROW
    },
    Workload {
        name: "big-sparse",
        title: "COPY of one file of 4 GiB, exported",
        about: "A sparse file, that is, 4 GiB of zeros that take no disk, into an archive, nothing cached. For kiln's memory alone.",
        files: Files::Sparse(4096),
        dockerfile: copy_only,
        state: State::Fresh,
        export: Export::Archive,
        goals: &[Goal::Memory(64)],
        peers: false,
        most_runs: 1,
        ..ROW
    },
    Workload {
        name: "curve-files",
        title: "COPY of so many files of 1,000 bytes, exported",
        about: "Nothing cached.",
        files: Files::Of(|count| Files::Many { count, size: 1000 }),
        dockerfile: copy_only,
        sizes: &[25_000, 50_000, 100_000, 200_000],
        export: Export::Archive,
        ..CURVE
    },
    Workload {
        name: "curve-bytes",
        title: "COPY of a file of so many MiB, half of it random, exported",
        about: "Nothing cached.",
        curve: Some("MiB"),
        files: Files::Of(|mib| Files::Half { mib: mib.into(), seed: 3 }),
        dockerfile: copy_only,
        sizes: &[128, 256, 384, 512],
        export: Export::Archive,
        ..CURVE
    },
    Workload {
        name: "curve-layers",
        title: "so many COPY instructions, exported",
        about: "Each copies one small file into a layer of its own; nothing cached.",
        curve: Some("layers"),
        files: Files::Many { count: 1, size: 1000 },
        dockerfile: many_copies,
        sizes: &[25, 50, 75, 100],
        export: Export::Archive,
        ..CURVE
    },
    Workload {
        name: "curve-steps",
        title: "so many RUN steps",
        about: "Each writes a file of some bytes; nothing cached.",
        curve: Some("steps"),
        dockerfile: writing_steps,
        sizes: &[25, 50, 75, 100],
        ..CURVE
    },
];

const CURVE: Workload = Workload {
    curve: Some("files"),
    state: State::Fresh,
    peers: false,
    goals: &[Goal::Straight(0.1), Goal::Flat(1.25), Goal::Memory(64)],
    most_runs: 3,
    ..ROW
};

/// The workloads of these names, or all.
///
/// # Errors
/// [`Failure::Usage`] when there is none of a name.
pub(crate) fn chosen(only: &[String]) -> Result<Vec<&'static Workload>, Failure> {
    if let Some(name) = only.iter().find(|name| !WORKLOADS.iter().any(|w| w.name == *name)) {
        let known: Vec<_> = WORKLOADS.iter().map(|w| w.name).collect();
        return Err(Failure::Usage { what: format!("no workload {name}; there are {}", known.join(", ")) });
    }
    let wanted = |w: &&Workload| only.is_empty() || only.iter().any(|name| w.name == name);
    Ok(WORKLOADS.iter().filter(wanted).collect())
}

fn true_steps(base: &str, steps: u32) -> String {
    // With a number each, so that no tool may take one step's result for another's.
    let steps: String = (1..=steps).map(|n| format!("RUN true {n}\n")).collect();
    format!("FROM {base}\n{steps}")
}

fn copy_only(base: &str, _: u32) -> String {
    format!("FROM {base}\nCOPY . /src\n")
}

fn copy_then_run(base: &str, steps: u32) -> String {
    let steps: String = (1..steps).map(|n| format!("RUN echo {n} > /step{n}\n")).collect();
    format!("FROM {base}\nCOPY . /src\n{steps}")
}

fn many_copies(base: &str, copies: u32) -> String {
    let steps: String = (1..=copies).map(|n| format!("COPY dir0000/file000000.txt /copy{n}\n")).collect();
    format!("FROM {base}\n{steps}")
}

fn writing_steps(base: &str, steps: u32) -> String {
    let steps: String = (1..=steps).map(|n| format!("RUN echo {n} > /step{n}\n")).collect();
    format!("FROM {base}\n{steps}")
}

fn writing_run(base: &str, _: u32) -> String {
    // Text out of the shell itself, so that the step's time is mostly that of its files.
    let script = "i=0; text=$(seq 1 8000 | head -c 40000); while [ $i -lt 2000 ]; do echo \"$i $text\" > /data/$i; i=$((i+1)); done";
    format!("FROM {base}\nRUN mkdir /data; {script}; rm -rf /usr/share/doc /usr/share/locale\n")
}

fn sleeping_stages(base: &str, stages: u32) -> String {
    let made: String =
        (1..=stages).map(|n| format!("FROM {base} AS s{n}\nRUN sleep 2; echo {n} > /s{n}\n")).collect();
    let taken: String = (1..=stages).map(|n| format!("COPY --from=s{n} /s{n} /\n")).collect();
    format!("{made}FROM {base}\n{taken}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sizes_given() {
        for (at, row) in WORKLOADS.iter().enumerate() {
            assert!(WORKLOADS[..at].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(row.sizes.is_sorted() && !row.sizes.is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn steps_are_as_many_as_asked_for() {
        assert_eq!(true_steps("b", 20).matches("RUN ").count(), 20);
        assert_eq!(copy_then_run("b", 20).lines().count(), 21);
        assert_eq!(sleeping_stages("b", 6).matches("FROM ").count(), 7);
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(matches!(chosen(&["no".into()]), Err(Failure::Usage { .. })));
        assert_eq!(chosen(&["cached".into()]).unwrap().len(), 1);
    }
}
