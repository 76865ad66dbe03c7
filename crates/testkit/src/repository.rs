//! Git repositories for tests, made by git, the same every time.

use std::path::{Path, PathBuf};
use std::process::Command;

/// When everything was committed: 2017-07-14T02:40:00Z.
pub const COMMITTED: u64 = 1_500_000_000;

/// A working repository and its bare copy, which servers give away.
#[derive(Debug)]
pub struct Repository {
    work: PathBuf,
    bare: PathBuf,
}

impl Repository {
    /// A new one called `name`, without a commit; the bare copy is `root/NAME.git`.
    pub fn new(root: &Path, name: &str) -> Self {
        let work = root.join("work").join(name);
        fs_err::create_dir_all(&work).expect("scratch is writable");
        let bare = root.join(format!("{name}.git"));
        let repository = Self { work, bare };
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    /// Where files are written before they are committed.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Runs git in the working repository; its output.
    ///
    /// # Panics
    /// When git fails.
    pub fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "protocol.file.allow=always"]).args(arguments).current_dir(&self.work);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "somebody")
                .env(format!("GIT_{who}_EMAIL"), "somebody@example.com");
            command.env(format!("GIT_{who}_DATE"), format!("{COMMITTED} +0000"));
        }
        let output = command.output().expect("git can be started");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Writes files (names as for [`crate::scratch::Scratch::tree`], without modes) and commits them; the commit's id.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (name, content) in files {
            let path = self.work.join(name);
            fs_err::create_dir_all(path.parent().expect("below the root")).expect("scratch is writable");
            match content.strip_prefix("-> ") {
                Some(target) => fs_err::os::unix::fs::symlink(target, path).expect("scratch is writable"),
                None => fs_err::write(path, content).expect("scratch is writable"),
            }
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "a commit"]);
        self.publish();
        self.git(&["rev-parse", "HEAD"])
    }

    /// Brings the bare copy up to date.
    pub fn publish(&self) {
        let bare = self.bare.display().to_string();
        if !self.bare.exists() {
            self.git(&["clone", "-q", "--bare", ".", &bare]);
        }
        self.git(&["push", "-q", "--force", "--mirror", &bare]);
        let status = Command::new("git").arg("update-server-info").current_dir(&self.bare).status();
        assert!(status.is_ok_and(|status| status.success()), "update-server-info");
    }
}
