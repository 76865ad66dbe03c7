//! What COPY and ADD take.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_build::error::{BuildErrorKind, IgnoredBy};
use kiln_build::remote::{Ask, Fetched, Fetcher, RemoteError, Validators};
use kiln_build::request::NamedContext;

use kiln_layer::pack::PackError;

use crate::Case;
use crate::ground::{Done, Ground, MTIME};
use crate::shelf::Tape;

pub(crate) const CASES: &[Case] = &[
    ("copy: an image of nothing", nothing),
    ("copy: files get root as their owner and keep mode and time", plain),
    ("copy: ignore rules", ignore_rules),
    ("copy: the ignore file beside the Dockerfile wins", ignore_beside),
    ("copy: wildcards, excludes and parents", selections),
    ("copy: owners by number and by name", owners),
    ("copy: modes", modes),
    ("copy: what is missing is named", missing),
    ("copy: here-documents", heredocs),
    ("copy: links", links),
    ("copy: hard links of one source stay one file", hard_links),
    ("copy: a directory gives its place nothing of itself", only_contents),
    ("copy: what stands at a file's name", over),
    ("copy: names that are not UTF-8", odd_names),
    ("copy: --link does not look below", link),
    ("copy: from stages, images and named contexts", origins),
    ("copy: a named context as base has its line of history", context_as_base),
    ("copy: archives", archives),
    ("copy: downloads", downloads),
    ("copy: what changes while it is read is refused and not remembered", changing),
    ("copy: nothing of the host is reached by links", no_escape),
];

fn nothing() {
    let ground = Ground::new();
    let done = ground.build("FROM scratch\nENV A=b\nLABEL c=d\n");
    assert!(done.image.layers().is_empty());
    let history = done.image.config["history"].as_array().unwrap();
    assert_eq!(history.len(), 2);
    assert!(history.iter().all(|line| line["empty_layer"] == true));
}

fn plain() {
    let ground = Ground::new();
    ground.write("run.sh", "#!/bin/sh\n");
    ground.chmod("run.sh", 0o4751);
    let done = ground.build("FROM scratch\nUSER 7\nCOPY run.sh /opt/bin/\n");
    assert_eq!(done.listing(), "opt/ 755 0:0\nopt/bin/ 755 0:0\nopt/bin/run.sh 4751 0:0\n");
    assert_eq!(done.image.files()["opt/bin/run.sh"].mtime, MTIME);
    assert_eq!(done.image.file("opt/bin/run.sh"), "#!/bin/sh\n");
}

fn ignore_rules() {
    let ground = Ground::new();
    for name in ["a.log", "keep.log", "src/a.rs", "src/deep/b.log", "src/deep/b.rs", "target/x", "target/y"] {
        ground.write(name, name);
    }
    ground.write(".dockerignore", "**/*.log\n!keep.log\ntarget\n!target/y\n.dockerignore\n");
    let done = ground.build("FROM scratch\nCOPY . /\n");
    assert_eq!(done.names(), ["keep.log", "src/a.rs", "src/deep/b.rs", "target/y"]);
    // The rules are about the context alone, not about what other stages hold.
    let done =
        ground.build("FROM scratch AS a\nCOPY <<EOF /x.log\n1\nEOF\nFROM scratch\nCOPY --from=a / /\n");
    assert_eq!(done.names(), ["x.log"]);
}

fn ignore_beside() {
    let ground = Ground::new();
    ground.write("a", "");
    ground.write("b", "");
    ground.write(".dockerignore", "a\n");
    ground.write("docker/app.Dockerfile.dockerignore", "b\ndocker\n.dockerignore\n");
    let mut request = ground.request("FROM scratch\nCOPY . /\n");
    request.dockerfile_path = Some("docker/app.Dockerfile".into());
    assert_eq!(ground.build_request(&request).names(), ["a"]);
}

