//! What the parts of two keys differ in.

use std::collections::{BTreeMap, BTreeSet};

use kiln_dockerfile::lint::sounds_secret;
use kiln_plan::model::{Origin, RunMountKind};

use super::below::difference;
use super::{Change, FileState, Side};
use crate::key::KeyParts;
use crate::record::BaseRecord;

/// The parts of a key, by what they are about.
#[derive(Default)]
struct Sorted<'a> {
    /// What the instruction itself says, in order.
    command: Vec<(&'a str, &'a str, &'a str)>,
    variables: BTreeMap<&'a str, &'a str>,
    settings: BTreeMap<String, &'a str>,
    /// By the target of the mount.
    whole: BTreeMap<&'a str, &'a str>,
    files: BTreeMap<String, FileState>,
    fetched: BTreeMap<String, String>,
    rootfs: Option<&'a str>,
}

impl<'a> Sorted<'a> {
    fn of(parts: &'a KeyParts) -> Self {
        let mut sorted = Self::default();
        let runs = parts.0.iter().any(|part| part.kind == "operation" && part.value == "RUN");
        // Files belong to the source that was named last, what is bound whole to the mount that comes next.
        // An archive comes before the source that it was found by, one from a URL has none.
        let (mut source, mut bound, mut archives) = ("", None, Vec::new());
        for part in &parts.0 {
            let (kind, name, value) = (&*part.kind, part.name.as_str(), part.value.as_str());
            match kind {
                "env" => drop(sorted.variables.insert(name, value)),
                "user" | "directory" | "network" | "security" | "host" | "ulimit" | "shm-size" => {
                    sorted.settings.insert(setting(kind, name), value);
                }
                "rootfs" => sorted.rootfs = Some(value),
                "bound" => bound = Some(value),
                "source" => {
                    source = name;
                    for (i, digest) in archives.drain(..).enumerate() {
                        let number = if i == 0 { String::new() } else { format!(" ({})", i + 1) };
                        let source = source.trim_start_matches('/');
                        sorted.fetched.insert(format!("archive {source}{number}"), digest);
                    }
                    if !runs {
                        sorted.command.push((kind, name, ""));
                    }
                }
                "mount" => {
                    if let Some(chain) = bound.take() {
                        sorted.whole.insert(name, chain);
                    }
                    sorted.command.push((kind, name, value));
                }
                "file" => sorted.add_file(path(source, name), value),
                "parent" => sorted.add_file(name.trim_start_matches('/').to_owned(), value),
                "archive" => archives.push(value.to_owned()),
                "download" => {
                    let digest = value.split(' ').next().unwrap_or(value);
                    sorted.fetched.insert(name.to_owned(), digest.to_owned());
                }
                "commit" => {
                    let (commit, taken) = value.split_once(' ').unwrap_or((value, ""));
                    let count = sorted.fetched.keys().filter(|known| known.starts_with("commit ")).count();
                    let number = if count == 0 { String::new() } else { format!(" ({})", count + 1) };
                    sorted.fetched.insert(format!("commit of {name}{number}"), commit.to_owned());
                    sorted.command.push((kind, name, taken));
                }
                _ => sorted.command.push((kind, name, value)),
            }
        }
        let left = archives.into_iter().enumerate();
        sorted.fetched.extend(left.map(|(i, digest)| (format!("archive {}", i + 1), digest)));
        sorted
    }

    /// Two files can have one path here if a wildcard found them in different directories: the key has no more of it.
    fn add_file(&mut self, path: String, value: &str) {
        let mut name = path.clone();
        let mut count = 1;
        while self.files.contains_key(&name) {
            count += 1;
            name = format!("{path} ({count})");
        }
        self.files.insert(name, state(value));
    }

