//! The rows of `docs/dockerfile-support.md`: BuildKit's language, feature by feature.

/// One feature.
pub(crate) struct Feature {
    /// Its name, as Markdown.
    pub(crate) what: &'static str,
    /// What there is to say, as Markdown.
    pub(crate) remark: &'static str,
    /// A Dockerfile that uses it, or for what is refused one that shows the refusal.
    pub(crate) example: &'static str,
    /// Words of the message with which the example is refused.
    pub(crate) refused: Option<&'static str>,
    /// Whether it is there.
    pub(crate) is_done: bool,
}

const fn done(what: &'static str, remark: &'static str, example: &'static str) -> Feature {
    Feature { what, remark, example, refused: None, is_done: true }
}

const fn refused(
    what: &'static str,
    remark: &'static str,
    example: &'static str,
    words: &'static str,
) -> Feature {
    Feature { what, remark, example, refused: Some(words), is_done: false }
}

/// Something that is there and consists in refusing what the example shows.
const fn strict(
    what: &'static str,
    remark: &'static str,
    example: &'static str,
    words: &'static str,
) -> Feature {
    Feature { is_done: true, ..refused(what, remark, example, words) }
}

/// In the order in which the comparison of builders counts them.
pub(crate) const ROWS: [Feature; 68] = [
    done("`FROM image[:tag][@digest] [AS name]`", "", "FROM a\n"),
    done(
        "`FROM scratch`",
        "nothing is pulled; the configuration begins with `WorkingDir=/` and a `PATH`",
        "FROM scratch\n",
    ),
    done(
        "`FROM --platform=`, with variables",
        "running another architecture needs its emulator on the host",
        "FROM --platform=$BUILDPLATFORM a\n",
    ),
    done("`FROM stage`", "compared without case", "FROM a AS One\nFROM one\n"),
    refused(
        "`FROM --after=`",
        "Buildah's own; `COPY --from` orders stages",
        "FROM --after=x a\n",
        "unknown flag",
    ),
    refused("`FROM --arg=`", "Charliecloud's own; use ARG", "FROM --arg=A=b a\n", "unknown flag"),
    done(
        "`FROM name` replaced by `--build-context name=...`",
        "directory, `docker-image://`, `oci-layout://`, git repository, http(s) URL",
        "FROM a\n",
    ),
    done("RUN in shell form and exec form", "", "FROM a\nRUN x\nRUN [\"x\"]\n"),
    done(
        "RUN with here-documents",
        "default shell, named interpreter, `#!`, several, `<<-`, quoted delimiter, file descriptors",
        "FROM a\nRUN <<A cat <<-\"B\"\nx\nA\ny\nB\n",
    ),
    done(
        "`RUN --mount=type=bind`",
        "all keys; from a stage, an image, a context; `rw` writes are thrown away",
        "FROM a\nRUN --mount=type=bind,from=b,source=/x,target=/y,rw true\n",
    ),
    done(
        "`RUN --mount=type=cache`",
        "all keys; `sharing` holds across processes: `locked` waits for all others, `private` takes a directory of its own, `shared` one that nobody wants alone",
        "FROM a\nRUN --mount=type=cache,id=i,target=/c,sharing=private,from=b,source=/x,mode=0700,uid=1,gid=2,ro true\n",
    ),
    done(
        "`RUN --mount=type=tmpfs`",
        "with `size`",
        "FROM a\nRUN --mount=type=tmpfs,target=/t,size=1m true\n",
    ),
    done(
        "`RUN --mount=type=secret`",
        "all keys; as file and as variable; never in a layer, a log, a key or the history",
        "FROM a\nRUN --mount=type=secret,id=s,target=/s,env=S,required,mode=0444,uid=1,gid=1 true\n",
    ),
    done(
        "`RUN --mount=type=ssh`",
        "all keys; `--ssh default`, `ID=SOCKET`, or `ID=KEY[,KEY]`, for which OpenSSH's agent is started and ended with the build",
        "FROM a\nRUN --mount=type=ssh,id=i,target=/s,required,mode=0600,uid=1,gid=1 true\n",
    ),
    done(
        "mount values are CSV, with variables in all keys but `from`, and bare booleans",
        "",
        "FROM a\nARG X=y\nRUN --mount=type=cache,target=/$X,ro true\n",
    ),
    done(
        "`RUN --network=default\\|none\\|host`",
        "a step shares the host's network, so `host` is what `default` is; `none` has loopback only",
        "FROM a\nRUN --network=none true\nRUN --network=host true\n",
    ),
    done(
        "`RUN --security=sandbox\\|insecure`",
        "`insecure` needs `--allow security.insecure`; as an ordinary user it gives all that the user namespace has",
        "FROM a\nRUN --security=insecure true\n",
    ),
    refused(
        "`RUN --device=`",
        "kiln hands no device of the host (CDI) to steps",
        "FROM a\nRUN --device=v.com/c=d true\n",
        "kiln gives steps none",
    ),
    done(
        "CMD and ENTRYPOINT in both forms",
        "an ENTRYPOINT takes back the base's CMD",
        "FROM a\nCMD [\"a\"]\nENTRYPOINT b\n",
    ),
    done(
        "COPY: wildcards, JSON form, trailing slashes, `.`, implicit parents",
        "wildcards are Go's `filepath.Match`; `..` stays inside the context",
        "FROM a\nCOPY [\"a b\", \"/c/\"]\nCOPY a* ../b /d/\n",
    ),
    done(
        "`COPY --from=`stage, number, image, context",
        "no variables, as in BuildKit",
        "FROM a AS b\nFROM a\nCOPY --from=b /x /\nCOPY --from=0 /x /\nCOPY --from=img /x /\n",
    ),
    done(
        "`--chown` with names of the target's `/etc/passwd` and `/etc/group`",
        "an unknown name is refused; BuildKit takes 0 in silence",
        "FROM a\nCOPY --chown=u:g a /\n",
    ),
    done("`--chmod` in octal, with variables", "", "FROM a\nARG M=755\nCOPY --chmod=$M a /\n"),
    done("`--chmod` in symbols", "", "FROM a\nCOPY --chmod=u=rwX,go=rX a /\n"),
    done(
        "`--link`",
        "the layer does not depend on what is below it",
        "FROM a\nCOPY --link a /\nADD --link=false b /\n",
    ),
    done("`COPY --parents`", "with the `/./` pivot and `**`", "FROM a\nCOPY --parents a/./b/** /\n"),
    done("`--exclude=`, several times", "", "FROM a\nCOPY --exclude=*.o --exclude=x a /\n"),
    done("COPY and ADD of here-documents", "", "FROM a\nCOPY <<A <<\"B\" /d/\nx\nA\ny\nB\n"),
    done(
        "ADD unpacks local archives",
        "by content: tar alone, gzip, bzip2, xz, zstd",
        "FROM a\nADD a.tar.gz /\n",
    ),
    done(
        "ADD from http and https",
        "mode 0600, `Last-Modified` as the time, the name out of the URL",
        "FROM a\nADD https://h/a.txt /x/\n",
    ),
    done(
        "`ADD --checksum=`",
        "",
        "FROM a\nADD --checksum=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef https://h/a /\n",
    ),
    done("`ADD --unpack`", "", "FROM a\nADD --unpack=true https://h/a.tar /\nADD --unpack=false b.tar /\n"),
    done(
        "ADD from git",
        "all forms of the address; submodules; files have the time of the commit unless `?mtime=checkout`",
        "FROM a\nADD https://h/r.git?ref=v1&subdir=d /x\nADD git@h:r.git#main:d /y\n",
    ),
    done("`ADD --keep-git-dir`", "", "FROM a\nADD --keep-git-dir=true https://h/r.git /x\n"),
    done(
        "secrets for ADD: `HTTP_AUTH_*`, `GIT_AUTH_*`",
        "given by `--secret`; each goes to its own host and across no redirect; git is the host's program",
        "FROM a\nADD https://h/r.git /x\n",
    ),
    done(
        "ENV in both forms",
        "the values of one instruction see what stood before it",
        "FROM a\nENV A=b C=$A\nENV D e f\n",
    ),
    done(
        "ARG: several, defaults, scopes, order against ENV",
        "the later of ARG and ENV wins, as BuildKit does and its reference does not say",
        "ARG A=1\nFROM a\nARG A B=$A\n",
    ),
    done("LABEL in both forms", "", "FROM a\nLABEL a=b \"c d\"=e\n"),
    done("MAINTAINER", "deprecated; a check says so", "FROM a\nMAINTAINER m\n"),
    done("EXPOSE", "ports, ranges, protocols, variables", "FROM a\nEXPOSE 80 81-82/udp\n"),
    done(
        "VOLUME in both forms",
        "later changes below it are kept, as BuildKit does",
        "FROM a\nVOLUME /a /b\nVOLUME [\"/c d\"]\n",
    ),
    done(
        "USER by name and number, with group",
        "a user's other groups are set where no group is given",
        "FROM a\nUSER u:g\n",
    ),
    done("WORKDIR", "made if missing, with its parents, for the USER", "FROM a\nWORKDIR /a\nWORKDIR b\n"),
    done("STOPSIGNAL, SHELL", "", "FROM a\nSTOPSIGNAL SIGRTMIN+3\nSHELL [\"x\"]\n"),
    done(
        "HEALTHCHECK",
        "",
        "FROM a\nHEALTHCHECK --interval=1m --timeout=1s --start-period=1s --start-interval=1s --retries=2 CMD x\nHEALTHCHECK NONE\n",
    ),
    done(
        "ONBUILD",
        "of images and of stages; with `--from` and mounts; a trigger that no build can do is recorded, with a warning, as BuildKit does without",
        "FROM a\nONBUILD COPY --from=b x /\nONBUILD FOO\n",
    ),
    refused("RSYNC, NSYNC", "Charliecloud's own; use COPY", "FROM a\nRSYNC a b\n", "unknown instruction"),
    refused(
        "`Containerfile.in` through a preprocessor",
        "Buildah's own; run `cpp` yourself and give `-f -`",
        "FROM a\nINCLUDE x\n",
        "unknown instruction",
    ),
    done(
        "Windows containers",
        "kiln runs on Linux; `# escape=` with a backtick is read",
        "# escape=`\nFROM a\nRUN x `\n y\n",
    ),
    strict(
        "parser directives `syntax`, `escape`, `check`",
        "Docker's frontend is built in, whatever its tag; any other is refused and never run",
        "# syntax=example.com/x\nFROM a\n",
        "foreign frontend",
    ),
    done(
        "`syntax` after a `#!` line, behind `//`, in JSON, after a byte order mark",
        "",
        "#!/x\n# syntax=docker/dockerfile:1\nFROM a\n",
    ),
    done("longest line", "none: BuildKit's 65,535 bytes are no limit here", "FROM a\n"),
    done(
        "comments inside continuations, and empty lines there",
        "the latter with a check",
        "FROM a\nRUN a \\\n# c\n b\n",
    ),
    done("blanks before instructions, any case, CRLF, continuation at the end", "", "from a\r\n  run x \\"),
    done("JSON forms that are none are shell forms", "", "FROM a\nRUN [ x ]\n"),
    done(
        "here-document words as the shell reads them",
        "`$((1 << 3))` opens none, other than in BuildKit",
        "FROM a\nRUN 3<<E cat\nx\nE\nRUN echo $((1 << 3))\n",
    ),
    strict(
        "flags before arguments",
        "an unknown one with the nearest that exists",
        "FROM a\nCOPY --form=b x /\n",
        "unknown flag",
    ),
    strict(
        "errors with line, column, excerpt",
        "all of a file at once",
        "FROM a\nCOPPY x /\n",
        "unknown instruction",
    ),
    strict(
        "the mistakes that BuildKit names",
        "each refused, with the way out",
        "FROM a\nCOPY --checksum=x a /\n",
        "checksum",
    ),
    done("`$x`, `${x}`", "", "FROM a\nENV A=$x${y}\n"),
    done("`${x:-w}` `${x-w}` `${x:+w}` `${x+w}`", "", "FROM a\nENV A=${x:-w}${x-w}${x:+w}${x+w}\n"),
    strict("`${x:?w}` `${x?w}`", "", "FROM a\nARG X\nENV A=${X:?say-it}\n", "say-it"),
    done("`${x#p}` `${x##p}` `${x%p}` `${x%%p}`", "", "FROM a\nENV A=${x#p}${x##p}${x%p}${x%%p}\n"),
    done("`${x/p/r}` `${x//p/r}`", "", "FROM a\nENV A=${x/p/r}${x//p/r}\n"),
    done("special parameters and digits are empty", "", "FROM a\nENV A=$1$@\n"),
    done("escapes and quotes", "", "FROM a\nENV A=\\$x B='$x' C=\"$x\" D=$\n"),
    done(
        "expanded in ADD, COPY, ENV, EXPOSE, FROM, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR, ARG, mounts, here-documents of COPY",
        "not in RUN, CMD, ENTRYPOINT",
        "FROM a\nARG P=1\nEXPOSE $P\nUSER $P\nVOLUME /$P\nCMD $P\n",
    ),
    done("unset variables are told of, with the nearest name", "", "FROM a\nARG NAME=1\nLABEL a=$NAEM\n"),
];

