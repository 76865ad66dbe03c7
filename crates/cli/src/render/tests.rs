//! Golden texts: one story of events, told by each form. `UPDATE=1` writes them anew.

use std::path::PathBuf;
use std::time::Duration;

use kiln_build::error::{At, BuildError, BuildErrorKind};
use kiln_build::event::{Event, Stream, TaskId, TaskKind, TaskOutcome};
use kiln_dockerfile::span::Span;

use crate::errors::{CliError, Dockerfile};
use crate::excerpt::{self, Ink};
use crate::render::plain::Plain;
use crate::render::tty::{Size, Tty};
use crate::render::{json, text};

fn at(millis: u64, event: Event) -> (Duration, Event) {
    (Duration::from_millis(millis), event)
}

fn announced(task: u32, kind: TaskKind, name: &str, line: Option<usize>) -> Event {
    Event::Announced { task: TaskId(task), kind, name: name.to_owned(), line }
}

fn started(task: u32, millis: u64) -> Event {
    Event::Started { task: TaskId(task), elapsed: Duration::from_millis(millis) }
}

fn output(task: u32, text: &str) -> Event {
    Event::Output { task: TaskId(task), stream: Stream::Stdout, bytes: text.as_bytes().to_vec() }
}

fn progress(task: u32, item: &str, current: u64, total: Option<u64>) -> Event {
    Event::Progress { task: TaskId(task), item: item.to_owned(), current, total }
}

fn finished(task: u32, millis: u64, outcome: TaskOutcome) -> Event {
    Event::Finished { task: TaskId(task), elapsed: Duration::from_millis(millis), outcome }
}

/// A pull, a cached step, two steps at once of which the later one fails, a notice.
fn story() -> Vec<(Duration, Event)> {
    vec![
        at(0, announced(0, TaskKind::Resolve, "resolve docker.io/library/debian:12", Some(1))),
        at(0, announced(1, TaskKind::Pull, "pull docker.io/library/debian:12", Some(1))),
        at(0, announced(2, TaskKind::Step, "[build 1/3] WORKDIR /app", Some(2))),
        at(0, announced(3, TaskKind::Step, "[build 2/3] RUN make", Some(3))),
        at(0, announced(4, TaskKind::Step, "[web 1/1] RUN npm ci", Some(7))),
        at(0, announced(5, TaskKind::Step, "[build 3/3] RUN never", Some(4))),
        at(1, started(0, 1)),
        at(400, finished(0, 400, TaskOutcome::Done)),
        at(400, Event::Notice { task: None, message: "the tag moved".to_owned() }),
        at(410, started(1, 410)),
        at(500, progress(1, "sha256:0123456789ab", 1_000_000, Some(4_000_000))),
        at(5_600, progress(1, "sha256:0123456789ab", 2_000_000, Some(4_000_000))),
        at(7_000, progress(1, "sha256:0123456789ab", 4_000_000, Some(4_000_000))),
        at(7_001, finished(1, 7_001, TaskOutcome::Done)),
        at(7_002, finished(2, 7_002, TaskOutcome::Cached)),
        at(7_010, started(3, 7_010)),
        at(7_020, started(4, 7_020)),
        at(7_030, announced(6, TaskKind::Step, "[doc 1/1] RUN mkdocs", Some(9))),
        at(7_030, started(6, 7_030)),
        at(7_100, output(3, "cc -c main.c\ncc -c ut")),
        at(7_200, output(4, "added 12\r\x1b[32madded 100\x1b[0m packages\n")),
        at(7_300, output(3, "il.c\n")),
        at(9_900, output(4, "audited\n")),
        at(10_000, output(3, "linking")),
        at(11_000, finished(3, 11_000, TaskOutcome::Same)),
        at(11_100, output(4, "oops\n")),
        at(11_200, finished(4, 11_200, TaskOutcome::Failed)),
        at(11_200, finished(5, 11_200, TaskOutcome::Cancelled)),
        at(11_200, finished(6, 11_200, TaskOutcome::Cancelled)),
    ]
}

fn check(name: &str, got: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs_err::write(&path, got).unwrap();
    }
    let want = fs_err::read_to_string(&path).unwrap_or_default();
    assert!(got == want, "{name} differs; now it is:\n{got}");
}

#[test]
fn plain() {
    let mut screen = Plain::default();
    let mut out = String::new();
    for (now, event) in story() {
        screen.event(event, now, &mut out);
    }
    check("story.plain", &out);
}

/// What `events` of two tasks, 0 and 1, make plain progress print.
fn told(events: impl IntoIterator<Item = Event>) -> String {
    let mut screen = Plain::default();
    let mut out = String::new();
    let beginning = [
        announced(0, TaskKind::Step, "[a 1/1] RUN a", Some(1)),
        announced(1, TaskKind::Step, "[b 1/1] RUN b", Some(2)),
        started(0, 0),
        started(1, 0),
    ];
    for event in beginning.into_iter().chain(events) {
        screen.event(event, Duration::ZERO, &mut out);
    }
    out
}

#[test]
fn who_ended_while_another_spoke_is_heard_when_that_one_is_the_last() {
    let out = told([
        output(0, "a\n"),
        output(1, "b\n"),
        finished(1, 0, TaskOutcome::Failed),
        finished(0, 0, TaskOutcome::Cancelled),
    ]);
    let expected =
        "#1 [a 1/1] RUN a\n#1 0.000 a\n#1 CANCELED\n\n#2 [b 1/1] RUN b\n#2 0.000 b\n#2 ERROR 0.0s\n\n";
    assert_eq!(out, expected);
}

