//! Where changes end up, and what leaves no trace.

use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

use kiln_sandbox::{Exit, MountKind, Rootfs, Rung};

use crate::Case;
use crate::ground::Ground;

pub(crate) const CASES: &[Case] = &[
    ("files::changes_land_in_upper", changes_land_in_upper),
    ("files::whiteouts", whiteouts),
    ("files::many_layers", many_layers),
    ("files::no_layers", no_layers),
    ("files::nothing_leaks", nothing_leaks),
    ("files::nothing_leaks_from_bare", nothing_leaks_from_bare),
    ("files::nothing_leaks_past_whiteouts", nothing_leaks_past_whiteouts),
    ("files::nothing_leaks_through_links", nothing_leaks_through_links),
    ("files::what_the_process_did_stays", what_the_process_did_stays),
    ("files::plain_root", plain_root),
    ("files::writable_configuration", writable_configuration),
];

fn changes_land_in_upper(ground: &Ground) {
    let step =
        ground.sh("echo new > /data/new; chmod 4755 /data/new; mkdir -m 1777 /d; ln -s x /l; mkfifo /p");
    step.output();
    assert_eq!(step.changes(), ["d", "data", "data/new", "l", "p"]);
    assert_eq!(step.owner("data/new"), (0o4755, 0, 0));
    assert_eq!(step.owner("d").0, 0o1777);
    assert!(fs_err::symlink_metadata(step.upper.join("p")).unwrap().file_type().is_fifo());
    if ground.rung != Rung::SingleId {
        let step = ground.sh("touch /f && chown 4321:4322 /f && ln /f /g");
        step.output();
        assert_eq!(step.owner("g"), (0o644, 4321, 4322));
    }
}

