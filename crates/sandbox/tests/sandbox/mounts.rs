//! Mounts that a step asks for.

use kiln_sandbox::{Error, Exit, MountKind, Rung, Scratch};

use crate::Case;
use crate::ground::{Ground, set_mode};

pub(crate) const CASES: &[Case] = &[
    ("mounts::bind", bind),
    ("mounts::bind_subpath_stays_inside", bind_subpath_stays_inside),
    ("mounts::tmpfs", tmpfs),
    ("mounts::overlay", overlay),
    ("mounts::overlay_of_nothing", overlay_of_nothing),
    ("mounts::file", file),
    ("mounts::file_for_somebody", file_for_somebody),
    ("mounts::executable_file", executable_file),
    ("mounts::socket", socket),
    ("mounts::nested", nested),
    ("mounts::over_a_link", over_a_link),
    ("mounts::missing_source", missing_source),
    ("mounts::shm_size", shm_size),
];

fn bind_of(source: std::path::PathBuf, subpath: Option<&str>, readonly: bool) -> MountKind {
    MountKind::Bind { source, subpath: subpath.map(String::from), readonly }
}

fn bind(ground: &Ground) {
    let source = ground.tree("source", &[("x", "x\n"), ("sub/y", "y\n")]);
    let script = "cat /ctx/x /y; (echo no > /ctx/z) 2>/dev/null || echo refused; echo kept > /cache/k";
    let step = ground
        .sh(script)
        .mount("/ctx", bind_of(source.clone(), None, true))
        .mount("/y", bind_of(source, Some("sub/y"), true))
        .mount("/cache", bind_of(ground.directory("cache"), None, false));
    assert_eq!(step.output(), "x\ny\nrefused\n");
    assert_eq!(step.changes(), [""; 0]);
    assert_eq!(fs_err::read_to_string(ground.path("cache/k")).unwrap(), "kept\n");
}

fn bind_subpath_stays_inside(ground: &Ground) {
    let source = ground.tree("source", &[("etc/secret", "mine\n")]);
    std::os::unix::fs::symlink("/etc", source.join("abs")).unwrap();
    std::os::unix::fs::symlink("../../../../../etc", source.join("up")).unwrap();
    for link in ["abs", "up", "../../etc"] {
        let step = ground.sh("cat /m/secret").mount("/m", bind_of(source.clone(), Some(link), true));
        assert_eq!(step.output(), "mine\n", "{link}");
    }
}

fn tmpfs(ground: &Ground) {
    let script = "ls -A /data/sub; echo x > /data/sub/new; grep ' /t ' /proc/mounts | cut -d' ' -f3; stat -c %a /t; \
                  dd if=/dev/zero of=/t/f bs=1024 count=2048 2>/dev/null || echo full";
    let step = ground
        .sh(script)
        .mount("/data/sub", MountKind::Tmpfs { size: None, mode: 0o755 })
        .mount("/t", MountKind::Tmpfs { size: Some(1 << 20), mode: 0o1777 });
    assert_eq!(step.output(), "tmpfs\n1777\nfull\n");
    assert_eq!(step.changes(), [""; 0]);
}

fn overlay(ground: &Ground) {
    let lower = || {
        vec![
            ground.tree("upper-layer", &[("s/f", "two\n")]),
            ground.tree("layer", &[("s/f", "one\n"), ("s/g", "g\n")]),
        ]
    };
    let read = MountKind::Overlay { lower: lower(), scratch: None, subpath: Some("/s".into()) };
    let single = MountKind::Overlay { lower: lower()[1..].to_vec(), scratch: None, subpath: None };
    let file = MountKind::Overlay { lower: lower(), scratch: None, subpath: Some("s/g".into()) };
    let scratch =
        Scratch { upper: ground.directory("scratch-upper"), work: ground.directory("scratch-work") };
    let write = MountKind::Overlay { lower: lower(), scratch: Some(scratch), subpath: Some("s".into()) };
    let script =
        "cat /r/f /one/s/f /g; echo x > /r/n || echo refused; echo w > /w/f; echo n > /w/n; cat /w/f";
    let step = ground.sh(script).mount("/r", read).mount("/one", single).mount("/g", file).mount("/w", write);
    assert_eq!(step.output(), "two\none\ng\nrefused\nw\n");
    assert_eq!(step.changes(), [""; 0]);
    assert_eq!(fs_err::read_to_string(ground.path("upper-layer/s/f")).unwrap(), "two\n");
}

fn overlay_of_nothing(ground: &Ground) {
    let nothing = MountKind::Overlay { lower: vec![], scratch: None, subpath: None };
    match ground.sh("ls -A /n").mount("/n", nothing).try_run() {
        Ok(outcome) => assert_eq!((outcome.exit, outcome.stdout.as_str()), (Exit::Code(0), "")),
        Err(error) => panic!("{error}"),
    }
}