    fn words(&self) -> String {
        let words = self.command.iter().filter(|(kind, ..)| *kind != "operation");
        words.map(|(.., value)| *value).filter(|value| !value.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// All differences between a step and its earlier self; where the root filesystem of one of them is not known, it is left out.
pub(crate) fn changes(new: Side<'_>, old: Side<'_>) -> Vec<Change> {
    let (here, there) = (Sorted::of(new.parts), Sorted::of(old.parts));
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
    if let (Some(a), Some(b)) = (here.rootfs, there.rootfs)
        && a != b
    {
        all.extend(difference(new, old));
    }
    variables(new, old, (&here, &there), &mut all);
    for name in keys(&here.settings, &there.settings) {
        let value = |sorted: &Sorted<'_>| sorted.settings.get(name).map(|value| (*value).to_owned());
        let (old, new) = (value(&there), value(&here));
        if old != new {
            all.push(Change::Setting { name: name.clone(), old, new });
        }
    }
    for (target, chain) in &here.whole {
        if there.whole.get(target).is_some_and(|other| other != chain) {
            all.push(Change::MountSource { target: (*target).to_owned(), from: mounted(new, target) });
        }
    }
    for path in keys(&here.files, &there.files) {
        let (old, new) = (there.files.get(path).cloned(), here.files.get(path).cloned());
        if old != new {
            all.push(Change::File { path: path.clone(), old, new });
        }
    }
    for name in keys(&here.fetched, &there.fetched) {
        let (old, new) = (there.fetched.get(name).cloned(), here.fetched.get(name).cloned());
        if old != new {
            all.push(Change::Fetched { name: name.clone(), old, new });
        }
    }
    if all.is_empty() && here.rootfs.is_some() == there.rootfs.is_some() {
        all.push(Change::OtherKiln);
    }
    all
}

fn keys<'m, K: Ord, A, B>(a: &'m BTreeMap<K, A>, b: &'m BTreeMap<K, B>) -> BTreeSet<&'m K> {
    a.keys().chain(b.keys()).collect()
}

fn variables(new: Side<'_>, old: Side<'_>, (here, there): (&Sorted<'_>, &Sorted<'_>), all: &mut Vec<Change>) {
    let of = |side: Side<'_>, sorted: &Sorted<'_>| -> BTreeMap<String, String> {
        let seen = side.step().seen.iter().map(|(name, value)| (name.clone(), value.clone()));
        let env = sorted.variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        seen.chain(env).collect()
    };
    let (now, then) = (of(new, here), of(old, there));
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

fn state(value: &str) -> FileState {
    let mut words = value.split(' ').peekable();
    let kind = words.next().unwrap_or_default().to_owned();
    let mut next = || words.next().unwrap_or_default().to_owned();
    let (mut size, mut digest, mut rest) = (None, None, Vec::new());
    match kind.as_str() {
        "file" => {
            size = next().parse().ok();
            digest = Some(format!("sha256:{}", next()));
        }
        "symlink" => digest = Some(format!("sha256:{}", next())),
        "char" | "block" => rest.extend([next(), next()]),
        _ => {}
    }
    let mode = next();
    let owner = words.peek().filter(|word| word.contains(':')).map(|word| (*word).to_owned());
    rest.extend(words.skip(usize::from(owner.is_some())).map(str::to_owned));
    FileState { kind, size, digest, mode, owner, rest: rest.join(" ") }
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
            let mut parts = KeyParts::default();
            values.into_iter().for_each(|value| parts.add("commit", "repo", value));
            let sorted = Sorted::of(&parts);
            (sorted.fetched.clone(), sorted.words())
        };
        let (fetched, words) = of(["aaa", "bbb :\"dir\""]);
        let want = [("commit of repo", "aaa"), ("commit of repo (2)", "bbb")];
        assert!(fetched.iter().map(|(name, id)| (name.as_str(), id.as_str())).eq(want), "{fetched:?}");
        assert_eq!(words, of(["ccc", "ddd :\"dir\""]).1, "another commit is no other instruction");
        assert_ne!(words, of(["aaa", "bbb"]).1);
    }

    #[test]
    fn states() {
        let plain = state("file 3 ab 0644 ee");
        assert_eq!((plain.size, plain.digest.as_deref()), (Some(3), Some("sha256:ab")));
        assert_eq!((plain.mode.as_str(), plain.owner, plain.rest.as_str()), ("0644", None, "ee"));
        let owned = state("char 1 3 0666 0:5 ee linked to 2");
        assert_eq!((owned.kind.as_str(), owned.mode.as_str()), ("char", "0666"));
        assert_eq!((owned.owner.as_deref(), owned.rest.as_str()), (Some("0:5"), "1 3 ee linked to 2"));
        assert_eq!(state("directory 0755 ee").mode, "0755");
    }
}
