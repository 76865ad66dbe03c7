//! RUN: what its layers hold, what it can see, and what of it is kept.

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_build::error::BuildErrorKind;
use kiln_build::event::{Event, TaskOutcome};
use kiln_build::request::SecretSource;

use crate::Case;
use crate::ground::{Done, Ground};
use crate::shelf::{Tape, busybox};

pub(crate) const CASES: &[Case] = &[
    ("run: a layer holds what changed and nothing else", changes),
    ("run: whiteouts, opaque directories, kinds that change", whiteouts),
    ("run: empty layers, again and again", empty),
    ("run: the same again keeps the image", same_again),
    ("run: times are an instruction's own", own_times),
    ("run: arguments, users, directories, here-documents", surroundings),
    ("run: secrets leave no trace", secrets),
    ("run: what is bound can be written and is thrown away", bound),
    ("run: the content of what is bound counts", bound_counts),
    ("run: cache mounts stay and count for nothing", caches),
    ("run: two steps that lock two caches do not lock up", locked_caches),
    ("run: a failure has its code, line and log", failures),
    ("run: a step that is stopped dies at once", stopped),
    ("run: copies between commands", copies),
    ("run: hard links across a command", hard_links),
    ("run: a long row of steps shows what its layers say", long_rows),
    ("run: a base is unpacked as it comes", unpacked_as_it_comes),
    ("run: what one rung made serves another", other_rung),
    ("run: an agent is reached during the step and not after", agent),
];

/// A ground with the image `base`: busybox, two users, `/d` with two files.
fn ground() -> Ground {
    let ground = Ground::with_run();
    ground.shelf.put("base", &[busybox()], |_| {});
    ground
}

/// The paths of the last layer, marks and all.
fn last_layer(done: &Done) -> Vec<String> {
    done.image.layer(done.image.layers().last().unwrap()).into_keys().collect()
}

fn changes() {
    let ground = ground();
    let done = ground.build(
        "FROM base\nRUN echo 1 > /new && chmod 600 /d/a && mkdir -p /e/f && touch /tmp/x && rm /tmp/x\n",
    );
    let layer = last_layer(&done);
    assert_eq!(layer.iter().filter(|p| *p != "tmp").collect::<Vec<_>>(), ["d", "d/a", "e", "e/f", "new"]);
    assert_eq!((done.image.file("new"), done.image.files()["d/a"].mode), ("1\n".to_owned(), 0o600));
    assert_eq!(done.image.files()["tmp"].mode, 0o1777);
    let upper = fs_err::read_dir(ground.store().join("tmp")).unwrap().count();
    assert_eq!(upper, 0, "nothing is left of the run");
}

fn whiteouts() {
    let ground = ground();
    let text = "FROM base\nRUN mkdir -p /x/y && echo 1 > /x/y/z && ln -s d /l\n\
        RUN rm /d/a && rm -r /x && mkdir /x && echo 2 > /x/new && rm /l && mkdir /l && rm -r /tmp && echo 3 > /tmp\n\
        COPY --from=base /d/a /copied\nRUN test ! -e /d/a && test ! -e /x/y && test -e /copied && rm -r /d && ln -s x /d\n";
    let done = ground.build(text);
    let names: Vec<_> =
        done.names().into_iter().filter(|n| !n.starts_with("bin") && !n.starts_with("etc")).collect();
    assert_eq!(names, ["copied", "d", "tmp", "x/new"]);
    // The same from the layers' blobs alone, in another store.
    let fresh = ground.fresh();
    fresh.try_build_named(&fresh.request("FROM scratch\n"), "x").unwrap();
    assert!(ground.build(text).all_cached());
    let again =
        ground.build(&format!("{text}RUN test -h /d && test -d /l && test -f /tmp && test ! -e /x/y\n"));
    assert_eq!(again.outcomes().last(), Some(&TaskOutcome::Done));
}

fn empty() {
    let ground = ground();
    let done =
        ground.build("FROM base\nRUN true\nRUN true\nRUN /bin/true\nWORKDIR /\nRUN echo 1 > /f\nRUN true\n");
    assert_eq!(done.image.layers().len(), 6);
    assert_eq!(done.image.file("f"), "1\n");
    // A layer that occurs twice lies over what was between.
    ground.write("s/a", "1");
    ground.write("t/a", "2");
    let done = ground.build("FROM base\nCOPY s /s\nRUN true\nCOPY t /s\nRUN test $(cat /s/a) = 2\nCOPY s /s\nRUN test $(cat /s/a) = 1\n");
    assert_eq!(done.image.file("s/a"), "1");
}

