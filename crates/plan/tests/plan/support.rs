//! `docs/dockerfile-support.md` is made here: the instructions out of the parser's table, the features out of [`ROWS`], of which each
//! has an example that must be taken, or refused with the words that the page gives. `BLESS=1` writes the page.

use std::fmt::Write;
use std::path::Path;

use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::{instructions, parse};
use kiln_oci::config::ImageConfig;
use kiln_oci::platform::Platform;
use kiln_plan::{BaseImage, Inputs, Planner};

use crate::support_rows::{Feature, ROWS};

const HEAD: &str = "\
# What of the Dockerfile language there is

This page is generated: `BLESS=1 cargo test -p kiln-plan support` writes it from the parser's table of instructions and from the
rows in `crates/plan/tests/plan/support_rows.rs`, and without BLESS the same test compares. The measure is BuildKit's Dockerfile
frontend 1.26. Each row has an example there which the test gives to parser and planner; what a build then does is tested by
`testdata/language` and by the rest of the black-box suite.

";

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("## Instructions and their flags\n\n| instruction | flags |\n|---|---|\n");
    for (name, flags) in instructions() {
        let flags: Vec<String> = flags.iter().map(|flag| format!("`--{flag}`")).collect();
        let flags = if flags.is_empty() { "none".to_owned() } else { flags.join(" ") };
        _ = writeln!(page, "| {name} | {flags} |");
    }
    page.push_str("\n## Features\n\n| # | feature | kiln | remarks |\n|---|---|---|---|\n");
    for (number, row) in ROWS.iter().enumerate() {
        let state = if row.is_done { "done" } else { "refused" };
        _ = writeln!(page, "| {} | {} | {state} | {} |", number + 1, row.what, row.remark);
    }
    page.push_str(crate::support_rows::TAIL);
    page
}

/// The errors of an example.
fn errors(text: &str) -> Vec<String> {
    let parsed = parse(text);
    let mut found: Vec<Diagnostic> = parsed.diagnostics.clone();
    let platform = Platform::normalised("linux", "amd64", None);
    let planned = Planner::new(&parsed.dockerfile, Inputs::new(platform.clone())).and_then(|mut planner| {
        while let Some(need) = planner.needs().first() {
            planner.supply(&need.key, BaseImage { config: ImageConfig::scratch(&platform) });
        }
        planner.finish()
    });
    found.extend(planned.err().unwrap_or_default());
    found.into_iter().filter(|d| d.severity == Severity::Error).map(|d| d.message).collect()
}

fn check(row: &Feature) -> Result<(), String> {
    let errors = errors(row.example);
    match row.refused {
        None if errors.is_empty() => Ok(()),
        Some(words) if errors.iter().any(|error| error.contains(words)) => Ok(()),
        _ => Err(format!("{}: {errors:?}", row.what)),
    }
}

#[test]
fn examples_are_taken_or_refused_as_the_page_says() {
    let wrong: Vec<String> = ROWS.iter().filter_map(|row| check(row).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/dockerfile-support.md");
    let page = page();
    if std::env::var_os("BLESS").is_some() {
        fs_err::write(&path, &page).expect("the page can be written");
    }
    let there = fs_err::read_to_string(&path).unwrap_or_default();
    assert!(
        there == page,
        "docs/dockerfile-support.md is out of date; BLESS=1 cargo test -p kiln-plan support"
    );
}
