//! Draws errors and findings, with the lines of the Dockerfile that they are about.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::span::Span;

use crate::errors::{CliError, Dockerfile, Report};
use crate::render::text::Lines;
use crate::render::{Look, write_stderr};

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ink {
    /// With colours.
    pub(crate) colour: bool,
    /// Columns to fill at most.
    pub(crate) columns: usize,
}

/// Tells the user of an error, with the log of the step that failed if `with_log`. Gives the exit status.
pub(crate) fn tell(error: &CliError, look: Look, with_log: bool) -> u8 {
    let report = error.report();
    if report.message.is_empty() {
        return report.status;
    }
    if let (true, Some(log)) = (with_log, report.log) {
        let step = report.at.map_or("the step", |at| at.step.as_str());
        write_stderr(&format!("--- output of {step}\n"));
        write_log(log);
        write_stderr("---\n");
    }
    let ink = Ink { colour: look.colour, columns: look.columns.unwrap_or(100).max(40) };
    write_stderr(&self::error(&report, ink));
    report.status
}

/// Copies a log line by line, so that one of any size takes little memory.
fn write_log(path: &Path) {
    let mut lines = Lines::default();
    let mut piece = vec![0; 64 << 10];
    // A log that cannot be read is missed less than the error itself would be.
    let Ok(mut file) = fs_err::File::open(path) else { return };
    while let Ok(count @ 1..) = file.read(&mut piece) {
        let text: String = lines.push(&piece[..count]).into_iter().map(|l| l + "\n").collect();
        write_stderr(&text);
    }
    write_stderr(&lines.finish().map(|l| l + "\n").unwrap_or_default());
}

/// An error and what was found out with it as text, the last line ended.
pub(crate) fn error(report: &Report<'_>, ink: Ink) -> String {
    report.also.iter().fold(one_error(report, ink), |told, further| told + &one_error(further, ink))
}

fn one_error(report: &Report<'_>, ink: Ink) -> String {
    if let (false, Some(source)) = (report.findings.is_empty(), report.source) {
        let told = findings(report.findings, source, ink);
        let verdict =
            || render(&[Group::with_title(Level::ERROR.primary_title(report.message.as_str()))], ink);
        return if report.verdict { told + &verdict() } else { told };
    }
    let mut group = Group::with_title(Level::ERROR.primary_title(report.message.as_str()));
    let hint = report.hint.as_deref();
    let (Some(at), Some(source)) = (report.at, report.source) else {
        // Drawn apart: groups of one drawing are joined by a bar, which makes sense beside source lines only.
        let hint = hint.map(|hint| render(&[Group::with_title(Level::HELP.primary_title(hint))], ink));
        return render(&[group], ink) + hint.as_deref().unwrap_or_default();
    };
    group = group.element(snippet(source, at.span));
    if let Some(hint) = hint {
        group = group.element(Level::HELP.message(hint));
    }
    render(&[group], ink)
}

/// Findings as text: errors first, each kind in the order of the file.
pub(crate) fn findings(findings: &[Diagnostic], source: &Dockerfile, ink: Ink) -> String {
    let mut sorted: Vec<&Diagnostic> = findings.iter().collect();
    sorted.sort_by_key(|d| (d.severity, d.span));
    let mut out = String::new();
    for finding in sorted {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut title = level.primary_title(finding.message.as_str());
        if let Some(rule) = finding.rule {
            title = title.id(rule);
        }
        let mut group = Group::with_title(title).element(snippet(source, finding.span));
        if let Some(help) = &finding.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        out.push_str(&render(&[group], ink));
    }
    out
}

fn snippet(source: &Dockerfile, span: Span) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
    let range = clamp(&source.text, span);
    let annotation = AnnotationKind::Primary.span(range);
    Snippet::source(source.text.as_str()).path(source.name.as_str()).annotation(annotation)
}

/// The span on character boundaries, inside the text, without the white space at its end (the drawing would otherwise run
/// into the next line); at least one character where there is one.
fn clamp(text: &str, span: Span) -> Range<usize> {
    let floor = |mut offset: usize| {
        offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    };
    let (start, end) = (floor(span.start), floor(span.end));
    let end = start + text[start..end.max(start)].trim_end().len();
    if end > start {
        return start..end;
    }
    let next = text[start..].chars().next().filter(|c| *c != '\n' && *c != '\r');
    start..start + next.map_or(0, char::len_utf8)
}

fn render(groups: &[Group<'_>], ink: Ink) -> String {
    let renderer = if ink.colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(ink.columns);
    let mut text = renderer.render(groups);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use kiln_build::error::{At, BuildError, BuildErrorKind};

    use super::*;

    const INK: Ink = Ink { colour: false, columns: 100 };

    fn dockerfile() -> Dockerfile {
        let text = "FROM debian\nRUN make \\\n  && make install\nCOPY größe.txt /\n";
        Dockerfile { name: "docker/Dockerfile".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_failing_step() {
        let kind =
            BuildErrorKind::Exit { command: "make && make install".into(), code: 127, log: "/log".into() };
        let at = At { span: Span::new(12, 41), line: 2, step: "[2/3] RUN make && make install".into() };
        let error = BuildError::new(Some(at), kind);
        let error =
            CliError::Build { error: Box::new(error), dockerfile: Box::new(dockerfile()), lacks_ids: false };
        let want = "\
error: \"make && make install\" ended with exit code 127
 --> docker/Dockerfile:2:1
  |
2 | / RUN make \\
3 | |   && make install
  | |_________________^
  |
  = help: 127 says that a command was not found in the image
";
        assert_eq!(super::error(&error.report(), INK), want);
    }

    #[test]
    fn an_error_without_a_place() {
        let error = CliError::NoHome;
        let want = "\
error: HOME is not set, so there is no place for the store
help: set HOME, or name a place with --root DIR
";
        assert_eq!(super::error(&error.report(), INK), want);
    }

    #[test]
    fn findings_are_all_listed() {
        let list = [
            Diagnostic::warning("LegacyKeyValueFormat", Span::new(0, 4), "old form"),
            Diagnostic::error(Span::new(41, 45), "unknown instruction COPY")
                .with_help("did you mean `copy`?"),
        ];
        let got = findings(&list, &dockerfile(), INK);
        let want = "\
error: unknown instruction COPY
 --> docker/Dockerfile:4:1
  |
4 | COPY größe.txt /
  | ^^^^
  |
  = help: did you mean `copy`?
warning[LegacyKeyValueFormat]: old form
 --> docker/Dockerfile:1:1
  |
1 | FROM debian
  | ^^^^
";
        assert_eq!(got, want);
    }

    #[test]
    fn any_span_can_be_drawn() {
        let source = dockerfile();
        for start in 0..source.text.len() + 3 {
            for end in 0..source.text.len() + 3 {
                let got = findings(&[Diagnostic::error(Span { start, end }, "x")], &source, INK);
                assert!(got.contains("Dockerfile:"), "{start} {end}");
            }
        }
        let empty = Dockerfile::default();
        assert!(findings(&[Diagnostic::error(Span::new(0, 0), "x")], &empty, INK).contains("error: x"));
    }
}
