//! Subordinate ids, subuid(5) and subgid(5): which ids a user may map, and into what.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use crate::error::{Error, IdKind};

/// Consecutive ids of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: u32,
    pub(crate) count: u32,
}

/// The ranges that `text`, in the format of `/etc/subuid`, grants to any of `owners`: a login name or
/// a number. Lines that say nothing sensible are skipped, as shadow's own tools do.
pub(crate) fn parse(text: &str, owners: &[&str]) -> Vec<Range> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let range = Range { start: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
        let sensible =
            range.count > 0 && range.start.checked_add(range.count).is_some() && fields.next().is_none();
        (sensible && owners.contains(&owner)).then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// The current user's subordinate ids; an error when there are none.
pub(crate) fn subordinate(kind: IdKind) -> Result<Vec<Range>, Error> {
    let number = rustix::process::getuid().as_raw().to_string();
    let name = login_name(&number);
    let owners = [name.as_deref().unwrap_or(&number), &number];
    let file = format!("/etc/{}", kind.file());
    let ranges = parse(&fs_err::read_to_string(file).unwrap_or_default(), &owners);
    let ranges = if ranges.is_empty() { from_service(kind, owners[0]) } else { ranges };
    if ranges.is_empty() {
        return Err(Error::NoSubordinateIds { kind, user: owners[0].to_owned() });
    }
    Ok(ranges)
}

/// The login name of a user id, from `/etc/passwd`. Other user databases are asked through
/// `getsubids`, by number.
fn login_name(number: &str) -> Option<String> {
    let passwd = fs_err::read_to_string("/etc/passwd").ok()?;
    let owner = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    };
    passwd.lines().find_map(owner)
}

/// Where the ranges are kept by a name service, shadow's `getsubids` knows them. It prints lines like
/// `0: user 100000 65536`.
fn from_service(kind: IdKind, user: &str) -> Vec<Range> {
    let Some(program) = find_program("getsubids") else { return Vec::new() };
    let mut command = Command::new(program);
    if kind == IdKind::Group {
        command.arg("-g");
    }
    let Ok(output) = command.arg(user).output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    let range = |line: &str| {
        let mut words = line.split_whitespace().skip(2);
        Some(Range { start: words.next()?.parse().ok()?, count: words.next()?.parse().ok()? })
    };
    text.lines().filter_map(range).collect()
}

/// Arguments of newuidmap(1) after the process id: `own` becomes 0, the ranges follow from 1 on.
pub(crate) fn map_arguments(own: u32, ranges: &[Range]) -> Vec<String> {
    let mut arguments = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut next = 1_u32;
    for range in ranges {
        let count = range.count.min(u32::MAX - next);
        arguments.extend([next, range.start, count].map(|number| number.to_string()));
        next += count;
    }
    arguments
}

/// A program in `PATH`, or where the system's own programs are.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system =
        std::env::split_paths(OsStr::new("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")).collect::<Vec<_>>();
    std::env::split_paths(&path)
        .chain(system)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| fs_err::metadata(file).is_ok_and(|meta| meta.is_file()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_user() {
        let text = "root:1:1\nann:100000:65536\n# ann:1:1\n1000:300000:10\nann:400000:0\nann:x:1\n\
                    bob:500000:5\nann:4294967290:100\nann:600000:7:extra\nann:700000:7";
        let expected = [(100_000, 65536), (300_000, 10), (700_000, 7)];
        let expected: Vec<_> = expected.map(|(start, count)| Range { start, count }).into();
        assert_eq!(parse(text, &["ann", "1000"]), expected);
        assert_eq!(parse(text, &["eve", "1001"]), []);
    }

    #[test]
    fn maps_follow_each_other() {
        let ranges = [Range { start: 100_000, count: 1000 }, Range { start: 300_000, count: 10 }];
        let expected = ["0", "1000", "1", "1", "100000", "1000", "1001", "300000", "10"];
        assert_eq!(map_arguments(1000, &ranges), expected);
    }
}
