//! Beginning and end of a process.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio as ProcessStdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kiln_sandbox::{
    Error, Exit, Helpers, Killer, Mount, MountKind, Network, Rootfs, Rung, Running, Spec, Stdio, StopSignal,
    install_signal_flag, spawn, termination_requested,
};

use crate::Case;
use crate::ground::{Ground, set_mode};

pub(crate) const CASES: &[Case] = &[
    ("lifecycle::exit_codes", exit_codes),
    ("lifecycle::signals", signals),
    ("lifecycle::environment", environment),
    ("lifecycle::working_directory", working_directory),
    ("lifecycle::program_lookup", program_lookup),
    ("lifecycle::signal_dispositions", signal_dispositions),
    ("lifecycle::orphans_are_reaped", orphans_are_reaped),
    ("lifecycle::background_processes_end", background_processes_end),
    ("lifecycle::kill", kill),
    ("lifecycle::drop_kills", drop_kills),
    ("lifecycle::one_after_the_other", one_after_the_other),
    ("lifecycle::callers_death_kills", callers_death_kills),
    ("lifecycle::many_at_once", many_at_once),
    ("lifecycle::much_output", much_output),
    ("lifecycle::termination_flag", termination_flag),
];

fn exit_codes(ground: &Ground) {
    for code in [0, 1, 37, 127, 255] {
        let outcome = ground.sh(&format!("exit {code}")).try_run().unwrap();
        assert_eq!(outcome.exit, Exit::Code(code));
    }
}

fn signals(ground: &Ground) {
    for signal in [6, 9, 11, 15] {
        let outcome = ground.sh(&format!("kill -{signal} $$")).try_run().unwrap();
        assert_eq!(outcome.exit, Exit::Signal(signal));
    }
}

fn environment(ground: &Ground) {
    let env = [("PATH", "/bin"), ("B", "two  words"), ("A", "x=y\n"), ("EMPTY", "")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let output = ground.step(&["env"]).with(|spec| spec.env = env).output();
    assert_eq!(output, "PATH=/bin\nB=two  words\nA=x=y\n\nEMPTY=\n", "in order, nothing added");
    let error = ground.step(&["true", "a\0b"]).error();
    assert!(matches!(error, Error::BadCommand), "{error}");
    assert!(matches!(ground.step(&[]).error(), Error::BadCommand));
}

fn working_directory(ground: &Ground) {
    assert_eq!(ground.sh("pwd").with(|spec| spec.cwd = "/data/sub".into()).output(), "/data/sub\n");
    let step = ground.sh("pwd").with(|spec| spec.cwd = "/no/such".into());
    let error = step.error();
    assert!(matches!(&error, Error::Cwd { path, .. } if path == "/no/such"), "{error}");
    assert_eq!(step.changes(), [""; 0]);
}

fn program_lookup(ground: &Ground) {
    let layer =
        ground.tree("programs", &[("bin/text", "no program\n"), ("usr/bin/script", "#!/bin/nosuch\n")]);
    set_mode(&layer.join("usr/bin/script"), 0o755);
    fs_err::create_dir(layer.join("usr/bin/id")).unwrap();
    let mut lower = ground.base();
    lower.insert(0, layer);
    let error = |program: &str| ground.step_over(lower.clone(), &[program]).error().to_string();
    assert_eq!(error("nosuch"), "exec: \"nosuch\": executable file not found in $PATH");
    assert_eq!(error("text"), "exec: \"text\": executable file not found in $PATH");
    assert!(error("/no/such").starts_with("exec: \"/no/such\": No such file"));
    assert!(error("/bin/text").starts_with("exec: \"/bin/text\": Permission denied"));
    assert!(error("script").starts_with("exec: \"script\": No such file"));
    // A directory of that name does not count.
    assert!(ground.step_over(lower.clone(), &["id"]).output().starts_with("uid=0"));
    let without = ground.step(&["true"]).with(|spec| spec.env.clear()).error();
    assert!(matches!(without, Error::NotFound { .. }), "{without}");
}

fn signal_dispositions(ground: &Ground) {
    let output = ground.sh("grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status | cut -f2").output();
    assert_eq!(output, "0000000000000000\n".repeat(3));
}

fn orphans_are_reaped(ground: &Ground) {
    // Process 1, the shell, ls and grep are left when the orphans are gone.
    let script = "for i in 1 2 3 4 5; do (sleep 0.01 &); done; n=0; \
                  until test $(ls /proc | grep -c '^[0-9]') = 4; do n=$((n+1)); test $n -lt 500 || exit 1; \
                  sleep 0.01; done; echo reaped";
    assert_eq!(ground.sh(script).output(), "reaped\n");
}

fn background_processes_end(ground: &Ground) {
    let begin = Instant::now();
    let script = "setsid nohup sh -c 'while true; do sleep 1; done' & sleep 1000 & echo started";
    assert_eq!(ground.sh(script).output(), "started\n");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

fn kill(ground: &Ground) {
    let mut running = ground.sh("trap '' TERM INT HUP; echo ready; while true; do sleep 1000; done").start();
    let mut stdout = running.stdout.take().unwrap();
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).unwrap();
    let killer = running.killer();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| running.wait());
        killer.kill();
        killer.kill();
        assert_eq!(waiter.join().unwrap().unwrap(), Exit::Signal(9));
    });
    running.kill();
    assert_eq!(running.wait().unwrap(), Exit::Signal(9), "a second wait");
    assert_eq!(stdout.read(&mut ready).unwrap(), 0, "nobody holds the pipe");
    // At once, before the helper has got anywhere.
    let running = ground.sh("sleep 1000").start();
    running.kill();
    assert_eq!(running.wait().unwrap(), Exit::Signal(9));
}

