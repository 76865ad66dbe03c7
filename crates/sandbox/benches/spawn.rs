//! How long the sandbox takes to run `true` over one layer, from `spawn` to the end of `wait`.
//!
//! `cargo bench -p kiln-sandbox`; as an ordinary user it measures inside a user namespace.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement for people, not a part of the program"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use kiln_sandbox::{Network, Rootfs, Rung, Security, Spec, Stdio};

const ROUNDS: usize = 200;

fn main() {
    kiln_sandbox::run_helper_if_asked();
    let directory = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    let found = kiln_sandbox::probe(directory.path()).rung;
    println!("{found} probe: {:?}", begin.elapsed());
    if kiln_sandbox::inside_user_namespace().is_none() && found != Rung::Root {
        panic!("{}", kiln_sandbox::enter_user_namespace(found).unwrap_err());
    }
    let base = directory.path().join("base");
    for name in ["bin", "etc", "proc", "sys", "dev"] {
        fs_err::create_dir_all(base.join(name)).unwrap();
    }
    fs_err::copy("/bin/busybox", base.join("bin/true")).unwrap();
    for network in [Network::Host, Network::None] {
        let mut times: Vec<_> =
            (0..ROUNDS).map(|round| one(directory.path(), &base, network, round)).collect();
        times.sort();
        println!("{found} {network:?}: median {:?}, fastest {:?}", times[ROUNDS / 2], times[0]);
    }
}

fn one(directory: &Path, base: &Path, network: Network, round: usize) -> Duration {
    let own = directory.join(format!("{network:?}-{round}"));
    let [upper, work, stubs] = ["upper", "work", "stubs"].map(|name| own.join(name));
    for path in [&own, &upper, &work, &stubs] {
        fs_err::create_dir(path).unwrap();
    }
    let spec = Spec {
        rootfs: Rootfs::Overlay { lower: vec![base.to_owned()], upper, work },
        argv: vec!["true".into()],
        env: vec![("PATH".into(), "/bin".into())],
        cwd: "/".into(),
        uid: 0,
        gid: 0,
        groups: vec![],
        hostname: "box".into(),
        mounts: vec![],
        network,
        security: Security::Sandbox,
        resolv_conf: Some(b"nameserver 192.0.2.1\n".into()),
        hosts: b"127.0.0.1 localhost\n".into(),
        ulimits: vec![],
        shm_size: None,
        stubs,
    };
    let begin = Instant::now();
    kiln_sandbox::spawn(&spec, Stdio::Inherited).unwrap().wait().unwrap();
    begin.elapsed()
}
