//! Sources that are not there: all of them are told at once, and links that lead nowhere are none.

use kiln_build::error::{BuildError, BuildErrorKind};
use kiln_build::request::NamedContext;

use crate::Case;
use crate::bases::layer;
use crate::ground::Ground;

pub(crate) const CASES: &[Case] = &[
    ("absent: every source that a context lacks is told at once", told_at_once),
    ("absent: nothing else is told with it", nothing_else),
    ("absent: links that lead nowhere", dangling),
];

/// What was told, each with what it is about in the text.
fn told(text: &str, error: &BuildError) -> Vec<(String, String)> {
    let all = std::iter::once(error).chain(&error.also);
    all.map(|error| {
        let span = error.at.as_ref().unwrap().span;
        (text[span.start..span.end].to_owned(), error.kind.to_string())
    })
    .collect()
}

fn told_at_once() {
    let ground = Ground::new();
    for file in ["app", "src/main.rs", "logs/a.log"] {
        ground.write(file, "");
    }
    ground.write(".dockerignore", "logs\n");
    let other = ground.path("other");
    crate::ground::write(&other.join("lib"), b"");
    let _listener = std::os::unix::net::UnixListener::bind(ground.context("sock")).unwrap();
    ground.shelf.put("base", &[layer("1")], |config| {
        config.config.on_build = vec!["COPY gone /".to_owned()];
    });
    let text = "FROM scratch AS unneeded\nCOPY never /\n\
        FROM base AS a\nCOPY appp app /x/\nADD logs/a.log https://example.com/x src/man.rs appp /x/\n\
        FROM scratch\nRUN --mount=source=nope,target=/n --mount=type=cache,target=/c,from=other,source=lob x\n\
        COPY --from=a /only-a-stage-knows /\nCOPY --from=other lob *.none /\nCOPY --parents ./src/./mian.rs /\n\
        COPY sock [ /s/\nCOPY <<f app /y/\nf\n";
    let mut request = ground.request(text);
    request.contexts.insert("other".to_owned(), NamedContext::Directory(other));
    let wanted = [
        ("FROM base AS a", "\"gone\" is not in the build context"),
        ("appp", "\"appp\" is not in the build context"),
        ("logs/a.log", "\"logs/a.log\" is not in the build context"),
        ("src/man.rs", "\"src/man.rs\" is not in the build context"),
        ("appp", "\"appp\" is not in the build context"),
        ("--mount=source=nope,target=/n", "\"/nope\" is not in the build context"),
        (
            "--mount=type=cache,target=/c,from=other,source=lob",
            "\"/lob\" is not in the build context \"other\"",
        ),
        ("lob", "\"lob\" is not in the build context \"other\""),
        ("./src/./mian.rs", "\"./src/./mian.rs\" is not in the build context"),
        ("COPY sock [ /s/", "\"sock\" is a socket, which no image can hold"),
        ("COPY sock [ /s/", "\"[\" is not a valid pattern"),
    ];
    // Whichever of the stages is first to fail.
    for _ in 0..3 {
        let error = ground.try_build(&request).err().unwrap();
        let told = told(text, &error);
        let told: Vec<(&str, &str)> = told.iter().map(|(at, what)| (at.as_str(), what.as_str())).collect();
        assert_eq!(told, wanted);
        let BuildErrorKind::MissingSource { hidden_by: Some(rule), .. } = &error.also[1].kind else {
            panic!("{error:?}")
        };
        assert_eq!((rule.file.as_str(), rule.line), (".dockerignore", 1));
    }
}

fn nothing_else() {
    let ground = Ground::new();
    ground.write("app", "");
    for text in [
        // What only a stage lacks is not looked for, and a failure of another kind looks for nothing.
        "FROM scratch AS a\nCOPY app /\nFROM scratch\nCOPY --from=a /b /\nCOPY --from=a /c /\nCOPY app /\n",
        "FROM scratch\nCOPY --chown=nobody app /\nCOPY gone /\n",
    ] {
        let error = ground.try_build(&ground.request(text)).err().unwrap();
        assert!(error.also.is_empty(), "{text}: {error:?}");
    }
}

fn dangling() {
    let ground = Ground::new();
    ground.write("dfile", "");
    ground.write("d/x", "");
    ground.write("hidden/x", "");
    ground.write(".dockerignore", "hidden\n");
    ground.symlink("d/gone", "/nowhere");
    ground.symlink("dlink", "nowhere");
    ground.symlink("to-hidden", "./hidden/x");
    for (line, link, target) in [
        ("COPY d* /o/", "dlink", "nowhere"),
        ("ADD dlink /o/", "dlink", "nowhere"),
        ("COPY d/g* /o/", "d/gone", "/nowhere"),
        ("COPY */gone /o/", "d/gone", "/nowhere"),
        ("COPY --from=all /d/* /o/", "d/gone", "/nowhere"),
        ("COPY --from=all d/gone /o/", "d/gone", "/nowhere"),
        ("COPY --parents d/gone /o/", "d/gone", "/nowhere"),
        ("COPY to-h* /o/", "to-hidden", "./hidden/x"),
    ] {
        let text = format!("FROM scratch AS all\nCOPY d /d\nFROM scratch\n{line}\n");
        let error = ground.try_build(&ground.request(&text)).err().unwrap();
        let what = error.to_string();
        assert!(
            what.starts_with(&format!("{link:?} is a symbolic link to {target:?}, where")),
            "{line}: {what}"
        );
        let span = error.at.unwrap().span;
        assert_eq!(&text[span.start..span.end], line.split(' ').rev().nth(1).unwrap());
        let BuildErrorKind::DanglingSource { hidden_by, .. } = error.kind else { panic!("{line}") };
        assert_eq!(hidden_by.map(|rule| rule.rule), (link == "to-hidden").then(|| "hidden".to_owned()));
    }
    // One that is below a directory is copied as it is; one that is left out harms nobody.
    let done = ground.build(
        "FROM scratch\nCOPY --exclude=dlink d* /a/\nCOPY d*/x /b/\nCOPY d /c/\nCOPY --parents d* /p/\n\
         COPY --parents dl*/./x d/./x /q/\n",
    );
    let names = done.names();
    let wanted = ["a/dfile", "a/gone", "a/x", "b/x", "c/gone", "p/dlink", "q/x"];
    assert!(wanted.iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
}