fn same_again() {
    let ground = ground();
    let text = "FROM base\nRUN echo 1 > /f\nRUN echo 2 > /g\n";
    let first = ground.build(text);
    let mut request = ground.request(text);
    request.no_cache = true;
    let again = ground.build_request(&request);
    assert_eq!(again.outcomes(), [TaskOutcome::Same, TaskOutcome::Same]);
    assert_eq!(again.image.digest, first.image.digest);
    // Another command with the same result keeps what follows cached.
    let edited = ground.build("FROM base\nRUN echo 1 >/f; true\nRUN echo 2 > /g\n");
    assert_eq!(edited.outcomes(), [TaskOutcome::Done, TaskOutcome::Cached]);
    let told = |done: &Done| {
        done.events
            .iter()
            .filter(|e| matches!(e, Event::Notice { message, .. } if message.contains("was there before")))
            .count()
    };
    let cached = ground.build(text);
    assert_eq!([&first, &again, &edited, &cached].map(told), [0, 0, 1, 0]);
}

fn own_times() {
    let ground = ground();
    let time = |text: &str| {
        ground.build(&format!("FROM base\nRUN echo 1 > /f && touch -d @{text} /f\n")).image.files()["f"].mtime
    };
    assert_eq!(time("1000"), 1000);
    assert_eq!(time("2000"), 2000, "contents are the same, and still this was asked for");
}

fn surroundings() {
    let ground = ground();
    let text = "FROM base\nARG A=1\nENV B=2\nWORKDIR /new/dir\nUSER app\n\
        RUN test $A$B = 12 && test $(pwd) = /new/dir && test $HOME = /home/app\n\
        RUN <<EOF\necho $A > /h\ntest -e /h\nEOF\nRUN [\"/bin/sh\", \"-c\", \"echo $B > /e\"]\n";
    let done = ground.build(text);
    assert_eq!([done.image.file("h"), done.image.file("e")], ["1\n", "2\n"]);
    assert!(ground.build(text).all_cached());
    let mut request = ground.request(text);
    request.build_args.insert("A".to_owned(), "3".to_owned());
    assert!(ground.try_build(&request).is_err(), "the command sees the other argument");
    let dns = ground.build("FROM base\nRUN test -e /etc/hosts && test -d /proc/self && test -d /sys\n");
    assert!(
        !dns.names()
            .iter()
            .any(|n| n.starts_with("etc/hosts") || n.starts_with("proc") || n.starts_with("etc/resolv"))
    );
}

/// Every file below `dir` that holds `needle`.
fn holding(dir: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs_err::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            found.extend(holding(&path, needle));
        } else if meta.is_file() && fs_err::read(&path).unwrap().windows(needle.len()).any(|w| w == needle) {
            found.push(path);
        }
    }
    found
}

fn secrets() {
    let ground = ground();
    let secret = "xyzzy-plugh-9321";
    let text = "FROM base\nRUN --mount=type=secret,id=s,mode=0440 --mount=type=secret,id=s,env=S \
        test $(cat /run/secrets/s) = $S && echo ok > /ok\n";
    let with = |value: &str| {
        let mut request = ground.request(text);
        request.secrets.insert("s".to_owned(), SecretSource::Bytes(Arc::from(value.as_bytes())));
        let mut failing = ground.request(&text.replace("echo ok", "exit 3; echo ok"));
        failing.secrets = request.secrets.clone();
        assert!(matches!(
            ground.try_build(&failing).err().unwrap().kind,
            BuildErrorKind::Exit { code: 3, .. }
        ));
        ground.build_request(&request)
    };
    let done = with(secret);
    assert!(!done.names().iter().any(|n| n.starts_with("run/")), "{}", done.listing());
    assert_eq!(holding(&ground.store(), secret.as_bytes()), Vec::<PathBuf>::new());
    let events = format!("{:?}", done.events);
    assert!(!events.contains(secret), "{events}");
    assert!(with("another").all_cached(), "a secret's value is no part of the key");
    let missing = ground.fails("FROM base\nRUN --mount=type=secret,id=none,required=true true\n");
    assert!(matches!(missing, BuildErrorKind::Secret { .. }), "{missing:?}");
}

