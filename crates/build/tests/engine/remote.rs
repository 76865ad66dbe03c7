//! Sources that lie elsewhere, behind doubles that count what they are asked.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use kiln_build::collect::PruneOptions;
use kiln_build::error::BuildErrorKind;
use kiln_build::remote::{
    Access, Ask, CheckedOut, CheckoutOrder, Fetched, Fetcher, RemoteContext, RemoteError, Repositories,
    Repository, Resolved, Validators, Within,
};
use kiln_build::request::{Context, NamedContext, Request, SecretSource};
use kiln_dockerfile::source::{Source, classify};
use kiln_oci::digest::Digest;

use crate::Case;
use crate::ground::{Done, Ground, write};
use crate::shelf::Tape;

pub(crate) const CASES: &[Case] = &[
    ("remote: a file is fetched once and asked for afterwards", files),
    ("remote: a checksum asks nobody", checksums),
    ("remote: a broken connection is tried again, an answer is not", broken),
    ("remote: a commit is fetched once and its branch asked for", commits),
    ("remote: whatever decides about a commit's files is another checkout", variants),
    ("remote: contexts are commits, archives and single files", contexts),
    ("remote: SOURCE_DATE_EPOCH is the time of a source", epochs),
    ("remote: collection knows what is kept", collection),
    ("remote: what is lost is fetched again", losses),
    ("remote: secrets go to the server and nowhere else", secrets),
];

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const COMMITTED: i64 = 1_500_000_000;
const MODIFIED: i64 = 1_000_000_000;

/// A web and a git server.
#[derive(Default)]
struct Net {
    /// Bodies by URL; the `ETag` is their digest.
    bodies: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What branches point to.
    branches: Mutex<BTreeMap<String, String>>,
    /// So many answers break off.
    cuts: Mutex<usize>,
    log: Mutex<Vec<String>>,
}

impl Net {
    fn note(&self, line: String) {
        self.log.lock().unwrap().push(line);
    }

    /// What was asked since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn body(&self, url: &str, body: impl AsRef<[u8]>) {
        self.bodies.lock().unwrap().insert(url.to_owned(), body.as_ref().to_vec());
    }

    fn branch(&self, name: &str, commit: &str) {
        self.branches.lock().unwrap().insert(name.to_owned(), commit.to_owned());
    }
}

impl Fetcher for Net {
    fn fetch(&self, ask: &Ask<'_>, out: &mut dyn Write) -> Result<Fetched, RemoteError> {
        let body = self.bodies.lock().unwrap().get(ask.url).cloned();
        let body = body.ok_or_else(|| RemoteError::NotFound { detail: "404".to_owned() })?;
        let etag = Digest::of(&body).to_string();
        let auth = ask.authorization.map(|value| format!(" as {value}")).unwrap_or_default();
        if ask.known.and_then(|known| known.etag.as_ref()) == Some(&etag) {
            self.note(format!("still {}{auth}", ask.url));
            return Ok(Fetched::Unchanged);
        }
        self.note(format!("get {}{auth}", ask.url));
        let mut cuts = self.cuts.lock().unwrap();
        if *cuts > 0 {
            *cuts -= 1;
            out.write_all(&body[..body.len() / 2])?;
            return Err(RemoteError::Cut { detail: "cut".to_owned() });
        }
        out.write_all(&body)?;
        let validators = Validators { etag: Some(etag), modified: None };
        let last_modified = (!ask.url.ends_with("undated")).then_some(MODIFIED);
        Ok(Fetched::Body { last_modified, validators })
    }
}

impl Repositories for Net {
    fn resolve(
        &self,
        repository: &Repository,
        reference: &str,
        _: Within<'_>,
    ) -> Result<Resolved, RemoteError> {
        self.note(format!("resolve {} {reference}", repository.url));
        let name = if reference.is_empty() { "main" } else { reference };
        match self.branches.lock().unwrap().get(name) {
            Some(object) => Ok(Resolved {
                object: object.clone(),
                reference: Some(format!("refs/heads/{name}")),
                peeled: None,
            }),
            None => Err(RemoteError::NoReference { reference: reference.to_owned(), others: Vec::new() }),
        }
    }

