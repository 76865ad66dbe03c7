//! Builds after an edit: what a COPY makes then is changes to what it made before.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_build::collect::PruneOptions;
use kiln_build::request::{Context, Request};

use crate::Case;
use crate::ground::Ground;
use crate::shelf::busybox;

pub(crate) const CASES: &[Case] = &[
    ("edit: a tree is changes to the last one's", changes),
    ("edit: what is built is what an empty store builds", same_as_fresh),
    ("edit: what changes lie upon stays as long as they do", collected),
    ("edit: whichever half is damaged goes", damaged),
    ("edit: what is gone from a tree stays in what comes to lie below it", below),
];

/// Shows all of `/src` to a command, and what the command saw to another stage.
const TEXT: &str = "FROM base AS a\nCOPY . /src\nRUN cd /src && find . -exec stat -c '%n %F %a %u %g %Y' {} + | sort > /seen && \
     find . -type f -exec cat {} + | sort > /read\nFROM scratch\nCOPY --from=a /src /seen /read /x/\n";

fn ground() -> Ground {
    let ground = Ground::with_run();
    ground.shelf.put("base", &[busybox()], |_| {});
    for i in 0..40 {
        ground.write(&format!("d{}/f{i}", i % 3), format!("{i}\n"));
    }
    ground
}

/// Trees that are changes, and the files in them.
fn amended(ground: &Ground) -> Vec<(PathBuf, BTreeSet<String>)> {
    let trees = fs_err::read_dir(ground.store().join("tree")).unwrap().map(|entry| entry.unwrap().path());
    let amended = trees.filter(|path| path.to_string_lossy().contains(".amended"));
    amended.map(|path| (path.clone(), files(&path.join("changes")))).collect()
}

