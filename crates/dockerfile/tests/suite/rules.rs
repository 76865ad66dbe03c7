//! What does not fit into a file of the corpus.

use kiln_dockerfile::ast::{CommandLine, Kind};
use kiln_dockerfile::diagnostic::Severity;
use kiln_dockerfile::span::line_column;
use kiln_dockerfile::{parse, parse_trigger};

#[test]
fn lines_have_a_limit() {
    let with = |length: usize, end: &str| {
        let line = format!("RUN {}", "x".repeat(length - 4));
        parse(&format!("FROM scratch\n{line}{end}"))
    };
    for end in ["", "\n", "\nRUN y\n"] {
        assert!(!with(65_535, end).has_errors(), "{end:?}");
        assert!(with(65_536, end).has_errors(), "{end:?}");
    }
    let heredoc = format!("FROM scratch\nRUN <<E\n{}\nE\n", "x".repeat(70_000));
    assert_eq!(parse(&heredoc).diagnostics.len(), 1);
}

#[test]
fn triggers() {
    let (one, found) = parse_trigger("RUN <<EOF\nbody\nEOF", '\\');
    assert_eq!(found, []);
    let Some(Kind::Run(run)) = one.map(|one| one.kind) else { panic!("not a RUN") };
    assert_eq!(run.command, CommandLine::Shell("<<EOF".to_owned()));
    assert_eq!(run.heredocs[0].body, "body\n");

    let (one, found) = parse_trigger("copy a \\\n b", '\\');
    assert_eq!((one.map(|one| one.text), found.len()), (Some("COPY a  b".to_owned()), 0));

    for bad in ["", "# nothing", "FROM x", "ONBUILD RUN x", "MAINTAINER x", "NOPE", "RUN a\nRUN b", "COPY x"]
    {
        let (one, found) = parse_trigger(bad, '\\');
        assert!(one.is_none() && !found.is_empty(), "{bad:?}: {one:?} {found:?}");
    }
}

/// One look shows all that is to be mended.
#[test]
fn mistakes_do_not_hide_each_other() {
    let text = "FROM scratch\nRUNN a\nCOPY b\nENV C\nEXPOSE 99999\nRUN --mount=type=x d\nCMD [1]\n";
    let parsed = parse(text);
    let lines: Vec<usize> = parsed.diagnostics.iter().map(|d| line_column(text, d.span.start).0).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7]);
    assert!(parsed.diagnostics.iter().all(|d| d.severity == Severity::Error));
}

/// Time grows with the text, not with its square.
#[test]
fn hostile_files_are_read_in_linear_time() {
    let many = 40_000;
    for line in [
        "RUN <<A\n",
        "RUN <<A\nx\n",
        "COPY <<-A <<B /x\n",
        "ENV A=1 \\\n",
        "\\\n",
        "RUN \"\\\n",
        "# check=x\n",
    ] {
        let _ = parse(&format!("FROM scratch\n{}", line.repeat(many)));
    }
    let unclosed = "$(( << \\\n".repeat(many);
    let _ = parse(&format!("FROM scratch\nRUN {}\nRUN {unclosed}\n", "[".repeat(60_000)));
}
