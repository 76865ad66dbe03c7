//! What of a build counts for its keys, in full: every way to change something, in random order, against a build in an empty store. What
//! would change the result must be made again; what would not must come from the cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_build::event::TaskOutcome::{Cached, Done, Same};
use kiln_build::request::{NamedContext, SecretSource};

use crate::Case;
use crate::ground::{self, Ground, settle, touch};
use crate::model::{Effect, Random};
use crate::shelf::{Tape, busybox};

pub(crate) const CASES: &[Case] = &[
    ("keys: files, seed 1", || walk(FILES, 1)),
    ("keys: files, seed 2", || walk(FILES, 2)),
    ("keys: files, seed 3", || walk(FILES, 3)),
];

/// Those with RUN.
pub(crate) const RUNNING: &[Case] = &[
    ("keys: commands, seed 1", || walk(COMMANDS, 1)),
    ("keys: commands, seed 2", || walk(COMMANDS, 2)),
    ("keys: a command that makes the same again keeps other stages cached", across_stages),
];

/// COPY, ADD and WORKDIR; `{name}` is a field of the [`World`].
const FILE_STEPS: &str = "# {comment}\n\
    FROM scratch AS {stage}\nCOPY tools /t\n\
    FROM scratch AS never\nCOPY nobody /{nobody}\n\
    FROM base\nARG USED\nENV {env}\nLABEL l=\"{label}\"\n\
    COPY {spaces} --chmod={mode} --chown={owner} one /one\n\
    COPY --from={stage} /t/{pick} /from/\n\
    COPY --from=extra . /extra/\n\
    COPY <<EOF /h\n{here}\nEOF\n\
    COPY tree /tree\n\
    COPY --parents deep/./a/*/f /p/\n\
    COPY --link linked /l/\n\
    COPY --exclude=*.skip skips /s/\n\
    ADD --chmod=750 arch.tar /x/\n\
    WORKDIR /w/$USED\n\
    ARG LATE\nCMD [\"{label}\"]\n";

/// RUN with all that it can see.
const COMMAND_STEPS: &str = "# {comment}\n\
    FROM base AS {stage}\nRUN mkdir /o && echo {other} > /o/f\n\
    FROM base AS never\nRUN echo {nobody}\n\
    FROM base\nARG USED\nENV {env}\nLABEL l=\"{label}\"\n\
    COPY tree /tree\n\
    RUN --mount=type=bind,source=one,target=/m --mount=type=bind,from={stage},source=/o,target=/o \
      --mount=type=bind,from=extra,target=/e --mount=type=cache,target=/c --mount=type=secret,id=s \
      {spaces} echo >> /c/log; cat /m /o/f /e/x > /out; echo $USED $E {command} > /said; test -x /m && echo x > /mode; true\n\
    RUN <<EOF\necho {here} > /here\nEOF\n\
    ARG LATE\nCMD [\"{label}\"]\n";

/// An edit: its name, whether it counts, and how it is done; the number is new each time.
type Edit = (&'static str, Effect, fn(&mut World, usize));

const FILES: Kind = Kind { text: FILE_STEPS, edits: &[COMMON, ONLY_FILES], runs: false };
const COMMANDS: Kind = Kind { text: COMMAND_STEPS, edits: &[COMMON, ONLY_COMMANDS], runs: true };

struct Kind {
    text: &'static str,
    edits: &'static [&'static [Edit]],
    runs: bool,
}

