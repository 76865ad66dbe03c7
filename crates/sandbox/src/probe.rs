//! What this host allows, found out by trying it.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::WaitOptions;
use rustix::thread::{CapabilitySet, UnshareFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Error, IdKind};
use crate::helper::Part;
use crate::rung::Rung;
use crate::spec::Scratch;
use crate::{ids, mount, overlay, sys, userns, wire};

/// The best rung of the ladder, and what was found out about each one that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The best that works here.
    pub rung: Rung,
    /// Best first. Rungs below one that works are not looked at when it is [`Rung::Root`].
    pub findings: Vec<Finding>,
}

/// What was found out about one rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub rung: Rung,
    /// Whether it works.
    pub available: bool,
    /// Why it does or does not.
    pub reason: String,
    /// What would make it work, where that is known.
    pub remedy: Option<String>,
}

/// Tries what this process may do, with overlay mounts on the file system of `store`, which need not
/// exist yet. Takes a few milliseconds and leaves nothing behind.
pub fn probe(store: &Path) -> Probe {
    let findings = match userns::inside_user_namespace() {
        Some(rung) => vec![judge(rung, store, false)],
        None if has_admin() => vec![judge(Rung::Root, store, false)],
        None => {
            let root = Finding {
                rung: Rung::Root,
                available: false,
                reason: "not root with CAP_SYS_ADMIN".to_owned(),
                remedy: None,
            };
            let single = judge(Rung::SingleId, store, true);
            vec![root, with_ranges(&single), single]
        }
    };
    let rung = findings.iter().find(|finding| finding.available).map_or(Rung::None, |finding| finding.rung);
    Probe { rung, findings }
}

fn has_admin() -> bool {
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    capable && rustix::process::geteuid().is_root()
}

/// What a helper is asked to try.
#[derive(Serialize, Deserialize)]
struct Request {
    #[serde(with = "wire::path")]
    store: PathBuf,
    user_namespace: bool,
}

/// What went wrong, in the order in which it was tried; `None` worked.
#[derive(Serialize, Deserialize)]
enum Trial {
    Namespaces(#[serde(with = "wire::errno")] io::Error),
    Proc(#[serde(with = "wire::errno")] io::Error),
    Store(String),
    Overlay(Error),
    Fine,
}

fn judge(rung: Rung, store: &Path, user_namespace: bool) -> Finding {
    let request = Request { store: existing(store).to_owned(), user_namespace };
    let unavailable =
        |reason: String, remedy: Option<String>| Finding { rung, available: false, reason, remedy };
    match ask(&request) {
        Err(error) => unavailable(format!("cannot start a helper process: {error}"), None),
        Ok(Trial::Fine) => {
            Finding { rung, available: true, reason: "namespaces and overlay work".to_owned(), remedy: None }
        }
        Ok(Trial::Namespaces(error)) => {
            let remedy = namespace_remedy(&error);
            unavailable(format!("cannot create namespaces: {error}"), remedy)
        }
        Ok(Trial::Proc(error)) => unavailable(
            format!("cannot mount /proc in a namespace: {error}"),
            Some("the surrounding container masks /proc; start it with --security-opt systempaths=unconfined".into()),
        ),
        Ok(Trial::Store(reason)) => unavailable(reason, Some("choose a writable store with --root".into())),
        Ok(Trial::Overlay(error)) => unavailable(
            error.to_string(),
            Some("overlay in a user namespace needs Linux 5.11 and a store on ext4, xfs, btrfs or tmpfs; choose another place with --root".into()),
        ),
    }
}

fn ask(request: &Request) -> io::Result<Trial> {
    let (mut child, control) = Part::Probe.start()?;
    wire::send(&control, request)?;
    let answer = wire::receive(&control);
    let status = child.wait()?;
    answer?.ok_or_else(|| io::Error::other(format!("no answer ({status})")))
}

/// The directory itself or the nearest one above it that exists.
fn existing(store: &Path) -> &Path {
    store
        .ancestors()
        .find(|path| fs_err::metadata(path).is_ok_and(|meta| meta.is_dir()))
        .unwrap_or(Path::new("/"))
}

/// Whether ids can be mapped, given that a user namespace works at all.
fn with_ranges(single: &Finding) -> Finding {
    let rung = Rung::SubIds;
    let obstacle =
        if single.available { id_obstacle() } else { Some((single.reason.clone(), single.remedy.clone())) };
    match obstacle {
        Some((reason, remedy)) => Finding { rung, available: false, reason, remedy },
        None => Finding {
            rung,
            available: true,
            reason: "subordinate ids and newuidmap are there".into(),
            remedy: None,
        },
    }
}

fn id_obstacle() -> Option<(String, Option<String>)> {
    for (kind, program) in [(IdKind::User, "newuidmap"), (IdKind::Group, "newgidmap")] {
        if let Err(error) = ids::subordinate(kind) {
            let remedy = "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER";
            return Some((error.to_string(), Some(remedy.into())));
        }
        let Some(path) = ids::find_program(program) else {
            return Some((
                format!("{program} is not installed"),
                Some("install the package uidmap (shadow-utils)".into()),
            ));
        };
        if !privileged(&path) {
            let reason = format!("{} is neither set-uid root nor has it file capabilities", path.display());
            return Some((reason, Some(format!("as root: chmod u+s {}", path.display()))));
        }
    }
    if status_field("NoNewPrivs").as_deref() == Some("1") {
        let reason = "no_new_privs is set, so newuidmap gets no privilege".to_owned();
        return Some((reason, Some("allow privilege escalation for the surrounding container".into())));
    }
    None
}

/// Whether a program runs with more privilege than its caller.
fn privileged(program: &Path) -> bool {
    let set_uid = fs_err::metadata(program)
        .is_ok_and(|meta| meta.permissions().mode() & 0o4000 != 0 && meta.uid() == 0);
    set_uid || rustix::fs::getxattr(program, c"security.capability", &mut [0_u8; 64][..]).is_ok()
}

/// The usual reasons why a user namespace is refused.
fn namespace_remedy(error: &io::Error) -> Option<String> {
    // Not the disk: user_namespaces(7) has it for a limit that is reached, one of an outer namespace perhaps.
    if error.kind() == io::ErrorKind::StorageFull {
        return Some("a limit is reached; as root: sysctl user.max_user_namespaces=15000".to_owned());
    }
    let setting = |path: &str| fs_err::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let remedy = if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        "as root: sysctl kernel.unprivileged_userns_clone=1"
    } else if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with `userns,` for kiln"
    } else if status_field("Seccomp").as_deref() == Some("2") {
        "a system call filter forbids it; start the surrounding container with --security-opt seccomp=unconfined"
    } else {
        return None;
    };
    Some(remedy.to_owned())
}

