//! Dockerfiles as people write them (`testdata/shapes`): none may be refused, and none may be warned of in vain.

use std::path::{Path, PathBuf};

use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::{lint, parse};
use kiln_oci::config::ImageConfig;
use kiln_oci::platform::Platform;
use kiln_plan::{BaseImage, ContextKind, Inputs, Planner};

use crate::render;

fn shapes() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/shapes");
    let entries = fs_err::read_dir(root).expect("testdata/shapes");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "Dockerfile"));
    files.sort();
    files
}

/// What a base image says of itself that later instructions lean on.
fn base(platform: &Platform) -> BaseImage {
    let mut config = ImageConfig::scratch(platform);
    let variables = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("APP_UID", "1654"),
        ("PHP_INI_DIR", "/usr/local/etc/php"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("LD_LIBRARY_PATH", "/usr/local/nvidia/lib"),
    ];
    config.config.env = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    BaseImage { config }
}

/// Plans `target` for `platform`; the error is what was said.
fn plan(file: &Dockerfile, target: Option<&str>, platform: &str) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let mut inputs = Inputs::new(platform.parse().expect("a platform"));
    inputs.build_platform = Platform::normalised("linux", "amd64", None);
    inputs.target = target.map(str::to_owned);
    for name in ["shared", "assets", "toolchain", "runtime"] {
        inputs.contexts.insert(name.to_owned(), ContextKind::Directory);
    }
    let mut planner = Planner::new(file, inputs)?;
    while let Some(need) = planner.needs().first() {
        planner.supply(&need.key, base(&need.key.platform));
    }
    planner.finish().map(|plan| plan.warnings)
}

/// Everything that is said about a file: by the parser, the checks and the planner, each stage being the target once.
fn complaints(text: &str) -> String {
    let parsed = parse(text);
    let mut said = render::diagnostics(&parsed.diagnostics, text);
    let directive = parsed.dockerfile.directives.check.as_ref().map_or("", |check| check.value.as_str());
    let config = match lint::Config::parse(directive) {
        Ok(config) => config,
        Err(error) => return format!("{said}{error}\n"),
    };
    said.push_str(&render::diagnostics(
        &lint::check(text, &parsed.dockerfile, &lint::Facts::default(), &config),
        text,
    ));
    let names = parsed.dockerfile.stages.iter().filter_map(|stage| stage.from.name.as_ref());
    let targets: Vec<Option<&str>> = names.map(|name| Some(name.value.as_str())).chain([None]).collect();
    for target in targets {
        for platform in ["linux/amd64", "linux/arm64"] {
            let (Ok(found) | Err(found)) = plan(&parsed.dockerfile, target, platform);
            said.push_str(&render::diagnostics(&found, text));
        }
    }
    said
}

#[test]
fn nothing_is_said_of_files_that_are_well() {
    let shapes = shapes();
    assert!(shapes.len() >= 60, "testdata/shapes holds {} files", shapes.len());
    let mut all = String::new();
    for path in shapes {
        let text = fs_err::read_to_string(&path).expect("a shape");
        let said = complaints(&text);
        if !said.is_empty() {
            all.push_str(&format!("--- {}\n{said}", path.display()));
        }
    }
    assert!(all.is_empty(), "{all}");
}

/// That the test above can fail.
#[test]
fn something_is_said_of_files_that_are_not() {
    for text in [
        "FROM a\nCMD run it\n",
        "FROM a\nENV X=$MISSPELT\n",
        "FROM a AS b\nFROM c AS b\n",
        "FROM a\nCOPY --frm=b / /\n",
    ] {
        assert!(!complaints(text).is_empty(), "{text}");
    }
}
