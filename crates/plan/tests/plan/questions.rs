//! What a planner says before it is given any base image, and in between.

use std::collections::BTreeSet;

use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::parse;
use kiln_oci::config::ImageConfig;
use kiln_oci::platform::Platform;
use kiln_plan::model::ImageOrigin;
use kiln_plan::{BaseImage, ContextKind, CopiedPath, Inputs, Planner};

fn amd64() -> Platform {
    Platform::normalised("linux", "amd64", None)
}

fn planner<'a>(file: &'a Dockerfile, inputs: Inputs) -> Planner<'a> {
    Planner::new(file, inputs).expect("the file is in order")
}

fn needs(planner: &Planner<'_>) -> Vec<(String, usize)> {
    let shown = planner.needs().into_iter().map(|need| match need.key.origin {
        ImageOrigin::Registry(name) => (format!("{name} {}", need.key.platform), need.line),
        ImageOrigin::Layout(path) => (format!("layout {path} {}", need.key.platform), need.line),
    });
    shown.collect()
}

#[test]
fn triggers_make_more_necessary() {
    let text = "FROM unrelated AS a\nFROM second AS b\nFROM first AS c\nFROM --platform=linux/arm64 third\n";
    let file = parse(text).dockerfile;
    let mut inputs = Inputs::new(amd64());
    inputs.target = Some("c".to_owned());
    let mut planner = planner(&file, inputs);
    assert_eq!(needs(&planner), [("first linux/amd64".to_owned(), 3)]);
    assert!(!planner.uses_run());
    let mut config = ImageConfig::scratch(&amd64());
    config.config.on_build = vec!["COPY --from=b /x /y".to_owned(), "RUN true".to_owned()];
    planner.supply(&planner.needs()[0].key.clone(), BaseImage { config });
    assert!(planner.uses_run());
    assert_eq!(needs(&planner), [("second linux/amd64".to_owned(), 2)]);
    assert_eq!(planner.reachable_stages(), [1, 2]);
    let unfinished = planner.clone().finish().expect_err("a base image is missing");
    assert_eq!(unfinished.len(), 1);
    planner.supply(&planner.needs()[0].key.clone(), BaseImage { config: ImageConfig::scratch(&amd64()) });
    assert!(planner.needs().is_empty());
    assert_eq!(planner.finish().expect("a plan").stages.len(), 2);
}

#[test]
fn each_base_image_once() {
    let text = "FROM x AS a\nFROM --platform=linux/arm64 x AS b\nFROM x AS c\nFROM lay AS d\nFROM scratch\nCOPY --from=a / /\nCOPY --from=b / /\nCOPY --from=c / /\nCOPY --from=d / /\nCOPY --from=only-files / /\n";
    let file = parse(text).dockerfile;
    let mut inputs = Inputs::new(amd64());
    inputs.contexts.insert("lay".to_owned(), ContextKind::Layout("/dir:tag".to_owned()));
    let want = [("x linux/amd64", 1), ("x linux/arm64", 2), ("layout /dir:tag linux/amd64", 4)];
    assert_eq!(needs(&planner(&file, inputs)), want.map(|(text, line)| (text.to_owned(), line)));
}

#[test]
fn what_is_read_from_outside() {
    let cases: [(&str, bool, &[&str]); 8] = [
        ("FROM x\nRUN true\n", false, &[]),
        ("FROM x\nCOPY a b\n", true, &[]),
        ("FROM x\nCOPY <<EOF /b\nEOF\n", false, &[]),
        ("FROM x\nADD https://h/f https://h/r.git /b\n", false, &[]),
        ("FROM x\nADD https://h/f $FILE /b\n", true, &[]),
        ("FROM x\nRUN --mount=target=/src make\n", true, &[]),
        ("FROM x\nRUN --mount=from=Lib,target=/src --mount=type=cache,target=/c make\n", false, &["lib"]),
        ("FROM x AS never\nCOPY a b\nFROM lib\nCOPY --from=other / /\n", false, &["lib", "other"]),
    ];
    for (text, main_context, contexts) in cases {
        let file = parse(text).dockerfile;
        let mut inputs = Inputs::new(amd64());
        for name in ["lib", "other", "unused"] {
            inputs.contexts.insert(name.to_owned(), ContextKind::Directory);
        }
        let contexts: BTreeSet<String> = contexts.iter().map(|name| (*name).to_owned()).collect();
        let outside = planner(&file, inputs).outside();
        assert_eq!((outside.main_context, outside.contexts), (main_context, contexts), "{text}");
    }
}

#[test]
fn a_file_without_stages_is_refused() {
    let errors = Planner::new(&Dockerfile::default(), Inputs::new(amd64())).expect_err("nothing to build");
    assert_eq!(errors.len(), 1);
}

#[test]
fn what_is_copied_from_the_main_context() {
    let plain = CopiedPath::whole;
    let all = CopiedPath { parents: true, excludes: vec!["*.o".to_owned(), "b".to_owned()], ..plain("d/*") };
    let cases = [
        ("FROM x\nCOPY a b/ c /d/\nADD a /\n", vec![plain("a"), plain("b/"), plain("c")]),
        ("FROM x\nCOPY --parents --exclude=*.o --exclude=b d/* /\n", vec![all]),
        ("FROM x\nCOPY $a b\\ c \"d\" e /\n", vec![plain("c"), plain("e")]),
        ("FROM x\nADD https://h/f https://h/r.git a /b/\n", vec![plain("a")]),
        ("FROM x AS y\nFROM x\nCOPY --from=y a /\n", vec![]),
        ("FROM x AS never\nCOPY a b\nFROM x\n", vec![]),
    ];
    for (text, copied) in cases {
        let file = parse(text).dockerfile;
        let outside = planner(&file, Inputs::new(amd64())).outside();
        assert_eq!(outside.copied.into_iter().collect::<Vec<_>>(), copied, "{text}");
    }
}
