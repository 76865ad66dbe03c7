//! What must hold of the source as text. See `kiln_testkit::tidy`.

use std::collections::{BTreeMap, BTreeSet};

use kiln_testkit::tidy::arrows::{ARROWS, HOMES, packages};
use kiln_testkit::tidy::source::{File, files, has_word};
use kiln_testkit::tidy::{documents, modules};

/// Longest file allowed. 500 is the aim; the difference is for the last function to be finished in.
const LONGEST: usize = 600;

/// The only file that may hold `unsafe`.
const UNSAFE_HOME: &str = "crates/sandbox/src/sys.rs";

/// The crates that decide and do not act.
const PURE: [&str; 2] = ["dockerfile", "plan"];

/// What they may not name.
const WORLD: [&str; 9] = [
    "std::fs",
    "std::env",
    "std::process",
    "fs_err",
    "rustix",
    "SystemTime",
    "Instant",
    "TcpStream",
    "UdpSocket",
];

#[track_caller]
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

fn name(file: &File) -> String {
    file.path.display().to_string()
}

#[test]
fn crates_know_only_what_they_may() {
    let packages = packages();
    let known: BTreeSet<_> = ARROWS.iter().map(|(krate, _)| (*krate).to_owned()).collect();
    assert_eq!(packages.keys().cloned().collect::<BTreeSet<_>>(), known, "the workspace's crates");
    let empty = BTreeSet::new();
    let mut wrong = Vec::new();
    for (krate, allowed) in ARROWS {
        let normal = packages[krate].get("normal").unwrap_or(&empty);
        let allowed: BTreeSet<_> = allowed.iter().map(|a| (*a).to_owned()).collect();
        let arrows: BTreeSet<_> = normal.intersection(&known).cloned().collect();
        if !arrows.is_subset(&allowed) {
            wrong.push(format!("{krate} -> {:?}", arrows.difference(&allowed)));
        }
    }
    none("arrows that crates/testkit/src/tidy/arrows.rs does not have", wrong);
}

#[test]
fn packages_stay_in_their_home() {
    let mut wrong = Vec::new();
    for (krate, kinds) in packages() {
        for (package, homes) in HOMES {
            if kinds.values().any(|names| names.contains(package)) && !homes.contains(&krate.as_str()) {
                wrong.push(format!("{krate} uses {package}, whose home is {homes:?}"));
            }
        }
    }
    none("packages outside their home", wrong);
}

#[test]
fn modules_form_no_circles() {
    let files = files();
    let mut crates: BTreeMap<&str, Vec<&File>> = BTreeMap::new();
    for file in files.iter().filter(|f| f.is_source()) {
        crates.entry(&file.krate).or_default().push(file);
    }
    let circles = crates.iter().flat_map(|(krate, files)| {
        modules::circles(files).into_iter().map(move |circle| format!("{krate}: {circle}"))
    });
    none("circles of modules", circles.collect());
}

#[test]
fn unsafe_has_one_home() {
    let files = files();
    let elsewhere =
        files.iter().filter(|f| has_word(&f.code, "unsafe") && name(f) != UNSAFE_HOME).map(name).collect();
    none(&format!("unsafe outside {UNSAFE_HOME}"), elsewhere);
}

#[test]
fn every_unsafe_block_is_justified() {
    let files = files();
    let Some(home) = files.iter().find(|f| name(f) == UNSAFE_HOME) else { return };
    let lines: Vec<_> = home.text.lines().collect();
    let code: Vec<_> = home.code.lines().collect();
    let justified =
        |at: usize| lines[..at].iter().rev().take(8).any(|l| l.contains("SAFETY:") || l.contains("# Safety"));
    let bare = code.iter().enumerate().filter(|(at, line)| has_word(line, "unsafe") && !justified(*at));
    none(
        "unsafe without a SAFETY comment just above",
        bare.map(|(at, _)| format!("{UNSAFE_HOME}:{}", at + 1)).collect(),
    );
}

#[test]
fn files_are_short() {
    let long = files().into_iter().filter(|f| f.text.lines().count() > LONGEST);
    none(
        &format!("files over {LONGEST} lines"),
        long.map(|f| format!("{} {}", name(&f), f.text.lines().count())).collect(),
    );
}

#[test]
fn pure_crates_name_no_world() {
    let mut wrong = Vec::new();
    for file in files().iter().filter(|f| f.is_source() && PURE.contains(&f.krate.as_str())) {
        let named = WORLD.iter().filter(|word| has_word(&file.code, word));
        wrong.extend(named.map(|word| format!("{} names {word}", name(file))));
    }
    none("a crate that decides names the world", wrong);
}

#[test]
fn crates_open_with_an_essay() {
    let files = files();
    let roots = files.iter().filter(|f| f.path.ends_with("src/lib.rs"));
    let short = roots.filter(|f| f.text.lines().take_while(|l| l.starts_with("//!")).count() < 10).map(name);
    none("lib.rs without an essay of ten lines at its top", short.collect());
}

#[test]
fn nothing_is_left_for_later() {
    // Put together, so that this file does not find itself.
    let words = [["TO", "DO"], ["FIX", "ME"]].map(|w| w.concat());
    let ignored = ["#[ign", "ore"].concat();
    let mut left = Vec::new();
    for file in files() {
        let found = words.iter().any(|word| has_word(&file.text, word)) || file.text.contains(&ignored);
        if found {
            left.push(name(&file));
        }
    }
    none("loose ends", left);
}

#[test]
fn no_drawers() {
    let names = ["util", "utils", "common", "types", "helpers", "misc"];
    let drawers = files().into_iter().filter(|f| f.module().iter().any(|m| names.contains(&m.as_str())));
    none("modules named after nothing", drawers.map(|f| name(&f)).collect());
}

#[test]
fn documents_name_what_exists() {
    let missing = documents::documents()
        .iter()
        .flat_map(|(path, text)| {
            documents::missing(path, text).into_iter().map(move |m| format!("{}: {m}", path.display()))
        })
        .collect();
    none("documents name what does not exist", missing);
}

#[test]
fn every_package_is_accounted_for() {
    let page = documents::documents().into_iter().find(|(path, _)| path.ends_with("docs/packages.md"));
    let (_, page) = page.expect("docs/packages.md");
    let packages = packages();
    let used: BTreeSet<_> = packages.values().flat_map(|kinds| kinds.values().flatten()).collect();
    let unnamed =
        used.into_iter().filter(|name| !packages.contains_key(*name) && !page.contains(&format!("`{name}`")));
    none("packages that docs/packages.md does not name", unnamed.cloned().collect());
}
