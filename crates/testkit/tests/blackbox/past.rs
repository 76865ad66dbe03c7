//! What kiln says of past builds: why a step was not taken from the cache, logs, differences, forecasts.

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;

/// One build: Dockerfile, files, arguments.
type Built<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

/// Two builds, a step of the second one, and what is said of it, word for word.
struct Case {
    name: &'static str,
    first: Built<'static>,
    second: Built<'static>,
    step: &'static str,
    said: &'static [&'static str],
}

const RUN: &str = "FROM base\nRUN echo x > /x\n";

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "content", step: "2",
        first: ("FROM scratch\nCOPY a /\n", &[("a", "A")], &[]),
        second: ("FROM scratch\nCOPY a /\n", &[("a", "B")], &[]),
        said: &["since b1:", "file a: sha256:559aead08264 -> sha256:df7e70e50215"] },
    Case { name: "mode, a new file, one that is gone", step: "2",
        first: ("FROM scratch\nCOPY x/d /d\n", &[("x/d/a:644", "A"), ("x/d/b", "")], &[]),
        second: ("FROM scratch\nCOPY x/d /d\n", &[("x/d/a:755", "A"), ("x/d/c:600", "A")], &[]),
        said: &["since b1:", "file x/d/a: mode 0644 -> 0755", "file x/d/b: gone", "file x/d/c: new, sha256:559aead08264 mode 0600"] },
    Case { name: "ARG", step: "2",
        first: ("FROM base\nARG V=1\nRUN echo $V\n", &[], &[]),
        second: ("FROM base\nARG V=1\nRUN echo $V\n", &[], &["--build-arg", "V=2"]),
        said: &["since b1:", "ARG V: \"1\" -> \"2\""] },
    Case { name: "an ARG that sounds secret", step: "2",
        first: ("FROM base\nARG TOKEN=1\nRUN true\n", &[], &[]),
        second: ("FROM base\nARG TOKEN=1\nRUN true\n", &[], &["--build-arg", "TOKEN=hush"]),
        said: &["since b1:", "ARG TOKEN: another value (hidden, the name sounds like a secret)"] },
    Case { name: "ENV, one more and one changed", step: "2",
        first: ("FROM base\nENV A=1\nRUN true\n", &[], &[]),
        second: ("FROM base\nENV A=2 B=x\nRUN true\n", &[], &[]),
        said: &["since b1:", "ENV A: \"1\" -> \"2\"", "ENV B: not set -> \"x\""] },
    Case { name: "the variables of a COPY", step: "2",
        first: ("FROM scratch\nARG V=a\nCOPY $V /\n", &[("a", "A"), ("b", "B")], &[]),
        second: ("FROM scratch\nARG V=a\nCOPY $V /\n", &[("a", "A"), ("b", "B")], &["--build-arg", "V=b"]),
        said: &["since b1:", "instruction: COPY a / -> COPY b /", "ARG V: \"a\" -> \"b\"", "file a: gone", "file b: new, sha256:df7e70e50215 mode 0644"] },
    Case { name: "instruction", step: "2",
        first: (RUN, &[], &[]),
        second: ("FROM base\nRUN echo y > /x\n", &[], &[]),
        said: &["since b1:", "instruction: RUN echo x > /x -> RUN echo y > /x"] },
    Case { name: "the shell", step: "2",
        first: (RUN, &[], &[]),
        second: ("FROM base\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo x > /x\n", &[], &[]),
        said: &["since b1:", "instruction: /bin/sh -c echo x > /x -> /bin/sh -ec echo x > /x"] },
    Case { name: "a line of a script", step: "2",
        first: ("FROM base\nRUN <<E\ntrue\necho 1\nE\n", &[], &[]),
        second: ("FROM base\nRUN <<E\ntrue\necho 2\nE\n", &[], &[]),
        said: &["since b1:", "instruction: echo 1 -> echo 2"] },
    Case { name: "the step below", step: "3",
        first: ("FROM base\nCOPY a /\nRUN true\n", &[("a", "A")], &[]),
        second: ("FROM base\nCOPY a /\nRUN true\n", &[("a", "B")], &[]),
        said: &["since b1:", "step 2 below it left other files: COPY a /"] },
    Case { name: "a new step below", step: "3",
        first: ("FROM base\nRUN true\n", &[], &[]),
        second: ("FROM base\nRUN echo x > /x\nRUN true\n", &[], &[]),
        said: &["since b1:", "step 2 below it is new: RUN echo x > /x"] },
    Case { name: "no step below any more", step: "2",
        first: ("FROM base\nRUN echo x > /x\nRUN true\n", &[], &[]),
        second: ("FROM base\nRUN true\n", &[], &[]),
        said: &["since b1:", "a step below it is gone: RUN echo x > /x"] },
    Case { name: "settings", step: "2",
        first: (RUN, &[], &["--add-host", "a:10.0.0.1", "--ulimit", "nofile=100:100"]),
        second: ("FROM base\nUSER 1\nRUN echo x > /tmp/x || true\n", &[], &["--add-host", "a:10.0.0.2", "--network", "none", "--shm-size", "1m"]),
        said: &["since b1:", "instruction: RUN echo x > /x -> RUN echo x > /tmp/x || true", "--add-host a: \"10.0.0.1\" -> \"10.0.0.2\"",
            "--network: \"host\" -> \"none\"", "--shm-size: not set -> \"1048576\"", "--ulimit nofile: \"100:100\" -> not set", "USER: \"\" -> \"1\""] },
    Case { name: "another stage, mounted whole", step: "stage-1:2",
        first: ("FROM scratch AS o\nCOPY a /\nFROM base\nRUN --mount=from=o,target=/m cat /m/a\n", &[("a", "A")], &[]),
        second: ("FROM scratch AS o\nCOPY a /\nFROM base\nRUN --mount=from=o,target=/m cat /m/a\n", &[("a", "B")], &[]),
        said: &["since b1:", "mount at /m: stage o has other files"] },
    Case { name: "a file of the context, mounted", step: "2",
        first: ("FROM base\nRUN --mount=source=d,target=/m ls /m\n", &[("d/a", "A")], &[]),
        second: ("FROM base\nRUN --mount=source=d,target=/m ls /m\n", &[("d/a", "B")], &[]),
        said: &["since b1:", "file d/a: sha256:559aead08264 -> sha256:df7e70e50215"] },
    Case { name: "a file of another stage", step: "stage-1:2",
        first: ("FROM scratch AS o\nCOPY a /x/\nFROM scratch\nCOPY --from=o /x /y\n", &[("a", "A")], &[]),
        second: ("FROM scratch AS o\nCOPY a /x/\nFROM scratch\nCOPY --from=o /x /y\n", &[("a", "B")], &[]),
        said: &["since b1:", "file x/a: sha256:559aead08264 -> sha256:df7e70e50215"] },
    Case { name: "platform", step: "2",
        first: ("FROM scratch\nCOPY a /\n", &[("a", "A")], &["--platform", "linux/amd64"]),
        second: ("FROM scratch\nCOPY a /\n", &[("a", "B")], &["--platform", "linux/arm64"]),
        said: &["since b1:", "platform: linux/amd64 -> linux/arm64", "file a: sha256:559aead08264 -> sha256:df7e70e50215"] },
    Case { name: "a step that no build had", step: "2",
        first: ("FROM scratch\nCOPY a /\n", &[("a", "A")], &[]),
        second: (RUN, &[], &[]),
        said: &["no recorded build had this step"] },
    Case { name: "--no-cache", step: "2",
        first: (RUN, &[], &[]),
        second: (RUN, &[], &["--no-cache"]),
        said: &["--no-cache: the cache was not asked"] },
    Case { name: "--no-cache-filter", step: "s:2",
        first: ("FROM base AS s\nRUN true\n", &[], &[]),
        second: ("FROM base AS s\nRUN true\n", &[], &["--no-cache-filter", "s"]),
        said: &["--no-cache-filter names its stage: the cache was not asked"] },
    Case { name: "a step that failed before", step: "2",
        first: ("FROM base\nRUN exit 1\n", &[], &[]),
        second: ("FROM base\nRUN exit 1\n", &[], &[]),
        said: &["b1 began this very step, and it failed"] },
    Case { name: "a hit", step: "2",
        first: (RUN, &[], &[]),
        second: (RUN, &[], &[]),
        said: &[] },
];