fn selections() {
    let ground = Ground::new();
    for name in ["a.txt", "b.txt", "c.md", "d/a.txt", "d/e/b.txt", "d/e/c.md", "[x]", "x"] {
        ground.write(name, name);
    }
    let table: &[(&str, &[&str])] = &[
        ("COPY *.txt /o/", &["o/a.txt", "o/b.txt"]),
        ("COPY ?.md /o/", &["o/c.md"]),
        ("COPY [ab].txt /o/", &["o/a.txt", "o/b.txt"]),
        ("COPY [[]x] /o/", &["o/[x]"]),
        ("COPY */*.txt /o/", &["o/a.txt"]),
        ("COPY d/*/*.md /o/", &["o/c.md"]),
        ("COPY *.none /o/", &[]),
        ("COPY a.txt *.none /o/", &["o/a.txt"]),
        ("COPY d /o", &["o/a.txt", "o/e/b.txt", "o/e/c.md"]),
        ("COPY --exclude=*.md --exclude=e/b.txt d /o", &["o/a.txt", "o/e/c.md"]),
        ("COPY --exclude=**/*.txt d /o", &["o/e/c.md"]),
        ("COPY --parents d/e/b.txt a.txt /o/", &["o/a.txt", "o/d/e/b.txt"]),
        ("COPY --parents d/./e/b.txt /o/", &["o/e/b.txt"]),
        ("COPY --parents **/*.md /o/", &["o/c.md", "o/d/e/c.md"]),
        ("COPY --parents d /o", &["o/d/a.txt", "o/d/e/b.txt", "o/d/e/c.md"]),
        ("COPY --parents */e /o", &["o/d/e/b.txt", "o/d/e/c.md"]),
        ("COPY --parents d*/./e/*.md /o", &["o/e/c.md"]),
        ("COPY --parents ./d/./**/b.txt /d/./a.txt /o", &["o/a.txt", "o/e/b.txt"]),
        ("COPY --parents d/**/b.txt /o", &["o/d/e/b.txt"]),
        ("COPY --parents *.none /o", &[]),
        // What is left out is counted from the pivot, too.
        ("COPY --parents --exclude=d/e/*.md d /o", &["o/d/a.txt", "o/d/e/b.txt"]),
        ("COPY --parents --exclude=e d /o", &["o/d/a.txt", "o/d/e/b.txt", "o/d/e/c.md"]),
        ("COPY --parents --exclude=e d/./ /o", &["o/a.txt"]),
        ("COPY --parents --exclude=** --exclude=!d/e/b.txt d /o", &["o/d/e/b.txt"]),
        ("COPY ./d/../a.txt /../o/x", &["o/x"]),
    ];
    for (line, names) in table {
        let done = ground.build(&format!("FROM scratch\n{line}\n"));
        assert_eq!(done.names(), *names, "{line}");
    }
}

fn people() -> Vec<u8> {
    let passwd = b"root:x:0:0::/:/bin/sh\napp:x:1000:1001::/home:/bin/sh\n";
    Tape::new()
        .with("etc/", b"", (0o755, 0))
        .with("etc/passwd", passwd, (0o644, 0))
        .with("etc/group", b"root:x:0:\ndata:x:50:\napp:x:1001:\n", (0o644, 0))
        .bytes()
}

