//! The last steps before the program runs: become the user, drop what it must not have, `execve`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Action, Error, IdKind, failed};
use crate::seccomp;
use crate::spec::{Security, Spec, Ulimit};
use crate::sys;

/// Docker's default set, `00000000a80425fb`.
const DOCKER_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::AUDIT_WRITE)
    .union(CapabilitySet::SETFCAP);

/// What takes no knowledge of the program: a session of its own, the filter, no capabilities that nobody is to have.
pub(crate) fn confine(security: Security) -> Result<(), Error> {
    rustix::process::setsid().map_err(failed(Action::Fork))?;
    sys::reset_signals();
    rustix::process::umask(Mode::from(0o022));
    if security == Security::Sandbox {
        // Before the capabilities go: without no_new_privs, which would break sudo, a filter takes
        // CAP_SYS_ADMIN.
        sys::install_filter(&seccomp::docker_default()).map_err(failed(Action::Filter))?;
        bound_capabilities().map_err(failed(Action::Capabilities))?;
    }
    Ok(())
}

/// Becomes the program, in a process that is confined. Returns only if that failed.
/// It reads `input`, and if that is a terminal it is the program's own.
pub(crate) fn become_program(spec: &Spec, input: Option<OwnedFd>) -> Error {
    match prepare(spec, input) {
        Ok(command) => command.exec(),
        Err(error) => error,
    }
}

fn prepare(spec: &Spec, input: Option<OwnedFd>) -> Result<Command, Error> {
    let command = Command::new(spec)?;
    streams(spec, input).map_err(failed(Action::Streams))?;
    for limit in &spec.ulimits {
        set_limit(limit)?;
    }
    rustix::process::chdir(spec.cwd.as_str())
        .map_err(|source| Error::Cwd { path: spec.cwd.clone(), source: source.into() })?;
    identity(spec)?;
    if spec.security == Security::Sandbox && spec.uid == 0 {
        limit_capabilities().map_err(failed(Action::Capabilities))?;
    }
    Ok(command)
}

/// Standard input from `input` or nothing; output belongs to the user, who may open `/dev/stdout` again.
fn streams(spec: &Spec, input: Option<OwnedFd>) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let input = match input {
        Some(input) => input,
        None => rustix::fs::openat(rustix::fs::CWD, c"/dev/null", flags, Mode::empty())?,
    };
    rustix::stdio::dup2_stdin(&input)?;
    if rustix::termios::isatty(&input) {
        // This makes it the place that Ctrl-C and job control work from: the session is new and has none.
        rustix::process::ioctl_tiocsctty(&input)?;
    }
    if spec.uid != 0 {
        for stream in [rustix::stdio::stdout(), rustix::stdio::stderr()] {
            let mode = rustix::fs::fstat(stream)?.st_mode;
            if FileType::from_raw_mode(mode) == FileType::Fifo {
                // An unmapped id is reported when it is put on, with its name.
                let _ = rustix::fs::fchown(stream, Some(Uid::from_raw(spec.uid)), None);
            }
        }
    }
    Ok(())
}

/// Docker's names of the limits, as in getrlimit(2) without the prefix.
fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

fn set_limit(limit: &Ulimit) -> Result<(), Error> {
    let resource = resource(&limit.name).ok_or_else(|| Error::UnknownUlimit { name: limit.name.clone() })?;
    let finite = |value| (value != u64::MAX).then_some(value);
    setrlimit(resource, Rlimit { current: finite(limit.soft), maximum: finite(limit.hard) })
        .map_err(|source| Error::Ulimit { name: limit.name.clone(), source: source.into() })
}