fn whiteouts(ground: &Ground) {
    let step = ground.sh("rm /data/old; rm -r /data/sub; mkdir /data/sub; ls -A /data /data/sub");
    assert_eq!(step.output(), "/data:\nsub\n\n/data/sub:\n");
    let old = fs_err::symlink_metadata(step.upper.join("data/old")).unwrap();
    assert!(old.file_type().is_char_device() && old.rdev() == 0);
    let mut value = [0; 8];
    let length =
        rustix::fs::getxattr(step.upper.join("data/sub"), "user.overlay.opaque", &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
    // The next step sees it so.
    let mut lower = ground.base();
    lower.insert(0, step.upper.clone());
    assert_eq!(
        ground.step_over(lower, &["ls", "-A", "/data", "/data/sub"]).output(),
        "/data:\nsub\n\n/data/sub:\n"
    );
}

fn many_layers(ground: &Ground) {
    let name =
        |number: usize| format!("layer-with-quite-a-long-name-so-that-no-page-holds-them-all-{number}");
    let layer =
        |number| ground.tree(&name(number), &[("top", &number.to_string()), (&format!("f/{number}"), "")]);
    let mut lower: Vec<_> = (0..200).map(layer).collect();
    lower.extend(ground.base());
    assert_eq!(ground.step_over(lower, &["sh", "-c", "ls /f | wc -l; cat /top"]).output(), "200\n0");
}

fn no_layers(ground: &Ground) {
    let error = ground.step_over(vec![], &["nosuch"]).error().to_string();
    assert_eq!(error, "exec: \"nosuch\": executable file not found in $PATH");
}

fn nothing_leaks(ground: &Ground) {
    let step = ground
        .sh("test -s /etc/resolv.conf && test -s /etc/hosts && test -s /run/secrets/s && ls /a/b/c")
        .mount("/run/secrets/s", MountKind::File { bytes: b"x".into(), mode: 0o400, uid: 0, gid: 0 })
        .mount("/a/b/c", MountKind::Tmpfs { size: None, mode: 0o755 });
    step.output();
    assert_eq!(step.changes(), [""; 0]);
    fs_err::remove_dir(&step.spec.stubs).expect("it is still empty and nothing is mounted on it");
}

fn nothing_leaks_from_bare(ground: &Ground) {
    let script = "test -d /proc/self && test -c /dev/null && echo ok > /ok";
    let step = ground.step_over(vec![ground.bare()], &["/bin/busybox", "sh", "-c", script]);
    step.output();
    assert_eq!(step.changes(), ["ok"]);
}

fn nothing_leaks_past_whiteouts(ground: &Ground) {
    let first = ground.sh("rm -rf /run /data/sub; rm -f /etc/passwd");
    first.output();
    let mut lower = ground.base();
    lower.insert(0, first.upper.clone());
    for targets in [&["/run"][..], &["/run/x/y", "/run/x/z"], &["/data/sub"], &["/etc/passwd"]] {
        let mut step = ground.step_over(lower.clone(), &["true"]);
        for target in targets {
            let file = *target == "/etc/passwd";
            let kind = if file {
                MountKind::File { bytes: vec![], mode: 0o644, uid: 0, gid: 0 }
            } else {
                MountKind::Tmpfs { size: None, mode: 0o755 }
            };
            step = step.mount(target, kind);
        }
        step.output();
        assert_eq!(step.changes(), [""; 0], "{targets:?}");
    }
}

fn nothing_leaks_through_links(ground: &Ground) {
    let layer = ground.tree("links", &[("etc/placeholder", "")]);
    symlink("../run/resolver/resolv.conf", layer.join("etc/resolv.conf")).unwrap();
    fs_err::create_dir(layer.join("var")).unwrap();
    symlink("/run", layer.join("var/run")).unwrap();
    let mut lower = ground.base();
    lower.insert(0, layer);
    let script = "cat /etc/resolv.conf; cat /var/run/lock/file; test -d /run/lock && readlink /var/run";
    let step = ground.step_over(lower, &["sh", "-c", script]).mount(
        "/var/run/lock/file",
        MountKind::File { bytes: b"secret\n".into(), mode: 0o400, uid: 0, gid: 0 },
    );
    assert_eq!(step.output(), "nameserver 192.0.2.1\nsecret\n/run\n");
    assert_eq!(step.changes(), [""; 0]);
}

fn what_the_process_did_stays(ground: &Ground) {
    let layer = ground.directory("links");
    fs_err::create_dir(layer.join("var")).unwrap();
    symlink("/run", layer.join("var/run")).unwrap();
    let mut lower = ground.base();
    lower.insert(0, layer);
    let tmpfs = || MountKind::Tmpfs { size: None, mode: 0o755 };
    let step = |script: &str| {
        let step = ground.step_over(lower.clone(), &["sh", "-c", script]).mount("/var/run/lock/d", tmpfs());
        step.output();
        step
    };
    assert_eq!(step("touch /run/lock/mine").changes(), ["run", "run/lock", "run/lock/mine"]);
    assert_eq!(step("touch /run/mine").changes(), ["run", "run/mine"]);
    let changed = step("chmod 700 /run");
    assert_eq!((changed.changes(), changed.owner("run").0), (vec!["run".to_owned()], 0o700));
}

fn plain_root(ground: &Ground) {
    let root = ground.directory("plain");
    crate::ground::make_bare(&root);
    let before = list(&root);
    let step = ground.step_over(vec![], &["sh", "-c", "echo x > /made; ls /run/secrets; ls /proc/self/fd/0"]);
    let step = step
        .with(|spec| spec.rootfs = Rootfs::Plain(root.clone()))
        .mount("/run/secrets/s", MountKind::File { bytes: b"x".into(), mode: 0o400, uid: 0, gid: 0 });
    assert_eq!(step.output(), "s\n/proc/self/fd/0\n");
    let after: Vec<_> = list(&root).into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(after, ["made"]);
}

fn list(root: &std::path::Path) -> Vec<String> {
    let entries = fs_err::read_dir(root).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn writable_configuration(ground: &Ground) {
    let step = ground
        .sh("echo 10.0.0.1 x >> /etc/hosts; echo y > /etc/resolv.conf; cat /etc/hosts /etc/resolv.conf");
    assert_eq!(step.output(), "127.0.0.1 localhost\n10.0.0.1 x\ny\n");
    assert_eq!(step.changes(), [""; 0]);
    let step = ground.sh("test ! -e /etc/resolv.conf").with(|spec| spec.resolv_conf = None);
    assert_eq!(step.try_run().unwrap().exit, Exit::Code(0));
}