fn owners() {
    let ground = Ground::new();
    ground.shelf.put("people", &[people()], |_| {});
    ground.write("f", "");
    let table = [
        ("5", "5:5"),
        ("5:6", "5:6"),
        ("app", "1000:1001"),
        ("app:data", "1000:50"),
        (":data", "0:50"),
        ("app:", "1000:0"),
        ("7:", "7:0"),
        (":", "0:0"),
        ("root:7", "0:7"),
        ("app:7", "1000:7"),
        ("7:data", "7:50"),
    ];
    for (spec, owner) in table {
        let done = ground.build(&format!("FROM people\nCOPY --chown={spec} f /d/f\n"));
        let listing = done.listing();
        assert!(listing.contains(&format!("d/ 755 {owner}\nd/f 644 {owner}\n")), "{spec}:\n{listing}");
    }
    assert_eq!(ground.build("FROM scratch\nCOPY --chown=root:root f /f\n").listing(), "f 644 0:0\n");
    // The group of a WORKDIR's directory goes by the same rule, and not by that of a process.
    let users = [
        ("7", "7:7"),
        ("1000", "1000:1000"),
        ("app", "1000:1001"),
        ("app:nobodys", "1000:1001"),
        ("nobody", "0:0"),
        ("nobody:data", "0:50"),
    ];
    for (user, owner) in users {
        let done = ground.build(&format!("FROM people\nUSER {user}\nWORKDIR /w\n"));
        assert!(done.listing().contains(&format!("w/ 755 {owner}\n")), "{user}:\n{}", done.listing());
    }
    let error = ground.fails("FROM people\nCOPY --chown=nobody f /f\n");
    assert_eq!(error.to_string(), "no user \"nobody\" in the image's /etc/passwd");
    // Owners inside an image are copied along; a flag wins.
    let from = "FROM people AS a\nCOPY --chown=3:4 f /f\nFROM scratch\n";
    assert_eq!(ground.build(&format!("{from}COPY --from=a /f /\n")).listing(), "f 644 3:4\n");
    assert_eq!(ground.build(&format!("{from}COPY --chown=9 --from=a /f /\n")).listing(), "f 644 9:9\n");
}

fn modes() {
    let ground = Ground::new();
    ground.write("d/f", "");
    ground.write("d/x", "");
    ground.chmod("d/x", 0o755);
    let table = [
        ("600", "o/ 755 0:0\no/f 600 0:0\no/x 600 0:0\n"),
        ("u=rwX,go=", "o/ 755 0:0\no/f 600 0:0\no/x 700 0:0\n"),
        ("a+x", "o/ 755 0:0\no/f 755 0:0\no/x 755 0:0\n"),
    ];
    for (mode, listing) in table {
        let done = ground.build(&format!("FROM scratch\nCOPY --chmod={mode} d/* /o/\n"));
        assert_eq!(done.listing(), listing, "{mode}");
    }
}

fn missing() {
    let ground = Ground::new();
    ground.write("src/main.rs", "");
    ground.write("secret.txt", "");
    ground.write("node/x", "");
    ground.write(".dockerignore", "# comment\nsecret*\nnode\n");
    let table = [
        ("COPY src/man.rs /", Some("src/main.rs"), None),
        ("COPY SRC /", Some("src"), None),
        ("COPY scr/main.rs /", Some("src/main.rs"), None),
        ("COPY scr/other.rs /", Some("src"), None),
        ("COPY --from=a /src/mai.rs /", Some("src/main.rs"), None),
        ("COPY secret.txt /", None, Some((2, "secret*"))),
        ("COPY node/x /", None, Some((3, "node"))),
        ("COPY zzzzzz /", None, None),
    ];
    for (line, near, rule) in table {
        let text = format!("FROM scratch AS a\nCOPY src /src\nFROM scratch\n{line}\n");
        let BuildErrorKind::MissingSource { nearest, hidden_by, .. } = ground.fails(&text) else {
            panic!("{line}")
        };
        let by = |(line, rule): (usize, &str)| IgnoredBy {
            file: ".dockerignore".to_owned(),
            line,
            rule: rule.to_owned(),
        };
        assert_eq!((nearest.as_deref(), hidden_by), (near, rule.map(by)), "{line}");
    }
    let _listener = std::os::unix::net::UnixListener::bind(ground.context("src/sock")).unwrap();
    ground.symlink("way", "src");
    for source in ["src/sock", "way/sock"] {
        let error = ground.fails(&format!("FROM scratch\nCOPY {source} /\n"));
        assert_eq!(error.to_string(), format!("\"{source}\" is a socket, which no image can hold"));
    }
}