fn build(kiln: &Kiln, (dockerfile, files, args): Built<'_>) -> kiln_testkit::outcome::Outcome {
    let _ = fs_err::remove_dir_all(kiln.scratch.join("context"));
    kiln.build_text(dockerfile, files).args(args).run()
}

/// The lines below the row of a step.
fn reasons(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("            ")).collect()
}

#[test]
fn each_kind_of_miss_is_explained() {
    for case in CASES {
        let kiln = Kiln::new(Actor::NoSub);
        build(&kiln, case.first);
        build(&kiln, case.second);
        let why = kiln.run(["why", "b2", case.step]).succeeds().text();
        assert_eq!(reasons(&why), case.said, "{}:\n{why}", case.name);
    }
}

#[test]
fn an_explanation_comes_with_the_build_too() {
    let kiln = Kiln::new(Actor::NoSub);
    let dockerfile = "FROM scratch\nCOPY a /\n";
    build(&kiln, (dockerfile, &[("a", "A")], &[]));
    let told = build(&kiln, (dockerfile, &[("a", "B")], &["--explain", "--progress", "plain"])).succeeds();
    let whys: Vec<_> = told.stderr.lines().filter_map(|line| line.split_once(" why: ")).collect();
    let whys: Vec<_> = whys.into_iter().map(|(_, why)| why).collect();
    assert_eq!(whys, ["since b1:", "file a: sha256:559aead08264 -> sha256:df7e70e50215"], "{told}");
}

