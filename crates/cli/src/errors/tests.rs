//! Which status and which way out an error has.

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
        (BuildErrorKind::NoSandbox { reason: "r".into() }, status::HOST),
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
    assert!(exit_hint(127).is_some() && exit_hint(1).is_none());
}

#[test]
fn causes_are_told_once() {
    let error = CliError::Context { path: "x".into(), source: io::Error::other("gone") };
    assert_eq!(chain(&error), "build context x: gone");
}
