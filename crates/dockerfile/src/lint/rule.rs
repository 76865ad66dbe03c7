//! The names of the checks.

/// When a check runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// On unless skipped.
    Stable,
    /// On unless skipped, and BuildKit does not have it: what it finds is no failure where a file forbids findings.
    Own,
    /// BuildKit's own that are off unless `experimental=` names them, or all.
    Experimental,
    /// Those that BuildKit does not have: off unless named, by `experimental=` or on the command line.
    Extra,
}

/// A check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The name, as `# check=skip=` takes it; BuildKit's where it has one.
    pub name: &'static str,
    /// What it asks for, in one sentence.
    pub description: &'static str,
    /// When it runs.
    pub group: Group,
}

impl Rule {
    /// The page about it in Docker's documentation, for those that BuildKit has: bots know a rule by it.
    pub fn url(&self) -> Option<String> {
        // The one that has no page there.
        if matches!(self.group, Group::Own | Group::Extra) || self.name == INVALID_BASE_IMAGE_PLATFORM.name {
            return None;
        }
        let mut page = String::new();
        let mut upper = true;
        let letters: Vec<char> = self.name.chars().collect();
        for (i, c) in letters.iter().enumerate() {
            let next_lower = letters.get(i + 1).is_some_and(char::is_ascii_lowercase);
            if c.is_ascii_uppercase() && (!upper || (i > 0 && next_lower)) {
                page.push('-');
            }
            upper = c.is_ascii_uppercase();
            page.push(c.to_ascii_lowercase());
        }
        Some(format!("https://docs.docker.com/go/dockerfile/rule/{page}/"))
    }

    /// The rule of this name.
    pub fn named(name: &str) -> Option<&'static Rule> {
        Self::all().find(|rule| rule.name == name)
    }

    /// All rules.
    pub fn all() -> impl Iterator<Item = &'static Rule> {
        STABLE.iter().chain(OWN).chain(EXPERIMENTAL).chain(EXTRA)
    }
}

macro_rules! rules {
    ($list:ident $group:ident $about:literal; $($constant:ident $name:literal $description:literal;)*) => {
        $(
            #[doc = $description]
            pub const $constant: Rule = Rule { name: $name, description: $description, group: Group::$group };
        )*
        #[doc = $about]
        pub const $list: &[Rule] = &[$($constant),*];
    };
}

rules! {
    STABLE Stable "All checks that are on by default.";
    STAGE_NAME_CASING "StageNameCasing" "stage names should be lowercase";
    FROM_AS_CASING "FromAsCasing" "the `as` keyword should match the case of the `from` keyword";
    NO_EMPTY_CONTINUATION "NoEmptyContinuation" "there should be no empty lines inside an instruction";
    CONSISTENT_INSTRUCTION_CASING "ConsistentInstructionCasing"
        "all instructions should be in the same case, upper or lower";
    DUPLICATE_STAGE_NAME "DuplicateStageName" "stage names should be unique";
    RESERVED_STAGE_NAME "ReservedStageName" "reserved words should not be used as stage names";
    JSON_ARGS_RECOMMENDED "JSONArgsRecommended"
        "CMD and ENTRYPOINT should be in JSON form, or signals go to the shell";
    MAINTAINER_DEPRECATED "MaintainerDeprecated" "MAINTAINER is deprecated, a label should name the author";
    UNDEFINED_ARG_IN_FROM "UndefinedArgInFrom" "FROM should use declared arguments";
    WORKDIR_RELATIVE_PATH "WorkdirRelativePath"
        "the first WORKDIR should be absolute, or the base image decides where it lies";
    UNDEFINED_VAR "UndefinedVar" "variables should be defined before they are used";
    MULTIPLE_INSTRUCTIONS_DISALLOWED "MultipleInstructionsDisallowed"
        "of CMD, ENTRYPOINT and HEALTHCHECK only the last in a stage counts";
    LEGACY_KEY_VALUE_FORMAT "LegacyKeyValueFormat" "ENV and LABEL should be written as key=value";
    INVALID_BASE_IMAGE_PLATFORM "InvalidBaseImagePlatform"
        "the base image's platform should be the one that is built for";
    REDUNDANT_TARGET_PLATFORM "RedundantTargetPlatform"
        "`--platform=$TARGETPLATFORM` says what holds anyway";
    SECRETS_USED_IN_ARG_OR_ENV "SecretsUsedInArgOrEnv" "ARG and ENV should not hold secrets";
    INVALID_DEFAULT_ARG_IN_FROM "InvalidDefaultArgInFrom"
        "an argument's default should give a valid base image name";
    FROM_PLATFORM_FLAG_CONST_DISALLOWED "FromPlatformFlagConstDisallowed"
        "FROM should not be bound to a constant platform";
    COPY_IGNORED_FILE "CopyIgnoredFile" "files that the ignore file excludes cannot be copied";
    EXPOSE_PROTO_CASING "ExposeProtoCasing" "the protocol in EXPOSE should be lowercase";
    EXPOSE_INVALID_FORMAT "ExposeInvalidFormat" "EXPOSE should not map host addresses or ports";
}