#[test]
fn what_is_gone_is_said_to_be_gone() {
    let kiln = Kiln::new(Actor::NoSub);
    build(&kiln, (RUN, &[], &[])).succeeds();
    kiln.run(["prune", "--all"]).succeeds();
    build(&kiln, (RUN, &[], &[])).succeeds();
    let why = kiln.run(["why", "2"]).succeeds().text();
    assert_eq!(reasons(&why), ["b1 made this very step, but its result is not in the store any more"]);
    kiln.run(["prune", "--all"]).succeeds();
    build(&kiln, ("FROM base\nRUN echo y > /x\n", &[], &[])).succeeds();
    let why = kiln.run(["why", "2"]).succeeds().text();
    assert_eq!(reasons(&why), ["b2 had this step, but what it was made of is not in the store any more"]);
}

#[test]
fn a_build_is_foreseen() {
    let kiln = Kiln::new(Actor::NoSub);
    let dockerfile = "FROM base\nARG V=1\nCOPY a /\nRUN echo $V $(cat /a) > /v\nRUN cat /v > /w\n";
    build(&kiln, (dockerfile, &[("a", "A")], &[])).succeeds();
    let all = build(&kiln, (dockerfile, &[("a", "A")], &["--require-cached"]));
    assert_eq!(all.code, 0, "{all}");
    let dry = build(&kiln, (dockerfile, &[("a", "A")], &["--dry-run", "--build-arg", "V=2"])).succeeds();
    assert_eq!(
        dry.text(),
        "hit       [1/4] FROM base\n\
         hit       [2/4] COPY a /\n\
         would run [3/4] RUN echo 2 $(cat /a) > /v\n\
         \x20           since b2:\n\
         \x20           ARG V: \"1\" -> \"2\"\n\
         depends   [4/4] RUN cat /v > /w\n\
         \x20           it builds on what would run: 3\n\
         \x20           ARG V: \"1\" -> \"2\"\n\
         2 in the cache, 1 would run, 1 depend on these\n"
    );
    assert_eq!(dry.stderr, "", "all of it is the answer");
    let refused = build(&kiln, (dockerfile, &[("a", "B")], &["--require-cached", "--tag", "none:1"]));
    let refused = refused
        .fails(1, &["3 steps are not in the cache", "file a: sha256:559aead08264 -> sha256:df7e70e50215"]);
    assert_eq!(refused.text(), "");
    assert!(!kiln.run(["images"]).succeeds().text().contains("none"));
    let json = build(&kiln, (dockerfile, &[("a", "A")], &["--dry-run=json"])).succeeds().text();
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    let outcomes: Vec<_> =
        json["steps"].as_array().expect("a list").iter().map(|s| s["outcome"].clone()).collect();
    assert_eq!(outcomes, ["hit"; 4]);
    let forecasts = kiln.run(["history"]).succeeds().text();
    assert_eq!(forecasts.lines().count(), 1 + 3, "a forecast is no build:\n{forecasts}");
}

#[test]
fn logs_are_whole_and_each_build_has_its_own() {
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        let dockerfile = "FROM base\nRUN i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo end >&2\nRUN echo broken; exit 3\n";
        build(&kiln, (dockerfile, &[], &[])).fails(1, &[]);
        build(&kiln, (dockerfile, &[], &["--no-cache"])).fails(1, &[]);
        for build in ["b1", "b2"] {
            let log = kiln.run(["log", build, "2"]).succeeds().text();
            let mut want: Vec<String> = (0..20000).map(|i| format!("line {i}")).collect();
            want.push("end".to_owned());
            let mut lines: Vec<_> = log.lines().collect();
            // Two streams: where the second one's line stands is not told.
            lines.sort_by_key(|line| *line == "end");
            assert!(lines == want, "{actor:?} {build}: {} lines, the last {:?}", lines.len(), lines.last());
        }
        assert_eq!(kiln.run(["log"]).succeeds().text(), "broken\n", "{actor:?}: the step that failed");
        let hit = build(
            &kiln,
            (
                "FROM base\nRUN i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo end >&2\n",
                &[],
                &[],
            ),
        );
        hit.succeeds();
        assert!(kiln.run(["why", "2"]).succeeds().text().contains("\nhit "), "{actor:?}");
        assert_eq!(
            kiln.run(["log", "2"]).succeeds().text().lines().count(),
            20001,
            "{actor:?}: of a hit, too"
        );
        kiln.run(["prune"]).succeeds();
        assert_eq!(kiln.run(["log", "b1", "2"]).succeeds().text().lines().count(), 20001, "{actor:?}");
        kiln.store_is_whole();
    }
}

