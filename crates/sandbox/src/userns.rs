//! Entering a user namespace: one for the whole program, at its start.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

use crate::error::{Error, IdKind};
use crate::helper::Part;
use crate::rung::Rung;
use crate::{ids, sys, wire};

/// Set in the environment of a program that we moved into a namespace.
const MARKER: &str = "KILN_USER_NAMESPACE";

/// Moves this process into a new user namespace, where it is root, and a new mount namespace, and
/// starts the program from the beginning: same executable, arguments, environment (plus a marker),
/// descriptors and process id. There is no process in between, so signals and the exit
/// status need no forwarding.
///
/// With [`Rung::SubIds`] the user's subordinate ids are mapped from 1 on, with the help of
/// `newuidmap` and `newgidmap`. With [`Rung::SingleId`] id 0 is the only one, and nobody can set groups.
///
/// Call it before the program starts a thread, else [`Error::Threads`]. After an error the process
/// may be left in a half-made namespace: it should end.
pub fn enter_user_namespace(rung: Rung) -> Result<Infallible, Error> {
    match rung {
        Rung::SubIds => enter_with_ranges()?,
        Rung::SingleId => enter_single().map_err(unshare_error)?,
        Rung::Root | Rung::None => return Err(Error::NoUserNamespace { rung }),
    }
    start_over()
}

/// The rung on which [`enter_user_namespace`] put this process, judged by the ids that are really
/// mapped; `None` in a process that was not put into a namespace.
pub fn inside_user_namespace() -> Option<Rung> {
    std::env::var_os(MARKER)?;
    rung_of(&fs_err::read_to_string("/proc/self/uid_map").ok()?)
}

/// The rung that a map, in the format of `/proc/PID/uid_map`, amounts to.
fn rung_of(map: &str) -> Option<Rung> {
    let mut ids = 0_u64;
    let mut root = false;
    for line in map.lines() {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().ok());
        let (inside, _outside, count) = (fields.next()??, fields.next()??, fields.next()??);
        root |= inside == 0;
        ids += count;
    }
    match ids {
        // The initial namespace has them all: the marker lies.
        _ if !root || ids >= u64::from(u32::MAX) => None,
        1 => Some(Rung::SingleId),
        _ => Some(Rung::SubIds),
    }
}

/// Makes the namespaces without any ids in them.
pub(crate) fn unshare() -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
}

/// Makes the namespaces and becomes the only id in them.
pub(crate) fn enter_single() -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare()?;
    // Without this a user could shed groups that forbid something; the kernel insists.
    fs_err::write("/proc/self/setgroups", "deny")?;
    fs_err::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs_err::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

fn unshare_error(source: io::Error) -> Error {
    match source.raw_os_error() {
        Some(number) if number == Errno::INVAL.raw_os_error() => Error::Threads,
        _ => Error::UserNamespace { source },
    }
}

/// What the map helper is asked for.
#[derive(Serialize, Deserialize)]
struct MapRequest {
    process: i32,
    maps: Vec<Map>,
}

/// One run of newuidmap or newgidmap.
#[derive(Serialize, Deserialize)]
struct Map {
    #[serde(with = "wire::path")]
    program: PathBuf,
    arguments: Vec<String>,
}

fn enter_with_ranges() -> Result<(), Error> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let maps = vec![map(IdKind::User, "newuidmap", uid)?, map(IdKind::Group, "newgidmap", gid)?];
    let failed = |source| Error::Helper { source };
    // It must be started from here, outside the namespace, because only there newuidmap has privilege.
    let (mut child, control) = Part::MapIds.start().map_err(failed)?;
    unshare().map_err(unshare_error)?;
    let request = MapRequest { process: rustix::process::getpid().as_raw_pid(), maps };
    wire::send(&control, &request).map_err(failed)?;
    let answer = wire::receive::<Result<(), Error>>(&control);
    let status = child.wait().map_err(failed)?;
    match answer {
        Ok(Some(answer)) => answer,
        Ok(None) | Err(_) => Err(Error::Vanished { status: status.to_string() }),
    }
}

fn map(kind: IdKind, program: &str, own: u32) -> Result<Map, Error> {
    let arguments = ids::map_arguments(own, &ids::subordinate(kind)?);
    let missing = || Error::IdMap { program: program.to_owned(), message: "not found in $PATH".to_owned() };
    Ok(Map { program: ids::find_program(program).ok_or_else(missing)?, arguments })
}

/// The map helper's main function.
pub(crate) fn map_ids(control: &UnixStream) -> io::Result<()> {
    let Some(request) = wire::receive::<MapRequest>(control)? else { return Ok(()) };
    let answer = request.maps.iter().try_for_each(|map| run_map(request.process, map));
    wire::send(control, &answer)
}

fn run_map(process: i32, map: &Map) -> Result<(), Error> {
    let failed =
        |message: String| Error::IdMap { program: map.program.to_string_lossy().into_owned(), message };
    let mut command = Command::new(&map.program);
    command.arg(process.to_string()).args(&map.arguments).stdin(Stdio::null());
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(failed(if said.is_empty() { output.status.to_string() } else { said }))
}

/// Replaces this process by a fresh start of the same program.
fn start_over() -> Result<Infallible, Error> {
    let string = |bytes: &[u8]| CString::new(bytes).map_err(|_| Error::BadCommand);
    let argv =
        std::env::args_os().map(|argument| string(argument.as_bytes())).collect::<Result<Vec<_>, _>>()?;
    let variable = |name: &OsStr, value: &OsStr| string(&[name.as_bytes(), b"=", value.as_bytes()].concat());
    let env = std::env::vars_os()
        .filter(|(name, _)| name != MARKER)
        .map(|(name, value)| variable(&name, &value))
        .chain([variable(OsStr::new(MARKER), OsStr::new("1"))])
        .collect::<Result<Vec<_>, _>>()?;
    Err(Error::Helper { source: sys::exec(&c"/proc/self/exe".to_owned(), &argv, &env) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rung_by_map() {
        let table = [
            ("         0          0 4294967295\n", None),
            ("         0       1000          1\n", Some(Rung::SingleId)),
            ("         0       1000          1\n         1     100000      65536\n", Some(Rung::SubIds)),
            ("      1000       1000          1\n", None),
            ("", None),
            ("nonsense", None),
        ];
        for (map, expected) in table {
            assert_eq!(rung_of(map), expected, "{map:?}");
        }
    }
}