fn heredocs() {
    let ground = Ground::new();
    let text = "FROM scratch\nARG V=1\nCOPY --chmod=700 <<a <<-\"b\" /d/\nv=$V\na\n\tv=$V\nb\n";
    let done = ground.build(text);
    assert_eq!(done.listing(), "d/ 755 0:0\nd/a 700 0:0\nd/b 700 0:0\n");
    assert_eq!((done.image.file("d/a"), done.image.file("d/b")), ("v=1\n".to_owned(), "v=$V\n".to_owned()));
}

fn links() {
    let ground = Ground::new();
    ground.write("d/file", "1");
    ground.symlink("d/link", "file");
    ground.symlink("d/dangling", "/nowhere");
    ground.symlink("e", "d");
    ground.symlink("up", "d/file/../file");
    ground.symlink("round", "d/..");
    // Links inside a directory are copied as they are, a link that is named is followed.
    let done = ground.build("FROM scratch\nCOPY d /d\nCOPY e /e\nCOPY d/link /plain\nCOPY round/d/file /f\n");
    let listing = "d/ 755 0:0\nd/dangling 777 0:0 -> /nowhere\nd/file 644 0:0\nd/link 777 0:0 -> file\n\
        e/ 755 0:0\ne/dangling 777 0:0 -> /nowhere\ne/file 644 0:0\ne/link 777 0:0 -> file\n\
        f 644 0:0\nplain 644 0:0\n";
    assert_eq!(done.listing(), listing);
    // So is one on the way to it; one that only a pattern of --parents meets is not.
    let done = ground.build("FROM scratch\nCOPY --parents d/l* e/file /o/\nCOPY --parents d/./** /p/\n");
    let listing = "o/ 755 0:0\no/d/ 755 0:0\no/d/link 777 0:0 -> file\no/e/ 755 0:0\no/e/file 644 0:0\n\
        p/ 755 0:0\np/dangling 777 0:0 -> /nowhere\np/file 644 0:0\np/link 777 0:0 -> file\n";
    assert_eq!(done.listing(), listing);
    // A file is no directory to go up from.
    assert!(matches!(ground.fails("FROM scratch\nCOPY up /x\n"), BuildErrorKind::DanglingSource { .. }));
}

/// The names of one file, as the image has them.
fn linked(done: &Done) -> BTreeMap<String, String> {
    let files = done.image.files();
    let links = files.into_iter().filter(|(_, e)| e.kind == tar::EntryType::Link);
    links.map(|(path, e)| (path, e.link.unwrap().display().to_string())).collect()
}

fn hard_links() {
    let ground = Ground::new();
    ground.write("a", "1");
    ground.write("b", "1");
    let text = "FROM scratch\nCOPY a b /x/\n";
    let apart = ground.build(text);
    assert!(linked(&apart).is_empty());
    fs_err::hard_link(ground.context("a"), ground.path("elsewhere")).unwrap();
    assert!(ground.build(text).all_cached(), "a link outside the context changes nothing");
    fs_err::remove_file(ground.context("b")).unwrap();
    fs_err::hard_link(ground.context("a"), ground.context("b")).unwrap();
    // Two sources are two files, as with BuildKit, whatever they are in the context.
    assert!(linked(&ground.build(text)).is_empty());
    assert!(linked(&ground.build("FROM scratch\nCOPY * /x/\n")).is_empty());
    // Within one source, and from one stage to the next, they stay one.
    let one = [("y/b".to_owned(), "y/a".to_owned())];
    let text = "FROM scratch AS s\nCOPY . /x/\nFROM scratch\nCOPY --from=s /x /y\n";
    assert_eq!(linked(&ground.build(text)), BTreeMap::from(one.clone()));
    assert_eq!(linked(&ground.build("FROM scratch\nCOPY --parents * /y/\n")), BTreeMap::from(one));
}