/// What no program in the sandbox can get back, not even a set-id one.
fn bound_capabilities() -> io::Result<()> {
    for capability in (CapabilitySet::all().bits().trailing_zeros()..=40).map(|bit| 1 << bit) {
        let capability = CapabilitySet::from_bits_retain(capability);
        if !DOCKER_CAPABILITIES.contains(capability) {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // A kernel older than the capability.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// Root's capabilities: what Docker gives of what there is, nothing inheritable.
fn limit_capabilities() -> io::Result<()> {
    let now = rustix::thread::capabilities(None)?;
    let permitted = now.permitted & DOCKER_CAPABILITIES;
    let inheritable = CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: permitted, permitted, inheritable },
    )?)
}

/// Groups, group, user; the kernel takes the capabilities of whoever stops being root.
fn identity(spec: &Spec) -> Result<(), Error> {
    let groups: Vec<_> = spec.groups.iter().copied().map(Gid::from_raw).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Ok(()) => {}
        // With a single mapped id the kernel refuses it to everyone.
        Err(Errno::PERM) if groups_are_denied() => {}
        Err(Errno::INVAL) => return Err(unmapped_group(spec)),
        Err(error) => return Err(failed(Action::Identity)(error)),
    }
    let gid = Gid::from_raw(spec.gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(|error| id_error(error, IdKind::Group, spec.gid))?;
    let uid = Uid::from_raw(spec.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(|error| id_error(error, IdKind::User, spec.uid))
}

/// user_namespaces(7): what an ordinary user had to say to map its group.
fn groups_are_denied() -> bool {
    fs_err::read_to_string("/proc/self/setgroups").is_ok_and(|text| text.trim() == "deny")
}

fn id_error(error: Errno, kind: IdKind, id: u32) -> Error {
    match error {
        Errno::INVAL => Error::Unmapped { kind, id },
        other => failed(Action::Identity)(other),
    }
}

/// The first of the groups that the kernel refuses.
fn unmapped_group(spec: &Spec) -> Error {
    let refused = |id: &&u32| rustix::thread::set_thread_groups(&[Gid::from_raw(**id)]).is_err();
    let id = spec.groups.iter().find(refused).copied().unwrap_or(spec.gid);
    Error::Unmapped { kind: IdKind::Group, id }
}

/// The command in the form that `execve` takes.
struct Command {
    program: String,
    path: Vec<String>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Command {
    fn new(spec: &Spec) -> Result<Self, Error> {
        let string = |text: String| CString::new(text).map_err(|_| Error::BadCommand);
        let program =
            spec.argv.first().filter(|program| !program.is_empty()).ok_or(Error::BadCommand)?.clone();
        let path = spec.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, path)| path.as_str());
        let path =
            path.unwrap_or("").split(':').filter(|part| part.starts_with('/')).map(str::to_owned).collect();
        let argv = spec.argv.iter().cloned().map(string).collect::<Result<_, _>>()?;
        let env = spec.env.iter().map(|(name, value)| string(format!("{name}={value}")));
        Ok(Self { program, path, argv, env: env.collect::<Result<_, _>>()? })
    }

    /// Runs the program; returns only if that failed.
    fn exec(self) -> Error {
        let file = if self.program.contains('/') { Some(self.program.clone()) } else { self.search() };
        let Some(file) = file else { return Error::NotFound { program: self.program } };
        match CString::new(file) {
            Ok(file) => {
                Error::Exec { program: self.program, source: sys::exec(&file, &self.argv, &self.env) }
            }
            Err(_) => Error::BadCommand,
        }
    }

    /// The first executable file of the program's name in `PATH`.
    fn search(&self) -> Option<String> {
        let executable = |file: &String| {
            let stat = rustix::fs::stat(Path::new(file)).ok()?;
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            let cwd = rustix::fs::CWD;
            let allowed =
                rustix::fs::accessat(cwd.as_fd(), Path::new(file), Access::EXEC_OK, AtFlags::EACCESS);
            (regular && allowed.is_ok()).then_some(())
        };
        self.path
            .iter()
            .map(|directory| format!("{directory}/{}", self.program))
            .find(|file| executable(file).is_some())
    }
}
