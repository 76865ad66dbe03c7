//! Build checks, and their pages in `docs/checks`: each rule has one, whose bad example it alone finds fault with.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use kiln_build::check::check;
use kiln_build::error::BuildErrorKind;
use kiln_build::event::{Event, Sink};
use kiln_dockerfile::diagnostic::{Diagnostic, Severity};
use kiln_dockerfile::lint::{Group, Rule};

use crate::Case;
use crate::ground::Ground;

pub(crate) const CASES: &[Case] = &[
    ("check: each rule has its page, and the examples are right", pages),
    ("check: a file's and a command's choice", choices),
    ("check: mistakes of all kinds are told at once, before images are asked for", at_once),
    ("check: a build tells once what it found, or fails if the file says so", builds),
    ("check: what an unknown base image could set is not missed", unknown_bases),
    ("check: a constant platform is known by its normal form", constant_platforms),
    ("check: what only kiln finds is no failure", own),
    ("check: variables are followed into COPY, EXPOSE and WORKDIR", values),
];

fn rules(found: &[Diagnostic]) -> Vec<&str> {
    found.iter().map(|found| found.rule.unwrap_or(&found.message)).collect()
}

/// The text of the block of `language` that follows `heading`.
fn block<'p>(page: &'p str, heading: &str, language: &str) -> Option<&'p str> {
    let (_, rest) = page.split_once(heading)?;
    let (_, rest) = rest.split_once(&format!("```{language}\n"))?;
    rest.split_once("```").map(|(text, _)| text)
}