fn only_contents() {
    let ground = Ground::new();
    ground.write("d/in/f", "");
    ground.chmod("d", 0o2700);
    ground.chmod("d/in", 0o2750);
    let inner = "in/ 2750 3:4\n";
    let stage = "FROM scratch AS s\nCOPY --chown=3:4 d /a/d\nFROM scratch\n";
    let table = [
        ("COPY d /x", "x/ 755 0:0\nx/in/ 2750 0:0\n"),
        ("COPY --link d /x", "x/ 755 0:0\nx/in/ 2750 0:0\n"),
        ("ADD --chown=1 d /x/", "x/ 755 1:1\nx/in/ 2750 1:1\n"),
        ("COPY --chmod=711 d /x", "x/ 711 0:0\nx/in/ 711 0:0\n"),
        ("COPY --from=s /a/d /x", &format!("x/ 755 0:0\nx/{inner}")),
        ("COPY --from=s /a /x", &format!("x/ 755 0:0\nx/d/ 755 3:4\nx/d/{inner}")),
        ("COPY --parents d /x/", "x/ 755 0:0\nx/d/ 2700 0:0\nx/d/in/ 2750 0:0\n"),
    ];
    for (line, want) in table {
        let listing = ground.build(&format!("{stage}{line}\n")).listing();
        assert!(listing.starts_with(want), "{line}:\n{listing}");
    }
}

fn over() {
    let ground = Ground::new();
    ground.write("d/real/f", "1");
    ground.symlink("d/link", "real");
    ground.write("e/link/g", "2");
    ground.write("file", "3");
    // A link takes the place of one, though it leads to a directory; a directory goes into it.
    let done = ground.build("FROM scratch\nCOPY d /\nCOPY d /\nCOPY e /\n");
    assert_eq!(done.names(), ["link", "real/f", "real/g"]);
    assert_eq!(
        ground.build("FROM scratch\nCOPY d /\nCOPY file /link\n").names(),
        ["link", "real/f", "real/file"]
    );
    // An archive is unpacked as if its place were the root, and a member takes the place of what has its name.
    let tape = Tape::new().link("out", "/etc", tar::EntryType::Symlink).with("real", b"5", (0o644, 0));
    ground.write("t.tar", tape.bytes());
    ground.write("u.tar", Tape::new().with("out/f", b"4", (0o644, 0)).bytes());
    let done = ground.build("FROM scratch\nCOPY d /x/\nADD t.tar /x\nADD u.tar /x\n");
    assert_eq!(done.names(), ["x/etc/f", "x/link", "x/out", "x/real"]);
}

fn odd_names() {
    use std::os::unix::ffi::OsStrExt;
    let ground = Ground::new();
    let odd = |byte: u8| ground.context("").join(std::ffi::OsStr::from_bytes(&[b'x', byte]));
    let text = "FROM scratch\nCOPY x* /d/\n";
    crate::ground::write(&odd(0xfe), b"1");
    let first = ground.build(text);
    fs_err::rename(odd(0xfe), odd(0xff)).unwrap();
    let second = ground.build(text);
    assert!(!second.all_cached(), "both names look the same in lossy UTF-8");
    assert_ne!(first.image.layers(), second.image.layers());
}

fn link() {
    let ground = Ground::new();
    ground.write("f", "1");
    let base = Tape::new().with("real/", b"", (0o700, 5)).link("d", "real", tar::EntryType::Symlink).bytes();
    ground.shelf.put("base", &[base], |_| {});
    let done = ground.build("FROM base\nCOPY f /d/f\n");
    assert_eq!(
        done.image.layer(done.image.layers().last().unwrap()).into_keys().collect::<Vec<_>>(),
        ["real", "real/f"]
    );
    assert_eq!(done.image.files()["real"].mode, 0o700, "the directory keeps its looks");
    let on_base = ground.build("FROM base\nCOPY --link f /d/f\n");
    let on_nothing = ground.build("FROM scratch\nCOPY --link f /d/f\n");
    assert!(on_nothing.all_cached(), "a linked layer does not depend on what it lies on");
    assert_eq!(on_base.image.layers().last(), on_nothing.image.layers().last());
}

