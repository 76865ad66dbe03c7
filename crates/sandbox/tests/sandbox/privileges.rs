//! Who the process is, and what it may do.

use kiln_sandbox::{Error, Exit, MountKind, Network, Rung, Security, Ulimit};

use crate::Case;
use crate::ground::{Ground, Step, set_mode};

pub(crate) const CASES: &[Case] = &[
    ("privileges::root_has_dockers_capabilities", root_has_dockers_capabilities),
    ("privileges::root_may", root_may),
    ("privileges::root_may_not", root_may_not),
    ("privileges::user", user),
    ("privileges::user_output", user_output),
    ("privileges::unmapped", unmapped),
    ("privileges::set_uid_programs_work", set_uid_programs_work),
    ("privileges::file_capabilities_work", file_capabilities_work),
    ("privileges::insecure", insecure),
    ("privileges::ulimits", ulimits),
    ("privileges::filter", filter),
];

fn root_has_dockers_capabilities(ground: &Ground) {
    let output = ground.sh("grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\t'").output();
    let docker = "00000000a80425fb";
    let expected = format!(
        "CapInh:0000000000000000\nCapPrm:{docker}\nCapEff:{docker}\nCapBnd:{docker}\nCapAmb:0000000000000000\n\
         NoNewPrivs:0\nSeccomp:2\n"
    );
    assert_eq!(output, expected);
}

fn root_may(ground: &Ground) {
    ground
        .sh("chroot / true && touch /f && chmod 600 /f && kill -0 $$ && mkdir -p /a/b && rm -r /a")
        .output();
    if ground.rung != Rung::SingleId {
        ground.sh("touch /f && chown 4321:4322 /f && test $(stat -c %u:%g /f) = 4321:4322").output();
    }
}

fn root_may_not(ground: &Ground) {
    for command in [
        "mount -t tmpfs none /tmp",
        "mount -o remount,rw /proc/sys",
        "umount /proc",
        "umount /etc/hosts",
        "unshare -m true",
        "unshare -U true",
        "hostname other",
        "ip link set lo down",
        "ip link add x type dummy",
        "rm /etc/hosts",
    ] {
        let outcome = ground.sh(command).with(|spec| spec.network = Network::None).try_run().unwrap();
        assert!(matches!(outcome.exit, Exit::Code(code) if code != 0), "{command}: {outcome:?}");
    }
}

fn as_user(step: Step, uid: u32, gid: u32, groups: &[u32]) -> Step {
    step.with(|spec| (spec.uid, spec.gid, spec.groups) = (uid, gid, groups.into()))
}

fn user(ground: &Ground) {
    if ground.rung == Rung::SingleId {
        return;
    }
    let script = "id -u; id -g; id -G; grep CapEff /proc/self/status | cut -f2; touch /tmp/mine; \
                  (touch /no || chown 0:0 /tmp/mine) 2>/dev/null || echo refused";
    let step = as_user(ground.sh(script), 1001, 1002, &[10, 2001]);
    assert_eq!(step.output(), "1001\n1002\n1002 10 2001\n0000000000000000\nrefused\n");
    assert_eq!(step.owner("tmp/mine"), (0o644, 1001, 1002));
}

fn user_output(ground: &Ground) {
    if ground.rung == Rung::SingleId {
        return;
    }
    let script = "echo out > /dev/stdout; echo err > /dev/stderr";
    let outcome = as_user(ground.sh(script), 1001, 1002, &[]).try_run().unwrap();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("out\n", "err\n"));
}

fn unmapped(ground: &Ground) {
    let (uid, gid, groups): (u32, u32, &[u32]) = match ground.rung {
        Rung::SingleId => (1000, 0, &[]),
        Rung::SubIds => (4_000_000, 0, &[]),
        _ => return,
    };
    let error = as_user(ground.sh("true"), uid, gid, groups).error();
    assert!(matches!(error, Error::Unmapped { id, .. } if id == uid), "{error}");
    assert!(error.to_string().contains("subordinate ids"), "{error}");
    let error = as_user(ground.sh("true"), 0, uid, groups).error();
    assert!(matches!(error, Error::Unmapped { id, .. } if id == uid), "{error}");
    // Groups that cannot be set are left out where none can be, and an error where some can.
    let groups = as_user(ground.sh("id -u"), 0, 0, &[0, 10, 4_000_000]).try_run();
    assert_eq!(groups.is_ok(), ground.rung == Rung::SingleId);
}

