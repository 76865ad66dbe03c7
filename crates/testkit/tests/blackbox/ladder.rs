//! The rungs of the privilege ladder, and what a step sees on each.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use kiln_testkit::actor::Actor;
use kiln_testkit::image::Layout;
use kiln_testkit::kiln::Kiln;
use kiln_testkit::outcome::Outcome;

#[test]
fn doctor_names_the_rung() {
    for (actor, words) in [
        (Actor::Root, ["root", "1"]),
        (Actor::Sub, ["subordinate|subuid", "2"]),
        (Actor::NoSub, ["single|one id|subuid", "3"]),
        (Actor::NoNamespaces, ["namespace", "5|no run|copy"]),
    ] {
        let outcome = Kiln::new(actor).run(["doctor"]);
        let said = format!("{}{}", outcome.text(), outcome.stderr).to_lowercase();
        for word in words {
            assert!(word.split('|').any(|w| said.contains(w)), "{actor:?}: no {word:?} in\n{said}");
        }
    }
}

#[test]
fn a_step_sees_a_container() {
    let dockerfile = "\
FROM base
WORKDIR /work
RUN id -u > uid && hostname > host && ls /dev > dev && cat /proc/1/comm > init \\
 && grep Seccomp: /proc/self/status > seccomp && grep CapBnd /proc/self/status > caps \\
 && (echo x > /proc/sys/kernel/domainname || true) 2> sysctl && (cat /proc/kcore 2> /dev/null | wc -c) > kcore \\
 && test -c /dev/null && test ! -e /dev/kmsg && : > /dev/shm/x && pwd > pwd
";
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        let image = kiln.build_text(dockerfile, &[]).to_layout("image");
        assert_eq!(image.file("work/uid"), "0\n", "{actor:?}");
        assert_eq!(image.file("work/pwd"), "/work\n", "{actor:?}");
        assert_eq!(image.file("work/seccomp"), "Seccomp:\t2\n", "{actor:?}");
        assert_eq!(image.file("work/kcore").trim(), "0", "{actor:?}");
        assert_eq!(image.file("work/caps").trim(), "CapBnd:\t00000000a80425fb", "{actor:?}");
        assert!(!image.file("work/dev").contains("vda"), "{actor:?}");
        let stubs = ["dev/null", "dev/shm", "etc/resolv.conf", "etc/hosts", "proc/self"];
        let files = image.layer(image.layers().last().expect("a layer"));
        assert!(stubs.iter().all(|s| !files.contains_key(*s)), "{actor:?}: {:?}", files.keys());
    }
}

/// Root of a container without the right to mount is an ordinary user, as far as steps go.
#[test]
fn root_that_may_not_mount_is_root_of_a_namespace() {
    let kiln = Kiln::new(Actor::Root);
    let build = kiln.build_text("FROM base\nRUN id -u > /uid && touch /made\n", &[]);
    let inner = build.args(["--output", "type=oci,tar=false,dest=image"]).command();
    let mut outer = Command::new("/usr/bin/setpriv");
    outer.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer.current_dir(kiln.scratch.path());
    Outcome::of(outer).succeeds();
    let image = Layout::open(&kiln.scratch.join("image"));
    assert_eq!((image.file("uid").as_str(), image.files()["made"].uid), ("0\n", 0));
}

/// As with `sudo -u somebody kiln build /srv/app` in root's home.
#[test]
fn the_working_directory_may_be_closed_to_the_user() {
    let kiln = Kiln::new(Actor::Sub);
    let closed = kiln.scratch.join("closed");
    fs_err::create_dir(&closed).expect("a new folder");
    fs_err::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).expect("it is root's");
    let mut command = kiln.build_text("FROM base\nRUN touch /made\n", &[]).command();
    command.current_dir(closed);
    Outcome::of(command).succeeds();
}

#[test]
fn owners_of_other_users() {
    for actor in [Actor::Root, Actor::Sub] {
        let kiln = Kiln::new(actor);
        let step = "RUN echo x > /etc/mine && chown 1000:2000 /etc/mine && chmod 2750 /etc/mine";
        let image = kiln
            .build_text(&format!("FROM base\n{step}\nUSER 1000\nRUN id -u > /tmp/who\n"), &[])
            .to_layout("image");
        let files = image.files();
        let mine = &files["etc/mine"];
        assert_eq!((mine.uid, mine.gid, mine.mode), (1000, 2000, 0o2750), "{actor:?}");
        assert_eq!(
            (files["tmp/who"].uid, files["tmp/who"].content.as_slice()),
            (1000, b"1000\n".as_slice()),
            "{actor:?}"
        );
    }
}

#[test]
fn without_ranges_a_chown_says_what_would_allow_it() {
    let kiln = Kiln::new(Actor::NoSub);
    let outcome = kiln.build_text("FROM base\nRUN echo x > /x && chown 1000:2000 /x\n", &[]).run();
    outcome.fails(1, &["chown", "subuid"]);
    kiln.store_is_whole();
}

#[test]
fn a_failing_step_tells_everything() {
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        let outcome =
            kiln.build_text("FROM base\n\nRUN echo before; echo to-stderr >&2; exit 7\n", &[]).run();
        outcome.fails(1, &["before", "to-stderr", "exit code 7|exit code: 7", "Dockerfile:3|line 3"]);
        let outcome = kiln.build_text("FROM base\nRUN kill -9 $$\n", &[]).run();
        outcome.fails(1, &["137|SIGKILL|signal 9"]);
        kiln.store_is_whole();
    }
}

#[test]
fn networks() {
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        let image = kiln
            .build_text(
                "FROM base\nRUN --network=none ls /sys/class/net > /none 2>/dev/null || ip -o link > /none\n\
                 RUN --network=host ip -o link > /host\n",
                &[],
            )
            .to_layout("image");
        let lines = |path: &str| image.file(path).lines().map(str::to_owned).collect::<Vec<_>>();
        assert!(lines("none").iter().all(|line| line.contains("lo")), "{actor:?}: {:?}", lines("none"));
        assert!(!lines("host").is_empty(), "{actor:?}");
    }
}

#[test]
fn the_zombies_are_reaped_and_the_orphans_end() {
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        kiln.build_text("FROM base\nRUN (sleep 777123 &) ; echo done\n", &[]).run().succeeds();
        let left = super::interrupt::processes_with("777123");
        assert!(left.is_empty(), "{actor:?}: {left:?}");
    }
}
