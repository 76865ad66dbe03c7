//! The names of the checks.

/// A check, by the name that BuildKit gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The name, as `# check=skip=` takes it.
    pub name: &'static str,
    /// What it asks for, in one sentence.
    pub description: &'static str,
    /// Off unless asked for.
    pub experimental: bool,
}

macro_rules! rules {
    ($($constant:ident $name:literal $description:literal;)*) => {
        $(
            #[doc = $description]
            pub const $constant: Rule = Rule { name: $name, description: $description, experimental: false };
        )*
        /// All checks that are on by default.
        pub const STABLE: &[Rule] = &[$($constant),*];
    };
}

rules! {
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

/// A comment above a stage or an argument should describe it.
pub const INVALID_DEFINITION_DESCRIPTION: Rule = Rule {
    name: "InvalidDefinitionDescription",
    description: "a comment above a stage or an argument should begin with its name",
    experimental: true,
};
