//! Sources that lie elsewhere: git by http, git's own protocol and ssh, files and archives by http, from servers that answer well and
//! badly.

use std::path::Path;
use std::process::{Command, Stdio};

use kiln_testkit::actor::Actor;
use kiln_testkit::image::Layout;
use kiln_testkit::kiln::Kiln;
use kiln_testkit::outcome::Outcome;
use kiln_testkit::repository::{COMMITTED, Repository};
use kiln_testkit::web::{Page, Web};

/// kiln, a web server, and a repository with a submodule, a tag and a branch.
struct Ground {
    kiln: Kiln,
    web: Web,
    repository: Repository,
    first: String,
    second: String,
}

impl Ground {
    fn new(actor: Actor) -> Self {
        let kiln = Kiln::new(actor);
        // Servers and users both read it, and it belongs to who runs the server.
        let root = kiln.scratch.join("repositories");
        let sub = Repository::new(&root, "sub");
        sub.commit(&[("s.txt", "of the submodule\n")]);
        let repository = Repository::new(&root, "repo");
        repository.git(&[
            "submodule",
            "add",
            "-q",
            &root.join("sub.git").display().to_string(),
            "vendor/sub",
        ]);
        repository.git(&["config", "-f", ".gitmodules", "submodule.vendor/sub.url", "../sub.git"]);
        let first = repository.commit(&[
            ("Dockerfile", "FROM scratch\nCOPY . /all/\n"),
            (".dockerignore", "*.md\n"),
            ("dir/Dockerfile", "FROM scratch\nCOPY file /\n"),
            ("dir/file", "first\n"),
            ("link", "-> dir"),
            ("x.md", "not hidden\n"),
        ]);
        repository.git(&["tag", "-a", "v1", "-m", "a tag"]);
        repository.git(&["branch", "old"]);
        let second = repository.commit(&[("dir/file", "second\n")]);
        let web = Web::start(&root);
        Self { kiln, web, repository, first, second }
    }

    /// `kiln build ARGUMENTS` with the result as a layout in the folder `image`.
    fn build(&self, arguments: &[&str]) -> Outcome {
        let spec = format!("type=oci,dest={},tar=false", self.kiln.scratch.join("image").display());
        let _ = fs_err::remove_dir_all(self.kiln.scratch.join("image"));
        self.kiln.run([&["build", "--output", &spec], arguments].concat())
    }

    fn image(&self, arguments: &[&str]) -> Layout {
        self.build(arguments).succeeds();
        Layout::open(&self.kiln.scratch.join("image"))
    }

    /// A build of these lines on `scratch`, with the context `empty`.
    fn lines(&self, lines: &str, arguments: &[&str]) -> Outcome {
        let context = self.kiln.scratch.tree("empty", &[("Dockerfile", &format!("FROM scratch\n{lines}\n"))]);
        self.build(&[arguments, &[&context.display().to_string()]].concat())
    }

    fn lines_image(&self, lines: &str, arguments: &[&str]) -> Layout {
        self.lines(lines, arguments).succeeds();
        Layout::open(&self.kiln.scratch.join("image"))
    }
}

#[test]
fn a_repository_is_a_context() {
    let mut digests = Vec::new();
    for actor in Actor::RUNNERS {
        let ground = Ground::new(actor);
        let url = ground.web.url("/repo.git");
        let image = ground.image(&[&url]);
        assert_eq!(image.file("all/dir/file"), "second\n");
        assert_eq!(image.file("all/vendor/sub/s.txt"), "of the submodule\n");
        assert_eq!(image.file("all/x.md"), "not hidden\n", "as in BuildKit, no ignore file counts there");
        let files = image.files();
        assert!(
            !files.keys().any(|name| name.contains(".git/") || name.ends_with("/.git")),
            "{:?}",
            files.keys()
        );
        assert_eq!((files["all/dir/file"].mtime, files["all/dir/file"].mode), (COMMITTED, 0o644));
        ground.web.requests();
        assert_eq!(ground.image(&[&url]).digest, image.digest);
        assert_eq!(ground.web.requests().len(), 2, "only what the branch points to is asked");
        let pinned = format!("{url}#{}", ground.second);
        assert_eq!(ground.image(&[&pinned]).digest, image.digest);
        assert!(ground.web.requests().is_empty(), "a commit's id needs nobody");
        ground.kiln.store_is_whole();
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=context", url.as_str()];
        let image = ground.image(&epoch);
        assert_eq!(image.config["created"], "2017-07-14T02:40:00Z");
        digests.push(image.digest);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "the same for everybody: {digests:?}");
}

