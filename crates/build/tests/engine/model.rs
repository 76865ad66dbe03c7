//! Random edits against a model of what counts: a build in a store with a past gives what one in an empty store gives, edits
//! that matter are missed in the cache, others are not.

use std::collections::BTreeMap;

use crate::Case;
use crate::ground::{Done, Ground, settle, touch};
use crate::shelf::Tape;

pub(crate) const CASES: &[Case] = &[
    ("model: seed 1", || walk(1)),
    ("model: seed 2", || walk(2)),
    ("model: seed 3", || walk(3)),
    ("model: seed 4", || walk(4)),
];

const EDITS: usize = 30;

/// xorshift64*
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

/// What edits change besides the context.
struct Build {
    used: String,
    unused: String,
    directory: String,
    link_owner: u32,
    label: String,
    comment: String,
    other_stage: String,
}

impl Build {
    fn text(&self) -> String {
        let Self { directory, link_owner, label, comment, other_stage, .. } = self;
        format!(
            "# {comment}\n\
             FROM scratch AS tools\nCOPY tools /t\n\
             FROM scratch AS never\nCOPY other /{other_stage}\n\
             FROM base\nARG USED UNUSED\nLABEL l={label}\nENV E=$USED\n\
             COPY --chmod=750 app/bin* /bin/\n\
             COPY app /{directory}\n\
             COPY --from=tools /t/a /from/\n\
             COPY --link --chown={link_owner}:2 linked /l/\n\
             ADD arch.tar /x/\n\
             COPY <<EOF /h\nhello $E\nEOF\n\
             WORKDIR /w/$USED\n"
        )
    }
}

/// Whether an edit counts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Effect {
    /// A step must be made again.
    Miss,
    /// Every step must be cached.
    Hit,
    /// It may lead back to a state that was there before.
    Either,
}

struct World {
    ground: Ground,
    build: Build,
    count: usize,
}

impl World {
    fn new() -> Self {
        let ground = Ground::new();
        for name in
            ["app/bin1", "app/bin2", "app/lib/x", "app/lib/y", "tools/a", "tools/b", "linked", "other"]
        {
            ground.write(name, name);
        }
        ground.symlink("app/link", "lib/x");
        fs_err::hard_link(ground.context("app/lib/x"), ground.context("app/lib/hard")).unwrap();
        ground.write("arch.tar", Tape::new().with("in/f", b"0", (0o640, 7)).bytes());
        ground.write(".dockerignore", "**/*.log\n");
        let base = Tape::new().with("bin/", b"", (0o755, 0)).with("bin/sh", b"sh", (0o755, 0)).bytes();
        ground.shelf.put("base", &[base], |_| {});
        let text = |text: &str| text.to_owned();
        let build = Build {
            used: text("u"),
            unused: text("u"),
            directory: text("srv"),
            link_owner: 1,
            label: text("l"),
            comment: text("c"),
            other_stage: text("o"),
        };
        Self { ground, build, count: 0 }
    }

    /// Does one random edit.
    fn edit(&mut self, random: &mut Random) -> (&'static str, Effect) {
        self.count += 1;
        let (ground, n) = (&self.ground, self.count);
        match random.below(22) {
            0 => {
                ground.write("app/bin1", format!("{n}"));
                ("a binary", Effect::Miss)
            }
            1 => {
                ground.write(&format!("app/new{n}"), "");
                ("a new file", Effect::Miss)
            }
            2 => {
                ground.write("tools/a", format!("{n}"));
                ("a tool", Effect::Miss)
            }
            3 => {
                ground.write("linked", format!("{n}"));
                ("a linked file", Effect::Miss)
            }
            4 => {
                let tape = Tape::new().with(&format!("in/f{n}"), b"1", (0o640, 7));
                ground.write("arch.tar", tape.bytes());
                ("an archive", Effect::Miss)
            }
            5 => {
                self.build.used = format!("u{n}");
                ("an argument", Effect::Miss)
            }
            6 => {
                self.build.directory = format!("d{n}");
                ("a destination", Effect::Miss)
            }
            7 => {
                self.build.link_owner = 10 + n as u32;
                ("an owner", Effect::Miss)
            }
            8 => {
                fs_err::remove_file(ground.context("app/link")).unwrap();
                ground.symlink("app/link", &format!("lib/{n}"));
                ("a link", Effect::Miss)
            }
            other => self.edit_back_and_forth(other, random),
        }
    }