fn files(dir: &std::path::Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

fn changes() {
    let ground = ground();
    ground.build(TEXT);
    assert_eq!(amended(&ground), []);
    ground.write("d1/f1", "edited\n");
    ground.build(TEXT);
    let first = amended(&ground);
    assert_eq!(first[0].1, BTreeSet::from(["f1".to_owned()]));
    // The next edit is told from the whole tree, too.
    ground.write("d1/new", "new\n");
    fs_err::remove_file(ground.context("d2/f2")).unwrap();
    ground.build(TEXT);
    let second: Vec<_> = amended(&ground).into_iter().filter(|one| *one != first[0]).collect();
    assert_eq!(second[0].1, BTreeSet::from(["f1".to_owned(), "f2".to_owned(), "new".to_owned()]));
    let base = |path: &PathBuf| fs_err::read_to_string(path.join("base")).unwrap();
    assert_eq!(base(&first[0].0), base(&second[0].0));
    // So much that a new whole is better.
    (0..30).for_each(|i| ground.write(&format!("d{}/f{i}", i % 3), "everything\n"));
    ground.build(TEXT);
    assert_eq!(amended(&ground).len(), 2);
}

fn same_as_fresh() {
    let ground = ground();
    ground.build(TEXT);
    let edits: [&dyn Fn(); 6] = [
        &|| ground.write("d1/f1", "edited\n"),
        &|| fs_err::remove_file(ground.context("d1/f4")).unwrap(),
        &|| ground.chmod("d2/f5", 0o4755),
        &|| fs_err::rename(ground.context("d0/f0"), ground.context("d0/moved")).unwrap(),
        &|| {
            fs_err::remove_file(ground.context("d1/f1")).unwrap();
            ground.symlink("d1/f1", "/etc/passwd");
        },
        &|| {
            fs_err::remove_file(ground.context("d2/f8")).unwrap();
            ground.write("d2/f8/inside", "a directory now\n");
        },
    ];
    for (i, edit) in edits.iter().enumerate() {
        edit();
        let done = ground.build(TEXT);
        let fresh = ground.fresh();
        let context = Context::Directory(ground.path("context"));
        let request = Request { context, ..fresh.request(TEXT) };
        assert_eq!(done.image.digest, fresh.build_request(&request).image.digest, "edit {i}");
    }
    // The last one has a directory in a file's place, which is made whole.
    assert_eq!(amended(&ground).len(), edits.len() - 1);
}

fn collected() {
    let ground = ground();
    ground.build(TEXT);
    let before = fs_err::read_dir(ground.store().join("step")).unwrap().map(|e| e.unwrap().path());
    let before: Vec<PathBuf> = before.collect();
    ground.write("d1/f1", "edited\n");
    let digest = ground.build(TEXT).image.digest;
    let past = SystemTime::now() - Duration::from_secs(10 * 24 * 3600);
    for path in &before {
        fs_err::File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
    }
    let day = Duration::from_secs(24 * 3600);
    let older = PruneOptions { older_than: Some(day), ..PruneOptions::default() };
    let pruned = ground.engine().prune(&older, &|| true).unwrap();
    assert!(!pruned.removed.is_empty(), "{pruned:?}");
    assert_eq!(amended(&ground).len(), 1);
    let again = ground.build(TEXT);
    assert!(again.all_cached(), "{:?}", again.steps);
    assert_eq!(again.image.digest, digest);
    // A command needs the tree.
    let more =
        ground.build(&TEXT.replace("FROM scratch", "RUN cat /src/d0/f0 /src/d1/f1 > /seen\nFROM scratch"));
    assert_eq!(more.image.file("x/seen"), "0\nedited\n");
    let all = PruneOptions { all: true, ..PruneOptions::default() };
    drop((again, more));
    ground.engine().prune(&all, &|| true).unwrap();
    for folder in ["tree", "latest", "layer"] {
        assert_eq!(fs_err::read_dir(ground.store().join(folder)).unwrap().count(), 0, "{folder}");
    }
}

fn damaged() {
    for of_changes in [true, false] {
        let ground = ground();
        drop(ground.build(TEXT));
        ground.write("d1/f1", "edited\n");
        let digest = ground.build(TEXT).image.digest;
        let (path, _) = amended(&ground).remove(0);
        let name = fs_err::read_to_string(path.join("base")).unwrap().replace("sha256:", "");
        let suffix = if path.to_string_lossy().ends_with(".mine") { ".mine" } else { "" };
        let base = path.with_file_name(format!("{name}{suffix}"));
        let victim = if of_changes { path.join("changes/src/d1/f1") } else { base.join("src/d0/f0") };
        fs_err::write(&victim, "rot\n").unwrap();
        let request = Request { recording: Some(Arc::default()), ..ground.request(TEXT) };
        drop(ground.build_request(&request));
        let recording = request.recording.unwrap();
        let removed = ground.engine().mend(&recording.record(), None).unwrap();
        assert!(removed.contains(&path) && removed.contains(&base), "{removed:?}");
        let again = ground.build(TEXT);
        assert_eq!((amended(&ground).len(), again.image.digest), (0, digest));
    }
}

fn below() {
    let text = |flag: &str, made: &str| {
        format!(
            "FROM base\nRUN mkdir -p /src/d1 && {made} && touch -d @5 /src\nCOPY {flag} . /src\n\
             RUN ls -R /src > /seen; cat /src/d1/f1 >> /seen || true\n"
        )
    };
    let (without, with) = ("true", "echo below > /src/d1/f1");
    for (flag, emptied) in [("--link", false), ("--link", true), ("", false)] {
        let ground = ground();
        drop(ground.build(&text(flag, without)));
        fs_err::remove_file(ground.context("d1/f1")).unwrap();
        drop(ground.build(&text(flag, without)));
        assert_eq!(amended(&ground).len(), 1, "{flag}");
        if flag.is_empty() {
            // Another layer becomes the one to be told from, and this one can be told from it without a whiteout.
            let edit = |what: &dyn Fn(usize) -> String| {
                (4..28).step_by(3).for_each(|i| ground.write(&format!("d1/f{i}"), what(i)));
            };
            edit(&|i| format!("{}\n", i + 50));
            drop(ground.build(&text(flag, without)));
            assert_eq!(amended(&ground).len(), 1, "a whole one");
            edit(&|i| format!("{i}\n"));
        }
        if emptied {
            // As after a power loss.
            fs_err::write(amended(&ground)[0].0.join("gone"), "").unwrap();
        }
        let done = ground.build(&text(flag, with));
        let seen = done.image.file("seen");
        assert!(seen.contains("\nf1\n") && seen.ends_with("below\n"), "{flag}: {seen}");
        // Above what it was made for, the same layer still is what it was.
        let done = ground.build(&text(flag, without).replace("ls -R", "ls -R  "));
        assert!(!done.image.file("seen").contains("\nf1\n"), "{flag}");
    }
}
