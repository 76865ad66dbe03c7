//! Who `USER` and `--chown` mean in a root filesystem. Its `/etc/passwd` is read from tree or blob; nothing is unpacked for it.

use kiln_dockerfile::chown;
use kiln_layer::passwd::{Accounts, Identity, UnknownAccount};
use kiln_layer::path::LayerPath;
use kiln_layer::view::View;

use crate::error::BuildErrorKind;

/// The most bytes of an account file that are read.
const LIMIT: u64 = 16 << 20;

/// An owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

fn accounts(view: &View) -> Result<Accounts, BuildErrorKind> {
    let read = |path: &str| view.read_small(&LayerPath::clean(path), LIMIT).map(Option::unwrap_or_default);
    Ok(Accounts::parse(&read("etc/passwd")?, &read("etc/group")?))
}

/// Who `USER spec` is; empty for root.
pub(crate) fn identity(view: &View, spec: &str) -> Result<Identity, BuildErrorKind> {
    accounts(view)?.identity(spec).map_err(|error| match error {
        UnknownAccount::User { name } => unknown("user", name, "/etc/passwd"),
        UnknownAccount::Group { name } => unknown("group", name, "/etc/group"),
        other => BuildErrorKind::Copy { message: other.to_string(), help: None },
    })
}

/// The number that a part of `--chown` is without a look at any account file: `root` is 0 in every image, and so is what is left empty.
fn number(text: &str) -> Option<u32> {
    match text {
        "" | "root" => Some(0),
        digits => digits.parse().ok(),
    }
}

/// Whether `--chown=spec` needs no look into the image.
pub(crate) fn is_numeric(spec: &str) -> bool {
    let (user, group) = chown::split(spec);
    number(user).is_some() && group.is_none_or(|g| number(g).is_some())
}

/// The owner that `--chown=spec` means: a user without a group brings the primary group if it is a name, and the group of the same number
/// if it is a number.
pub(crate) fn owner(view: &View, spec: &str) -> Result<Ids, BuildErrorKind> {
    resolve(view, spec, |what, name, file| Err(unknown(what, name.to_owned(), file)))
}

/// The same for a directory that WORKDIR makes: as with BuildKit root's, if nobody has the name of the USER. Whether that is a mistake shows when
/// a command is to run as that user.
pub(crate) fn owner_of_workdir(view: &View, spec: &str) -> Result<Ids, BuildErrorKind> {
    resolve(view, spec, |_, _, _| Ok(()))
}

fn resolve(
    view: &View,
    spec: &str,
    missing: impl Fn(&'static str, &str, &'static str) -> Result<(), BuildErrorKind>,
) -> Result<Ids, BuildErrorKind> {
    let (user, group) = chown::split(spec);
    if is_numeric(spec) {
        let uid = number(user).unwrap_or_default();
        return Ok(Ids { uid, gid: group.map_or(Some(uid), number).unwrap_or_default() });
    }
    let accounts = accounts(view)?;
    let (uid, primary) = match number(user) {
        Some(number) => (number, number),
        None => match accounts.user(user) {
            Some(found) => (found.uid, found.gid),
            None => missing("user", user, "/etc/passwd").map(|()| (0, 0))?,
        },
    };
    let gid = match group.map(|name| (name, number(name))) {
        None => primary,
        Some((_, Some(number))) => number,
        Some((name, None)) => match accounts.group(name) {
            Some(found) => found.gid,
            None => missing("group", name, "/etc/group").map(|()| primary)?,
        },
    };
    Ok(Ids { uid, gid })
}

fn unknown(what: &'static str, name: String, file: &'static str) -> BuildErrorKind {
    BuildErrorKind::UnknownUser { what, name, file }
}
