//! `kiln shell`, by pipes and through a real terminal.

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;

const DOCKERFILE: &str = "\
FROM base
ENV COLOUR=red
RUN echo one > /one && mkdir -p /w && chown 7:8 /w
WORKDIR /w
COPY a /a
USER 7:8
RUN --mount=type=bind,target=/ctx --mount=type=cache,target=/cache,mode=0777 --mount=type=secret,id=s,mode=0444 \
    --network=none echo two > two; echo kept > /cache/k
ARG FAIL
RUN echo half > half; test -z \"$FAIL\"
";

/// What a step's own process would say of itself.
const LOOK: &str = "cat /one two half /a /ctx/a /cache/k /run/secrets/s 2>/dev/null; echo $COLOUR $(id -u):$(id -g) $(pwd) \
    $(ls /sys/class/net | tr '\\n' ' ')";

fn built(actor: Actor, fail: bool) -> Kiln {
    // One id cannot be given to others.
    let dockerfile = match actor {
        Actor::NoSub => DOCKERFILE.replace(" && chown 7:8 /w", "").replace("USER 7:8\n", ""),
        _ => DOCKERFILE.to_owned(),
    };
    let kiln = Kiln::new(actor);
    let build = kiln.build_text(&dockerfile, &[("a", "A\n")]);
    if fail {
        let outcome = build.args(["--build-arg", "FAIL=1"]).run();
        assert_eq!(outcome.code, 1, "{outcome}");
    } else {
        build.run().succeeds();
    }
    kiln
}

#[test]
fn a_step_is_entered_as_it_ran() {
    for actor in Actor::RUNNERS {
        let kiln = built(actor, true);
        let user = if actor == Actor::NoSub { "0:0" } else { "7:8" };
        let told = |arguments: &[&str]| {
            let words = ["shell"].iter().chain(arguments).chain(&["--", "sh", "-c", LOOK]);
            kiln.run(words).succeeds().text()
        };
        kiln.scratch.tree("secrets", &[("s", "S\n")]);
        let secret = format!("id=s,src={}", kiln.scratch.join("secrets/s").display());
        assert_eq!(
            told(&["--after", "5", "--secret", &secret]),
            format!("one\ntwo\nA\nA\nkept\nS\nred {user} /w lo\n"),
            "{actor:?}"
        );
        assert!(!told(&["--before", "5"]).contains("two\n"), "{actor:?}");
        assert!(told(&["--failed"]).starts_with("one\ntwo\nhalf\nA\nred"), "{actor:?}");
        assert!(!told(&["--before", "6"]).contains("half"), "{actor:?}");
        // Nothing stays of what is done inside.
        let spoil = "rm -f /w/two; echo x > /w/x; echo spoilt > /cache/k";
        kiln.run(["shell", "--after", "5", "--", "sh", "-c", spoil]).succeeds();
        assert!(told(&["--after", "5"]).contains("two\nA\nA\nkept\n"), "{actor:?}");
        let tmp = fs_err::read_dir(kiln.store().join("tmp")).expect("there is one").count();
        assert_eq!(tmp, 0, "{actor:?}");
        kiln.store_is_whole();
    }
}

#[test]
fn what_cannot_be_entered_says_why() {
    let kiln = Kiln::new(Actor::Sub);
    let outcome = kiln.run(["shell", "--failed"]);
    assert_eq!(outcome.code, 1, "{outcome}");
    outcome.says(&["no build is recorded"]);
    let kiln = built(Actor::Sub, false);
    for (arguments, code, says) in [
        (["--failed", "--", "true"], 2, "no step of the last build has failed"),
        (["--after=9", "--", "true"], 2, "its last one is 6"),
        (["--before=1", "--", "true"], 2, "nothing to go into"),
        (["--after=other:2", "--", "true"], 2, "no stage \"other\""),
        (["--after=2", "--", "/no/such"], 1, "/no/such"),
        (["--after=2", "--", "false"], 1, ""),
    ] {
        let outcome = kiln.run(["shell"].iter().chain(&arguments));
        assert_eq!(outcome.code, code, "{arguments:?}: {outcome}");
        outcome.says(&[says]);
    }
    let outcome = kiln.run(["shell", "--after", "2", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(outcome.code, 137, "{outcome}");
    kiln.run(["prune", "--all"]).succeeds();
    let outcome = kiln.run(["shell", "--after", "2", "--", "true"]);
    assert_ne!(outcome.code, 0, "{outcome}");
}

/// A conversation with whoever sits on the other side of a terminal that `script` makes.
struct Terminal {
    child: Child,
    seen: String,
}

impl Terminal {
    /// `kiln ARGUMENTS` on a terminal of 20 lines and 77 columns.
    fn open(kiln: &Kiln, arguments: &str) -> Self {
        let binary = kiln.command(["version"]);
        let words = std::iter::once(binary.get_program()).chain(binary.get_args());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
        let words = words.join(" ").replace("'version'", arguments);
        let line = format!("stty rows 20 cols 77; {words}; echo \"status=$?\"");
        let mut command = std::process::Command::new("script");
        command.args(["-q", "-e", "-c", &line, "/dev/null"]).env_clear();
        command.envs(binary.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("TERM", "xterm");
        command.current_dir(kiln.scratch.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self { child: command.spawn().expect("script is part of util-linux"), seen: String::new() }
    }

    fn types(&mut self, keys: &str) {
        let input = self.child.stdin.as_mut().expect("it is piped");
        input.write_all(keys.as_bytes()).and_then(|()| input.flush()).expect("somebody reads");
    }

    /// Reads on until `text` has come, and returns what came before it.
    fn until(&mut self, text: &str) -> String {
        let output = self.child.stdout.as_mut().expect("it is piped");
        let mut byte = [0];
        while !self.seen.contains(text) {
            let count = output.read(&mut byte).expect("a pipe can be read");
            assert!(count > 0, "it ended without {text:?}:\n{}", self.seen);
            self.seen.push(char::from(byte[0]));
        }
        let (before, after) = self.seen.split_once(text).expect("it has come");
        let (before, after) = (before.to_owned(), after.to_owned());
        self.seen = after;
        before
    }
}

#[test]
fn through_a_terminal() {
    for actor in Actor::RUNNERS {
        let kiln = built(actor, true);
        let mut terminal = Terminal::open(&kiln, "shell --failed");
        // The text that is waited for is not what the echo of the keys says.
        terminal.types("stty size; echo r''eady\n");
        assert!(terminal.until("ready\r\n").contains("20 77"), "{actor:?}");
        // In a process of its own: a shell that is interrupted just before it starts a command waits for all of it.
        terminal.types("cat half; sh -c 'echo st\"\"arted; exec sleep 100'\n");
        assert!(terminal.until("started\r\n").contains("half\r\n"), "{actor:?}");
        terminal.types("\x03");
        terminal.types("echo inter''rupted-$?\n");
        terminal.until("interrupted-130\r\n");
        terminal.types("sh -c 'echo in-sh; kill -TSTP $$; echo cont''inued'\n");
        terminal.until("in-sh\r\n");
        terminal.types("jobs; fg\n");
        assert!(terminal.until("continued\r\n").contains("Stopped"), "{actor:?}");
        terminal.types("exit 5\n");
        terminal.until("status=5");
        drop(terminal.child.stdin.take());
        assert!(terminal.child.wait().is_ok());
        assert_eq!(fs_err::read_dir(kiln.store().join("tmp")).expect("there is one").count(), 0, "{actor:?}");
    }
}
