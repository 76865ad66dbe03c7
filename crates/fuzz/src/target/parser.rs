//! Dockerfiles: the parser, the checks and the planner; and the sources of `ADD`.

use kiln_dockerfile::ast::{Dockerfile, Instruction, Kind, Word};
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::{lint, parse, parse_trigger, source};

use crate::random::Signature;
use crate::target::mending;
use crate::target::planning::{planned, span};

/// Parses, checks and plans a Dockerfile.
pub(super) fn parse_all(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let parsed = parse(&text);
    let mut seen = Signature::default();
    diagnostics(&text, &parsed.diagnostics, &mut seen);
    let file = &parsed.dockerfile;
    assert!(parsed.has_errors() || !file.stages.is_empty(), "no stage and no error");
    for stage in &file.stages {
        span(&text, stage.from.span);
        word(&text, &stage.from.image);
        let mut at = stage.from.span.start;
        for one in &stage.instructions {
            assert!(one.span.start >= at, "instructions out of order");
            at = one.span.start;
            instruction(&text, one, &mut seen);
        }
    }
    let found = lint::check(&text, file, &lint::Facts::default(), &lint::Config::default());
    diagnostics(&text, &found, &mut seen);
    if !parsed.has_errors() {
        found.iter().for_each(|one| mends(&text, one));
        plan(&text, file, &mut seen);
        mending::keeps_the_meaning(&text, file);
    }
    seen.finish()
}

/// A word that was written without quotes, escapes and line ends is what stands at its span.
fn word(text: &str, word: &Word) {
    span(text, word.span);
    let written = &text[word.span.start..word.span.end];
    let is_plain = !written.contains(['\\', '`', '"', '\'', '\n', '\r', ',', '[', '\u{feff}', '\0']);
    if is_plain && !word.value.is_empty() && written.len() == word.value.len() {
        assert_eq!(written, word.value, "the span says something else than the word");
    }
}

fn diagnostics(text: &str, found: &[Diagnostic], seen: &mut Signature) {
    for one in found {
        span(text, one.span);
        assert!(!one.message.is_empty() && !one.message.contains('\0') || text.contains('\0'));
        let kind: String =
            one.message.chars().take_while(|c| *c != '`' && *c != '"' && !c.is_ascii_digit()).collect();
        seen.add(kind);
    }
}

fn instruction(text: &str, one: &Instruction, seen: &mut Signature) {
    span(text, one.span);
    let counted = text[..one.span.start].matches('\n').count() + 1;
    // A continuation may stand before the keyword; the line is that on which the instruction begins.
    assert!(
        one.line >= 1 && one.line <= counted,
        "line {} of {:?}, which is on {counted}",
        one.line,
        one.text
    );
    seen.add(format!("{:?}", std::mem::discriminant(&one.kind)));
    match &one.kind {
        Kind::Onbuild(_, Some(inner)) => instruction(text, inner, seen),
        Kind::Run(run) => {
            for doc in &run.heredocs {
                span(text, doc.span);
                span(text, doc.body_span);
                seen.add(if doc.expand { "<<" } else { "<<''" });
            }
            for mount in &run.mounts {
                seen.add(format!("{:?}", mount.kind));
                for (key, value) in &mount.options {
                    span(text, key.span);
                    value.iter().for_each(|value| span(text, value.span));
                }
            }
        }
        Kind::Copy(copy) | Kind::Add(copy) => {
            let all = copy.sources.iter().chain([&copy.dest]).chain(&copy.excludes).chain(&copy.chown);
            all.for_each(|one| word(text, one));
            seen.add([
                u8::from(copy.json),
                u8::from(copy.link),
                u8::from(copy.parents),
                copy.heredocs.len() as u8,
            ]);
        }
        Kind::Env(pairs) | Kind::Label(pairs) => pairs.iter().for_each(|pair| {
            word(text, &pair.key);
            word(text, &pair.value);
        }),
        Kind::Expose(words) | Kind::Volume(words) => words.iter().for_each(|one| word(text, one)),
        Kind::Workdir(one) | Kind::User(one) | Kind::StopSignal(one) => word(text, one),
        _ => {}
    }
}

/// A mend that is offered leaves a file that parses.
fn mends(text: &str, found: &Diagnostic) {
    let Some(fix) = &found.fix else { return };
    let mended = format!("{}{fix}{}", &text[..found.span.start], &text[found.span.end..]);
    let wrong = parse(&mended).diagnostics.into_iter().find(|d| d.severity == Severity::Error);
    assert!(wrong.is_none(), "mending {:?} with {fix:?} gives {wrong:?}", found.message);
}

fn plan(text: &str, file: &Dockerfile, seen: &mut Signature) {
    match planned(text, file) {
        Ok(plan) => {
            diagnostics(text, &plan.warnings, seen);
            plan.stages.iter().flat_map(|stage| &stage.steps).for_each(|step| span(text, step.span));
            assert!(plan.target < plan.stages.len());
        }
        Err(found) => {
            assert!(found.iter().any(|d| d.severity == Severity::Error), "refused without an error");
            diagnostics(text, &found, seen);
        }
    }
}

/// What a source of `ADD` is: a path, a URL or a git reference; and one trigger of an image.
pub(super) fn source(bytes: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(bytes);
    let mut seen = Signature::default();
    let told = match source::classify(&text) {
        Ok(found) => {
            assert_eq!(source::classify(&text).ok(), Some(found.clone()), "told twice differently");
            format!("{found:?}")
        }
        Err(error) => error.to_string(),
    };
    // The shape of the answer, whatever the letters in it.
    let shape = told.chars().filter(|c| !c.is_alphanumeric()).take(60);
    seen.add(shape.collect::<String>());
    let trigger = parse_trigger(&text, '\\');
    seen.add([u8::from(format!("{trigger:?}").contains("Error"))]);
    seen.finish()
}
