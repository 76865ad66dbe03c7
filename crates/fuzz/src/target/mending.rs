//! `--fix`: the mended Dockerfile builds what the Dockerfile built.

use std::collections::BTreeMap;

use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::lint::{self, Config, Facts, mend};
use kiln_dockerfile::{Parsed, parse};
use kiln_plan::model::{Op, Plan};

use crate::target::planning::planned;

/// Mends can make room for others; `kiln build --check --fix` goes on as long.
const ROUNDS: usize = 8;

/// Mends `text` as far as it goes and compares the plans.
pub(super) fn keeps_the_meaning(text: &str, file: &Dockerfile) {
    let Ok(before) = planned(text, file) else { return };
    let mended = mended(text);
    if mended == text {
        return;
    }
    let again = parse(&mended);
    assert!(!again.has_errors(), "mending gives {:?}\n{mended}", again.diagnostics);
    match planned(&mended, &again.dockerfile) {
        Ok(after) => assert_eq!(meaning(&before), meaning(&after), "mended to\n{mended}"),
        Err(found) => panic!("mending gives {found:?}\n{mended}"),
    }
}

fn mended(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..ROUNDS {
        let better = mend(&text, &findings(&text, &parse(&text)));
        if better.count == 0 {
            break;
        }
        text = better.text;
    }
    text
}

fn findings(text: &str, parsed: &Parsed) -> Vec<Diagnostic> {
    let mut found = parsed.diagnostics.clone();
    found.extend(lint::check(text, &parsed.dockerfile, &Facts::default(), &Config::default()));
    found
}

/// All of a plan that decides what is built: neither places in the text nor the words that people read.
fn meaning(plan: &Plan) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for stage in &plan.stages {
        let name = stage.name.as_ref().map(|name| name.to_lowercase());
        all.push(format!("{} {name:?} {:?} {:?}", stage.number, stage.platform, stage.base));
        for step in &stage.steps {
            let variables: BTreeMap<_, _> = step.seen.iter().collect();
            let op = step.op.as_ref().map(operation);
            all.push(format!("  {op:?} {} {variables:?}", step.in_history));
        }
        all.push(format!("  {:?}", stage.config));
    }
    all.push(format!("{} {:?} {:?}", plan.target, plan.unused_args, plan.source_date_epoch));
    all
}

/// An operation without the places in the text that it came from.
fn operation(op: &Op) -> String {
    let whole = format!("{op:?}");
    let mut parts = whole.split("Span { ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(part.split_once('}').map_or(part, |(_, rest)| rest));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_builds_something_else_means_something_else() {
        let meaning_of = |text: &str| meaning(&planned(text, &parse(text).dockerfile).expect("a plan"));
        let same = ["FROM a AS B\ncopy  x /y\nCMD a b\n", "FROM a AS b\nCOPY x /y\n\nCMD a b\n"];
        assert_eq!(meaning_of(same[0]), meaning_of(same[1]));
        for other in ["FROM a AS b\nCOPY x /z\nCMD a b\n", "FROM a AS b\nCOPY x /y\nCMD [\"a\", \"b\"]\n"] {
            assert_ne!(meaning_of(same[0]), meaning_of(other), "{other}");
        }
    }
}