fn bound() {
    let ground = ground();
    ground.write("src/f", "1");
    ground.write("src/.hidden", "1");
    ground.write(".dockerignore", "src/.hidden\n");
    let done = ground.build(
        "FROM base AS other\nRUN mkdir /o && echo o > /o/f\nFROM base\n\
         RUN --mount=type=bind,source=src,target=/m,rw --mount=type=bind,from=other,source=/o,target=/o,rw \
         echo 2 > /m/f && echo 3 > /m/g && rm /o/f && test ! -e /m/.hidden && cat /m/f > /out\n\
         RUN --mount=type=bind,source=src,target=/m --mount=type=bind,from=other,target=/o \
         test $(cat /m/f)$(cat /o/o/f) = 1o && test ! -e /m/g && ! echo x > /m/f && ! rm /o/o/f\n",
    );
    assert_eq!(fs_err::read_to_string(ground.context("src/f")).unwrap(), "1");
    assert!(!ground.context("src/g").exists());
    let names = done.names();
    assert!(
        names.contains(&"out".to_owned())
            && !names.iter().any(|n| n.starts_with("m/") || n.starts_with("o/"))
    );
}

fn bound_counts() {
    let ground = ground();
    ground.write("src/f", "1");
    ground.write("src/g", "1");
    let text = "FROM base\nRUN --mount=type=bind,source=src/f,target=/m cat /m > /out\n";
    assert_eq!(ground.build(text).image.file("out"), "1");
    ground.write("src/g", "2");
    assert!(ground.build(text).all_cached());
    ground.write("src/f", "2");
    assert_eq!(ground.build(text).image.file("out"), "2");
}

fn caches() {
    let ground = ground();
    let line = |n: usize| {
        format!("FROM base\nRUN --mount=type=cache,target=/c echo {n} >> /c/log && cat /c/log > /out\n")
    };
    assert_eq!(ground.build(&line(1)).image.file("out"), "1\n");
    let second = ground.build(&line(2));
    assert_eq!(second.image.file("out"), "1\n2\n");
    assert!(!second.names().iter().any(|n| n.starts_with("c/")), "{}", second.listing());
    assert!(ground.build(&line(1)).all_cached());
    ground.write("seed/log", "seed\n");
    let text = "FROM scratch AS s\nCOPY seed /\nFROM base\n\
        RUN --mount=type=cache,id=x,from=s,target=/c --mount=type=cache,id=x,target=/d,sharing=locked cat /d/log > /out\n";
    assert_eq!(ground.build(text).image.file("out"), "seed\n", "one cache in two places");
}

fn locked_caches() {
    let ground = ground();
    let mount = |id: &str| format!("--mount=type=cache,id={id},target=/{id},sharing=locked");
    let mut text = String::new();
    for (i, (first, second)) in [("x", "y"), ("y", "x"), ("x", "y"), ("y", "x")].iter().enumerate() {
        let (first, second) = (mount(first), mount(second));
        text.push_str(&format!(
            "FROM base AS s{i}\nRUN {first} {second} echo {i} >> /x/log; echo {i} > /out\n"
        ));
    }
    text.push_str("FROM scratch\n");
    (0..4).for_each(|i| text.push_str(&format!("COPY --from=s{i} /out /o{i}\n")));
    let mut request = ground.request(&text);
    request.jobs = 4;
    assert_eq!(ground.build_request(&request).names(), ["o0", "o1", "o2", "o3"]);
}

fn failures() {
    let ground = ground();
    let error =
        ground.try_build(&ground.request("FROM base\nRUN true\nRUN echo said; exit 42\n")).err().unwrap();
    assert_eq!(error.at.map(|at| at.line), Some(3));
    let BuildErrorKind::Exit { command, code, log } = error.kind else { panic!("another error") };
    assert_eq!((command.as_str(), code), ("echo said; exit 42", 42));
    assert_eq!(fs_err::read_to_string(log).unwrap(), "said\n");
    assert!(ground.build("FROM base\nRUN true\n").all_cached(), "what was done before stays done");
    let killed = ground.fails("FROM base\nRUN sh -c 'kill -9 $$' || exit 7\n");
    assert!(matches!(killed, BuildErrorKind::Exit { code: 7, .. }), "{killed:?}");
    // A step that failed is tried again and not remembered.
    ground.write("f", "1");
    assert!(ground.try_build(&ground.request("FROM base\nRUN test -e /f\n")).is_err());
    assert!(ground.try_build(&ground.request("FROM base\nRUN test -e /f\n")).is_err());
}

