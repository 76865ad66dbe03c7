//! Which status and which way out an error has.

use kiln_build::error::IgnoredBy;
use kiln_dockerfile::span::Span;
use kiln_oci::source::{SourceError, SourceErrorKind};

use super::*;

#[test]
fn statuses() {
    let io = |kind| io::Error::new(kind, "x");
    let source = |kind| BuildErrorKind::Base {
        image: "a".to_owned(),
        source: Box::new(SourceError { reference: "r.example/a".to_owned(), kind }),
    };
    let cases = [
        (BuildErrorKind::Dockerfile(vec![]), status::USAGE),
        (BuildErrorKind::Exit { command: "x".into(), code: 3, log: "l".into() }, status::FAILED),
        (BuildErrorKind::NoSandbox { reason: "r".into(), remedy: None }, status::HOST),
        (source(SourceErrorKind::NotFound), status::REGISTRY),
        (source(SourceErrorKind::Io(io(io::ErrorKind::StorageFull))), status::HOST),
        (BuildErrorKind::Interrupted, status::INTERRUPTED),
        (BuildErrorKind::Cancelled, status::BUG),
        (BuildErrorKind::Io(io(io::ErrorKind::PermissionDenied)), status::HOST),
    ];
    for (kind, want) in cases {
        let error = CliError::from(BuildError::from(kind));
        assert_eq!(error.report().status, want, "{error}");
    }
}

#[test]
fn an_archive_is_given_and_a_disk_is_not() {
    let archive = |kind: BuildErrorKind| CliError::Archive { source: Box::new(BuildError::from(kind)) };
    let failed = |kind| BuildErrorKind::Io(io::Error::new(kind, "x"));
    assert_eq!(archive(failed(io::ErrorKind::UnexpectedEof)).report().status, status::USAGE);
    assert_eq!(archive(failed(io::ErrorKind::StorageFull)).report().status, status::HOST);
}

#[test]
fn the_way_out() {
    let hidden = IgnoredBy { file: ".dockerignore".into(), line: 4, rule: "*.txt".into() };
    let missing = |nearest: Option<&str>, hidden_by| BuildErrorKind::MissingSource {
        pattern: "a.txt".into(),
        whence: "the build context".into(),
        nearest: nearest.map(str::to_owned),
        hidden_by,
    };
    let hint = |kind: BuildErrorKind| CliError::from(BuildError::from(kind)).report().hint;
    assert_eq!(
        hint(missing(Some("b.txt"), Some(hidden))).as_deref(),
        Some("it is there, but .dockerignore:4 hides it: `*.txt`")
    );
    assert_eq!(hint(missing(Some("b.txt"), None)).as_deref(), Some("did you mean \"b.txt\"?"));
    assert_eq!(hint(missing(None, None)), None);
    assert!(building::exit_hint(127).is_some() && building::exit_hint(1).is_none());
}

/// An error of a build from `text`, at one of its lines.
fn at_line(text: &str, line: usize, kind: BuildErrorKind) -> CliError {
    let at = At { span: Span::new(0, 4), line, step: "s".to_owned() };
    let dockerfile = Dockerfile { name: "Dockerfile".to_owned(), text: text.to_owned() };
    let error = Box::new(BuildError::new(Some(at), kind));
    CliError::Build { error, dockerfile: Box::new(dockerfile), lacks_ids: false }
}

#[test]
fn a_stage_may_have_been_meant() {
    let text = "FROM a AS build\nFROM b AS Tools\nCOPY --from=biuld /a /b\nFROM c AS late\n";
    let hint = |image: &str, line| {
        let kind = SourceErrorKind::NotFound;
        let source = Box::new(SourceError { reference: format!("docker.io/library/{image}"), kind });
        at_line(text, line, BuildErrorKind::Base { image: image.to_owned(), source }).report().hint
    };
    let stage = |name: &str| Some(format!("did you mean the stage {name:?}?"));
    let other = Some("check the name and the tag".to_owned());
    assert_eq!(hint("biuld", 3), stage("build"));
    assert_eq!(hint("Tool", 3), stage("Tools"));
    assert_eq!(hint("debian", 3), other, "nothing near");
    assert_eq!(hint("lat", 3), other, "it stands below");
    assert_eq!(hint("biuld", 1), other, "its own name");
}

#[test]
fn a_step_that_was_interrupted_is_not_at_fault() {
    let error = at_line("FROM a\nRUN b\n", 2, BuildErrorKind::Interrupted);
    let report = error.report();
    assert_eq!((report.status, report.message.as_str()), (status::INTERRUPTED, "interrupted"));
    assert!(report.at.is_none() && report.hint.is_none());
}

#[test]
fn causes_are_told_once() {
    let error = CliError::Context { path: "x".into(), source: io::Error::other("gone") };
    assert_eq!(chain(&error), "build context x: gone");
}
