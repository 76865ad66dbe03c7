//! `--check`, `--call` and `--fix`: what is said about a Dockerfile, to people and to programs, without building it.

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;
use kiln_testkit::web::{Page, Web};
use serde_json::Value;

const TEXT: &str = "# TAG of the base\nARG TAG=1\n# app the whole\nFROM base AS App\nARG TOKEN_FILE=/t\nENV K v\r\n\
                    LABEL ñ=\"ü\" x=$NOPE\nRUN --mount=type=secret,id=key,required=true true\n";

#[test]
fn findings_for_people_and_for_programs() {
    let kiln = Kiln::new(Actor::NoSub);
    let outcome = kiln.build_text(TEXT, &[]).args(["--check"]).run().fails(1, &["0 errors and 3 warnings"]);
    assert!(outcome.text().contains("StageNameCasing") && outcome.text().contains(":4:14"), "{outcome}");
    let outcome = kiln.build_text(TEXT, &[]).args(["--call", "check,format=json"]).run();
    assert_eq!(outcome.code, 1, "{outcome}");
    let json: Value = serde_json::from_str(&outcome.text()).expect("JSON");
    let undefined = &json["warnings"][2];
    assert_eq!(undefined["ruleName"], "UndefinedVar", "{json}");
    assert_eq!(undefined["location"]["ranges"][0]["start"]["line"], 7);
    assert_eq!(undefined["range"]["start"], serde_json::json!({"line": 6, "character": 14}));
    assert_eq!(undefined["range"]["end"], serde_json::json!({"line": 6, "character": 19}));
    assert_eq!(json["warnings"][0]["fix"]["newText"], "app");
    assert_eq!(json["sources"][0]["language"], "Dockerfile");
    assert_eq!(json["buildError"], Value::Null);
    let strict = format!("# check=error=true\n{TEXT}");
    let outcome = kiln.build_text(&strict, &[]).args(["--call", "check,format=json,ignorestatus=true"]).run();
    let json: Value = serde_json::from_str(&outcome.text()).expect("JSON");
    assert_eq!((outcome.code, &json["buildError"]["location"]), (1, &serde_json::json!({})), "{json}");
    assert_eq!(json["warnings"][2]["location"]["ranges"][0]["start"]["line"], 8);
    kiln.build_text("FROM base\nCMD [\"a\"]\n", &[]).args(["--check"]).run().succeeds();
    let outcome = kiln.build_text("FROM base\nRUM x\n", &[]).args(["--check", "--format", "json"]).run();
    let json: Value = serde_json::from_str(&outcome.text()).expect("JSON");
    assert_eq!(
        (outcome.code, &json["buildError"], json["errors"][0]["fix"]["newText"].as_str()),
        (2, &json["errors"][0], Some("RUN"))
    );
}

#[test]
fn mends_keep_all_else() {
    let kiln = Kiln::new(Actor::NoSub);
    let file = kiln.scratch.tree("context", &[("Dockerfile", TEXT)]).join("Dockerfile");
    kiln.build(&kiln.scratch.join("context"))
        .args(["--check", "--fix"])
        .run()
        .fails(1, &["0 errors and 1 warning in", "mended 2 findings"]);
    let mended = fs_err::read_to_string(&file).expect("still there");
    assert_eq!(mended, TEXT.replace("App", "app").replace("K v", "K=\"v\""));
    kiln.build_text("FROM base\n", &[]).args(["--fix"]).run().fails(2, &["--check"]);
}

#[test]
fn a_registry_in_trouble_is_asked_once() {
    let kiln = Kiln::new(Actor::NoSub);
    let web = Web::start(std::path::Path::new("/nonexistent"));
    web.page("/v2/a/manifests/latest", Page::Status(503));
    let text = format!("FROM {}/a\nCMD [\"a\"]\n", web.address);
    kiln.build_text(&text, &[]).args(["--check"]).run().succeeds().says(&["is not known", "503"]);
    let asked = web.requests();
    // Once while it is only taken to speak plain HTTP, and once when that is known.
    assert_eq!(asked.iter().filter(|line| line.contains("/manifests/")).count(), 2, "{asked:?}");
}

#[test]
fn parameters() {
    let kiln = Kiln::new(Actor::NoSub);
    let ask = |call: &str| {
        kiln.build_text(TEXT, &[])
            .args(["--call", call, "--build-arg", "TOKEN_FILE=/u"])
            .run()
            .succeeds()
            .text()
    };
    let targets: Value = serde_json::from_str(&ask("targets,format=json")).expect("JSON");
    let target = &targets["targets"][0];
    assert_eq!(
        (&target["name"], &target["default"], &target["description"]),
        (&"app".into(), &true.into(), &"the whole".into())
    );
    assert_eq!(ask("targets"), "TARGET        DESCRIPTION\napp (default) the whole\n");
    let outline: Value = serde_json::from_str(&ask("outline,format=json")).expect("JSON");
    assert_eq!(
        (&outline["args"][0]["name"], &outline["args"][0]["value"]),
        (&"TOKEN_FILE".into(), &"/u".into())
    );
    assert_eq!(
        (&outline["secrets"][0]["name"], &outline["secrets"][0]["required"]),
        (&"key".into(), &true.into())
    );
    assert!(ask("outline").starts_with("TARGET:      app\nDESCRIPTION: the whole\n\nBUILD ARG "));
}

#[test]
fn a_build_tells_shortly_and_fails_if_told_to() {
    let kiln = Kiln::new(Actor::NoSub);
    let outcome = kiln.build_text(TEXT.split("RUN").next().expect("text"), &[]).run().succeeds();
    assert!(
        outcome.stderr.contains("3 warnings found") && outcome.stderr.contains(" - UndefinedVar: "),
        "{outcome}"
    );
    let strict = format!("# check=error=true\n{}", TEXT.split("RUN").next().expect("text"));
    kiln.build_text(&strict, &[]).run().fails(1, &["StageNameCasing", "error=true"]);
    kiln.build_text("FROM base\nCMD x\n", &[])
        .args(["--check=PinBaseImag"])
        .run()
        .fails(2, &["PinBaseImage"]);
}