fn origins() {
    let ground = Ground::new();
    ground.write("f", "context");
    crate::ground::write(&ground.path("other/f"), b"other");
    ground.shelf.put("img", &[Tape::new().with("f", b"image", (0o640, 3)).bytes()], |_| {});
    let mut request = ground.request(
        "FROM scratch AS one\nCOPY f /f\nFROM one AS two\nCOPY f /g\nFROM scratch AS unused\nCOPY none /\n\
         FROM scratch\nCOPY --from=two / /two/\nCOPY --from=1 /g /g\nCOPY --from=img f /img\nCOPY --from=other f /other\n",
    );
    request.contexts.insert("other".to_owned(), NamedContext::Directory(ground.path("other")));
    let done = ground.build_request(&request);
    assert_eq!(done.names(), ["g", "img", "other", "two/f", "two/g"]);
    let file = |path: &str| done.image.file(path);
    assert_eq!(
        [file("g"), file("img"), file("other"), file("two/f")],
        ["context", "image", "other", "context"]
    );
    assert_eq!(done.image.files()["img"].uid, 3);
}

fn context_as_base() {
    let ground = Ground::new();
    crate::ground::write(&ground.path("root/etc/x"), b"1");
    let mut request = ground.request("FROM root\nCOPY <<f /\nf\n");
    request.contexts.insert("root".to_owned(), NamedContext::Directory(ground.path("root")));
    let done = ground.build_request(&request);
    assert_eq!(done.names(), ["etc/x", "f"]);
    assert_eq!(done.image.config["history"].as_array().unwrap().len(), 2);
}

fn archives() {
    let ground = Ground::new();
    let tape = || {
        Tape::new()
            .with("./", b"", (0o700, 9))
            .with("d/", b"", (0o750, 4))
            .with("d/f", b"1", (0o600, 4))
            .link("d/g", "d/f", tar::EntryType::Link)
            .link("s", "d/f", tar::EntryType::Symlink)
            .bytes()
    };
    ground.write("a.tar", tape());
    ground.write("not.tar", "text");
    let done = ground.build("FROM scratch\nADD a.tar not.tar /x/\n");
    let listing = "x/ 755 0:0\nx/d/ 750 4:4\nx/d/f 600 4:4\nx/d/g 600 4:4 = x/d/f\nx/not.tar 644 0:0\nx/s 777 0:0 -> d/f\n";
    assert_eq!(done.listing(), listing);
    assert_eq!(ground.build("FROM scratch\nCOPY a.tar /\n").names(), ["a.tar"]);
    assert_eq!(ground.build("FROM scratch\nADD --unpack=false a.tar /\n").names(), ["a.tar"]);
    let chowned = ground.build("FROM scratch\nADD --chown=8 a.tar /x/\n").image.files();
    assert_eq!((chowned["x/d"].uid, chowned["x/d/f"].uid), (8, 8));
    // One that leads out is refused; nothing is guessed.
    ground.write(
        "evil.tar",
        Tape::new().link("l", "/etc", tar::EntryType::Symlink).with("l/f", b"", (0o644, 0)).bytes(),
    );
    match ground.try_build(&ground.request("FROM scratch\nADD evil.tar /x/\n")) {
        Ok(done) => assert!(!done.names().contains(&"etc/f".to_owned()), "{}", done.listing()),
        Err(error) => assert!(matches!(error.kind, BuildErrorKind::Copy { .. }), "{error:?}"),
    }
}

struct Web;