#[test]
fn differences_are_told_by_size() {
    let kiln = Kiln::new(Actor::NoSub);
    let dockerfile = "FROM base\nRUN mkdir /d && echo small > /d/s && head -c 5000 /dev/zero > /d/l\nRUN rm /d/s; chmod 600 /d/l; echo x > /y\n";
    build(&kiln, (dockerfile, &[], &["-t", "one:1"])).succeeds();
    let table: [(&[&str], &str); 3] = [
        (
            &["diff", "2"],
            "+  5.00kB     /d/l\n+  6B         /d/s\n+  directory  /d\n3 added, 0 changed, 0 removed; 5.01kB written, 0B dropped\n",
        ),
        (
            &["diff", "3"],
            "~  5.00kB  /d/l  mode\n-  6B      /d/s\n+  2B      /y\n1 added, 1 changed, 1 removed; 5.00kB written, 5.01kB dropped\n",
        ),
        (
            &["diff", "b1/2", "one:1"],
            "~  5.00kB  /d/l  mode\n-  6B      /d/s\n+  2B      /y\n1 added, 1 changed, 1 removed; 5.00kB written, 5.01kB dropped\n",
        ),
    ];
    for (args, want) in table {
        assert_eq!(kiln.run(args).succeeds().text(), want, "{args:?}");
    }
}

#[test]
fn questions_about_the_past_that_have_no_answer() {
    let kiln = Kiln::new(Actor::NoSub);
    kiln.run(["why"]).fails(1, &["no build is recorded in"]);
    kiln.run(["history"]).succeeds();
    build(&kiln, (RUN, &[], &[])).succeeds();
    let table: [(&[&str], i32, &str); 9] = [
        (&["why", "b7"], 2, "no build b7 is recorded; there are b1 to b1"),
        (&["why", "7"], 2, "the build has no step \"7\"; it has 1 to 2"),
        (&["why", "b1", "nope:2"], 2, "no step \"nope:2\""),
        (&["why", "b1", "2", "3"], 2, "unexpected value '3'"),
        (&["log"], 2, "no step of b1 failed"),
        (&["log", "1"], 1, "step 1 of b1 wrote no log"),
        (&["diff"], 2, "required"),
        (&["diff", "b1"], 2, "say which of its steps"),
        (&["history", "x"], 2, "\"x\" is not the id of a build"),
    ];
    for (args, code, words) in table {
        kiln.run(args).fails(code, &[words]);
    }
    let record = kiln.store().join("build/1.json");
    fs_err::write(&record, "{\"format\": 1, \"beg").expect("we are root");
    kiln.run(["why"]).fails(3, &["build/1.json: this record of a build is damaged", "kiln prune"]);
    assert!(kiln.run(["history"]).succeeds().text().contains("damaged"));
    build(&kiln, (RUN, &[], &["--explain"])).succeeds();
    kiln.run(["prune"]).succeeds();
    assert!(!record.exists());
}

#[test]
fn no_record_holds_a_secret_or_a_proxy() {
    let kiln = Kiln::new(Actor::NoSub);
    let dockerfile = "FROM base\nRUN --mount=type=secret,id=s,env=S test ${#S} = 13 && test -n \"$HTTPS_PROXY\" && exit 5\n";
    let args =
        ["--build-arg", "HTTPS_PROXY=http://user:battery-staple@127.0.0.1:1", "--secret", "id=s,env=HUSH"];
    let failed = kiln.build_text(dockerfile, &[]).args(args).env("HUSH", "correct-horse").run();
    failed.fails(1, &["exit code 5"]);
    let record = fs_err::read_to_string(kiln.store().join("build/1.json")).expect("it has a record");
    assert!(record.contains("\"outcome\":\"failed\""), "{record}");
    let step = fs_err::read_dir(kiln.store().join("step")).expect("parts were kept").flatten();
    let kept: String = step.map(|file| fs_err::read_to_string(file.path()).expect("it is text")).collect();
    assert!(kept.contains("secret"), "the mount is part of the key");
    for text in [record, kept] {
        assert!(!text.contains("battery-staple") && !text.contains("correct-horse"), "{text}");
    }
}