fn status_field(name: &str) -> Option<String> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned());
    status.lines().find_map(value)
}

/// The probe helper's main function.
pub(crate) fn answer(control: &UnixStream) -> io::Result<()> {
    let Some(request) = wire::receive::<Request>(control)? else { return Ok(()) };
    wire::send(control, &try_out(&request))
}

fn try_out(request: &Request) -> Trial {
    let made =
        if request.user_namespace { userns::enter_single() } else { sys::unshare(UnshareFlags::NEWNS) };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let isolated = made.and_then(|()| mount_change(c"/", private).map_err(Into::into));
    if let Err(error) = isolated {
        return Trial::Namespaces(error);
    }
    match try_proc() {
        Ok(0) => {}
        Ok(number) => return Trial::Proc(io::Error::from_raw_os_error(number)),
        Err(error) => return Trial::Namespaces(error),
    }
    let directory = request.store.join(format!(".kiln-probe-{}", rustix::process::getpid().as_raw_pid()));
    let outcome = try_overlay(&directory);
    // Best effort: it holds empty directories only.
    let _ = fs_err::remove_dir_all(&directory);
    outcome
}

/// Mounts `/proc` as process 1 of a new namespace; the result is an error number or 0.
fn try_proc() -> io::Result<i32> {
    let namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let Some(child) = sys::fork_into(namespaces)? else {
        let number = match mount::filesystem(c"proc", &[], mount::LOCKED_DOWN) {
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        };
        std::process::exit(number);
    };
    let ended = rustix::process::waitpid(Some(child), WaitOptions::empty())?;
    Ok(ended.and_then(|(_, status)| status.exit_status()).unwrap_or(libc::EIO))
}

fn try_overlay(directory: &Path) -> Trial {
    let [lower, upper, work, anchor] = ["lower", "upper", "work", "anchor"].map(|name| directory.join(name));
    for path in [directory, &lower, &upper, &work, &anchor] {
        if let Err(error) = fs_err::create_dir(path) {
            return Trial::Store(error.to_string());
        }
    }
    // Who finds the directory can tell by this whether somebody still works in it.
    let locked = fs_err::File::open(directory).and_then(|file| file.lock_shared().map(|()| file));
    let Ok(_at_work) = locked else { return Trial::Store(format!("cannot lock {}", directory.display())) };
    match overlay::mount(&[lower], Some(&Scratch { upper, work }), &anchor) {
        Ok(mounted) => match rustix::fs::mkdirat(mounted.as_fd(), "made", rustix::fs::Mode::from(0o755)) {
            Ok(()) => Trial::Fine,
            Err(error) => {
                Trial::Store(format!("cannot write through an overlay in {}: {error}", directory.display()))
            }
        },
        Err(error) => Trial::Overlay(error),
    }
}
