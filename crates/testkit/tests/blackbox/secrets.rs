//! What is secret stays out of everything that is kept.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use kiln_testkit::actor::Actor;
use kiln_testkit::kiln::Kiln;

const SECRET: &str = "correct-horse-battery-staple-4711";

/// The files below a folder that hold these bytes, plain or gzipped.
fn holding(folder: &Path, needle: &[u8]) -> Vec<String> {
    let files =
        walkdir::WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    let holds = |path: &Path| {
        let bytes = fs_err::read(path).expect("we are root");
        let mut plain = Vec::new();
        let _ = flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain);
        [bytes, plain].iter().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
    };
    files.filter(|entry| holds(entry.path())).map(|entry| entry.path().display().to_string()).collect()
}

#[test]
fn secrets_leave_no_trace() {
    let dockerfile = "\
FROM base
RUN --mount=type=secret,id=file,mode=0444 test \"$(stat -c %a /run/secrets/file)\" = 444 \\
 && wc -c < /run/secrets/file > /length && cat /run/secrets/file
RUN --mount=type=secret,id=variable,env=TOKEN,target=/etc/token echo \"${#TOKEN}\" > /length-of-token; wc -c < /etc/token > /length-of-file; echo \"token=$TOKEN\"
RUN test ! -e /run/secrets/file && test ! -s /etc/token
";
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        let given = kiln.scratch.tree("given", &[("secret:600", SECRET)]).join("secret");
        let file = format!("id=file,src={}", given.display());
        let build =
            kiln.build_text(dockerfile, &[]).args(["--secret", &file, "--secret", "id=variable,env=HUSH"]);
        let image = build.env("HUSH", SECRET).to_layout("image");
        fs_err::remove_file(&given).expect("ours");
        let length = format!("{}\n", SECRET.len());
        assert_eq!(image.file("length"), length, "{actor:?}");
        assert_eq!(image.file("length-of-token"), length, "{actor:?}");
        assert_eq!(image.file("length-of-file"), length, "{actor:?}");
        assert_eq!(holding(kiln.scratch.path(), SECRET.as_bytes()), [""; 0], "{actor:?}");
        let files = image.files();
        assert!(!files.keys().any(|path| path.starts_with("run/secrets")), "{actor:?}: {:?}", files.keys());
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let kiln = Kiln::new(Actor::NoSub);
    kiln.build_text("FROM base\nCOPY secret /\n", &[("secret", SECRET)]).to_layout("image");
    assert!(holding(&kiln.scratch.join("image"), SECRET.as_bytes()).len() == 1);
}

#[test]
fn cache_mounts_stay_out_of_the_image() {
    let dockerfile = "FROM base\nARG N\nRUN --mount=type=cache,target=/kept echo $N >> /kept/runs && cat /kept/runs > /runs\n";
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        kiln.build_text(dockerfile, &[]).args(["--build-arg", "N=1"]).run().succeeds();
        let image = kiln.build_text(dockerfile, &[]).args(["--build-arg", "N=2"]).to_layout("image");
        assert_eq!(image.file("runs"), "1\n2\n", "{actor:?}");
        assert!(!image.files().contains_key("kept/runs"), "{actor:?}");
    }
}

/// Private keys given with --ssh are in an agent for as long as the build takes, and nowhere else.
#[test]
fn private_keys_are_held_by_an_agent() {
    for actor in Actor::RUNNERS {
        let kiln = Kiln::new(actor);
        let folder = kiln.scratch.tree("keys", &[("note", "")]);
        let key = folder.join("key");
        let mut made = Command::new("ssh-keygen");
        made.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
        assert!(made.status().expect("ssh-keygen (openssh-client)").success());
        kiln.scratch.give(&folder);
        let text = fs_err::read_to_string(&key).expect("a key");
        let body = text.lines().nth(2).expect("three lines").to_owned();
        let dockerfile = "FROM base\nRUN --mount=type=ssh,id=deploy,mode=0666,required test -S \"$SSH_AUTH_SOCK\" && env > /env\n";
        let given = format!("deploy={}", key.display());
        let image = kiln.build_text(dockerfile, &[]).args(["--ssh", &given]).to_layout("image");
        assert!(image.file("env").contains("SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"), "{actor:?}");
        fs_err::remove_dir_all(&folder).expect("ours");
        assert_eq!(holding(kiln.scratch.path(), body.as_bytes()), [""; 0], "{actor:?}");
        let left = fs_err::read_dir(kiln.scratch.path()).expect("ours").flatten();
        let left = left.map(|entry| entry.file_name().to_string_lossy().into_owned());
        assert_eq!(
            left.filter(|name| name.starts_with("kiln-ssh-")).count(),
            0,
            "{actor:?}: an agent's folder"
        );

        let refused =
            kiln.build_text(dockerfile, &[("note", "")]).args(["--ssh", "deploy=context/note"]).run();
        assert_eq!(refused.code, 2, "{actor:?}");
        assert!(refused.stderr.contains("cannot be used as a private key"), "{actor:?}: {}", refused.stderr);
    }
}
