//! Trees as changes to other trees: what shows is what would show without.

use std::collections::BTreeMap;

use kiln_layer::amend::amendment;
use kiln_layer::handle::LayerHandle;
use kiln_layer::index::{Entry, Kind};
use kiln_layer::pack::{Entries, PackEntry};
use kiln_layer::view::{View, implicit_directory};

use crate::support::{Rng, bare, dir, file, hardlink, index, link, names, path};

/// What a root filesystem shows, by path; the root itself is left out.
fn shown(view: &View) -> BTreeMap<String, Entry> {
    let found = view.walk(&path(""));
    let mut all: BTreeMap<String, Entry> =
        found.map(|found| found.unwrap().entry).map(|entry| (entry.path.display(), entry)).collect();
    all.remove("/");
    all
}

/// As the unpacker does it: directories on the way that nobody describes look as they look below.
fn as_unpacked(changes: &[PackEntry], below: &View) -> std::sync::Arc<LayerHandle> {
    let mut all = changes.to_vec();
    for item in changes {
        let mut at = item.entry.path.parent();
        while let Some(on_the_way) = at.filter(|at| !at.is_root()) {
            if !all.iter().any(|item| item.entry.path == on_the_way) {
                let found = below.lookup(&on_the_way).unwrap().map(|found| found.entry);
                let entry = found.unwrap_or_else(|| implicit_directory(on_the_way.clone()));
                all.push(PackEntry { entry, content: kiln_layer::pack::Content::None });
            }
            at = on_the_way.parent();
        }
    }
    all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    bare(&all, &[])
}

fn check(below: &[PackEntry], old: &[PackEntry], new: &[PackEntry]) -> Option<Vec<PackEntry>> {
    let lower = View::new(vec![bare(below, &[])]);
    let amendment = amendment(new, &index(old, &[]), &lower).expect("a list in memory")?;
    let mut changes = Vec::new();
    let mut take = |item: &PackEntry| {
        changes.push(item.clone());
        Ok(())
    };
    amendment.each(&mut take).expect("a list in memory");
    assert_eq!(changes.len(), amendment.count().unwrap());
    let want = shown(&lower.with(as_unpacked(new, &lower)));
    let got = shown(&lower.with(as_unpacked(old, &lower)).with(as_unpacked(&changes, &lower)));
    assert_eq!(got, want, "below {below:?}\nold {old:?}\nnew {new:?}\nchanges {changes:?}");
    Some(changes)
}

fn many() -> Vec<PackEntry> {
    let mut all = vec![dir("src"), dir("src/d")];
    all.extend((0..40).map(|i| file(format!("src/d/{i:02}"), b"same")));
    all.push(file("src/z", b"same"));
    all
}

fn changed(change: impl Fn(&mut Vec<PackEntry>)) -> Option<Vec<String>> {
    let mut new = many();
    change(&mut new);
    new.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    check(&[dir("etc"), file("src/d/99", b"below")], &many(), &new)
        .map(|changes| names(&index(&changes, &[])))
}

#[test]
fn what_is_edited_is_written_with_what_leads_to_it() {
    assert_eq!(changed(|_| {}), Some(vec![]));
    let edited = changed(|all| all[7] = file("src/d/05", b"edited"));
    assert_eq!(edited.unwrap(), ["src", "src/d", "src/d/05"]);
    let added = changed(|all| all.push(file("src/new", b"new")));
    assert_eq!(added.unwrap(), ["src", "src/new"]);
    let gone = changed(|all| drop(all.remove(7)));
    assert_eq!(gone.unwrap(), ["src", "src/d", "src/d/05"]);
    let touched = changed(|all| all[7].entry.mtime.secs += 1);
    assert_eq!(touched.unwrap(), ["src", "src/d", "src/d/05"]);
    let opened = changed(|all| all[1].entry.mode = 0o700);
    assert_eq!(opened.unwrap(), ["src", "src/d"]);
    let renamed = changed(|all| all[7] = link("src/d/05", "elsewhere"));
    assert_eq!(renamed.unwrap(), ["src", "src/d", "src/d/05"]);
}

#[test]
fn what_cannot_be_told_by_changes_is_not() {
    assert_eq!(changed(|all| all.push(hardlink("src/y", "src/z"))), None);
    assert_eq!(changed(|all| all.truncate(20)), None, "more than a quarter is gone");
    assert_eq!(changed(|all| all.insert(2, file("src/big", &[0; 1000]))), None, "most of the bytes are new");
    // What is below would be hidden with it.
    let mut old = many();
    old.push(file("src/d/99", b"above"));
    old.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    assert!(check(&[file("src/d/99", b"below")], &old, &many()).is_none());
    assert!(check(&[dir("etc")], &old, &many()).is_some());
    // A file that was in the way still is.
    let mut old = many();
    old[42] = file("src/w", b"file");
    let mut new = many();
    new[42] = dir("src/w");
    assert!(check(&[dir("etc")], &old, &new).is_none());
}

#[test]
fn any_two_layers_show_what_they_would_show_without() {
    let mut rng = Rng(20);
    let mut amended = 0;
    for _ in 0..4000 {
        let below = random(&mut rng, 3);
        let old = random(&mut rng, 30);
        let mut new = old.clone();
        for _ in 0..=rng.below(2) {
            let at = rng.below(new.len() as u64) as usize;
            match rng.below(4) {
                0 => drop(new.remove(at)),
                1 => new.push(random(&mut rng, 1).remove(0)),
                2 => new[at].entry.mode ^= 0o11,
                _ => new[at] = random(&mut rng, 1).remove(0),
            }
            new = sane(new);
        }
        amended += u32::from(check(&below, &old, &new).is_some());
    }
    assert!(amended > 1000, "{amended}");
}

/// Some entries of a small world of paths.
fn random(rng: &mut Rng, count: usize) -> Vec<PackEntry> {
    let mut all = Vec::new();
    for _ in 0..count {
        let depth = 1 + rng.below(3);
        let at: Vec<String> =
            (0..depth).map(|_| ["a", "b", "c", "d", "a-b"][rng.below(5) as usize].to_owned()).collect();
        let at = at.join("/");
        all.push(match rng.below(6) {
            0 | 1 => dir(at),
            2 => link(at, "x"),
            n => file(at, format!("{n}").as_bytes()),
        });
    }
    sane(all)
}

/// Sorted, each path once, nothing below what is no directory.
fn sane(mut all: Vec<PackEntry>) -> Vec<PackEntry> {
    all.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    all.dedup_by(|b, a| a.entry.path == b.entry.path);
    let files: Vec<_> = all
        .iter()
        .filter(|item| item.entry.kind != Kind::Directory)
        .map(|item| item.entry.path.clone())
        .collect();
    all.retain(|item| !files.iter().any(|file| *file != item.entry.path && item.entry.path.is_within(file)));
    all
}
