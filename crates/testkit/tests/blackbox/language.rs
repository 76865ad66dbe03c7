//! `testdata/language`: builds that test themselves.

use std::path::{Path, PathBuf};

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;
use kiln_testkit::machine::repository;

fn cases(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).expect("testdata/language");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "Dockerfile"));
    files.sort();
    files
}

/// The reason why a case does not hold.
fn check(kiln: &Kiln, context: &Path, path: &Path) -> Result<(), String> {
    let text = fs_err::read_to_string(path).expect("a case");
    let wanted = fs_err::read_to_string(path.with_extension("error")).ok();
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let file = kiln.scratch.tree("dockerfiles", &[(&format!("{name}.Dockerfile"), &text)]);
    let file = file.join(format!("{name}.Dockerfile")).display().to_string();
    let outcome = kiln.build(context).args(["--progress", "plain", "--file", &file]).run();
    let said = outcome.stderr;
    match wanted {
        None if outcome.code == 0 => Ok(()),
        Some(wanted) if outcome.code != 0 && said.contains(wanted.trim()) => Ok(()),
        wanted => Err(format!("--- {name}: exit {}, wanted {wanted:?}\n{said}", outcome.code)),
    }
}

fn all_as(actor: Actor) {
    let folder = repository().join("testdata/language");
    let cases = cases(&folder);
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let kiln = Kiln::new(actor);
    let context = kiln.scratch.tree(
        "context",
        &[
            ("file", "content\n"),
            ("dir/inner", "inner\n"),
            ("dir/deep/er/x", "x\n"),
            ("ignored", "no\n"),
            (".dockerignore", "ignored\n"),
        ],
    );
    kiln.scratch.give(&context);
    let wrong: Vec<String> = cases.iter().filter_map(|path| check(&kiln, &context, path).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn root() {
    all_as(Actor::Root);
}

#[test]
fn subordinate_ids() {
    all_as(Actor::Sub);
}