fn stopped() {
    let ground = ground();
    let cancel = AtomicBool::new(false);
    let sink = |event: Event| {
        if matches!(&event, Event::Output { bytes, .. } if bytes.starts_with(b"here")) {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let began = Instant::now();
    let request = ground.request("FROM base\nRUN sleep 100 & echo here; sleep 100\n");
    let error = ground.engine().build(&request, &sink, &cancel).err().unwrap();
    assert!(matches!(error.kind, BuildErrorKind::Interrupted), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(fs_err::read_dir(ground.store().join("tmp")).unwrap().count(), 0);
}

fn copies() {
    let ground = ground();
    ground.write("f", "1");
    let text = "FROM base AS a\nCOPY f /in\nRUN cat /in > /out && chmod 640 /out && ln -s out /link\nCOPY --chmod=700 f /late\n\
        RUN test -x /late\nFROM scratch\nCOPY --from=a /out /late /link /x/\n";
    let done = ground.build(text);
    assert_eq!(done.listing(), "x/ 755 0:0\nx/late 700 0:0\nx/link 640 0:0\nx/out 640 0:0\n");
    ground.write("f", "2");
    let again = ground.build(text);
    assert_eq!(again.image.file("x/out"), "2");
}

fn hard_links() {
    let ground = ground();
    let done = ground.build("FROM base\nRUN echo 1 > /a && ln /a /b && ln /d/a /d/c\nRUN echo 2 > /b\n");
    let files = done.image.files();
    assert_eq!(files["d/c"].link.as_deref(), Some(Path::new("d/a")));
    let last = done.image.layer(done.image.layers().last().unwrap());
    assert_eq!(
        last.keys().collect::<Vec<_>>(),
        ["b"],
        "writing one name breaks the link in a layer, as overlayfs does"
    );
}

/// Thin layers share directories in an overlay: what commands see must be what the layers hold, nothing of those directories may stay.
fn long_rows() {
    let ground = ground();
    let mut text =
        "FROM base\nRUN mkdir -p /row/a/b /row/c && echo 0 > /row/a/b/x && ln /row/a/b/x /row/linked\n"
            .to_owned();
    let changes = [
        "echo N > /row/f$((N % 7))",
        "rm -rf /row/a && mkdir -p /row/a/b && echo N > /row/a/y",
        "rm -rf /row/c && echo N > /row/c",
        "rm -rf /row/c && mkdir /row/c && echo N > /row/c/N && chmod 7N0 /row/c",
        "mv /row/a/b /row/bN && touch -d 2001-02-03 /row/bN && mkdir -p /row/a/b",
        "ln -sf fN /row/l && chown N:1 /row/f$((N % 5)) 2> /dev/null || true",
        "rm -f /row/f$((N % 3)) /d/a; mkdir -p /deep/N/er; rm -rf /deep/$((N - 7))",
    ];
    for number in 0..60 {
        let change = changes[number * 5 % changes.len()].replace('N', &(number % 8).to_string());
        text.push_str(&format!("RUN {change}\n"));
    }
    text.push_str("RUN find row deep d ! -type l -exec stat -c '%n %a %u:%g' {} + > /seen\n");
    text.push_str("RUN find row deep d -type f ! -name linked > /order && xargs cat < /order > /read\n");
    text.push_str("RUN grep -o lowerdir /proc/self/mountinfo | wc -l > /count\n");
    let done = ground.build(&text);
    let mut files = done.image.files();
    files.retain(|path, entry| {
        entry.kind != tar::EntryType::Symlink
            && ["row", "deep", "d"].iter().any(|top| path.split('/').next() == Some(top))
    });
    let held: BTreeSet<String> = files
        .iter()
        .map(|(path, entry)| format!("{path} {:o} {}:{}", entry.mode, entry.uid, entry.gid))
        .collect();
    let seen = done.image.file("seen");
    assert_eq!(seen.lines().map(str::to_owned).collect::<BTreeSet<_>>(), held);
    let order = done.image.file("order");
    let held: Vec<u8> = order.lines().flat_map(|path| files[path].content.clone()).collect();
    assert_eq!(done.image.file("read").into_bytes(), held);
    let count: usize = done.image.file("count").trim().parse().unwrap();
    assert!((2..40).contains(&count), "62 layers lie in {count} directories");
    assert_eq!(fs_err::read_dir(ground.store().join("tmp")).unwrap().count(), 0);
}

/// Kind, mode, size and time of everything in the store's trees.
fn trees(ground: &Ground) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![ground.store().join("tree")];
    while let Some(dir) = todo.pop() {
        for entry in fs_err::read_dir(dir).unwrap() {
            let (path, meta) = entry.map(|e| (e.path(), e.metadata().unwrap())).unwrap();
            // A whiteout is a device, whose time means nothing.
            let whiteout = meta.file_type().is_char_device();
            let times = (!whiteout).then(|| (meta.mtime(), meta.mtime_nsec()));
            let what = format!("{:o} {} {times:?}", meta.mode(), if meta.is_dir() { 0 } else { meta.len() });
            found.push(format!("{} {what}", path.strip_prefix(ground.store()).unwrap().display()));
            if meta.is_dir() {
                todo.push(path);
            }
        }
    }
    found.sort();
    found
}

fn unpacked_as_it_comes() {
    let at_once = ground();
    // The upper layers say nothing of `d`, which is not as directories usually are; one of them is there twice.
    let low = Tape::new().with("d/", b"", (0o700, 0)).bytes();
    let high = Tape::new().with("d/x", b"x", (0o644, 0)).with("d/.wh.a", b"", (0o644, 0)).bytes();
    at_once.shelf.put("high", &[busybox(), high.clone(), low, high.clone(), high], |_| {});
    let run = "FROM high\nRUN test -e /d/x && test ! -e /d/a\n";
    at_once.build(run);
    assert_eq!(at_once.shelf.asked().1, 3, "each layer came once");
    let later = at_once.fresh();
    let copied = at_once.request("FROM high\nCOPY <<EOF /h\nEOF\n");
    later.build_request(&copied);
    assert_eq!(trees(&later), [""; 0], "nobody runs anything on it");
    later.build_request(&at_once.request(run));
    assert_eq!(at_once.shelf.asked().1, 6, "and once more for the other store");
    assert_eq!(trees(&at_once), trees(&later));
    assert!(trees(&later).iter().any(|line| line.contains("/d 40700 ")), "{:?}", trees(&later));
}

fn other_rung() {
    let mut ground = ground();
    let text = "FROM base\nRUN echo 1 > /f && mkdir /e && chmod 700 /e\n";
    let done = ground.build(text);
    // Without a rung nothing can run, and trees of other owners are of no use; the blob is.
    ground.descend();
    let again = ground.build(&format!("{text}COPY --from=base /d/a /g\n"));
    assert_eq!(again.outcomes(), [TaskOutcome::Cached, TaskOutcome::Done]);
    assert_eq!(again.image.layers()[..2], done.image.layers());
    let error = ground.try_build(&ground.request("FROM base\nRUN echo 2 > /f\n")).err().unwrap();
    assert!(matches!(error.kind, BuildErrorKind::NeedsNamespace), "{error:?}");
    assert_eq!(error.at.map(|at| at.line), Some(2));
}

fn agent() {
    let ground = ground();
    let socket = ground.path("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut request = ground.request(
        "FROM base\nRUN --mount=type=ssh,required=true,mode=0660 test -S $SSH_AUTH_SOCK && ls -l $SSH_AUTH_SOCK > /out\n",
    );
    let missing = ground.try_build(&request).err().unwrap();
    assert!(matches!(missing.kind, BuildErrorKind::Agent { .. }), "{missing:?}");
    // The mount itself is pointed at, not the whole instruction.
    assert_eq!(&request.dockerfile[missing.at.unwrap().span.start..][..14], "--mount=type=s");
    request.ssh.insert("default".to_owned(), socket.clone());
    let done = ground.build_request(&request);
    assert!(done.image.file("out").starts_with("srw-rw----"), "{}", done.image.file("out"));
    assert!(!done.names().iter().any(|n| n.contains("agent")), "{}", done.listing());
    request.ssh.insert("default".to_owned(), ground.path("nobody"));
    assert!(ground.build_request(&request).all_cached(), "which agent it is does not count");
    request.no_cache = true;
    let gone = ground.try_build(&request).err().unwrap();
    assert!(gone.to_string().contains("ssh agent"), "{gone}");
}
