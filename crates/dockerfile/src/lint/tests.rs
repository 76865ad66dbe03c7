//! Each check, where it speaks and where it keeps silent.

use super::*;
use crate::parse;

/// The findings as `Rule:span text`.
fn findings(text: &str, ignore: Option<&str>, config: &str) -> Vec<String> {
    let parsed = parse(text);
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    let ignore = ignore.map(|text| Ignore::parse(text).expect("an ignore file"));
    let config = Config::parse(config).expect("a configuration");
    check(text, &parsed.dockerfile, ignore.as_ref(), &config)
        .iter()
        .map(|d| format!("{}:{}", d.rule.unwrap_or_default(), &text[d.span.start..d.span.end]))
        .collect()
}

#[track_caller]
fn expect(text: &str, want: &[&str]) {
    assert_eq!(findings(text, None, ""), want, "{text}");
}

#[test]
fn stage_names() {
    expect("FROM a AS Base\n", &["StageNameCasing:Base"]);
    expect("FROM a as b\n", &["FromAsCasing:as"]);
    expect("from a AS b\n", &["FromAsCasing:AS"]);
    expect("FROM a AS b\nFROM a AS b\n", &["DuplicateStageName:b"]);
    expect("FROM a AS context\n", &["ReservedStageName:context"]);
    expect("FROM a AS b\nFROM b AS c\n", &[]);
}

#[test]
fn arguments_of_from() {
    expect("FROM a:${TGA}\n", &["UndefinedArgInFrom:a:${TGA}", "InvalidDefaultArgInFrom:a:${TGA}"]);
    expect("ARG TAG=1\nFROM --platform=$BUILDPLATFORM a:${TAG}\n", &[]);
    expect("ARG TAG\nFROM a:${TAG}\n", &["InvalidDefaultArgInFrom:a:${TAG}"]);
    expect("ARG TAG\nFROM a:${TAG:-1}\n", &[]);
    expect("ARG I=\"Bad Name\"\nFROM $I\n", &["InvalidDefaultArgInFrom:$I"]);
}

#[test]
fn platforms() {
    expect("FROM --platform=linux/amd64 a\n", &["FromPlatformFlagConstDisallowed:linux/amd64"]);
    expect("FROM --platform=linux/x86_64 a AS build_amd64\n", &[]);
    expect("FROM --platform=$TARGETPLATFORM a\n", &["RedundantTargetPlatform:$TARGETPLATFORM"]);
    expect("FROM --platform=${BUILDPLATFORM} a\n", &[]);
}

#[test]
fn casing() {
    expect("FROM a\nrun x\nRUN y\n", &["ConsistentInstructionCasing:run"]);
    expect("from a\nrun x\nRUN y\n", &["ConsistentInstructionCasing:RUN"]);
    expect("FROM a\nRun x\n", &["ConsistentInstructionCasing:Run"]);
}

#[test]
fn commands() {
    expect("FROM a\nCMD x\nENTRYPOINT [\"y\"]\n", &["JSONArgsRecommended:CMD x"]);
    expect("FROM a\nSHELL [\"bash\"]\nCMD x\n", &[]);
    expect("FROM a AS b\nSHELL [\"bash\"]\nFROM b\nCMD x\n", &[]);
    expect("FROM a\nCMD [\"x\"]\nRUN z\nCMD [\"y\"]\n", &["MultipleInstructionsDisallowed:CMD [\"x\"]"]);
    expect("FROM a AS b\nCMD [\"x\"]\nFROM b\nCMD [\"y\"]\n", &[]);
}

