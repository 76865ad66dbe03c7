//! Each check, where it speaks and where it keeps silent.

use super::*;
use crate::parse;

/// The findings as `Rule:span text`.
fn findings(text: &str, ignore: Option<&str>, config: &str) -> Vec<String> {
    let parsed = parse(text);
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    let ignore = ignore.map(|text| Ignore::parse(text).expect("an ignore file"));
    let config = Config::parse(config).expect("a configuration");
    let platform: ReadPlatform = |text| text.split_once('/').map(|(os, cpu)| (os.to_owned(), cpu.to_owned()));
    let facts = Facts { ignore: ignore.as_ref(), platform: Some(platform), ..Facts::default() };
    check(text, &parsed.dockerfile, &facts, &config)
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
    expect("FROM --platform=linux/amd64 a AS build_amd64\n", &[]);
    expect("FROM --platform=$TARGETPLATFORM a\n", &["RedundantTargetPlatform:--platform=$TARGETPLATFORM "]);
    expect("FROM --platform=${BUILDPLATFORM} a\n", &[]);
    let constant = "FromPlatformFlagConstDisallowed";
    for (platform, stage, rule) in [
        ("foo/bar", "x", constant),
        ("foo/bar", "on-foo", ""),
        ("linux", "x", ""),
        ("${TARGETPLATFORM:-linux/amd64}", "x", "RedundantTargetPlatform"),
        ("\"$TARGETPLATFORM\"", "x", "RedundantTargetPlatform"),
        ("$TARGETPLATFORM/v8", "x", ""),
        ("$TARGETOS/$TARGETARCH", "x", ""),
        ("${TARGETPLATFORM}${X}", "x", ""),
    ] {
        let found = findings(&format!("ARG X\nFROM --platform={platform} a AS {stage}\n"), None, "");
        let rules: Vec<&str> = found.iter().filter_map(|found| found.split(':').next()).collect();
        assert_eq!(rules.join(" "), rule, "{platform} AS {stage}");
    }
}

#[test]
fn a_stage_hands_on_what_it_set_also_by_way_of_a_variable() {
    let text = "ARG S=a\nFROM x AS a\nSHELL [\"y\"]\nWORKDIR /w\nFROM $S\nWORKDIR v\nCMD z\n";
    let parsed = parse(text);
    let rules = |bases: BTreeMap<usize, usize>| -> Vec<_> {
        let facts = Facts { bases, ..Facts::default() };
        check(text, &parsed.dockerfile, &facts, &Config::default()).iter().filter_map(|d| d.rule).collect()
    };
    assert_eq!(rules([(1, 0)].into()), [""; 0]);
    assert_eq!(rules(BTreeMap::new()), ["WorkdirRelativePath", "JSONArgsRecommended"]);
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
    let text =
        "# V the version\nARG V=1\n# something else\nFROM a AS b\n# no\n\nARG X\n# no\n\n# Y is\nARG Y\n";
    assert!(findings(text, None, "").is_empty());
    assert_eq!(findings(text, None, "experimental=all"), ["InvalidDefinitionDescription:b"]);
}

#[test]
fn triggers() {
    let text = "FROM a\nONBUILD FOO\n# check=skip=BrokenTrigger\nONBUILD COPY x\nONBUILD COPY x y\n";
    let parsed = parse(text);
    let found = |config: &str| {
        let config = Config::parse(config).expect("a configuration");
        let found = wanted(&parsed.dockerfile, &config, parsed.diagnostics.clone());
        assert!(found.iter().all(|found| found.rule == Some(BROKEN_TRIGGER.name) && !counts(found)));
        found.len()
    };
    assert_eq!((found(""), found("skip=all"), found("skip=BrokenTrigger;error=true")), (1, 0, 0));
    assert_eq!(BROKEN_TRIGGER.url(), None);
}

#[test]
fn skipping() {
    let text = "FROM a\n# check=skip=JSONArgsRecommended\nCMD x\nENV K v\n";
    assert_eq!(findings(text, None, ""), ["LegacyKeyValueFormat:K v"]);
    assert!(findings(text, None, "skip=LegacyKeyValueFormat").is_empty());
    assert!(findings("FROM a AS B\n", None, "skip=all").is_empty());
}

/// What is mended leaves nothing to find; what is not certain is left as it was.
#[test]
fn mends() {
    for (text, want) in [
        (
            "FROM a as Base\nrun x\nENV K v w\nEXPOSE 80/UDP\nRUN y\n",
            "FROM a AS base\nRUN x\nENV K=\"v w\"\nEXPOSE 80/udp\nRUN y\n",
        ),
        ("FROM --platform=$TARGETPLATFORM  a\n", "FROM a\n"),
        ("FROM a\nRUN x \\\n\n\n  && y \\\n\n  z\n", "FROM a\nRUN x \\\n  && y \\\n  z\n"),
        ("FORM a\nRUM x\nCPOY --chwon=1 a b\n", "FROM a\nRUN x\nCOPY --chown=1 a b\n"),
    ] {
        let mut mended = text.to_owned();
        for _ in 0..4 {
            let parsed = parse(&mended);
            let mut found = check(&mended, &parsed.dockerfile, &Facts::default(), &Config::default());
            found.extend(parsed.diagnostics);
            mended = mend(&mended, &found).text;
        }
        assert_eq!(mended, want);
        assert_eq!(findings(&mended, None, ""), [""; 0], "{mended}");
    }
}