impl Fetcher for Web {
    fn fetch(&self, ask: &Ask<'_>, out: &mut dyn std::io::Write) -> Result<Fetched, RemoteError> {
        match ask.url {
            "http://web/dir/f.txt" => out.write_all(b"web")?,
            _ => return Err(RemoteError::NotFound { detail: "404".to_owned() }),
        }
        Ok(Fetched::Body { last_modified: Some(1_000_000_000), validators: Validators::default() })
    }
}

fn downloads() {
    let ground = Ground::new();
    let build = |line: &str| {
        let mut request = ground.request(&format!("FROM scratch\n{line}\n"));
        request.fetcher = Some(Arc::new(Web));
        ground.try_build(&request)
    };
    let done = build("ADD http://web/dir/f.txt /d/").unwrap();
    assert_eq!(done.listing(), "d/ 755 0:0\nd/f.txt 600 0:0\n");
    assert_eq!(done.image.files()["d/f.txt"].mtime, 1_000_000_000);
    assert!(build("ADD http://web/dir/f.txt /d/").unwrap().all_cached());
    let sum = kiln_oci::digest::Digest::of(b"web");
    assert_eq!(build(&format!("ADD --checksum={sum} http://web/dir/f.txt /f")).unwrap().names(), ["f"]);
    let other = kiln_oci::digest::Digest::of(b"other");
    for line in [format!("ADD --checksum={other} http://web/dir/f.txt /"), "ADD http://web/none /".to_owned()]
    {
        assert!(matches!(build(&line).err().unwrap().kind, BuildErrorKind::Fetch { .. }), "{line}");
    }
}

/// Changes a file of the context while a step reads: after the file was hashed, before it is packed.
struct Meddler(std::path::PathBuf, Vec<u8>);

impl Fetcher for Meddler {
    fn fetch(&self, _: &Ask<'_>, out: &mut dyn std::io::Write) -> Result<Fetched, RemoteError> {
        crate::ground::write(&self.0, &self.1);
        out.write_all(b"web")?;
        Ok(Fetched::Body { last_modified: None, validators: Validators::default() })
    }
}

fn changing() {
    let tape = |text: &[u8]| Tape::new().with("f", text, (0o644, 0)).bytes();
    let table = [
        (b"text".to_vec(), b"TEXT".to_vec()),
        (b"text".to_vec(), b"longer text".to_vec()),
        (b"text".to_vec(), Vec::new()),
        (tape(b"1"), tape(b"2")),
        (tape(b"1"), b"no archive any more".to_vec()),
    ];
    for (before, after) in table {
        let ground = Ground::new();
        ground.write("f", &before);
        let mut request = ground.request("FROM scratch\nADD f http://web/x /d/\n");
        request.fetcher = Some(Arc::new(Meddler(ground.context("f"), after)));
        let error = ground.try_build(&request).err().unwrap();
        assert!(matches!(error.kind, BuildErrorKind::Pack(PackError::Changed { .. })), "{error:?}");
        ground.write("f", &before);
        request.fetcher = Some(Arc::new(Meddler(ground.context("f"), before)));
        assert!(!ground.build_request(&request).all_cached());
    }
}

fn no_escape() {
    let ground = Ground::new();
    crate::ground::write(&ground.path("outside/f"), b"host");
    let outside = ground.path("outside");
    ground.symlink("abs", outside.to_str().unwrap());
    ground.symlink("rel", "../outside");
    ground.symlink("file", "../outside/f");
    for line in
        ["COPY abs/f /", "COPY rel/f /", "COPY file /", "COPY * /", "COPY ../outside/f /", "COPY */f /o/"]
    {
        let text = format!("FROM scratch\n{line}\n");
        match ground.try_build(&ground.request(&text)) {
            Ok(done) => assert!(done.names().is_empty(), "{line}: {}", done.listing()),
            Err(error) => {
                let absent = matches!(
                    error.kind,
                    BuildErrorKind::MissingSource { .. } | BuildErrorKind::DanglingSource { .. }
                );
                assert!(absent, "{line}: {error:?}");
            }
        }
    }
}