fn pages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checks");
    let index = fs_err::read_to_string(folder.join("README.md")).unwrap();
    let mut wrong = Vec::new();
    for rule in Rule::all() {
        let ground = Ground::new();
        ground.shelf.put("example.com/tool:1", &[], |_| {});
        ground.shelf.put("example.com/tool:arm64", &[], |config| {
            let other = if config.architecture == "arm64" { "amd64" } else { "arm64" };
            other.clone_into(&mut config.architecture);
        });
        let page = fs_err::read_to_string(folder.join(format!("{}.md", rule.name))).unwrap();
        if let Some(ignore) = block(&page, "## Why", "text") {
            ground.write(".dockerignore", ignore);
        }
        let asked = (rule.group != Group::Stable).then_some(rule.name);
        let engine = ground.engine();
        let cancel = AtomicBool::new(false);
        let sink: &dyn Sink = &|_: Event| {};
        let images = page.contains("example.com/tool").then_some((&engine, sink, &cancel));
        let found = |heading| {
            let text = block(&page, heading, "dockerfile").unwrap();
            check(&ground.request(text), asked, images).unwrap().findings
        };
        let (mut bad, good) = (found("## Bad"), found("## Good"));
        if rule.name == "InvalidDefaultArgInFrom" {
            // Without the build argument the file cannot be built, which is what the rule is about.
            bad.retain(|found| found.severity == Severity::Warning);
        }
        let only = !bad.is_empty() && bad.iter().all(|found| found.rule == Some(rule.name));
        let fixes = page.contains("## What `--check --fix` does");
        let mends = bad.iter().any(|found| found.fix.is_some());
        let listed = index.contains(&format!("[{0}]({0}.md)", rule.name));
        let skip = page.contains(&format!("check=skip={}", rule.name));
        if !only || !good.is_empty() || fixes != mends || !listed || !skip {
            wrong.push(format!(
                "{}: bad {:?}, good {:?}, mends {mends}",
                rule.name,
                rules(&bad),
                rules(&good)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(fs_err::read_dir(&folder).unwrap().count(), Rule::all().count() + 1, "a page without a rule");
}

fn choices() {
    let ground = Ground::new();
    let found = |text: &str, asked, arg: Option<&str>| {
        let mut request = ground.request(text);
        request.build_args.extend(arg.map(|arg| ("BUILDKIT_DOCKERFILE_CHECK".to_owned(), arg.to_owned())));
        let found = check(&request, asked, None).unwrap().findings;
        rules(&found).join(" ")
    };
    let text = "FROM scratch AS One\nUSER root\nENV A $B\n";
    assert_eq!(found(text, None, None), "StageNameCasing LegacyKeyValueFormat UndefinedVar");
    assert_eq!(found(text, None, Some("skip=all")), "");
    assert_eq!(
        found(text, Some("all"), Some("skip=StageNameCasing,UndefinedVar")),
        "RootUser LegacyKeyValueFormat"
    );
    let directive = format!("# check=skip=all;experimental=RootUser\n{text}");
    assert_eq!(found(&directive, None, None), "");
    assert_eq!(found(&directive, None, Some("")), "StageNameCasing LegacyKeyValueFormat UndefinedVar");
    let line = "FROM scratch\n# check=skip=UndefinedVar because\nLABEL a=$B\nLABEL c=$D\n";
    assert_eq!(found(line, None, None), "UndefinedVar");
    // An empty line does not end the comment, one with nothing but its sign does.
    let apart = "\n# check=skip=UndefinedVar\n\nFROM scratch\n# check=skip=UndefinedVar\n\n\nLABEL a=$B\n";
    assert_eq!(found(apart, None, None), "");
    assert_eq!(found(&apart.replace("\n\n\n", "\n#\n"), None, None), "UndefinedVar");
    let reason = "# check=skip=UndefinedVar not now\n\nFROM scratch\nLABEL a=$B\n";
    assert_eq!(found(reason, None, None), "");
    assert!(
        found(&format!("# check=skpi=all\n{text}"), None, None)
            .starts_with("invalid check option `skpi=all`")
    );
}

fn at_once() {
    let ground = Ground::new();
    let text = "FROM nowhere:1 AS a\nRUM x\nCOPY --from=7 a b\nEXPOSE 99999\nRUN --network=hots x\nCOPY --from=$V a b\n";
    let want = [
        "unknown instruction: RUM",
        "no stage number 7",
        "invalid port",
        "network mode `hots`",
        "variables are not",
    ];
    let told = |found: &[Diagnostic]| -> Vec<bool> {
        want.iter().map(|want| found.iter().any(|found| found.message.contains(want))).collect()
    };
    let error = ground.try_build(&ground.request(text)).err().unwrap();
    let BuildErrorKind::Dockerfile(found) = error.kind else { panic!("{error:?}") };
    assert_eq!(told(&found), [true; 5], "{found:?}");
    assert_eq!(found.len(), 5, "{found:?}");
    assert_eq!(told(&check(&ground.request(text), None, None).unwrap().findings), [true; 5]);
    assert_eq!(ground.shelf.asked().0, 0, "no image was asked for");
}

fn builds() {
    let ground = Ground::new();
    ground.shelf.put("base:1", &[], |config| {
        config.config.shell = Some(vec!["/bin/bash".to_owned(), "-c".to_owned()])
    });
    let text =
        "FROM base:1\nLABEL a=$B\nENV C d\nCMD x\nFROM base:1 AS Unused\nENV E f\nFROM base:1\nLABEL c=$D\n";
    let mut request = ground.request(&text.replace("FROM base:1\nLABEL c=$D\n", ""));
    request.target = Some("0".to_owned());
    let done = ground.build_request(&request);
    let told: Vec<String> = done
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Finding { rule, line, .. } => Some(format!("{}:{line}", rule.unwrap_or_default())),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["UndefinedVar:2", "LegacyKeyValueFormat:3", "StageNameCasing:5"]);
    let strict = ground.request(&format!("# check=error=true\n{text}"));
    let error = ground.try_build(&strict).err().unwrap();
    let BuildErrorKind::Checks(found) = &error.kind else { panic!("{error:?}") };
    assert_eq!(rules(found), ["StageNameCasing", "UndefinedVar"]);
    assert!(error.to_string().ends_with("StageNameCasing, UndefinedVar"), "{error}");
}

fn unknown_bases() {
    let ground = Ground::new();
    let text = "FROM some:1 AS a\nARG PORT\nENV P=$PORT\nEXPOSE $P ${Q:?}\nUSER $WHO\nFROM a\nARG R\nVOLUME $R\nRUN --network=hots x\n";
    let found = check(&ground.request(text), None, None).unwrap().findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].message.contains("hots"));
}