/// What gives another image, if only by a bit, is proposed and never written.
#[test]
fn what_changes_the_image_is_no_mend() {
    for (text, help) in [
        ("MAINTAINER Me <me@x.y>", "write `LABEL org.opencontainers.image.authors=\"Me <me@x.y>\"`"),
        ("MAINTAINER $ME", "write `LABEL org.opencontainers.image.authors=...`"),
        ("MAINTAINER a \\\n b", "write `LABEL org.opencontainers.image.authors=...`"),
        ("CMD npm  start", "write `CMD [\"npm\", \"start\"]`"),
        ("CMD echo $HOME", ""),
        ("CMD exec x", ""),
        ("CMD A=1 x", ""),
        ("CMD x && y", ""),
        ("ENTRYPOINT [\"e\"]\nCMD x", ""),
        ("ENV k 'v'", ""),
        ("ENV k v \\\n w", ""),
        ("ARG P=80/TCP\nEXPOSE $P", ""),
    ] {
        let text = format!("FROM a\n{text}\n");
        let parsed = parse(&text);
        let port = text.find("$P").into_iter().map(|at| (at, vec!["80/TCP".to_owned()]));
        let facts = Facts { values: port.collect(), ..Facts::default() };
        let found = check(&text, &parsed.dockerfile, &facts, &Config::default());
        assert!(!found.is_empty() && found.iter().all(|d| d.fix.is_none()), "{text}: {found:?}");
        let told: String = found.iter().filter_map(|d| d.help.as_deref()).collect();
        assert_eq!(told, help, "{text}");
    }
}

/// What words with variables stand for is judged like what is written.
#[test]
fn values_are_checked() {
    let text = "FROM a\nWORKDIR $D\nCOPY $F $G ${H} /x/\nEXPOSE $P $Q\n";
    let ignore = Ignore::parse("target\n").expect("an ignore file");
    let known = [("$D", "app"), ("$F", "target/a.jar"), ("$G", "src"), ("$P", "80/TCP 1.2.3.4:81:81")];
    let values = known.iter().map(|(word, value)| {
        (text.find(word).expect("used"), value.split(' ').map(str::to_owned).collect::<Vec<_>>())
    });
    let facts = Facts { ignore: Some(&ignore), values: values.collect(), ..Facts::default() };
    let found = check(text, &parse(text).dockerfile, &facts, &Config::default());
    let rules: Vec<_> = found.iter().filter_map(|d| d.rule).collect();
    assert_eq!(
        rules,
        ["WorkdirRelativePath", "CopyIgnoredFile", "ExposeProtoCasing", "ExposeInvalidFormat"],
        "{found:?}"
    );
}

#[test]
fn of_other_stages_only_the_words_are_checked() {
    let text = "FROM a AS One\nCMD x\nFROM a\nCMD y\n";
    let parsed = parse(text);
    let stages = [1].into();
    let facts = Facts { stages: Some(&stages), with_shell: [1].into(), ..Facts::default() };
    let rules = |facts: &Facts<'_>| -> Vec<_> {
        check(text, &parsed.dockerfile, facts, &Config::default()).iter().filter_map(|d| d.rule).collect()
    };
    assert_eq!(rules(&facts), ["StageNameCasing"]);
    assert_eq!(rules(&Facts { stages: None, ..facts }), ["StageNameCasing", "JSONArgsRecommended"]);
}

#[test]
fn findings_of_others_are_filtered() {
    let text = "# check=skip=A\nARG A\nFROM a\nRUN a\n# check=skip=UndefinedVar\nRUN b\nRUN c\n";
    let file = parse(text).dockerfile;
    let at = |word: &str| {
        let start = text.rfind(word).expect("there");
        undefined_var("X", Span::new(start, start + 1), [])
    };
    let error = Diagnostic::error(Span::new(0, 1), "no");
    let all = vec![at("RUN a"), at("RUN b"), at("c\n"), error.clone()];
    let left = wanted(&file, &Config::default(), all.clone());
    assert_eq!(left, [at("RUN a"), at("c\n"), error.clone()]);
    assert_eq!(wanted(&file, &Config::parse("skip=all").expect("valid"), all), [error]);
}

#[test]
fn rules_have_one_name_each() {
    let names: std::collections::BTreeSet<&str> = Rule::all().map(|rule| rule.name).collect();
    assert_eq!(names.len(), Rule::all().count());
    assert_eq!(STABLE.len() + EXPERIMENTAL.len(), 22, "BuildKit's");
    let url = |rule: Rule| rule.url().unwrap_or_default();
    assert!(url(JSON_ARGS_RECOMMENDED).ends_with("/json-args-recommended/"));
    assert!(url(FROM_AS_CASING).ends_with("/from-as-casing/"));
    assert_eq!(url(CD_IN_RUN) + &url(INVALID_BASE_IMAGE_PLATFORM), "");
}

#[test]
fn findings_from_outside() {
    let found = undefined_var("PAHT", Span::new(0, 1), ["PATH", "HOME"]);
    assert_eq!((found.rule, found.help.as_deref()), (Some("UndefinedVar"), Some("did you mean `$PATH`?")));
    let found = base_image_platform("a", Span::new(0, 1), "linux/arm64", "linux/amd64");
    assert!(found.message.contains("linux/arm64"));
}
