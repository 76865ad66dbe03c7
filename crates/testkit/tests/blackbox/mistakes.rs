//! Bad input: each kind gets one clear error with the line, the thing and the way out, its own exit code, and
//! leaves store and outputs as they were.

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;

/// What somebody typed, and what must be said about it.
struct Mistake {
    name: &'static str,
    dockerfile: &'static str,
    arguments: &'static [&'static str],
    code: i32,
    /// All of these, each perhaps with alternatives behind a `|`.
    words: &'static [&'static str],
}

const fn mistake(
    name: &'static str,
    dockerfile: &'static str,
    code: i32,
    words: &'static [&'static str],
) -> Mistake {
    Mistake { name, dockerfile, arguments: &[], code, words }
}

const fn typed(
    name: &'static str,
    arguments: &'static [&'static str],
    words: &'static [&'static str],
) -> Mistake {
    Mistake { name, dockerfile: "FROM base AS build\nCOPY app.txt /\n", arguments, code: 2, words }
}

const FILES: [(&str, &str); 5] = [
    ("app.txt", "app"),
    ("src/main.py", "print()"),
    ("build/out.bin", "x"),
    (".dockerignore", "# not these\n*.log\nbuild\n"),
    ("debug.log", "l"),
];

const MISTAKES: [Mistake; 31] = [
    mistake("instruction", "FROM base\nRUM true\n", 2, &["RUM", "RUN", ":2|line 2"]),
    mistake("flag", "FROM base\nCOPY --chwon=1 app.txt /\n", 2, &["--chwon", "--chown", ":2|line 2"]),
    mistake(
        "mount option",
        "FROM base\nRUN --mount=type=cache,tagret=/x true\n",
        2,
        &["tagret", "target", ":2|line 2"],
    ),
    mistake("mount type", "FROM base\nRUN --mount=type=magic,target=/x true\n", 2, &["magic", ":2|line 2"]),
    mistake("network", "FROM base\nRUN --network=hots true\n", 2, &["hots", ":2|line 2"]),
    mistake("heredoc", "FROM base\n\nRUN <<END\ntrue\n", 2, &["END", ":3|line 3"]),
    mistake("brace", "FROM base\nENV A=${B\n", 2, &["${B|}", ":2|line 2"]),
    mistake("no FROM", "RUN true\n", 2, &["FROM|no build stage", ":1|line 1"]),
    mistake("nothing", "# only a comment\n", 2, &["no instructions|empty|FROM|stage"]),
    mistake(
        "stage",
        "FROM base AS build\nFROM base\nCOPY --from=biuld /a /b\n",
        4,
        &["biuld", "build", ":3|line 3"],
    ),
    mistake("own stage", "FROM base AS x\nCOPY --from=x /a /b\n", 2, &["x", ":2|line 2"]),
    mistake("mode", "FROM base\nCOPY --chmod=9z9 app.txt /\n", 2, &["9z9", ":2|line 2"]),
    mistake("shell", "FROM base\nSHELL /bin/sh -c\n", 2, &["SHELL", ":2|line 2"]),
    mistake("port", "FROM base\nEXPOSE 70000\n", 2, &["70000", ":2|line 2"]),
    mistake("missing", "FROM base\n\nCOPY ap.txt /\n", 2, &["ap.txt", "app.txt", ":3|line 3"]),
    mistake(
        "missing in a folder",
        "FROM base\nCOPY src/mian.py /\n",
        2,
        &["mian.py", "src/main.py", ":2|line 2"],
    ),
    mistake(
        "all that is missing",
        "FROM base AS a\nCOPY ap.txt /\nFROM base\nCOPY --from=a /x /\nCOPY debug.log app.txt src/mian.py /x/\n",
        2,
        &["ap.txt", ":2:6", "debug.log", ":5:6", "*.log", "src/mian.py", ":5:24", "src/main.py"],
    ),
    mistake("a link to nowhere", "FROM base\nCOPY nowhere* /x/\n", 2, &["nowhere/file", "--exclude", ":2:6"]),
    mistake(
        "hidden",
        "FROM base\nCOPY debug.log /\n",
        2,
        &["debug.log", ".dockerignore", "*.log", ":2|line 2"],
    ),
    mistake(
        "hidden folder",
        "FROM base\nCOPY build/out.bin /\n",
        2,
        &["build/out.bin", ".dockerignore", "build"],
    ),
    mistake("above", "FROM base\nCOPY ../../etc/passwd /\n", 2, &["etc/passwd", ":2|line 2"]),
    mistake("link out", "FROM base\nCOPY outside /\n", 2, &["outside", ":2|line 2"]),
    mistake(
        "below a link out",
        "FROM base\nCOPY folder-outside/passwd /\n",
        2,
        &["folder-outside", ":2|line 2"],
    ),
    mistake(
        "missing in a stage",
        "FROM base AS a\nFROM base\nCOPY --from=a /no/such /\n",
        2,
        &["/no/such", ":3|line 3"],
    ),
    mistake(
        "user",
        "FROM base\nUSER nobodyknows\nRUN true\n",
        2,
        &["nobodyknows", "/etc/passwd", ":3|line 3|:2|line 2"],
    ),
    mistake(
        "secret",
        "FROM base\nRUN --mount=type=secret,id=token,required=true true\n",
        2,
        &["token", "--secret"],
    ),
    typed("target", &["--target", "imaginary"], &["imaginary", "build"]),
    typed("option", &["--taget", "x"], &["--taget", "--target"]),
    typed("output", &["--output", "type=ocy,dest=x"], &["ocy", "oci"]),
    typed("no Dockerfile", &["--file", "Dockerfiel"], &["Dockerfiel"]),
    typed("secret file", &["--secret", "id=a,src=/no/such/secret"], &["/no/such/secret"]),
];