fn set_uid_programs_work(ground: &Ground) {
    if ground.rung == Rung::SingleId {
        return;
    }
    // Busybox gives set-id privilege up by itself, so the host's `id` and its libraries have to serve.
    let layer = ground.directory("suid");
    fs_err::create_dir_all(layer.join("usr/bin")).unwrap();
    fs_err::copy("/usr/bin/id", layer.join("usr/bin/id")).unwrap();
    set_mode(&layer.join("usr/bin/id"), 0o4755);
    let mut lower = ground.base();
    lower.insert(0, layer);
    let mut step = as_user(ground.step_over(lower, &["/usr/bin/id", "-u"]), 1001, 1001, &[]);
    for libraries in ["/lib", "/lib64"].into_iter().filter(|path| std::path::Path::new(path).exists()) {
        let kind = MountKind::Bind { source: libraries.into(), subpath: None, readonly: true };
        step = step.mount(libraries, kind);
    }
    assert_eq!(step.output(), "0\n");
}

fn file_capabilities_work(ground: &Ground) {
    if ground.rung == Rung::SingleId {
        return;
    }
    // capabilities(7), version 2: effective, CAP_NET_RAW permitted; then CAP_SYS_ADMIN, which is out of bounds.
    for (bit, expected) in [(13, Some("0000000000002000\n")), (21, None)] {
        let layer = ground.directory(&format!("capable{bit}"));
        fs_err::copy("/bin/busybox", layer.join("busybox")).unwrap();
        let words = [0x0200_0001_u32, 1 << bit, 0, 0, 0];
        let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(layer.join("busybox"), "security.capability", &value, flags).unwrap();
        let mut lower = ground.base();
        lower.insert(0, layer);
        let script = "/busybox grep CapEff /proc/self/status | cut -f2";
        let step = as_user(ground.step_over(lower, &["sh", "-c", script]), 1001, 1001, &[]);
        match expected {
            Some(expected) => assert_eq!(step.output(), expected),
            None => assert!(step.try_run().unwrap().stderr.contains("Operation not permitted")),
        }
    }
}

fn insecure(ground: &Ground) {
    let script =
        "mount -t tmpfs none /tmp && echo mounted; grep -E 'Seccomp:|CapBnd' /proc/self/status | cut -f2";
    let output = ground.sh(script).with(|spec| spec.security = Security::Insecure).output();
    let mut lines = output.lines();
    assert_eq!((lines.next(), lines.next_back()), (Some("mounted"), Some("0")), "{output}");
}

fn ulimits(ground: &Ground) {
    let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
    let limits = vec![limit("nofile", 123, 456), limit("core", 0, 0)];
    let output = ground.sh("ulimit -Sn; ulimit -Hn; ulimit -c").with(|spec| spec.ulimits = limits).output();
    assert_eq!(output, "123\n456\n0\n");
    let error = ground.sh("true").with(|spec| spec.ulimits = vec![limit("nosuch", 1, 1)]).error();
    assert_eq!(error.to_string(), "unknown ulimit nosuch");
}

/// Calls that the kernel itself grants anybody: only the filter refuses them.
fn filter(ground: &Ground) {
    for command in ["unshare -U true", "linux64 -R true"] {
        let run = |security| ground.sh(command).with(|spec| spec.security = security).try_run().unwrap();
        assert_eq!(run(Security::Insecure).exit, Exit::Code(0), "{command}");
        let refused = run(Security::Sandbox);
        assert_ne!(refused.exit, Exit::Code(0), "{command}");
        assert!(refused.stderr.contains("Operation not permitted"), "{refused:?}");
    }
}