#[test]
fn values() {
    expect("FROM a\nENV K v w\n", &["LegacyKeyValueFormat:K v w"]);
    expect("FROM a\nLABEL k v\nENV K=v\n", &["LegacyKeyValueFormat:k v"]);
    expect(
        "FROM a\nARG API_KEY\nENV auth=x\n",
        &["SecretsUsedInArgOrEnv:API_KEY", "SecretsUsedInArgOrEnv:auth"],
    );
    expect("FROM a\nARG PUBLIC_KEY KEYBOARD TOKEN_FILE\n", &[]);
    expect("FROM a\nMAINTAINER me\n", &["MaintainerDeprecated:MAINTAINER me"]);
}

#[test]
fn workdirs() {
    expect("FROM a\nWORKDIR x\nWORKDIR y\n", &["WorkdirRelativePath:x"]);
    expect("FROM a\nWORKDIR /x\nWORKDIR y\n", &[]);
    expect("FROM a AS b\nWORKDIR /x\nFROM b\nWORKDIR y\n", &[]);
    expect("FROM a\nWORKDIR $HOME/y\nWORKDIR \"/z\"\n", &[]);
}

#[test]
fn ports() {
    expect("FROM a\nEXPOSE 80/TCP 81\n", &["ExposeProtoCasing:80/TCP"]);
    expect("FROM a\nEXPOSE 8080:80\n", &["ExposeInvalidFormat:8080:80"]);
}

#[test]
fn ignored_files() {
    let text = "FROM a AS s\nCOPY x.tmp /x\nCOPY --from=s y.tmp /y\nADD /dir/z .\nCOPY ok .\nCOPY . .\n";
    let want = ["CopyIgnoredFile:x.tmp", "CopyIgnoredFile:/dir/z"];
    assert_eq!(findings(text, Some("*.tmp\ndir\n"), ""), want);
    assert!(findings(text, Some("*.tmp\ndir\n!keep\n"), "").is_empty());
    assert_eq!(findings("FROM a\nCOPY . .\n", Some("**\n"), ""), ["CopyIgnoredFile:."]);
}

#[test]
fn descriptions_are_experimental() {
    let text = "# V the version\nARG V=1\n# something else\nFROM a AS b\n# no\n\nARG X\n";
    assert!(findings(text, None, "").is_empty());
    assert_eq!(findings(text, None, "experimental=all"), ["InvalidDefinitionDescription:b"]);
}

#[test]
fn skipping() {
    let text = "FROM a\n# check=skip=JSONArgsRecommended\nCMD x\nENV K v\n";
    assert_eq!(findings(text, None, ""), ["LegacyKeyValueFormat:K v"]);
    assert!(findings(text, None, "skip=LegacyKeyValueFormat").is_empty());
    assert!(findings("FROM a AS B\n", None, "skip=all").is_empty());
}

/// A fix, put in place of its span, leaves nothing to find.
#[test]
fn fixes_mend() {
    let text = "FROM a as Base\nrun x\nENV K v w\nEXPOSE 80/UDP\nRUN y\n";
    let parsed = parse(text);
    let mut mended = text.to_owned();
    for found in check(text, &parsed.dockerfile, None, &Config::default()).iter().rev() {
        let fix = found.fix.as_deref().expect("a fix");
        mended.replace_range(found.span.start..found.span.end, fix);
    }
    assert_eq!(mended, "FROM a AS base\nRUN x\nENV K=\"v w\"\nEXPOSE 80/udp\nRUN y\n");
    assert!(findings(&mended, None, "").is_empty());
}

#[test]
fn all_rules_have_their_name_once() {
    let mut names: Vec<&str> = STABLE.iter().map(|rule| rule.name).collect();
    names.push(INVALID_DEFINITION_DESCRIPTION.name);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 22);
}

#[test]
fn findings_from_outside() {
    let found = undefined_var("PAHT", Span::new(0, 1), ["PATH", "HOME"]);
    assert_eq!((found.rule, found.help.as_deref()), (Some("UndefinedVar"), Some("did you mean `$PATH`?")));
    let found = base_image_platform("a", Span::new(0, 1), "linux/arm64", "linux/amd64");
    assert!(found.message.contains("linux/arm64"));
}
