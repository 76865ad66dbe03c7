//! What the cases stand on: a scratch directory, a busybox root filesystem, a step to vary.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_sandbox::{
    Error, Exit, Mount, MountKind, Network, Rootfs, Rung, Running, Security, Spec, Stdio, spawn,
};
use tempfile::TempDir;

/// A case's own directory, and what all cases share.
pub(crate) struct Ground {
    pub(crate) rung: Rung,
    pub(crate) dir: TempDir,
    bare: PathBuf,
}

impl Ground {
    /// `bare` is what [`make_bare`] made.
    pub(crate) fn new(rung: Rung, bare: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("kiln-sandbox-").tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        Self { rung, dir, bare: bare.to_owned() }
    }

    /// A path in the case's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A new directory.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(&path).unwrap();
        path
    }

    /// A directory with these files.
    pub(crate) fn tree(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = self.directory(name);
        for (path, content) in files {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        root
    }

    /// A layer with nothing but busybox in `/bin`, not to be changed.
    pub(crate) fn bare(&self) -> PathBuf {
        self.bare.clone()
    }

    /// A layer with the directories of an ordinary image.
    pub(crate) fn base(&self) -> Vec<PathBuf> {
        let root = self.path("base");
        if !root.exists() {
            for name in ["dev", "etc", "proc", "sys", "tmp", "run", "root", "data/sub"] {
                fs_err::create_dir_all(root.join(name)).unwrap();
            }
            set_mode(&root.join("tmp"), 0o1777);
            fs_err::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
            fs_err::write(root.join("data/old"), "old\n").unwrap();
            fs_err::write(root.join("data/sub/a"), "a\n").unwrap();
        }
        vec![root, self.bare()]
    }

    /// A shell command over the ordinary image.
    pub(crate) fn sh(&self, script: &str) -> Step {
        self.step(&["/bin/sh", "-c", script])
    }

    /// A command over the ordinary image.
    pub(crate) fn step(&self, argv: &[&str]) -> Step {
        self.step_over(self.base(), argv)
    }

    /// A command over some layers.
    pub(crate) fn step_over(&self, lower: Vec<PathBuf>, argv: &[&str]) -> Step {
        let own = tempfile::Builder::new().prefix("step-").tempdir_in(self.dir.path()).unwrap().keep();
        let upper = own.join("upper");
        let (work, stubs) = (own.join("work"), own.join("stubs"));
        for path in [&upper, &work, &stubs] {
            fs_err::create_dir(path).unwrap();
        }
        let spec = Spec {
            rootfs: Rootfs::Overlay { lower, upper: upper.clone(), work },
            argv: argv.iter().copied().map(String::from).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            cwd: "/".into(),
            uid: 0,
            gid: 0,
            groups: vec![],
            hostname: "box".into(),
            mounts: vec![],
            network: Network::Host,
            security: Security::Sandbox,
            resolv_conf: Some(b"nameserver 192.0.2.1\n".into()),
            hosts: b"127.0.0.1 localhost\n".into(),
            ulimits: vec![],
            shm_size: None,
            stubs,
        };
        Step { spec, upper }
    }
}

const APPLETS: &[&str] = &[
    "sh", "cat", "ls", "echo", "id", "test", "mount", "umount", "touch", "chmod", "chown", "chroot", "mkdir",
    "rm", "mv", "ln", "stat", "sleep", "kill", "ps", "grep", "cut", "sort", "hostname", "env", "dd", "df",
    "mknod", "unshare", "true", "false", "pwd", "ip", "wc", "head", "readlink", "find", "seq", "tr",
    "setsid", "nohup", "tty", "uname", "mkfifo", "printf", "ulimit", "umask", "linux64", "setarch",
];

/// Makes a layer with nothing but busybox in `/bin`.
pub(crate) fn make_bare(root: &Path) {
    set_mode(root, 0o755);
    fs_err::create_dir_all(root.join("bin")).unwrap();
    fs_err::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    for name in APPLETS {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
}

/// A process to run, and where its changes go.
pub(crate) struct Step {
    pub(crate) spec: Spec,
    pub(crate) upper: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Step {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Spec)) -> Self {
        change(&mut self.spec);
        self
    }

    pub(crate) fn mount(self, target: &str, kind: MountKind) -> Self {
        self.with(|spec| spec.mounts.push(Mount { target: target.into(), kind }))
    }

    pub(crate) fn start(&self) -> Running {
        spawn(&self.spec, Stdio::Piped).unwrap()
    }

    pub(crate) fn try_run(&self) -> Result<Outcome, Error> {
        let mut running = self.start();
        let (mut stdout, mut stderr) = (running.stdout.take().unwrap(), running.stderr.take().unwrap());
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        let stderr = errors.join().unwrap();
        Ok(Outcome { exit: running.wait()?, stdout: text, stderr })
    }

    /// Its output; it must exit with 0.
    pub(crate) fn output(&self) -> String {
        let outcome = self.try_run().unwrap();
        assert_eq!(outcome.exit, Exit::Code(0), "{outcome:?}");
        outcome.stdout
    }

    /// The error that kept the program from running.
    pub(crate) fn error(&self) -> Error {
        self.try_run().expect_err("it should not run")
    }

    /// What is in the upper directory: paths, sorted.
    pub(crate) fn changes(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.upper, &self.upper, &mut found);
        found.sort();
        found
    }

    /// Mode, owner and group of a changed file, as the user namespace sees them.
    pub(crate) fn owner(&self, path: &str) -> (u32, u32, u32) {
        let meta = fs_err::symlink_metadata(self.upper.join(path)).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    }
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in fs_err::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, found);
        }
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Makes a test user, with subordinate ids if its name says so.
pub(crate) fn make_user(user: &str) {
    let run = |program: &str, arguments: &[&str]| Command::new(program).args(arguments).output().unwrap();
    if !run("id", &[user]).status.success() {
        assert!(run("useradd", &["--system", user]).status.success(), "useradd {user}");
    }
    let granted = fs_err::read_to_string("/etc/subuid").unwrap_or_default();
    if user == "kiln-sub" && !granted.lines().any(|line| line.starts_with("kiln-sub:")) {
        let arguments = ["--add-subuids", "100000-165535", "--add-subgids", "100000-165535", user];
        assert!(run("usermod", &arguments).status.success(), "usermod {user}");
    }
}

/// A command that runs a program as somebody else.
pub(crate) fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(program);
    command
}

/// Started by a case as another process, plays that process and ends.
pub(crate) fn act_as_asked() {
    if let Ok(place) = std::env::var("KILN_TEST_ORPHAN") {
        crate::lifecycle::be_killed(Path::new(&place));
    }
    if std::env::var_os("KILN_TEST_SIGNALS").is_some() {
        crate::lifecycle::be_interrupted();
    }
}