#[test]
fn mistakes() {
    let kiln = Kiln::new(Actor::NoSub);
    let context = kiln.scratch.tree("context", &FILES);
    let links = [("outside", "/etc/passwd"), ("folder-outside", "/etc"), ("nowhere-to-go", "nowhere/file")];
    for (link, target) in links {
        fs_err::os::unix::fs::symlink(target, context.join(link)).expect("scratch is writable");
    }
    let output = kiln.scratch.join("output");
    let spec = format!("type=oci,dest={},tar=false", output.display());
    let mut wrong = Vec::new();
    for mistake in &MISTAKES {
        let file = kiln.scratch.tree("dockerfiles", &[("Dockerfile", mistake.dockerfile)]).join("Dockerfile");
        let mut build = kiln.build(&context);
        if !mistake.arguments.contains(&"--file") {
            build = build.args(["--file", &file.display().to_string()]);
        }
        if !mistake.arguments.contains(&"--output") {
            build = build.args(["--output", &spec]);
        }
        let outcome = build.args(mistake.arguments).run();
        let said = outcome.stderr.to_lowercase();
        let unsaid = |word: &&&str| !word.split('|').any(|w| said.contains(&w.to_lowercase()));
        let unsaid: Vec<_> = mistake.words.iter().filter(unsaid).collect();
        if outcome.code != mistake.code
            || !unsaid.is_empty()
            || said.contains("panicked at")
            || output.exists()
        {
            wrong.push(format!(
                "## {}: wanted {}, unsaid {unsaid:?}, output left: {}\n{outcome}",
                mistake.name,
                mistake.code,
                output.exists()
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), MISTAKES.len(), wrong.join("\n"));
    kiln.store_is_whole();
}

#[test]
fn the_line_is_shown_and_marked() {
    let kiln = Kiln::new(Actor::NoSub);
    let outcome = kiln.build_text("FROM base\nLABEL a=b\nRUM true\n", &[]).run().fails(2, &[]);
    assert!(outcome.stderr.contains("RUM true"), "the excerpt: {outcome}");
    assert_eq!(outcome.stderr.matches("unknown instruction").count(), 1, "said once: {outcome}");
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let kiln = Kiln::new(Actor::NoSub);
    kiln.build_text("FROM base\nRUM true\nCOPY --frob=1 a b\nEXPOSE 70000\n", &[])
        .run()
        .fails(2, &["RUM", "frob", "70000"]);
}

#[test]
fn an_existing_output_survives_a_failure() {
    let kiln = Kiln::new(Actor::NoSub);
    let image = kiln.build_text("FROM base\nCOPY <<E /f\nold\nE\n", &[]).to_layout("image");
    let spec = format!("type=oci,dest={},tar=false", image.path.display());
    kiln.build_text("FROM base\nRUN false\n", &[]).args(["-o", &spec]).run().fails(1, &[]);
    assert_eq!(kiln_testkit::image::Layout::open(&image.path).digest, image.digest);
    assert_eq!(image.file("f"), "old\n");
}

#[test]
fn what_cannot_be_done_yet_is_said_with_its_line() {
    let kiln = Kiln::new(Actor::NoSub);
    let outcome = kiln.build_text("FROM base\nRUN --mount=type=ssh true\n", &[]).run();
    if outcome.code != 0 {
        outcome.fails(2, &["not supported yet|no ssh|--ssh", ":2|line 2"]);
    }
}