    fn check_out(
        &self,
        _: &Repository,
        order: &CheckoutOrder<'_>,
        within: Within<'_>,
    ) -> Result<CheckedOut, RemoteError> {
        self.note(format!("checkout {}", &order.object[..1]));
        let tree = within.place.join("checkout");
        write(&tree.join("commit"), order.object.as_bytes());
        write(&tree.join("sub/file.md"), b"text");
        if order.keep_git_dir {
            write(&tree.join(".git/HEAD"), order.object.as_bytes());
        }
        Ok(CheckedOut { tree, commit: order.object.to_owned(), time: COMMITTED })
    }
}

struct Web {
    ground: Ground,
    net: Arc<Net>,
}

impl Web {
    fn new() -> Self {
        let net = Arc::new(Net::default());
        net.branch("main", A);
        net.body("http://web/f", "one");
        Self { ground: Ground::new(), net }
    }

    fn request(&self, text: &str) -> Request {
        let mut request = self.ground.request(text);
        request.fetcher = Some(self.net.clone());
        request.repositories = Some(self.net.clone());
        request
    }

    #[track_caller]
    fn build(&self, line: &str) -> Done {
        self.ground.build_request(&self.request(&format!("FROM scratch\n{line}\n")))
    }

    #[track_caller]
    fn fails(&self, line: &str) -> RemoteError {
        match self.ground.try_build(&self.request(&format!("FROM scratch\n{line}\n"))) {
            Ok(_) => panic!("this should fail: {line}"),
            Err(error) => {
                assert_eq!(error.at.as_ref().map(|at| at.line), Some(2), "{error:?}");
                match error.kind {
                    BuildErrorKind::Fetch { source, .. } => *source,
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

fn files() {
    let web = Web::new();
    let line = "ADD http://web/f /d/";
    let done = web.build(line);
    assert_eq!(
        (done.listing().as_str(), done.image.files()["d/f"].mtime),
        ("d/ 755 0:0\nd/f 600 0:0\n", MODIFIED as u64)
    );
    assert!(web.build(line).all_cached());
    assert_eq!(web.net.asked(), ["get http://web/f", "still http://web/f"]);
    web.net.body("http://web/f", "two");
    assert!(!web.build(line).all_cached());
    web.build("ADD http://web/f /a\nADD http://web/f /b");
    assert_eq!(web.net.asked(), ["get http://web/f", "still http://web/f"], "once a build");
}

fn checksums() {
    let web = Web::new();
    let sum = Digest::of(b"one");
    let line = format!("ADD --checksum={sum} http://web/f /f");
    web.build(&line);
    assert_eq!(web.net.asked(), ["get http://web/f"]);
    assert!(web.build(&line).all_cached());
    web.build(&format!("ADD --checksum={sum} http://web/f /elsewhere"));
    // The step is there; its source need not be.
    fs_err::remove_dir_all(web.ground.store().join("source")).unwrap();
    assert!(web.build(&line).all_cached());
    assert!(web.net.asked().is_empty());
    web.net.body("http://web/f", "other");
    let wrong = web.fails(&format!("ADD --checksum={sum} http://web/f /third"));
    assert!(matches!(wrong, RemoteError::Checksum { .. }), "{wrong:?}");
}

fn broken() {
    let web = Web::new();
    *web.net.cuts.lock().unwrap() = 2;
    web.build("ADD http://web/f /f");
    assert_eq!(web.net.asked().len(), 3);
    *web.net.cuts.lock().unwrap() = 3;
    web.net.body("http://web/f", "two");
    assert!(matches!(web.fails("ADD http://web/f /f"), RemoteError::Cut { .. }));
    web.net.asked();
    assert!(matches!(web.fails("ADD http://web/none /f"), RemoteError::NotFound { .. }));
    assert!(web.net.asked().len() <= 1);
    // What came before a connection broke is nowhere.
    let unfinished = fs_err::read_dir(web.ground.store().join("tmp")).unwrap().count();
    assert_eq!(unfinished, 0);
}

fn commits() {
    let web = Web::new();
    let line = "ADD https://h/r.git#main /src";
    let done = web.build(line);
    assert_eq!(
        done.listing(),
        "src/ 755 0:0\nsrc/commit 644 0:0\nsrc/sub/ 755 0:0\nsrc/sub/file.md 644 0:0\n"
    );
    assert_eq!(web.net.asked(), ["resolve https://h/r.git main", "checkout a"]);
    assert!(web.build(line).all_cached());
    assert_eq!(web.net.asked(), ["resolve https://h/r.git main"]);
    let pinned = format!("ADD https://h/r.git#{A} /src");
    assert!(web.build(&pinned).all_cached(), "the same commit by another name");
    assert!(web.net.asked().is_empty());
    web.net.branch("main", B);
    let moved = web.build(line);
    assert_eq!(moved.image.file("src/commit"), B);
    assert_eq!(web.net.asked(), ["resolve https://h/r.git main", "checkout b"]);
    let kept = web.build(&format!("ADD --checksum=AAA https://h/r.git?fetch-by-commit=0&ref={A} /x"));
    assert_eq!(kept.image.file("x/commit"), A);
    assert!(web.net.asked().is_empty());
    let wrong = web.fails("ADD --checksum=abc https://h/r.git /x");
    assert!(matches!(&wrong, RemoteError::Checksum { got, .. } if got == B), "{wrong:?}");
    assert!(matches!(web.fails("ADD https://h/r.git#none /x"), RemoteError::NoReference { .. }));
    assert!(matches!(
        web.fails("ADD https://h/r.git?fetch-by-commit&checksum=aaa /x"),
        RemoteError::NeedsCommit
    ));
}

fn variants() {
    let web = Web::new();
    let row = |line: &str| {
        let listing = web.build(line).listing();
        (listing, web.net.asked().iter().filter(|line| line.starts_with("checkout")).count())
    };
    assert_eq!(row("ADD https://h/r.git /").1, 1);
    assert_eq!(row("ADD git://other/r /").1, 0, "a commit is the same everywhere");
    let (listing, fetched) = row("ADD --keep-git-dir https://h/r.git /");
    assert!(listing.contains(".git/HEAD") && fetched == 1, "{listing}");
    assert_eq!(row("ADD https://h/r.git?keep-git-dir /").1, 0);
    assert_eq!(row("ADD https://h/r.git?submodules=false /").1, 1);
    assert_eq!(row("ADD https://h/r.git#:sub /").1, 1);
    assert_eq!(row("ADD https://h/r.git?mtime=checkout /").1, 1);
    assert_eq!(row("ADD https://h/r.git?mtime=commit /").1, 0);
    let (listing, _) = row("ADD --chown=7:8 --chmod=600 --exclude=**/*.md https://h/r.git /x/");
    assert_eq!(listing, "x/ 600 7:8\nx/commit 600 7:8\nx/sub/ 600 7:8\n");
    let (listing, _) = row("ADD https://h/r.git http://web/f /y/");
    assert!(listing.contains("y/commit") && listing.contains("y/f 600"), "{listing}");
}

fn contexts() {
    let web = Web::new();
    let tar =
        Tape::new().with("a", b"in a tar", (0o644, 0)).with(".dockerignore", b"a\n", (0o644, 0)).bytes();
    web.net.body("http://web/c.tar", tar);
    let git = |text: &str| match classify(text) {
        Ok(Source::Git(source)) => RemoteContext::Git { source, keep_git_dir: false },
        other => panic!("{other:?}"),
    };
    let fetch = |context: &RemoteContext| {
        let engine = web.ground.engine();
        let (secrets, ssh) = (BTreeMap::new(), BTreeMap::new());
        let (fetcher, repositories) = (Some(&*web.net as &dyn Fetcher), Some(&*web.net as &dyn Repositories));
        let access = Access { fetcher, repositories, secrets: &secrets, ssh: &ssh };
        Arc::new(engine.fetch_context(context, access, &AtomicBool::new(false)).unwrap())
    };
    let main = |context: &RemoteContext, line: &str| {
        let mut request = web.request(&format!("FROM scratch\n{line}\n"));
        request.context = Context::Fetched(fetch(context));
        web.ground.build_request(&request)
    };
    let archive = RemoteContext::Http("http://web/c.tar".to_owned());
    assert_eq!(main(&archive, "COPY . /").names(), [".dockerignore", "a"], "no ignore file counts there");
    let single = fetch(&RemoteContext::Http("http://web/f".to_owned()));
    assert_eq!(fs_err::read(single.file.as_ref().unwrap()).unwrap(), b"one");
    assert!(fetch(&archive).file.is_none());
    drop(single);
    assert_eq!(main(&git("https://h/r.git"), "COPY commit /").image.file("commit"), A);
    web.net.asked();

    let named = |context: RemoteContext, text: &str| {
        let mut request = web.request(text);
        request.contexts.insert("src".to_owned(), NamedContext::Remote(context));
        web.ground.build_request(&request)
    };
    let copy = "FROM scratch\nCOPY --from=src /commit /\n";
    assert_eq!(named(git("https://h/r.git#main"), copy).names(), ["commit"]);
    assert_eq!(named(archive.clone(), "FROM src\n").names(), [".dockerignore", "a"]);
    web.net.asked();
    named(git("https://h/r.git#main"), "FROM scratch\nCOPY <<E /x\nE\n");
    assert!(web.net.asked().is_empty(), "nobody reads it");
    web.net.body("http://web/bad.tar", &Tape::new().with("f", &[7; 4000], (0o644, 0)).bytes()[..2000]);
    let bad = RemoteContext::Http("http://web/bad.tar".to_owned());
    let mut request = web.request("FROM src\n");
    request.contexts.insert("src".to_owned(), NamedContext::Remote(bad));
    let error = web.ground.try_build(&request).err().unwrap();
    assert!(
        matches!(&error.kind, BuildErrorKind::Fetch { source, .. } if matches!(**source, RemoteError::Archive { .. })),
        "{error:?}"
    );
}

fn epochs() {
    let web = Web::new();
    web.net.body("http://web/undated", Tape::new().with("a", b"", (0o644, 0)).bytes());
    let git = match classify("https://h/r.git") {
        Ok(Source::Git(source)) => RemoteContext::Git { source, keep_git_dir: false },
        other => panic!("{other:?}"),
    };
    let http = |url: &str| NamedContext::Remote(RemoteContext::Http(url.to_owned()));
    let created = |value: &str, text: &str| {
        let mut request = web.request(text);
        request.source_date_epoch = None;
        request.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), value.to_owned());
        request.contexts.insert("repo".to_owned(), NamedContext::Remote(git.clone()));
        request.contexts.insert("file".to_owned(), http("http://web/f"));
        request.contexts.insert("archive".to_owned(), http("http://web/undated"));
        request.contexts.insert("dir".to_owned(), NamedContext::Directory(web.ground.path("context")));
        let done = web.ground.try_build(&request).map_err(|error| error.kind)?;
        Ok::<_, BuildErrorKind>(done.image.config["created"].as_str().unwrap_or_default().to_owned())
    };
    let text = "FROM scratch AS when\nADD https://h/r.git /\nFROM scratch\nCOPY <<E /x\nE\n";
    for (value, want) in [
        ("repo", "2017-07-14T02:40:00Z"),
        ("file", "2001-09-09T01:46:40Z"),
        ("archive", "2020-09-13T12:26:40Z"),
        ("when", "2017-07-14T02:40:00Z"),
        ("WHEN", "2017-07-14T02:40:00Z"),
        ("99", "1970-01-01T00:01:39Z"),
    ] {
        assert_eq!(created(value, text).unwrap(), want, "{value}");
    }
    for unknown in ["context", "dir"] {
        assert!(created(unknown, text).unwrap().starts_with("20"), "{unknown}");
    }
    for bad in ["tomorrow", "two"] {
        let text =
            format!("{text}FROM scratch AS two\nADD http://web/f /a\nADD http://web/f /b\nFROM when\n");
        assert!(matches!(created(bad, &text), Err(BuildErrorKind::Epoch { .. })), "{bad}");
    }
}

fn collection() {
    let web = Web::new();
    let lines = "ADD http://web/f /f\nADD https://h/r.git /r";
    drop(web.build(lines));
    let engine = web.ground.engine();
    assert!(engine.usage().unwrap().sources > 0);
    // A folder whose record was never written.
    let half = web.ground.store().join("source").join("0".repeat(64));
    write(&half.join("f"), b"half");
    engine.prune(&PruneOptions::default(), &|| true).unwrap();
    assert!(!half.exists());
    web.net.asked();
    web.build("ADD http://web/f /elsewhere\nADD https://h/r.git /elsewhere2");
    assert_eq!(web.net.asked(), ["still http://web/f", "resolve https://h/r.git "]);
    let everything = PruneOptions { all: true, ..PruneOptions::default() };
    engine.prune(&everything, &|| true).unwrap();
    assert_eq!(fs_err::read_dir(web.ground.store().join("source")).unwrap().count(), 0);
    web.build(lines);
    assert_eq!(web.net.asked().len(), 3, "all of it anew");
}

fn losses() {
    let web = Web::new();
    drop(web.build("ADD http://web/f /f\nADD https://h/r.git /r"));
    let source = web.ground.store().join("source");
    let entries = || -> Vec<_> { fs_err::read_dir(&source).unwrap().map(|e| e.unwrap().path()).collect() };
    for (i, lost) in entries().into_iter().enumerate() {
        if lost.is_dir() {
            fs_err::remove_dir_all(&lost).unwrap()
        } else {
            fs_err::remove_file(&lost).unwrap()
        }
        let done = web.build(&format!("ADD http://web/f /f{i}\nADD https://h/r.git /r{i}"));
        assert_eq!(done.image.file(&format!("f{i}")), "one", "{}", lost.display());
        assert_eq!(done.image.file(&format!("r{i}/commit")), A);
    }
    for record in entries().into_iter().filter(|path| path.is_file()) {
        fs_err::write(&record, b"{\"digest\":").unwrap();
    }
    assert_eq!(web.build("ADD http://web/f /again").image.file("again"), "one");
}

fn secrets() {
    const TOKEN: &str = "a-very-secret-token";
    let web = Web::new();
    let mut request = web.request("FROM scratch\nADD http://web/f /f\nADD https://h/r.git /r\n");
    for id in ["HTTP_AUTH_TOKEN_web", "GIT_AUTH_TOKEN"] {
        request.secrets.insert(id.to_owned(), SecretSource::Bytes(Arc::from(TOKEN.as_bytes())));
    }
    web.net.body("http://user:hidden-password@web/f", "in");
    drop(web.ground.build_request(&request));
    assert!(web.net.asked().contains(&format!("get http://web/f as Bearer {TOKEN}")));
    let done = web.build("ADD http://user:hidden-password@web/f /f");
    assert!(!format!("{:?}{}", done.events, done.image.config).contains("hidden-password"));
    drop(done);
    let mut pending = vec![web.ground.store()];
    while let Some(dir) = pending.pop() {
        for entry in fs_err::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let bytes = fs_err::read(&path).unwrap();
            for secret in [TOKEN.as_bytes(), b"hidden-password"] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
            }
        }
    }
}