#[test]
fn every_way_to_name_a_commit() {
    let ground = Ground::new(Actor::NoSub);
    let url = |rest: &str| ground.web.url(&format!("/repo.git{rest}"));
    let (first, second) = ("first\n", "second\n");
    let cases = [
        (url("#:dir"), second),
        (url("#main:dir"), second),
        (url("#v1:dir"), first),
        (url("#refs/heads/old:dir"), first),
        (url("?branch=old&subdir=dir"), first),
        (url("?tag=v1&subdir=/dir/"), first),
        (url(&format!("#{}:dir", ground.first)), first),
        (url(&format!("?ref=old&subdir=dir&checksum={}", &ground.first[..9])), first),
        (url(&format!("?subdir=dir&fetch-by-commit&commit={}", ground.first)), first),
        (ground.web.url("/dumb/repo.git#old:dir"), first),
        (ground.web.url(&format!("/dumb/repo.git?submodules=false#{}:dir", ground.first)), first),
    ];
    for (url, want) in cases {
        assert_eq!(ground.image(&[&url]).file("file"), want, "{url}");
    }
    let out = ground.kiln.scratch.join("image");
    let bad = [
        (url("#mian"), 1, vec!["mian", "did you mean \"main\""]),
        (url(&format!("#{}", "0".repeat(40))), 1, vec!["no commit 000000"]),
        (url("#:nowhere"), 1, vec!["\"nowhere\" is not a directory"]),
        (url("#:link"), 1, vec!["\"link\" is not a directory"]),
        (url("#:.git"), 1, vec!["is not a directory"]),
        (url("?checksum=00000000"), 1, vec![ground.second.as_str(), "not the checksum 00000000"]),
        (url("?colour=blue"), 2, vec!["unexpected query", "colour"]),
        (url("#--upload-pack=touch"), 2, vec!["begins with a dash"]),
        (ground.web.url("/other.git"), 1, vec!["not found", "check the address"]),
    ];
    for (url, code, words) in bad {
        ground.build(&[&url]).fails(code, &words);
        assert!(!out.exists(), "{url}");
    }
    ground.kiln.store_is_whole();
}

