//! An ssh agent's socket for a step: a socket of our own with the mode and owner that the mount asks for, forwarding to the host's.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Forwards connections until it is dropped.
pub(crate) struct Forward {
    path: PathBuf,
    over: Arc<AtomicBool>,
    listening: Option<JoinHandle<()>>,
}

impl Forward {
    /// Listens at `path` for connections to the agent at `agent`.
    pub(crate) fn start(
        agent: &Path,
        path: &Path,
        (mode, owner): (u32, Option<(u32, u32)>),
    ) -> io::Result<Self> {
        // An agent that is not there is noticed now, with its path, and not as a refused connection inside the step.
        UnixStream::connect(agent).map_err(|e| {
            io::Error::new(e.kind(), format!("cannot reach the ssh agent at {}: {e}", agent.display()))
        })?;
        let listener = bind(path)?;
        fs_err::set_permissions(path, PermissionsExt::from_mode(mode))?;
        if let Some((uid, gid)) = owner.filter(|owner| *owner != (0, 0)) {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        }
        let over = Arc::new(AtomicBool::new(false));
        let (agent, stop) = (agent.to_owned(), over.clone());
        let listening = std::thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let Ok(agent) = UnixStream::connect(&agent) else { continue };
                std::thread::spawn(move || exchange(&client, &agent));
            }
        });
        Ok(Self { path: path.to_owned(), over, listening: Some(listening) })
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A socket's address holds 107 bytes; a longer path is reached through a handle of its directory, which has to stay open meanwhile.
fn nearby(path: &Path) -> io::Result<(fs_err::File, PathBuf)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = fs_err::File::open(parent)?;
    let near = Path::new("/proc/self/fd").join(dir.file().as_raw_fd().to_string()).join(name);
    Ok((dir, near))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    let (_dir, near) = nearby(path)?;
    UnixListener::bind(near)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot listen at {}: {e}", path.display())))
}

/// Copies both ways until both have said all.
fn exchange(client: &UnixStream, agent: &UnixStream) {
    let copy = |mut from: &UnixStream, mut to: &UnixStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(client, agent));
        copy(agent, client);
    });
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        let woken = nearby(&self.path).is_ok_and(|(_dir, near)| UnixStream::connect(near).is_ok());
        if let Some(listening) = self.listening.take().filter(|_| woken) {
            let _ = listening.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn forwards_until_it_is_dropped() {
        let scratch = tempfile::tempdir().unwrap();
        let agent = scratch.path().join("agent");
        let host = UnixListener::bind(&agent).unwrap();
        std::thread::spawn(move || {
            for mut client in host.incoming().flatten() {
                let mut said = [0; 4];
                if client.read_exact(&mut said).is_ok() {
                    let _ = client.write_all(&[b"re: ", &said[..]].concat());
                }
            }
        });
        // Deeper than a socket's address can tell.
        let deep = scratch.path().join("deep/".repeat(40));
        fs_err::create_dir_all(&deep).unwrap();
        let forward = Forward::start(&agent, &deep.join("socket"), (0o640, None)).unwrap();
        let meta = fs_err::symlink_metadata(forward.path()).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
        let folder = fs_err::File::open(&deep).unwrap();
        let near = format!("/proc/self/fd/{}/socket", folder.file().as_raw_fd());
        let mut answer = String::new();
        let mut client = UnixStream::connect(&near).unwrap();
        client.write_all(b"ping").unwrap();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "re: ping");
        drop(forward);
        assert!(UnixStream::connect(&near).is_err());
        let none = Forward::start(&scratch.path().join("none"), &deep.join("other"), (0o600, None));
        assert!(none.is_err_and(|e| e.to_string().contains("cannot reach the ssh agent")));
    }
}