rules! {
    OWN Own "The checks that are on by default and that BuildKit does not have.";
    BROKEN_TRIGGER "BrokenTrigger" "an ONBUILD trigger should be an instruction that a build can do";
}

rules! {
    EXPERIMENTAL Experimental "BuildKit's checks that are off by default.";
    INVALID_DEFINITION_DESCRIPTION "InvalidDefinitionDescription"
        "a comment above a stage or an argument should begin with its name";
}

rules! {
    EXTRA Extra "The checks that BuildKit does not have.";
    PIN_BASE_IMAGE "PinBaseImage" "FROM should name a version or a digest, not what is newest today";
    PIN_APT_VERSIONS "PinAptVersions" "apt-get install should name versions";
    PIN_APK_VERSIONS "PinApkVersions" "apk add should name versions";
    PIN_PIP_VERSIONS "PinPipVersions" "pip install should name versions or read a list of them";
    PIN_NPM_VERSIONS "PinNpmVersions" "npm, yarn and pnpm should be given versions";
    PIN_GEM_VERSIONS "PinGemVersions" "gem install should name versions";
    APT_LISTS_LEFT "AptListsLeft" "the lists that apt-get update fetches should not stay in the layer";
    APT_UPDATE_ALONE "AptUpdateAlone"
        "apt-get update and install belong into one RUN, or the lists come from an old cache";
    APT_NO_RECOMMENDS "AptNoRecommends" "apt-get install should leave out what is only recommended";
    APT_ASSUME_YES "AptAssumeYes" "apt-get should not wait for an answer that nobody gives";
    APT_IN_SCRIPT "AptInScript" "scripts should use apt-get, the interface of apt may change";
    APK_NO_CACHE "ApkNoCache" "apk should not leave its index in the layer";
    PIP_NO_CACHE_DIR "PipNoCacheDir" "pip should not leave its cache in the layer";
    COPY_BEFORE_INSTALL "CopyBeforeInstall"
        "what lists the dependencies should be copied before the rest, or each change installs them anew";
    SECRET_IN_VALUE "SecretInValue" "ARG, ENV and LABEL should not hold what looks like a key or password";
    CHOWN_DOUBLES_LAYER "ChownDoublesLayer"
        "owner and mode of copied files should be set by COPY, a RUN stores the files a second time";
    SUDO_IN_RUN "SudoInRun" "RUN has no need of sudo, USER says who runs it";
    CD_IN_RUN "CdInRun" "WORKDIR should be used to change the directory";
    PIPEFAIL_MISSING "PipefailMissing" "a pipe in RUN should fail if any of its commands fails";
    PIPE_TO_SHELL "PipeToShell" "a download should be checked before it is run";
    ADD_FOR_COPY "AddForCopy" "COPY should be used for local files that are no archives";
    ROOT_USER "RootUser" "the last USER should not be root";
}
