//! Root filesystems that try to get out.

use std::os::unix::fs::symlink;

use kiln_sandbox::MountKind;

use crate::Case;
use crate::ground::Ground;

pub(crate) const CASES: &[Case] = &[
    ("hostile::links_out_of_the_root", links_out_of_the_root),
    ("hostile::loops", loops),
    ("hostile::magic_links", magic_links),
    ("hostile::kernel_directories_as_links", kernel_directories_as_links),
];

fn file() -> MountKind {
    MountKind::File { bytes: b"mine\n".into(), mode: 0o444, uid: 0, gid: 0 }
}

fn links_out_of_the_root(ground: &Ground) {
    let victim = ground.directory("victim");
    let up = format!("/../../../../../..{}", victim.display());
    let layer = ground.directory("hostile");
    symlink(&up, layer.join("abs")).unwrap();
    symlink(format!("../../../../..{}", victim.display()), layer.join("rel")).unwrap();
    fs_err::create_dir(layer.join("etc")).unwrap();
    symlink(format!("{}/hosts", victim.display()), layer.join("etc/hosts")).unwrap();
    let mut lower = ground.base();
    lower.insert(0, layer);
    let script = format!("cat /abs/f /rel/g /etc/hosts; ls {}", victim.display());
    let step =
        ground.step_over(lower, &["sh", "-c", &script]).mount("/abs/f", file()).mount("/rel/g", file());
    assert_eq!(step.output(), "mine\nmine\n127.0.0.1 localhost\nf\ng\nhosts\n");
    assert_eq!(fs_err::read_dir(&victim).unwrap().count(), 0, "nothing was made outside");
    assert_eq!(step.changes(), [""; 0]);
}

fn loops(ground: &Ground) {
    let layer = ground.directory("hostile");
    symlink("b", layer.join("a")).unwrap();
    symlink("a", layer.join("b")).unwrap();
    let mut lower = ground.base();
    lower.insert(0, layer);
    let error = ground.step_over(lower, &["true"]).mount("/a/x", file()).error().to_string();
    assert!(error.contains("/a/x") && error.contains("symbolic links"), "{error}");
}

fn magic_links(ground: &Ground) {
    // /proc/1/root of the sandbox's process 1 would lead to the host while it is being set up.
    let layer = ground.directory("hostile");
    symlink("/proc/1/root", layer.join("out")).unwrap();
    symlink("/proc/self/cwd", layer.join("cwd")).unwrap();
    let mut lower = ground.base();
    lower.insert(0, layer);
    for target in ["/out/tmp", "/cwd/x"] {
        let error = ground.step_over(lower.clone(), &["true"]).mount(target, file()).error().to_string();
        assert!(error.contains(target), "{error}");
    }
}

fn kernel_directories_as_links(ground: &Ground) {
    let layer = ground.directory("hostile");
    for name in ["proc", "sys", "dev"] {
        symlink(format!("/data/{name}"), layer.join(name)).unwrap();
    }
    let mut lower = vec![layer];
    lower.push(ground.tree("data-only", &[("data/x", "")]));
    lower.push(ground.bare());
    let step = ground.step_over(lower, &["sh", "-c", "test -c /dev/null && test -d /proc/self && echo ok"]);
    assert_eq!(step.output(), "ok\n");
    assert_eq!(step.changes(), [""; 0]);
}
