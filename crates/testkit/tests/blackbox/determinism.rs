//! Law 1: the same input gives the same bytes, whoever builds, where, when and with how many processors.

use std::ffi::OsString;
use std::process::Command;

use kiln_testkit::actor::Actor;
use kiln_testkit::image::Layout;
use kiln_testkit::kiln::Kiln;
use kiln_testkit::peers;

const EPOCH: &str = "1700000000";

/// Circumstances that must not matter.
struct Place {
    actor: Actor,
    folder: &'static str,
    umask: &'static str,
    zone: &'static str,
    locale: &'static str,
    jobs: &'static str,
}

const PLACES: [Place; 4] = [
    Place { actor: Actor::Root, folder: "a", umask: "022", zone: "UTC", locale: "C", jobs: "1" },
    Place {
        actor: Actor::Root,
        folder: "b/deep/er",
        umask: "077",
        zone: "Asia/Tokyo",
        locale: "C.UTF-8",
        jobs: "4",
    },
    Place { actor: Actor::Sub, folder: "c", umask: "002", zone: "America/Lima", locale: "POSIX", jobs: "2" },
    Place { actor: Actor::NoSub, folder: "d", umask: "000", zone: "Europe/Rome", locale: "C", jobs: "3" },
];

const FILES: [(&str, &str); 6] = [
    ("src/main.c", "int main(void) { return 0; }\n"),
    ("src/run.sh:755", "#!/bin/sh\necho run\n"),
    ("src/link -> main.c", ""),
    ("secret/key:600", "k"),
    ("ünïcode name", "u"),
    (".dockerignore", "secret/*.tmp\n"),
];

fn build(place: &Place, dockerfile: &str, keys: &str) -> Layout {
    let kiln = Kiln::new(place.actor);
    let context = kiln.scratch.tree(place.folder, &FILES);
    let file = kiln.scratch.tree("dockerfiles", &[("Dockerfile", dockerfile)]).join("Dockerfile");
    let dest = kiln.scratch.join("image");
    let spec = format!("type=oci,dest={},tar=false{keys}", dest.display());
    let build = kiln
        .build(&context)
        .args([OsString::from("-f"), file.into()])
        .args(["--jobs", place.jobs, "-o", &spec]);
    let inner =
        build.env("SOURCE_DATE_EPOCH", EPOCH).env("TZ", place.zone).env("LC_ALL", place.locale).command();
    kiln_testkit::outcome::Outcome::of(with_umask(inner, place.umask)).succeeds();
    peers::verify_whole(&dest);
    kiln.store_is_whole();
    Layout::open(&dest)
}

/// The same command under a shell that sets the umask first.
fn with_umask(inner: Command, umask: &str) -> Command {
    let mut outer = Command::new("/bin/sh");
    outer
        .args(["-c", &format!("umask {umask}; exec \"$@\""), "sh"])
        .arg(inner.get_program())
        .args(inner.get_args());
    outer.env_clear().envs(inner.get_envs().filter_map(|(name, value)| value.map(|v| (name, v))));
    if let Some(folder) = inner.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

#[track_caller]
fn same_everywhere(dockerfile: &str, keys: &str) {
    let images: Vec<_> = PLACES.iter().map(|place| build(place, dockerfile, keys)).collect();
    for (image, place) in images.iter().zip(&PLACES).skip(1) {
        let who = place.actor;
        assert_eq!(
            image.layers(),
            images[0].layers(),
            "layers by {who:?}\n{}\n{}",
            image.manifest,
            images[0].manifest
        );
        assert_eq!(image.config, images[0].config, "config by {who:?}");
        assert_eq!(image.digest, images[0].digest, "manifest by {who:?}");
    }
}

#[test]
fn copies() {
    same_everywhere(
        "FROM base\nWORKDIR /app/src\nCOPY src/ ./\nCOPY --chown=7:8 --chmod=640 secret/key /etc/key\n\
         COPY [\"ünïcode name\", \"/\"]\nCOPY <<EOF /etc/made\nmade\nEOF\nLABEL a=b c=d\nENV Z=1 A=2\nCMD [\"sh\"]\n",
        ",rewrite-timestamp=true",
    );
}

#[test]
fn steps() {
    let text = "FROM base AS one\nRUN mkdir -p /out/d && echo one > /out/d/f && ln /out/d/f /out/hard && ln -s d/f /out/soft\n\
         RUN rm /bin/vi && mkdir /etc/new && chmod 1777 /etc/new\n\
         FROM base\nCOPY --from=one /out /out\nRUN cat /out/hard > /etc/copied && rm -r /out/d\nUSER 12\n";
    // What a RUN writes has no time later than the epoch either way; `rewrite-timestamp` is about the context's.
    same_everywhere(text, "");
    same_everywhere(text, ",rewrite-timestamp=true");
}