#[test]
fn git_is_added() {
    for actor in [Actor::Sub, Actor::NoNamespaces] {
        let ground = Ground::new(actor);
        let url = ground.web.url("/repo.git");
        let lines = format!(
            "ADD {url}#old:dir /sub/\nADD --keep-git-dir {url}#v1 /kept\nCOPY --from=src /dir/file /named"
        );
        let context = format!("src={url}#v1");
        let image = ground.lines_image(&lines, &["--build-context", &context]);
        assert_eq!(
            (image.file("sub/file"), image.file("named")),
            ("first\n".to_owned(), "first\n".to_owned())
        );
        let dest = ground.kiln.scratch.join("files");
        let spec = format!("type=local,dest={}", dest.display());
        ground.lines(&lines, &["--build-context", &context, "--output", &spec]).succeeds();
        let git = |dir: &Path, arguments: &[&str]| {
            let output = Command::new("git")
                .args(["-c", "safe.directory=*"])
                .args(arguments)
                .current_dir(dir)
                .output();
            let output = output.expect("git can be started");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let kept = dest.join("kept");
        assert_eq!(git(&kept, &["rev-parse", "HEAD"]), ground.first);
        assert_eq!(git(&kept, &["describe", "--tags"]), "v1");
        assert_eq!(git(&kept, &["status", "--short"]), "");
        assert_eq!(git(&kept, &["remote", "get-url", "origin"]), url);
        if actor == Actor::Sub {
            continue;
        }
        // What is kept of the repository tells nothing of this build.
        let again = Ground::new(actor);
        let other = again.web.url("/repo.git");
        let files = |image: &Layout| -> Vec<_> {
            let all = image.files();
            let kept = all
                .into_iter()
                .filter(|(name, _)| name.starts_with("kept/.git/") && !name.ends_with("/config"));
            kept.collect()
        };
        let second = again.lines_image(&format!("ADD --keep-git-dir {other}#v1 /kept"), &[]);
        let (one, two) = (files(&image), files(&second));
        assert!(one.len() > 8);
        assert_eq!(one, two);
    }
}

#[test]
fn mistakes_name_the_line_and_the_way_out() {
    let ground = Ground::new(Actor::NoSub);
    let web = &ground.web;
    web.page("/500", Page::Status(500));
    web.page("/loop", Page::To("/loop".to_owned()));
    web.page("/locked", Page::Locked(b"text".to_vec(), "Bearer t"));
    web.page("/cut", Page::Cut(vec![b'x'; 5000], 99));
    web.file("/bad.tar", &b"\x1f\x8b\x08\0\0\0\0\0 no gzip after all"[..]);
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let sum = format!("sha256:{}", "0".repeat(64));
    let cases = [
        (format!("ADD {} /", web.url("/none")), vec!["404", "/none", "check the address"]),
        (format!("ADD {} /", web.url("/500")), vec!["500", "try again later"]),
        (format!("ADD {} /", web.url("/loop")), vec!["redirects"]),
        (
            format!("ADD {} /", web.url("/locked")),
            vec!["401|denied", "--secret id=HTTP_AUTH_TOKEN_127.0.0.1,"],
        ),
        (format!("ADD {} /", web.url("/cut")), vec!["broke|ended", "try again later"]),
        (format!("ADD http://user:hidden@{free}/f?sig=hidden /"), vec!["refused", "/f"]),
        (format!("ADD --checksum={sum} {} /", web.url("/cut2")), vec!["404"]),
        (format!("ADD --checksum={sum} {} /", web.url("/bad.tar")), vec!["not the checksum sha256:0000"]),
        (format!("ADD {} /", web.url("/locked/repo.git")), vec!["--secret id=GIT_AUTH_TOKEN.127.0.0.1:"]),
        (format!("ADD git://user:hidden@{free}/r /"), vec!["refused", "try again later"]),
        (format!("ADD --checksum=xyz {} /", web.url("/repo.git")), vec!["commit id"]),
    ];
    for (line, words) in cases {
        let outcome = ground.lines(&format!("\n{line}"), &[]);
        // The excerpt shows the Dockerfile as it is.
        let said = outcome.stderr.split("\n -->").next().unwrap_or_default();
        assert!(!said.lines().any(|line| line.starts_with("error") && line.contains("hidden")), "{outcome}");
        let code = if line.contains("xyz") { 2 } else { 1 };
        outcome.fails(code, &[words, vec![":3|line 3"]].concat());
        assert!(!ground.kiln.scratch.join("image").exists());
    }
    ground.kiln.store_is_whole();
    let unfinished = fs_err::read_dir(ground.kiln.store().join("tmp")).expect("there is a store").count();
    assert_eq!(unfinished, 0);
}

#[test]
fn secrets_open_what_is_locked_and_go_nowhere_else() {
    let ground = Ground::new(Actor::Sub);
    let stranger = Web::start(Path::new("/nonexistent"));
    stranger.file("/elsewhere", "from elsewhere");
    ground.web.page("/file", Page::Locked(b"locked".to_vec(), "Bearer the-token"));
    ground.web.page("/basic", Page::Locked(b"locked".to_vec(), "Basic dTpw"));
    ground.web.page("/away", Page::To(stranger.url("/elsewhere")));
    ground.web.page("/near", Page::To("/file".to_owned()));
    let token = ground.kiln.scratch.tree("given", &[("token:600", "the-token\n")]).join("token");
    let secret = |id: &str| format!("id={id},src={}", token.display());
    let http = secret("HTTP_AUTH_TOKEN_127.0.0.1");
    let lines = format!(
        "ADD {} /1\nADD {} /2\nADD {} /3",
        ground.web.url("/near"),
        ground.web.url("/away"),
        ground.web.url("/file")
    );
    let image = ground.lines_image(&lines, &["--secret", &http]);
    assert_eq!((image.file("1"), image.file("2")), ("locked".to_owned(), "from elsewhere".to_owned()));
    assert_eq!(stranger.requests(), ["GET /elsewhere"], "without the header");
    let basic = ground.web.url("/basic").replace("http://", "http://u:p@");
    assert_eq!(ground.lines_image(&format!("ADD {basic} /4"), &[]).file("4"), "locked");

    let url = ground.web.url("/locked/repo.git");
    let host = ground.web.address.to_string();
    let own = secret(&format!("GIT_AUTH_TOKEN.{host}"));
    assert_eq!(ground.image(&["--secret", &own, &url]).file("all/vendor/sub/s.txt"), "of the submodule\n");
    let general = secret("GIT_AUTH_TOKEN");
    let alone = format!("{url}?submodules=0");
    assert_eq!(ground.image(&["--secret", &general, &alone]).file("all/dir/file"), "second\n");
    // The submodule is none of what the secret is for; a fresh store, since the other has it.
    let fresh = Ground::new(Actor::Sub);
    let url = fresh.web.url("/locked/repo.git");
    let file = fresh.kiln.scratch.tree("given", &[("token", "the-token")]).join("token");
    let general = format!("id=GIT_AUTH_TOKEN,src={}", file.display());
    fresh.build(&["--secret", &general, &url]).fails(1, &["submodule", "submodules=false"]);
    let wrong = fresh.kiln.scratch.tree("given", &[("wrong", "another-token")]).join("wrong");
    let wrong = format!("id=GIT_AUTH_TOKEN,src={}", wrong.display());
    let outcome = fresh.build(&["--secret", &wrong, &url]).fails(1, &["not accepted"]);
    assert!(!outcome.stderr.contains("another-token"), "{outcome}");

    let output =
        Command::new("grep").args(["-rlE", "the-token|eC1hY2Nlc3M"]).arg(ground.kiln.store()).output();
    let found = String::from_utf8_lossy(&output.expect("grep can be started").stdout).into_owned();
    assert_eq!(found, "", "the store holds a secret");
}

#[test]
fn files_by_url() {
    let ground = Ground::new(Actor::NoNamespaces);
    let web = &ground.web;
    let modified = Some("Sun, 09 Sep 2001 01:46:40 GMT");
    web.page("/f.txt", Page::File(b"text".to_vec(), modified));
    web.page("/to", Page::To("/f.txt".to_owned()));
    web.page("/slow", Page::Slow(vec![b's'; 700]));
    web.page("/cut", Page::Cut(vec![b'c'; 5000], 2));
    web.file("/a/", "unnamed");
    let lines = format!(
        "ADD {} /d/\nADD {} /to\nADD {} /slow\nADD {} /cut",
        web.url("/f.txt"),
        web.url("/to"),
        web.url("/slow"),
        web.url("/cut")
    );
    let image = ground.lines_image(&lines, &[]);
    let file = &image.files()["d/f.txt"];
    assert_eq!((file.mode, file.mtime), (0o600, 1_000_000_000));
    assert_eq!((image.file("slow").len(), image.file("cut").len()), (700, 5000));
    web.requests();
    let line = format!("ADD {} /d/", web.url("/f.txt"));
    let digest = ground.lines_image(&line, &[]).digest;
    assert_eq!(ground.lines_image(&line, &[]).digest, digest);
    assert_eq!(web.requests(), ["GET /f.txt", "GET /f.txt"], "asked, and not sent again");
    let sum = kiln_testkit::image::digest_of(b"text");
    let line = format!("ADD --checksum={sum} {} /d/", web.url("/f.txt"));
    ground.lines_image(&line, &[]);
    assert!(web.requests().is_empty(), "its content is here");
    web.page("/f.txt", Page::File(b"other".to_vec(), modified));
    assert_eq!(ground.lines_image(&format!("ADD {} /d/", web.url("/f.txt")), &[]).file("d/f.txt"), "other");
}

#[test]
fn contexts_by_url() {
    let ground = Ground::new(Actor::NoSub);
    let tree = ground.kiln.scratch.tree(
        "tree",
        &[
            ("Dockerfile", "FROM scratch\nCOPY f /\n"),
            ("f", "in a tar"),
            ("x/Dockerfile", "FROM scratch\nCOPY x /x\n"),
        ],
    );
    for (flag, name) in
        [("", "c.tar"), ("-z", "c.tar.gz"), ("-j", "c.tar.bz2"), ("-J", "c.tar.xz"), ("--zstd", "c.tar.zst")]
    {
        let mut tar = Command::new("tar");
        tar.args(["-C"]).arg(&tree).args(["-cf", "-"]).args((!flag.is_empty()).then_some(flag)).arg(".");
        let output = tar.stdin(Stdio::null()).output().expect("tar can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ground.web.file(&format!("/{name}"), output.stdout);
        let url = ground.web.url(&format!("/{name}"));
        assert_eq!(ground.image(&[&url]).file("f"), "in a tar", "{name}");
        assert!(ground.image(&["-f", "x/Dockerfile", &url]).files().contains_key("x/Dockerfile"));
        let named = format!("src={url}");
        assert_eq!(
            ground.lines_image("COPY --from=src /f /g", &["--build-context", &named]).file("g"),
            "in a tar"
        );
    }
    ground.web.file("/Dockerfile", "FROM scratch\nCOPY <<E /alone\nyes\nE\n");
    assert_eq!(ground.image(&[&ground.web.url("/Dockerfile")]).file("alone"), "yes\n");
    let tree = tree.display().to_string();
    assert_eq!(ground.image(&["-f", &ground.web.url("/Dockerfile"), &tree]).file("alone"), "yes\n");
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=context", &ground.web.url("/c.tar.gz")];
    assert_eq!(ground.image(&epoch).config["created"], "2020-09-13T12:26:40Z", "the newest file's time");
    ground.build(&["-f", "none", &ground.web.url("/c.tar")]).fails(2, &["none", "/c.tar"]);
    ground.build(&[&ground.web.url("/nowhere.tar")]).fails(1, &["404", "/nowhere.tar"]);
}

#[test]
fn submodules_lead_nowhere_they_should_not() {
    let ground = Ground::new(Actor::Root);
    let witness = ground.kiln.scratch.join("witness");
    let touch = format!("ext::sh -c touch% {}", witness.display());
    let local = ground.kiln.scratch.join("repositories/sub.git").display().to_string();
    for url in [
        touch.as_str(),
        local.as_str(),
        &format!("file://{local}"),
        "--upload-pack=touch x",
        "ssh://-oProxyCommand=touch/x",
    ] {
        ground.repository.git(&["config", "-f", ".gitmodules", "submodule.vendor/sub.url", url]);
        ground.repository.commit(&[]);
        ground.build(&[&ground.web.url("/repo.git")]).fails(1, &["submodule", "submodules=false"]);
        assert!(!witness.exists(), "{url}");
    }
    // A hook of the repository's own, and a configuration of whoever runs kiln, do nothing.
    fs_err::write(ground.kiln.scratch.join(".gitconfig"), format!("[core]\n\tsshCommand = touch {0}\n\tfsmonitor = touch {0}\n[url \"http://nowhere.invalid/\"]\n\tinsteadOf = http://\n", witness.display())).expect("ours");
    ground.image(&[&ground.web.url("/repo.git?submodules=false")]);
    assert!(!witness.exists());
}

#[test]
fn other_transports() {
    let ground = Ground::new(Actor::NoSub);
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let root = ground.kiln.scratch.join("repositories");
    // `git daemon` would be two processes, of which we could end the outer one.
    let programs = Command::new("git").arg("--exec-path").output().expect("git can be started").stdout;
    let mut daemon = Command::new(Path::new(String::from_utf8_lossy(&programs).trim()).join("git-daemon"));
    daemon.args(["--reuseaddr", "--export-all", "--listen=127.0.0.1", &format!("--port={port}")]);
    daemon.arg(format!("--base-path={}", root.display())).env("HOME", "/nonexistent");
    let mut daemon = daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("git can be started");
    let listening = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    assert!(listening, "the daemon does not listen");
    let done = ground.build(&[&format!("git://127.0.0.1:{port}/repo.git#v1:dir")]);
    daemon.kill().and_then(|()| daemon.wait()).expect("it is ours");
    done.succeeds();
    assert_eq!(Layout::open(&ground.kiln.scratch.join("image")).file("file"), "first\n");

    // In place of ssh a program that notes how it was called and does what the other end would do.
    let noted = ground.kiln.scratch.join("noted");
    let script = format!(
        "#!/bin/sh\necho \"$SSH_AUTH_SOCK $*\" >> {}\nfor last; do :; done\nexec sh -c \"git -c safe.directory='*' ${{last#git-}}\"\n",
        noted.display()
    );
    let bin = ground.kiln.scratch.tree("bin", &[("ssh:755", &script)]);
    let agent = ground.kiln.scratch.join("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&agent).expect("scratch is writable");
    fs_err::set_permissions(&agent, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("ours");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let url = format!("git@example.invalid:{}#old:dir", root.join("repo.git").display());
    let spec = format!("type=oci,dest={},tar=false", ground.kiln.scratch.join("ssh-image").display());
    let mut build = ground.kiln.command(["build", "--output", &spec, &url]);
    build.env("PATH", &path).env("SSH_AUTH_SOCK", &agent);
    Outcome::of(build).succeeds();
    assert_eq!(Layout::open(&ground.kiln.scratch.join("ssh-image")).file("file"), "first\n");
    let noted = fs_err::read_to_string(noted).expect("ssh was called");
    for word in [
        agent.to_str().unwrap_or("?"),
        "-F /dev/null",
        "BatchMode=yes",
        "IdentityFile=none",
        "git@example.invalid",
    ] {
        assert!(noted.contains(word), "{word:?} in {noted}");
    }
    let mut without = ground.kiln.command(["build", &url]);
    without.env("PATH", ground.kiln.scratch.join("empty-path"));
    Outcome::of(without).fails(3, &["git is not in PATH", "install it"]);
}

#[test]
fn nothing_is_left_of_a_fetch_that_is_stopped() {
    let ground = Ground::new(Actor::NoSub);
    ground.web.page("/silent", Page::Silence);
    for (flag, url) in
        [("-f", ground.web.url("/silent")), ("--build-arg=X=1", ground.web.url("/silent/repo"))]
    {
        ground.web.page("/silent/repo", Page::Silence);
        let tree =
            ground.kiln.scratch.tree("empty", &[("Dockerfile", "FROM scratch\n")]).display().to_string();
        let arguments =
            if flag == "-f" { vec!["build", "-f", &url, &tree] } else { vec!["build", flag, &url] };
        let mut build = ground.kiln.command(arguments);
        let child = build.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kiln can be started");
        let asked = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            !ground.web.requests().is_empty()
        });
        assert!(asked);
        let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
        let outcome =
            Outcome::new("kiln build".to_owned(), child.wait_with_output().expect("it was started"));
        assert_eq!(outcome.code, 130, "{outcome}");
        let unfinished = fs_err::read_dir(ground.kiln.store().join("tmp")).expect("there is a store").count();
        assert_eq!(unfinished, 0);
    }
}
