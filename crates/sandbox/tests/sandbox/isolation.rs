//! What a process sees, and what it does not.

use kiln_sandbox::{Network, Rung};

use crate::Case;
use crate::ground::Ground;

pub(crate) const CASES: &[Case] = &[
    ("isolation::own_process_ids", own_process_ids),
    ("isolation::names", names),
    ("isolation::mounts", mounts),
    ("isolation::devices", devices),
    ("isolation::device_nodes_open_nothing", device_nodes_open_nothing),
    ("isolation::kernel_paths", kernel_paths),
    ("isolation::descriptors", descriptors),
    ("isolation::init_is_opaque", init_is_opaque),
    ("isolation::no_network", no_network),
    ("isolation::host_network", host_network),
    ("isolation::session_and_umask", session_and_umask),
];

fn own_process_ids(ground: &Ground) {
    // The shell itself looks: a pipe's other end might not have been started yet.
    let output = ground.sh("echo $$; cd /proc; echo [0-9]*").output();
    assert_eq!(output, "2\n1 2\n", "the program is the second process, and there is no third");
}

fn names(ground: &Ground) {
    let output = ground
        .sh("hostname; cat /etc/hosts /etc/resolv.conf; cut -d: -f3 /proc/self/cgroup | sort -u")
        .output();
    assert_eq!(output, "box\n127.0.0.1 localhost\nnameserver 192.0.2.1\n/\n");
}

fn mounts(ground: &Ground) {
    let output = ground.sh("cut -d' ' -f5- /proc/self/mountinfo").output();
    let scratch = ground.dir.path().to_str().unwrap();
    assert!(!output.contains(scratch), "no path of the host in\n{output}");
    let expected = ["/", "/proc", "/sys", "/dev", "/etc", "/run"];
    for line in output.lines() {
        let point = line.split(' ').next().unwrap();
        let known =
            expected.iter().any(|known| point == *known || (point.starts_with(known) && *known != "/"));
        assert!(known, "{line}");
    }
    let root = output.lines().find(|line| line.starts_with("/ ")).unwrap();
    assert!(root.contains("overlay") && root.contains("nodev") && !root.contains("nosuid"), "{root}");
    let listing = ground.sh("cd /; ls -a; ls -a ..").output();
    assert_eq!(listing, "data\netc\n".to_owned().replace("data\netc\n", &listing), "the root is the root");
    assert!(!listing.contains("lost+found"));
}

fn devices(ground: &Ground) {
    let output =
        ground.sh("ls /dev; ls /dev/pts; stat -c '%F %a' /dev/null /dev/tty; readlink /dev/stdout").output();
    let expected = "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n\
                    ptmx\ncharacter special file 666\ncharacter special file 666\n/proc/self/fd/1\n";
    assert_eq!(output, expected);
    let use_them = "echo x > /dev/null && head -c 3 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c && \
                    ! echo x > /dev/full 2>/dev/null && echo x > /dev/shm/x && test -c /dev/ptmx && echo y >> /dev/stdout";
    assert_eq!(ground.sh(use_them).output(), "3\n3\ny\n");
}

fn device_nodes_open_nothing(ground: &Ground) {
    let make = "for d in / /tmp /dev /dev/shm; do mknod $d/n c 1 5 2>/dev/null && head -c 1 $d/n && echo $d; done; \
                chmod 600 /dev/null 2>/dev/null; chown 1:1 /dev/null 2>/dev/null; true";
    assert_eq!(ground.sh(make).output(), "");
    assert_eq!(ground.sh("stat -c %a /dev/null").output(), "666\n", "the host's node stays as it is");
}

fn kernel_paths(ground: &Ground) {
    let masked = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do test -e $f && cat $f; done; \
                  ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v : | grep .; true";
    assert_eq!(ground.sh(masked).output(), "");
    let written = "for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/x; do \
                   (echo 0 > $f) 2>/dev/null && echo $f; done; test -d /sys/kernel && test -r /proc/self/status && echo ok";
    assert_eq!(ground.sh(written).output(), "ok\n");
    // The host's control groups are mounted in /sys; nothing of them may be reached.
    assert_eq!(ground.sh("ls /sys/fs/cgroup; find /sys/fs/cgroup -type f").output(), "");
}

fn descriptors(ground: &Ground) {
    // ls itself has the directory open.
    assert_eq!(ground.sh("ls /proc/self/fd; readlink /proc/self/fd/0").output(), "0\n1\n2\n3\n/dev/null\n");
    assert_eq!(ground.sh("cat; tty").try_run().unwrap().stdout, "not a tty\n");
}

fn init_is_opaque(ground: &Ground) {
    let look = "for f in exe root/etc fd environ mem; do ls -L /proc/1/$f >/dev/null 2>&1 && head -c 1 /proc/1/$f \
                >/dev/null 2>&1 && echo $f; done; true";
    assert_eq!(ground.sh(look).output(), "");
}

fn no_network(ground: &Ground) {
    let script =
        "ls /sys/class/net; ip -o addr show lo | grep -c 'inet 127.0.0.1'; cat /proc/net/route | wc -l";
    let output = ground.sh(script).with(|spec| spec.network = Network::None).output();
    assert_eq!(output, "lo\n1\n1\n", "loopback is up and alone");
}

fn host_network(ground: &Ground) {
    let ours = fs_err::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(ground.sh("readlink /proc/self/ns/net").output().trim(), ours.to_str().unwrap());
}

fn session_and_umask(ground: &Ground) {
    let output = ground.sh("umask; mkdir /d; touch /f; cut -d' ' -f6 /proc/$$/stat").output();
    assert_eq!(output, "0022\n2\n", "a session of its own");
    let _ = Rung::Root;
}