fn constant_platforms() {
    let ground = Ground::new();
    for (platform, stage, found) in [
        ("linux/amd64", "x", true),
        ("linux/x86_64", "build_amd64", false),
        ("foo/bar", "x", true),
        ("linux", "x", true),
        ("windows", "for-windows", false),
        ("arm64", "on-linux", false),
        ("aarch64", "x", true),
        ("aarch64", "arm64", false),
        ("Linux/x86_64/v2", "for-amd64", false),
        ("a/b/c/d", "x", false),
        ("neither", "x", false),
    ] {
        let text = format!("FROM --platform={platform} scratch AS {stage}\n");
        let told = check(&ground.request(&text), None, None).unwrap().findings;
        let told = rules(&told).contains(&"FromPlatformFlagConstDisallowed");
        assert_eq!(told, found, "{platform} AS {stage}");
    }
}

fn own() {
    let ground = Ground::new();
    let text = "# check=error=true\nFROM scratch AS a\nONBUILD FOO x\n";
    let done = ground.build(text);
    let told = |event: &Event| matches!(event, Event::Finding { rule: Some("BrokenTrigger"), line: 3, .. });
    assert!(done.events.iter().any(told), "{:?}", done.events);
    let checked = check(&ground.request(text), None, None).unwrap();
    assert_eq!((rules(&checked.findings), checked.strict), (vec!["BrokenTrigger"], false));
    let error = ground.try_build(&ground.request(&format!("{text}LABEL a $B\n"))).err().unwrap();
    let BuildErrorKind::Checks(found) = &error.kind else { panic!("{error:?}") };
    assert_eq!(rules(found), ["BrokenTrigger", "LegacyKeyValueFormat", "UndefinedVar"]);
    // Where it is used, it is a mistake.
    let used = ground.fails("FROM scratch AS a\nONBUILD FOO x\nFROM a\n");
    let BuildErrorKind::Dockerfile(found) = &used else { panic!("{used:?}") };
    let found: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
    assert!(found.contains(&"in `ONBUILD FOO x` of stage `a`: unknown instruction: FOO"), "{found:?}");
}

fn values() {
    let ground = Ground::new();
    ground.write(".dockerignore", "target\n");
    let text = "ARG JAR=target/a.jar\nFROM scratch AS a\nARG JAR\nENV D=app\nWORKDIR $D\nCOPY ${JAR} /\nFROM a\nARG P\nEXPOSE $P\n";
    let want = ["WorkdirRelativePath", "CopyIgnoredFile", "ExposeProtoCasing"];
    let mut request = ground.request(text);
    request.build_args.insert("P".to_owned(), "80/TCP".to_owned());
    assert_eq!(rules(&check(&request, None, None).unwrap().findings), want);
    request.dockerfile = format!("# check=error=true\n{text}");
    let error = ground.try_build(&request).err().unwrap();
    let BuildErrorKind::Checks(found) = &error.kind else { panic!("{error:?}") };
    assert_eq!(rules(found), want);
    request.build_args.insert("JAR".to_owned(), "src/a.jar".to_owned());
    assert!(!rules(&check(&request, None, None).unwrap().findings).contains(&"CopyIgnoredFile"));
    // What expands to nothing is a relative path, too.
    let text =
        "FROM scratch\nARG W\nWORKDIR $W\nWORKDIR b\nFROM scratch\nWORKDIR ${NOT_SET}/x\nCOPY a $NOT_SET/\n";
    let found = check(&ground.request(text), None, None).unwrap().findings;
    assert_eq!(rules(&found), ["WorkdirRelativePath", "UndefinedVar", "UndefinedVar"]);
    assert_eq!(found[0].message, "WORKDIR `$W` is empty, which leaves it to the base image");
}