const COMMON: &[Edit] = &[
    ("a comment", Effect::Hit, |w, n| w.set("comment", n)),
    ("a label", Effect::Hit, |w, n| w.set("label", n)),
    ("a stage's name", Effect::Hit, |w, n| w.set("stage", format!("s{n}"))),
    ("a stage that nobody needs", Effect::Hit, |w, n| w.set("nobody", n)),
    ("blanks", Effect::Hit, |w, n| w.set("spaces", " ".repeat(n % 7))),
    ("an argument that comes after everything", Effect::Hit, |w, n| w.argument("LATE", n)),
    ("an argument that nothing declares", Effect::Hit, |w, n| w.argument("NOBODY", n)),
    ("a proxy", Effect::Hit, |w, n| w.argument("HTTP_PROXY", n)),
    ("an argument", Effect::Miss, |w, n| w.argument("USED", n)),
    ("a here-document", Effect::Miss, |w, n| w.set("here", n)),
    ("a file", Effect::Miss, |w, n| w.write("one", n)),
    ("a file of a tree", Effect::Miss, |w, n| w.write("tree/d/x", n)),
    ("a new file", Effect::Miss, |w, n| w.write(&format!("tree/new{n}"), n)),
    ("a file under its old size and time", Effect::Miss, |w, n| w.write("tree/same", format!("{n:08}"))),
    ("a file of a named context", Effect::Miss, |w, n| w.write_extra("x", n)),
    ("a link's target", Effect::Miss, |w, n| w.link("tree/link", &format!("d/{n}"))),
    ("two files changing places", Effect::Miss, |w, n| {
        w.write("tree/d/x", n);
        w.swap("tree/d/x", "tree/d/y");
    }),
    ("an executable bit", Effect::Either, |w, n| w.ground.chmod("one", [0o644, 0o755, 0o600][n % 3])),
    ("an executable bit in a tree", Effect::Either, |w, n| w.ground.chmod("tree/d/y", [0o644, 0o755][n % 2])),
    ("a file that becomes a directory and back", Effect::Either, |w, _| w.turn("tree/kind")),
    ("the order of variables", Effect::Either, |w, n| w.set("env", ["A=1 B=2", "B=2 A=1"][n % 2])),
    ("ignore rules", Effect::Either, |w, n| {
        let rules = ["tree/d/y\n", "tree/*\n!tree/d\n", "**/nothing\n", ""][n % 4];
        w.write(".dockerignore", format!("{IGNORED}{rules}"));
    }),
    ("an ignore rule for nothing", Effect::Hit, |w, n| {
        let rules = fs_err::read_to_string(w.ground.context(".dockerignore")).unwrap();
        w.write(".dockerignore", format!("# {n}\n{rules}no-such-{n}\n"));
    }),
    ("an ignored file", Effect::Hit, |w, n| w.write("tree/x.log", n)),
    ("an ignored file of a named context", Effect::Hit, |w, n| w.write_extra("x.log", n)),
    ("a file of nobody", Effect::Hit, |w, n| w.write(&format!("nobody{n}"), n)),
    ("a file's time", Effect::Hit, |w, n| touch(&w.ground.context("one"), 100 + n as u64)),
    ("a directory's time", Effect::Hit, |w, n| touch(&w.ground.context("tree/d"), 100 + n as u64)),
    ("the same bytes in another inode", Effect::Hit, |w, _| {
        let bytes = fs_err::read(w.ground.context("one")).unwrap();
        let mode = fs_err::metadata(w.ground.context("one")).unwrap().permissions();
        fs_err::remove_file(w.ground.context("one")).unwrap();
        w.write("one", bytes);
        fs_err::set_permissions(w.ground.context("one"), mode).unwrap();
    }),
    ("a host's owner", Effect::Hit, |w, n| {
        // Refused to ordinary users, and then nothing changes.
        let _ = std::os::unix::fs::chown(w.ground.context("tree/d/x"), Some(n as u32), None);
    }),
    ("the whole context's place", Effect::Hit, |w, _| w.move_away()),
];

const ONLY_FILES: &[Edit] = &[
    ("--chmod", Effect::Miss, |w, n| w.set("mode", format!("{:o}", 0o1000 + n))),
    ("--chown", Effect::Miss, |w, n| w.set("owner", format!("{n}:{n}"))),
    ("which file of a stage", Effect::Either, |w, n| w.set("pick", ["a", "b"][n % 2])),
    ("a file of a stage that is taken", Effect::Miss, |w, n| {
        w.write("tools/a", n);
        w.write("tools/b", n);
    }),
    ("a file below a wildcard", Effect::Miss, |w, n| w.write(&format!("deep/a/{n}/f"), n)),
    ("a file beside a wildcard", Effect::Hit, |w, n| w.write(&format!("deep/a/b/g{n}"), n)),
    ("a linked file", Effect::Miss, |w, n| w.write("linked", n)),
    ("an excluded file", Effect::Hit, |w, n| w.write(&format!("skips/{n}.skip"), n)),
    ("an archive", Effect::Miss, |w, n| {
        let name = format!("in/{n}");
        w.write("arch.tar", Tape::new().with(&name, b"1", (0o640, 7)).bytes());
    }),
    ("a variable that no step sees", Effect::Hit, |w, n| w.set("env", format!("A={n}"))),
];