    /// Edits that may lead back to where the world was before.
    fn edit_back_and_forth(&mut self, which: usize, random: &mut Random) -> (&'static str, Effect) {
        let ground = &self.ground;
        match which {
            9 => {
                let mode = [0o600, 0o644, 0o755, 0o4755][random.below(4)];
                ground.chmod("app/lib/y", mode);
                ("a mode", Effect::Either)
            }
            10 => {
                let rules = ["**/*.log\n", "app/lib/y\n", "app/lib\n!app/lib/x\n"][random.below(3)];
                ground.write(".dockerignore", rules);
                ("ignore rules", Effect::Either)
            }
            11 => {
                let hard = ground.context("app/lib/hard");
                fs_err::remove_file(&hard).unwrap();
                if random.below(2) == 0 {
                    fs_err::hard_link(ground.context("app/lib/x"), &hard).unwrap();
                } else {
                    ground.write("app/lib/hard", fs_err::read(ground.context("app/lib/x")).unwrap());
                }
                ("a hard link", Effect::Either)
            }
            other => self.edit_idly(other),
        }
    }

    /// Edits that change nothing.
    fn edit_idly(&mut self, which: usize) -> (&'static str, Effect) {
        let (ground, n) = (&self.ground, self.count);
        match which {
            12 => {
                touch(&ground.context("app/bin2"), 100 + n as u64);
                ("a time", Effect::Hit)
            }
            13 => {
                ground.write("other", format!("{n}"));
                ("a file of nobody", Effect::Hit)
            }
            14 => {
                ground.write("app/x.log", format!("{n}"));
                ("an ignored file", Effect::Either)
            }
            15 => {
                self.build.comment = format!("{n}");
                ("a comment", Effect::Hit)
            }
            16 => {
                self.build.unused = format!("{n}");
                ("an unused argument", Effect::Hit)
            }
            17 => {
                self.build.label = format!("{n}");
                ("a label", Effect::Hit)
            }
            18 => {
                self.build.other_stage = format!("{n}");
                ("another stage", Effect::Hit)
            }
            19 => {
                let _ = std::os::unix::fs::chown(ground.context("app/lib/y"), Some(n as u32), None);
                ("a host's owner", Effect::Hit)
            }
            20 => {
                let bytes = fs_err::read(ground.context("tools/a")).unwrap();
                ground.write("tools/a", bytes);
                ("the same bytes", Effect::Hit)
            }
            _ => ("nothing", Effect::Hit),
        }
    }

    fn run(&self, on: &Ground) -> Done {
        let mut request = self.ground.request(&self.build.text());
        request.build_args = BTreeMap::from([
            ("USED".to_owned(), self.build.used.clone()),
            ("UNUSED".to_owned(), self.build.unused.clone()),
        ]);
        on.build_request(&request)
    }
}

fn walk(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut world = World::new();
    // Times are input that keys leave out; here they are all put to the same one on the way out.
    world.ground.epoch = 0;
    world.ground.form.rewrite = true;
    settle(&world.ground.context(""));
    world.run(&world.ground);
    for _ in 0..EDITS {
        let mode = fs_err::metadata(world.ground.context("app/lib/y")).unwrap().permissions();
        let (what, effect) = world.edit(&mut random);
        if what == "a host's owner" {
            // The kernel takes setuid bits away with it.
            fs_err::set_permissions(world.ground.context("app/lib/y"), mode).unwrap();
        }
        let done = world.run(&world.ground);
        let empty = world.ground.fresh();
        let fresh = world.run(&empty);
        let context = || format!("seed {seed}, edit {}: {what}", world.count);
        assert_eq!(done.listing(), fresh.listing(), "{}", context());
        assert_eq!(done.image.digest, fresh.image.digest, "{}", context());
        match effect {
            Effect::Hit => assert!(done.all_cached(), "{}: {:?}", context(), done.steps),
            Effect::Miss => assert!(!done.all_cached(), "{}", context()),
            Effect::Either => {}
        }
    }
}