#[test]
fn floods_wait_for_no_floor() {
    let line = "x".repeat(99) + "\n";
    let flood = || [output(0, &line), output(1, &line.repeat(10))];
    let mut printed = 0;
    let mut screen = Plain::default();
    let tasks = [0, 1]
        .into_iter()
        .flat_map(|task| [announced(task, TaskKind::Step, "RUN yes", Some(1)), started(task, 0)]);
    for event in tasks.chain((0..5_000).flat_map(|_| flood())) {
        let mut out = String::new();
        screen.event(event, Duration::ZERO, &mut out);
        assert!(out.len() < 1 << 20, "{} bytes had to wait", out.len());
        printed += out.lines().filter(|line| line.ends_with("xx")).count();
    }
    let both = printed as f64 / 55_000.0;
    assert!((0.9..=1.0).contains(&both), "{printed} lines of 55000");
}

#[test]
fn rawjson() {
    let mut out: String = story().iter().map(|(_, event)| json::line(event)).collect();
    out.push_str(&json::ending(&json::Ending::Error {
        message: "no".to_owned(),
        line: Some(7),
        also: Vec::new(),
        exit_code: 1,
    }));
    check("story.json", &out);
}

#[test]
fn what_was_found_out_with_an_error_is_told_with_it() {
    let error = |start, line, what: &str| {
        let kind = BuildErrorKind::MissingSource {
            pattern: what.to_owned(),
            whence: "the build context".to_owned(),
            nearest: Some("c".to_owned()),
            hidden_by: None,
        };
        BuildError::new(Some(At { span: Span::new(start, start + 1), line, step: String::new() }), kind)
    };
    let text = "COPY a /\nCOPY b /\n".to_owned();
    let error = BuildError { also: vec![error(14, 2, "b")], ..error(5, 1, "a") };
    let dockerfile = Box::new(Dockerfile { name: "Dockerfile".to_owned(), text });
    let error = CliError::Build { error: Box::new(error), dockerfile, lacks_ids: false };
    let drawn = excerpt::error(&error.report(), Ink { colour: false, columns: 100 });
    let one = |line, what| {
        format!(
            "error: \"{what}\" is not in the build context\n --> Dockerfile:{line}:6\n  |\n{line} | COPY {what} /\n  |      ^\n  |\n\
             {:2}= help: did you mean \"c\"?\n",
            ""
        )
    };
    assert_eq!(drawn, one(1, "a") + &one(2, "b"));
    let json = json::ending(&json::Ending::of(error.report()));
    let wanted = r#"{"v":1,"event":"error","message":"\"a\" is not in the build context","line":1,"also":[{"message":"\"b\" is not in the build context","line":2}],"exit_code":2}"#;
    assert_eq!(json.trim_end(), wanted);
}

/// What a terminal shows after the bytes of all frames: enough of ECMA-48 for what `Tty` writes.
#[derive(Default)]
struct Terminal {
    rows: Vec<String>,
    row: usize,
}

impl Terminal {
    fn feed(&mut self, frame: &str) {
        let mut rest = frame;
        while let Some(c) = rest.chars().next() {
            if let Some(escape) = rest.strip_prefix("\x1b[") {
                let end = escape.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match &escape[end..=end] {
                    "A" => self.row -= escape[..end].parse::<usize>().unwrap(),
                    "J" => self.rows.truncate(self.row),
                    _ => {}
                }
                rest = &escape[end + 1..];
                continue;
            }
            let (line, tail) = match rest.find(['\n', '\r']) {
                Some(i) if rest[i..].starts_with('\n') => (&rest[..i], Some(&rest[i + 1..])),
                Some(i) => (&rest[..i], None.or(Some(&rest[i + 1..])).filter(|_| c == '\r')),
                None => (rest, None),
            };
            if c == '\r' {
                rest = tail.unwrap_or_default();
                continue;
            }
            self.rows.resize(self.rows.len().max(self.row + 1), String::new());
            self.rows[self.row] = text::tame(line.as_bytes());
            self.row += 1;
            rest = tail.unwrap_or_default();
        }
    }
}

#[test]
fn terminal() {
    let size = Size { columns: 60, rows: 12 };
    let mut screen = Tty::new(true, true);
    let mut terminal = Terminal::default();
    let mut out = String::new();
    for (now, event) in story() {
        screen.event(event, now);
        let frame = screen.frame(now, size);
        terminal.feed(&frame);
        assert!(terminal.rows.iter().all(|row| text::width(row) < size.columns), "{:?}", terminal.rows);
        if [500, 5_600, 7_300, 10_000].contains(&now.as_millis()) {
            out.push_str(&format!("--- {now:?}\n{}\n", terminal.rows.join("\n")));
        }
    }
    terminal.feed(&screen.last_frame(size));
    out.push_str(&format!("--- end\n{}\n", terminal.rows.join("\n")));
    check("story.tty", &out);
}

#[test]
fn a_small_terminal_is_not_overdrawn() {
    for rows in 1..8 {
        for columns in [1, 3, 10, 31] {
            let mut screen = Tty::new(false, false);
            for (now, event) in story() {
                screen.event(event, now);
                let size = Size { columns, rows };
                let frame = screen.frame(now, size);
                let live = frame.rsplit("\x1b[K\n").count();
                assert!(live <= 30, "{frame:?}");
            }
        }
    }
}