const ONLY_COMMANDS: &[Edit] = &[
    ("a command", Effect::Miss, |w, n| w.set("command", n)),
    ("a variable", Effect::Miss, |w, n| w.set("env", format!("E={n}"))),
    ("what is mounted from a stage", Effect::Miss, |w, n| w.set("other", n)),
    ("a secret's value", Effect::Hit, |w, n| w.secret = n.to_string()),
];

const IGNORED: &str = "**/*.log\n";

/// All that an edit can reach.
struct World {
    ground: Ground,
    kind: &'static Kind,
    fields: BTreeMap<&'static str, String>,
    arguments: BTreeMap<String, String>,
    secret: String,
    moved: usize,
}

impl World {
    fn new(kind: &'static Kind) -> Self {
        let mut ground = if kind.runs { Ground::with_run() } else { Ground::new() };
        // Times are input that keys leave out; here they are all put to the same one on the way out.
        ground.epoch = 0;
        ground.form.rewrite = true;
        let base = if kind.runs { busybox() } else { Tape::new().with("bin/", b"", (0o755, 0)).bytes() };
        ground.shelf.put("base", &[base], |_| {});
        let fields = ["comment", "stage", "nobody", "label", "here", "other", "command"].map(|f| (f, f));
        let more = [("spaces", ""), ("env", "A=1 B=2"), ("mode", "640"), ("owner", "1:2"), ("pick", "a")];
        let fields = fields.into_iter().chain(more).map(|(f, value)| (f, value.to_owned())).collect();
        let arguments = BTreeMap::from([("USED".to_owned(), "u".to_owned())]);
        let world = Self { ground, kind, fields, arguments, secret: String::new(), moved: 0 };
        for name in [
            "one",
            "tools/a",
            "tools/b",
            "tree/d/x",
            "tree/d/y",
            "tree/kind",
            "nobody",
            "deep/a/b/f",
            "linked",
            "skips/a",
            "skips/b.skip",
        ] {
            world.write(name, name);
        }
        world.write("tree/same", "00000000");
        world.link("tree/link", "d/x");
        world.write("arch.tar", Tape::new().with("in/f", b"0", (0o640, 7)).bytes());
        world.write(".dockerignore", IGNORED);
        world.write_extra("x", "x");
        world.write_extra(".dockerignore", IGNORED);
        settle(&world.ground.context(""));
        world
    }

    fn set(&mut self, field: &'static str, value: impl ToString) {
        self.fields.insert(field, value.to_string());
    }

    fn argument(&mut self, name: &str, value: usize) {
        self.arguments.insert(name.to_owned(), value.to_string());
    }

    fn write(&self, name: &str, content: impl Content) {
        self.ground.write(name, content.bytes());
    }

    fn write_extra(&self, name: &str, content: impl Content) {
        ground::write(&self.ground.path("extra").join(name), &content.bytes());
    }

    fn link(&self, name: &str, target: &str) {
        let path = self.ground.context(name);
        if path.is_symlink() {
            fs_err::remove_file(path).unwrap();
        }
        self.ground.symlink(name, target);
    }

    fn swap(&self, a: &str, b: &str) {
        let [a, b, aside] = [a, b, "aside"].map(|name| self.ground.context(name));
        fs_err::rename(&a, &aside).unwrap();
        fs_err::rename(&b, &a).unwrap();
        fs_err::rename(&aside, &b).unwrap();
    }

    /// Makes a directory of a file, or a file of a directory.
    fn turn(&self, name: &str) {
        let path = self.ground.context(name);
        if path.is_dir() {
            fs_err::remove_dir_all(path).unwrap();
            self.write(name, "a file again");
        } else {
            fs_err::remove_file(path).unwrap();
            self.write(&format!("{name}/inside"), "a file below");
        }
    }