fn file(ground: &Ground) {
    let content: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let secret = MountKind::File { bytes: content.clone(), mode: 0o400, uid: 0, gid: 0 };
    let script = "stat -c '%a %u %g' /run/secrets/s; (echo x > /run/secrets/s) 2>/dev/null || echo refused; \
                  cat /run/secrets/s > /copy; stat -f -c %T /run/secrets/s";
    let step = ground.sh(script).mount("/run/secrets/s", secret);
    assert_eq!(step.output(), "400 0 0\nrefused\ntmpfs\n");
    assert_eq!(step.changes(), ["copy"]);
    assert_eq!(fs_err::read(step.upper.join("copy")).unwrap(), content);
}

fn file_for_somebody(ground: &Ground) {
    let secret = MountKind::File { bytes: b"x".into(), mode: 0o440, uid: 1000, gid: 2001 };
    let step = ground.sh("stat -c '%a %u %g' /s").mount("/s", secret);
    if ground.rung == Rung::SingleId {
        let error = step.error();
        assert!(matches!(error, Error::Unmapped { id: 1000, .. }), "{error}");
        assert!(error.to_string().contains("/etc/subuid"), "{error}");
    } else {
        assert_eq!(step.output(), "440 1000 2001\n");
    }
}

fn executable_file(ground: &Ground) {
    let script = |mode| MountKind::File { bytes: b"#!/bin/sh\necho ran $1\n".into(), mode, uid: 0, gid: 0 };
    let step = ground.step(&["/dev/pipes/EOF", "it"]).mount("/dev/pipes/EOF", script(0o755));
    assert_eq!(step.output(), "ran it\n");
    let error = ground.step(&["/dev/pipes/EOF"]).mount("/dev/pipes/EOF", script(0o644)).error();
    assert!(matches!(error, Error::Exec { .. }), "{error}");
}

fn socket(ground: &Ground) {
    let source = ground.path("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&source).unwrap();
    set_mode(&source, 0o600);
    let step = ground
        .sh("test -S /run/agent.0 && stat -c %a /run/agent.0")
        .mount("/run/agent.0", MountKind::Socket { source });
    assert_eq!(step.output(), "600\n");
    assert_eq!(step.changes(), [""; 0]);
}

fn nested(ground: &Ground) {
    let tmpfs = || MountKind::Tmpfs { size: None, mode: 0o755 };
    let step = ground
        .sh("cat /a/b/f; ls /a; cat /ro/x")
        .mount("/a", tmpfs())
        .mount("/a/b", tmpfs())
        .mount("/a/b/f", MountKind::File { bytes: b"deep\n".into(), mode: 0o444, uid: 0, gid: 0 })
        .mount("/ro", bind_of(ground.tree("ro", &[("x", "")]), None, true))
        .mount("/ro/x", MountKind::File { bytes: b"over\n".into(), mode: 0o444, uid: 0, gid: 0 });
    assert_eq!(step.output(), "deep\nb\nover\n");
    assert_eq!(step.changes(), [""; 0]);
    let into_readonly =
        ground.sh("true").mount("/ro", bind_of(ground.path("ro"), None, true)).mount("/ro/missing", tmpfs());
    assert!(matches!(into_readonly.error(), Error::Target { target, .. } if target == "/ro/missing"));
}

fn over_a_link(ground: &Ground) {
    let layer = ground.directory("links");
    std::os::unix::fs::symlink("data/sub", layer.join("link")).unwrap();
    let mut lower = ground.base();
    lower.insert(0, layer);
    let step = ground
        .step_over(lower, &["sh", "-c", "cat /data/sub/f; readlink /link"])
        .mount("/link/f", MountKind::File { bytes: b"f\n".into(), mode: 0o444, uid: 0, gid: 0 });
    assert_eq!(step.output(), "f\ndata/sub\n");
    assert_eq!(step.changes(), [""; 0]);
}

fn missing_source(ground: &Ground) {
    let source = ground.tree("source", &[("x", "")]);
    let error = ground.sh("true").mount("/m", bind_of(source.clone(), Some("no/such"), true)).error();
    let Error::Source { path, source: reason } = &error else { panic!("{error}") };
    assert_eq!(path, source.join("no/such").to_str().unwrap());
    assert_eq!(reason.kind(), std::io::ErrorKind::NotFound);
}

fn shm_size(ground: &Ground) {
    let size = |step: crate::ground::Step| step.output();
    assert_eq!(size(ground.sh("df -k /dev/shm | grep -o ' 65536 ' | head -n 1")), " 65536 \n");
    let smaller =
        ground.sh("df -k /dev/shm | grep -o ' 1024 ' | head -n 1").with(|spec| spec.shm_size = Some(1 << 20));
    assert_eq!(size(smaller), " 1024 \n");
}
