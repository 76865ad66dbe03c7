//! What the parts of two keys differ in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use kiln_dockerfile::lint::sounds_secret;
use kiln_plan::model::{Origin, RunMountKind};

use super::below::difference;
use super::files::{Files, differing};
use super::{Change, Side};
use crate::key::Part;
use crate::record::BaseRecord;

/// The parts of a key, by what they are about.
pub(crate) struct Inputs {
    /// What the instruction itself says, in order: kind, name, value.
    command: Vec<[String; 3]>,
    variables: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
    /// By the target of the mount.
    whole: BTreeMap<String, String>,
    files: Files,
    fetched: BTreeMap<String, String>,
    rootfs: Option<String>,
}

impl Inputs {
    fn words(&self) -> String {
        let words = self.command.iter().filter(|[kind, ..]| kind != "operation");
        words
            .map(|[.., value]| value.as_str())
            .filter(|value| !value.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Takes the parts of a key in their order.
pub(crate) struct Sorting {
    inputs: Inputs,
    runs: bool,
    /// Files belong to the source that was named last.
    source: String,
    /// What is bound whole belongs to the mount that comes next.
    bound: Option<String>,
    /// An archive comes before the source that it was found by, one from a URL has none.
    archives: Vec<String>,
}

impl Sorting {
    /// Nothing was taken yet. What is too much for memory goes to an unnamed file in `tmp`.
    pub(crate) fn new(tmp: PathBuf) -> Self {
        let inputs = Inputs {
            command: Vec::new(),
            variables: BTreeMap::new(),
            settings: BTreeMap::new(),
            whole: BTreeMap::new(),
            files: Files::new(tmp),
            fetched: BTreeMap::new(),
            rootfs: None,
        };
        Self { inputs, runs: false, source: String::new(), bound: None, archives: Vec::new() }
    }

    /// Takes one.
    pub(crate) fn add(&mut self, Part { kind, name, value }: Part<'_>) {
        let inputs = &mut self.inputs;
        let (key, text) = (|| name.to_owned(), || value.to_owned());
        match kind {
            "env" => drop(inputs.variables.insert(key(), text())),
            "user" | "directory" | "network" | "security" | "host" | "ulimit" | "shm-size" => {
                inputs.settings.insert(setting(kind, name), text());
            }
            "rootfs" => inputs.rootfs = Some(text()),
            "bound" => self.bound = Some(text()),
            "source" => self.add_source(name),
            "mount" => {
                if let Some(chain) = self.bound.take() {
                    inputs.whole.insert(key(), chain);
                }
                self.say(kind, name, value);
            }
            "file" => inputs.files.push(&path(&self.source, name), value),
            "parent" => inputs.files.push(name.trim_start_matches('/'), value),
            "archive" => self.archives.push(text()),
            "download" => {
                let digest = value.split(' ').next().unwrap_or(value);
                inputs.fetched.insert(key(), digest.to_owned());
            }
            "commit" => {
                let (commit, taken) = value.split_once(' ').unwrap_or((value, ""));
                let count = inputs.fetched.keys().filter(|known| known.starts_with("commit ")).count();
                let number = if count == 0 { String::new() } else { format!(" ({})", count + 1) };
                inputs.fetched.insert(format!("commit of {name}{number}"), commit.to_owned());
                self.say(kind, name, taken);
            }
            _ => {
                self.runs |= kind == "operation" && value == "RUN";
                self.say(kind, name, value);
            }
        }
    }

    fn add_source(&mut self, name: &str) {
        name.clone_into(&mut self.source);
        for (i, digest) in self.archives.drain(..).enumerate() {
            let number = if i == 0 { String::new() } else { format!(" ({})", i + 1) };
            let source = name.trim_start_matches('/');
            self.inputs.fetched.insert(format!("archive {source}{number}"), digest);
        }
        self.say("source", name, "");
    }

    fn say(&mut self, kind: &str, name: &str, value: &str) {
        self.inputs.command.push([kind, name, value].map(str::to_owned));
    }

    /// All were taken.
    pub(crate) fn end(mut self) -> Inputs {
        let left = self.archives.into_iter().enumerate();
        self.inputs.fetched.extend(left.map(|(i, digest)| (format!("archive {}", i + 1), digest)));
        if self.runs {
            // Its mounts tell what it reads.
            self.inputs.command.retain(|[kind, ..]| kind != "source");
        }
        self.inputs.files.end();
        self.inputs
    }
}

/// All differences between a step and its earlier self; where the root filesystem of one of them is not known, it is left out.
///
/// # Errors
/// If what did not fit into memory cannot be read back.
pub(crate) fn changes(new: Side<'_>, old: Side<'_>) -> io::Result<Vec<Change>> {
    let (here, there) = (new.inputs, old.inputs);
    let mut all = Vec::new();
    if here.command != there.command {
        let (mut old, mut new) = (old.step().text.clone(), new.step().text.clone());
        if old == new {
            // Another shell, or a here-document of which the text has only the first line.
            (old, new) = (there.words(), here.words());
        }
        all.push(Change::Instruction { old, new });
    }
    let (platform, earlier) = (new.stage().platform.to_string(), old.stage().platform.to_string());
    if platform != earlier {
        all.push(Change::Platform { old: earlier, new: platform });
    }
    if let (Some(a), Some(b)) = (&here.rootfs, &there.rootfs)
        && a != b
    {
        all.extend(difference(new, old));
    }
    variables(new, old, &mut all);
    for name in keys(&here.settings, &there.settings) {
        let (old, new) = (there.settings.get(name).cloned(), here.settings.get(name).cloned());
        if old != new {
            all.push(Change::Setting { name: name.clone(), old, new });
        }
    }
    for (target, chain) in &here.whole {
        if there.whole.get(target).is_some_and(|other| other != chain) {
            all.push(Change::MountSource { target: target.clone(), from: mounted(new, target) });
        }
    }
    all.extend(differing(&here.files, &there.files)?);
    for name in keys(&here.fetched, &there.fetched) {
        let (old, new) = (there.fetched.get(name).cloned(), here.fetched.get(name).cloned());
        if old != new {
            all.push(Change::Fetched { name: name.clone(), old, new });
        }
    }
    if all.is_empty() && here.rootfs.is_some() == there.rootfs.is_some() {
        all.push(Change::OtherKiln);
    }
    Ok(all)
}

fn keys<'m, K: Ord, A, B>(a: &'m BTreeMap<K, A>, b: &'m BTreeMap<K, B>) -> BTreeSet<&'m K> {
    a.keys().chain(b.keys()).collect()
}

fn variables(new: Side<'_>, old: Side<'_>, all: &mut Vec<Change>) {
    let of = |side: Side<'_>| -> BTreeMap<String, String> {
        let pairs = side.step().seen.iter().chain(&side.inputs.variables);
        pairs.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let (now, then) = (of(new), of(old));
    for name in keys(&now, &then) {
        let (old_value, new_value) = (then.get(name).cloned(), now.get(name).cloned());
        if old_value == new_value {
            continue;
        }
        let holder = if new_value.is_some() { new } else { old };
        let step = holder.step();
        let is_argument = match &step.run {
            Some(run) => run.environment.is_argument(name),
            None => step.arguments.contains(name),
        };
        let hidden = sounds_secret(name);
        let shown = |value: Option<String>| value.filter(|_| !hidden);
        all.push(Change::Variable {
            name: name.clone(),
            argument: is_argument,
            old: shown(old_value),
            new: shown(new_value),
            hidden,
        });
    }
}

fn setting(kind: &str, name: &str) -> String {
    match kind {
        "user" => "USER".to_owned(),
        "directory" => "WORKDIR".to_owned(),
        "host" => format!("--add-host {name}"),
        "ulimit" => format!("--ulimit {name}"),
        other => format!("--{other}"),
    }
}

/// What is mounted whole at `target`.
fn mounted(side: Side<'_>, target: &str) -> String {
    let run = side.step().run.as_ref();
    let mount = run.and_then(|run| run.mounts.iter().find(|mount| mount.target == target));
    let from = mount.and_then(|mount| match &mount.kind {
        RunMountKind::Bind { from, .. } | RunMountKind::Cache { from: Some(from), .. } => Some(from),
        _ => None,
    });
    match from {
        Some(Origin::Stage(i)) => match side.plan().stages.get(*i) {
            Some(stage) => format!("stage {}", stage.name),
            None => format!("stage {i}"),
        },
        Some(Origin::Image(key)) => format!("image {}", BaseRecord::reference_of(key)),
        _ => "its source".to_owned(),
    }
}

/// The path of a file in what it is read from: the key has it from the last component of the source on.
fn path(source: &str, name: &str) -> String {
    let wild = |text: &str| text.contains(['*', '?', '[', '\\']);
    let parent = source.trim_start_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
    let name = name.trim_start_matches('/');
    let whole = match (parent.is_empty() || wild(parent), name.is_empty()) {
        (true, _) => name.to_owned(),
        (false, true) => parent.to_owned(),
        (false, false) => format!("{parent}/{name}"),
    };
    if whole.is_empty() { ".".to_owned() } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (source, name, want) in [
            ("/", "/main.c", "main.c"),
            ("/", "", "."),
            ("/src", "src", "src"),
            ("/src", "src/a/b", "src/a/b"),
            ("/x/src", "src/a", "x/src/a"),
            ("/x/*.c", "m.c", "x/m.c"),
            ("/x*/y/*.c", "m.c", "m.c"),
        ] {
            assert_eq!(path(source, name), want, "{source} {name}");
        }
    }

    #[test]
    fn commits_are_fetched() {
        let of = |values: [&str; 2]| {
            let mut sorting = Sorting::new(PathBuf::new());
            values.into_iter().for_each(|value| sorting.add(Part { kind: "commit", name: "repo", value }));
            let inputs = sorting.end();
            (inputs.fetched.clone(), inputs.words())
        };
        let (fetched, words) = of(["aaa", "bbb :\"dir\""]);
        let want = [("commit of repo", "aaa"), ("commit of repo (2)", "bbb")];
        assert!(fetched.iter().map(|(name, id)| (name.as_str(), id.as_str())).eq(want), "{fetched:?}");
        assert_eq!(words, of(["ccc", "ddd :\"dir\""]).1, "another commit is no other instruction");
        assert_ne!(words, of(["aaa", "bbb"]).1);
    }
}
