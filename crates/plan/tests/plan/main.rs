//! Each folder of `testdata/plan` is a Dockerfile, what is said about it besides, and the plan it makes. See the README there.

mod inputs;
mod questions;
mod render;
mod shapes;
mod support;
mod support_rows;

use std::path::{Path, PathBuf};

use fs_err as fs;
use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::parse;
use kiln_plan::model::Plan;
use kiln_plan::{BaseImage, Planner};

use inputs::Case;

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/plan");
    let entries = fs::read_dir(root).expect("testdata/plan");
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

#[test]
fn cases() {
    let folders = folders();
    assert!(folders.len() > 20, "testdata/plan is not there");
    let wrong: Vec<String> = folders.iter().filter_map(|folder| check(folder).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Compares a case with its expectation; `BLESS=1` in the environment writes it instead.
fn check(folder: &Path) -> Result<(), String> {
    let text = fs::read_to_string(folder.join("Dockerfile")).expect("a Dockerfile");
    let parsed = parse(&text);
    if parsed.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        let mistakes = render::diagnostics(&parsed.diagnostics, &text);
        return Err(format!(
            "--- {}: the parser's mistakes are tested elsewhere\n{mistakes}",
            folder.display()
        ));
    }
    let got = match plan(&parsed.dockerfile, &Case::read(folder)) {
        Ok(plan) => render::plan(&plan, &text),
        Err(diagnostics) => render::diagnostics(&diagnostics, &text),
    };
    let file = folder.join("plan.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, got).expect("plan.txt can be written");
        return Ok(());
    }
    let want = fs::read_to_string(&file).unwrap_or_default();
    if got == want {
        return Ok(());
    }
    Err(format!("--- {}\n{}", folder.display(), first_difference(&want, &got)))
}

fn plan(file: &Dockerfile, case: &Case) -> Result<Plan, Vec<Diagnostic>> {
    let mut planner = Planner::new(file, case.inputs.clone())?;
    while let Some(need) = planner.needs().first() {
        planner.supply(&need.key, BaseImage { config: case.base(&need.key) });
    }
    planner.finish()
}

fn first_difference(want: &str, got: &str) -> String {
    let (mut want, mut got) = (want.lines(), got.lines());
    for number in 1.. {
        match (want.next(), got.next()) {
            (None, None) => break,
            (want, got) if want != got => {
                return format!(
                    "line {number}\n  want: {}\n  got:  {}",
                    want.unwrap_or("(end)"),
                    got.unwrap_or("(end)")
                );
            }
            _ => {}
        }
    }
    "they differ at the end of the last line".to_owned()
}