    /// The same files under other inodes.
    fn move_away(&mut self) {
        self.moved += 1;
        let aside = self.ground.path(&format!("context-{}", self.moved));
        let context = self.ground.path("context");
        let copied = std::process::Command::new("cp").arg("-a").args([&context, &aside]).status().unwrap();
        assert!(copied.success());
        fs_err::remove_dir_all(&context).unwrap();
        fs_err::rename(&aside, &context).unwrap();
    }

    fn run(&self, on: &Ground) -> crate::ground::Done {
        let mut text = self.kind.text.to_owned();
        for (field, value) in &self.fields {
            text = text.replace(&format!("{{{field}}}"), value);
        }
        let mut request = self.ground.request(&text);
        request.build_args.clone_from(&self.arguments);
        let extra = NamedContext::Directory(self.ground.path("extra"));
        request.contexts.insert("extra".to_owned(), extra);
        request.secrets.insert("s".to_owned(), SecretSource::Bytes(Arc::from(self.secret.as_bytes())));
        on.build_request(&request)
    }
}

/// Bytes of a file, or a number that stands for some.
trait Content {
    fn bytes(self) -> Vec<u8>;
}

impl Content for usize {
    fn bytes(self) -> Vec<u8> {
        self.to_string().into()
    }
}

impl Content for &str {
    fn bytes(self) -> Vec<u8> {
        self.into()
    }
}

impl Content for String {
    fn bytes(self) -> Vec<u8> {
        self.into()
    }
}

impl Content for Vec<u8> {
    fn bytes(self) -> Vec<u8> {
        self
    }
}

/// Every edit once, in an order that `seed` shuffles.
fn walk(kind: Kind, seed: u64) {
    let kind: &'static Kind = Box::leak(Box::new(kind));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut world = World::new(kind);
    world.run(&world.ground);
    let mut edits: Vec<&Edit> = kind.edits.iter().copied().flatten().collect();
    for i in (1..edits.len()).rev() {
        edits.swap(i, random.below(i + 1));
    }
    for (number, (what, effect, edit)) in edits.into_iter().enumerate() {
        // Of the same length all along, so that sizes do not give edits away.
        edit(&mut world, 1000 + number);
        // Renames and new files change directories, whose times are copied.
        settle_unless_times(&world, what);
        let done = world.run(&world.ground);
        let empty = world.ground.fresh();
        let fresh = world.run(&empty);
        let context = || format!("seed {seed}, edit {number}: {what}\n{:?}", done.steps);
        assert_eq!(done.listing(), fresh.listing(), "{}", context());
        assert_eq!(done.image.digest, fresh.image.digest, "{}", context());
        match effect {
            Effect::Hit => assert!(done.all_cached(), "{}", context()),
            Effect::Miss => assert!(!done.all_cached(), "{}", context()),
            Effect::Either => {}
        }
    }
}

fn settle_unless_times(world: &World, what: &str) {
    if !what.ends_with("time") {
        settle(&world.ground.context(""));
    }
}

fn across_stages() {
    let ground = Ground::with_run();
    ground.shelf.put("base", &[busybox()], |_| {});
    let text = |one: &str, two: &str| {
        format!(
            "FROM base AS a\nRUN {one}\nRUN {two}\nFROM base AS b\nCOPY --from=a /one /two /got/\nRUN cat /got/one > /b\n\
             FROM a\nRUN cat /one > /c\nCOPY --link --from=b /b /b\n"
        )
    };
    ground.build(&text("echo 1 > /one", "echo 2 > /two"));
    let done = ground.build(&text("echo 1 > /one; true", "echo 2 > /two"));
    assert_eq!(done.outcomes(), [Done, Cached, Cached, Cached, Cached, Cached]);
    let mut request = ground.request(&text("echo 1 > /one", "echo 2 > /two"));
    request.no_cache_filter = vec!["a".to_owned()];
    assert_eq!(ground.build_request(&request).outcomes(), [Same, Same, Cached, Cached, Cached, Cached]);
    // What differs is made again, and only what reads it.
    let done = ground.build(&text("echo 1 > /one", "echo 3 > /two"));
    assert_eq!(done.outcomes(), [Cached, Done, Done, Done, Done, Cached]);
}