/// Helpers do one process after the other, in sandboxes made ready before: none notices those before it.
fn one_after_the_other(ground: &Ground) {
    let helpers = Helpers::default();
    let stubs = ground.directory("stubs-of-all");
    let read = |mut running: Running| {
        let (mut output, mut errors) = (String::new(), String::new());
        running.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        running.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (running.wait().unwrap(), output + &errors)
    };
    let step = |script: &str| Spec { stubs: stubs.clone(), ..ground.sh(script).spec };
    let mut killers = Vec::new();
    for round in 0..4 {
        let mut first = step(
            "echo $ONLY; hostname; echo out; echo err >&2; touch /dev/shm/left /dev/left; sleep 1000 & exit 3",
        );
        first.env.push(("ONLY".into(), format!("only {round}")));
        first.hostname = "first".into();
        let running = helpers.spawn(&first).unwrap();
        killers.push(running.killer());
        helpers.prepare(&first);
        helpers.prepare(&first);
        assert_eq!(read(running), (Exit::Code(3), format!("only {round}\nfirst\nout\nerr\n")));
        // What was over before means nobody else.
        killers.iter().for_each(Killer::kill);
        let second = step(
            "echo \"<$ONLY>\"; hostname; ls /dev/shm; test -e /dev/left; echo $?; cat /proc/[0-9]*/comm | grep -c sleep; pwd; umask",
        );
        let said = read(helpers.spawn(&second).unwrap());
        assert_eq!(said, (Exit::Code(0), "<>\nbox\n1\n0\n/\n0022\n".to_owned()));
        // One that is killed, one that cannot begin, one whose sandbox is made ready and never used.
        let long = step("sleep 1000");
        let running = helpers.spawn(&long).unwrap();
        helpers.prepare(&long);
        running.kill();
        assert_eq!(running.wait().unwrap(), Exit::Signal(9));
        let mut broken = step("true");
        broken.rootfs = Rootfs::Overlay {
            lower: vec![ground.path("nowhere")],
            upper: ground.path("nowhere"),
            work: ground.path("nowhere"),
        };
        let error = helpers.spawn(&broken).unwrap().wait().unwrap_err();
        assert!(matches!(error, Error::Source { .. }), "{error}");
        // What was made ready does not serve another network or another size of shared memory.
        helpers.prepare(&long);
        let mut other = step("ls /sys/class/net; df /dev/shm | grep -c 1024");
        other.network = Network::None;
        other.shm_size = Some(1 << 20);
        assert_eq!(read(helpers.spawn(&other).unwrap()), (Exit::Code(0), "lo\n1\n".to_owned()));
        helpers.prepare(&long);
        // More than a socket holds at once.
        let mut large = step("wc -c < /large");
        let kind = MountKind::File { bytes: vec![b'x'; 3 << 20], mode: 0o400, uid: 0, gid: 0 };
        large.mounts.push(Mount { target: "/large".into(), kind });
        assert_eq!(read(helpers.spawn(&large).unwrap()), (Exit::Code(0), "3145728\n".to_owned()));
    }
    drop(helpers);
    fs_err::remove_dir(stubs).expect("nothing is mounted there any more");
}

fn drop_kills(ground: &Ground) {
    let mut running = ground.sh("echo ready; sleep 1000").start();
    let mut stdout = running.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    drop(running);
    assert_eq!(stdout.read(&mut [0]).unwrap(), 0);
}

fn callers_death_kills(ground: &Ground) {
    let mut caller = Command::new(std::env::current_exe().unwrap())
        .env("KILN_TEST_ORPHAN", ground.directory("orphan"))
        .env("TMPDIR", ground.directory("temporary"))
        .stdout(ProcessStdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = caller.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    caller.kill().unwrap();
    caller.wait().unwrap();
    assert_eq!(stdout.read(&mut [0]).unwrap(), 0, "the step's end of the pipe closes");
}

/// What [`callers_death_kills`] kills.
pub(crate) fn be_killed(place: &Path) {
    let bare = place.join("bare");
    fs_err::create_dir(&bare).unwrap();
    crate::ground::make_bare(&bare);
    let ground = Ground::new(Rung::Root, &bare);
    let running = spawn(&ground.sh("echo ready; sleep 1000").spec, Stdio::Inherited).unwrap();
    let _ = running.wait();
    std::process::exit(0);
}

fn many_at_once(ground: &Ground) {
    ground.base();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..5 {
                    let script = format!("echo {thread} {number} > /f; cat /f; exit {number}");
                    let outcome = ground.sh(&script).try_run().unwrap();
                    assert_eq!(outcome.exit, Exit::Code(number));
                    assert_eq!(outcome.stdout, format!("{thread} {number}\n"));
                }
            });
        }
    });
}

fn much_output(ground: &Ground) {
    let outcome = ground.sh("seq 100000; seq 100000 >&2").try_run().unwrap();
    assert_eq!((outcome.stdout.len(), outcome.stderr.len()), (588_895, 588_895));
}

fn termination_flag(_: &Ground) {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .env("KILN_TEST_SIGNALS", "1")
        .stdout(ProcessStdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = program.stdout.take().unwrap();
    let pid = rustix::process::Pid::from_child(&program);
    for expected in [b"false\n".as_slice(), b"true\n"] {
        let mut line = vec![0; expected.len()];
        stdout.read_exact(&mut line).unwrap();
        assert_eq!(line, expected);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }
    let status = program.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "the second one ends it");
}

/// What [`termination_flag`] sends signals to.
pub(crate) fn be_interrupted() -> ! {
    install_signal_flag(&StopSignal::ALL).unwrap();
    println!("{}", termination_requested().load(Ordering::SeqCst));
    while !termination_requested().load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("true");
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}