/// What follows the table.
pub(crate) const TAIL: &str = "
## Build arguments that mean something to the builder

They need no ARG, and none of them is in the history.

| name | what it does here |
|---|---|
| `HTTP_PROXY` and the like, in both cases | RUN has them in its environment; neither key nor history does, unless an ARG declares them |
| `SOURCE_DATE_EPOCH` | the time of everything that is made: a number, or `context`, a named context or a stage whose time is meant; also from the environment, or as a default of a global ARG |
| `TARGETPLATFORM`, `TARGETOS`, `TARGETARCH`, `TARGETVARIANT`, `TARGETSTAGE`, `BUILDPLATFORM`, `BUILDOS`, `BUILDARCH`, `BUILDVARIANT` | set in the global scope; a stage declares what it wants; `--build-arg` overrides |
| `BUILDKIT_SYNTAX` | takes the place of `# syntax=`: Docker's frontend is built in, any other is refused |
| `BUILDKIT_CACHE_MOUNT_NS` | put before the ids of cache mounts |
| `BUILDKIT_SANDBOX_HOSTNAME` | the host name of steps, `buildkitsandbox` without; part of a step's key |
| `BUILDKIT_MULTI_PLATFORM` | `1`: an index even for one platform, and a folder for it in `type=local` and `type=tar` |
| `BUILDKIT_CONTEXT_KEEP_GIT_DIR` | of a git context that is taken whole: keep `.git` |
| `BUILDKIT_BUILD_NAME` | nothing: there is no list of builds that it could name |
| `BUILDKIT_INLINE_CACHE` | as `--cache-to type=inline`: the image carries records of its steps |
| `BUILDKIT_DOCKERFILE_CHECK` | takes the place of `# check=` |
| `BUILDKIT_SBOM_SCAN_CONTEXT`, `BUILDKIT_SBOM_SCAN_STAGE` | accepted and kept out of the environment |

## Without subordinate ids

A user for whom `/etc/subuid` has no range has one id, and inside a step that is root. There is nobody else that a process could
be or give a file to, so the following cannot work, and each is told with its line:

- `chown` to another owner inside RUN, and with it package managers, `useradd` homes, `install -o`
- RUN under a USER other than root, and a WORKDIR that a later RUN needs to have another owner
- `uid=` and `gid=` of cache, secret and ssh mounts: the owner is root
- switching users inside a step (`su`, `setpriv`), and what tests that it is refused

Of the conformance cases these are `run/default-privileges`, `run/environment`, `run/metadata-only`, `run/mount-cache`, `run/mount-secret`,
`run/user-groups`, `run/workdir`, `realworld/package-manager-like`, `realworld/python-like` and `copy/from-stage-and-image`. COPY and ADD with
`--chown`, WORKDIR under a USER, and everything else that needs no process is exact for such users, too, because kiln writes owners into
layers without asking the file system.
";
