//! The one place that reads the process environment. Everything else is told.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::errors::CliError;
use crate::render::Look;

/// Variables, and who we are.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    variables: BTreeMap<String, OsString>,
    /// Root, and not merely of a user namespace.
    real_root: bool,
}

impl Environment {
    /// What the process was started with.
    pub(crate) fn of_process() -> Self {
        let variables = std::env::vars_os();
        let variables = variables.filter_map(|(key, value)| Some((key.into_string().ok()?, value)));
        Self {
            variables: variables.collect(),
            real_root: rustix::process::geteuid().is_root() && in_first_namespace(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)], real_root: bool) -> Self {
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v)));
        Self { variables: variables.collect(), real_root }
    }

    /// A variable, if it is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name)?.to_str().filter(|value| !value.is_empty())
    }

    /// A variable as it is, even if it is empty.
    pub(crate) fn raw(&self, name: &str) -> Option<&OsString> {
        self.variables.get(name)
    }

    /// The bytes of a variable.
    pub(crate) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.raw(name).cloned().map(OsString::into_vec)
    }

    /// The store: `--root`, `KILN_ROOT`, `$XDG_DATA_HOME/kiln`, `/var/lib/kiln` for root, `~/.local/share/kiln`.
    pub(crate) fn store(&self, root: Option<&Path>) -> Result<PathBuf, CliError> {
        let given = root.map(Path::to_path_buf).or_else(|| self.get("KILN_ROOT").map(PathBuf::from));
        if let Some(path) = given {
            return Ok(std::path::absolute(path)?);
        }
        // The base directory specification: a relative path is to be ignored.
        let data = self.get("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        if let Some(data) = data {
            return Ok(data.join("kiln"));
        }
        if self.real_root {
            return Ok("/var/lib/kiln".into());
        }
        let home = self.get("HOME").ok_or(CliError::NoHome)?;
        Ok(Path::new(home).join(".local/share/kiln"))
    }

    /// How standard error may look.
    pub(crate) fn look(&self) -> Look {
        self.look_at(&std::io::stderr())
    }

    /// How `stream` may look.
    pub(crate) fn look_at(&self, stream: &impl IsTerminal) -> Look {
        let term = self.get("TERM").unwrap_or_default();
        let capable = !term.is_empty() && term != "dumb";
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| self.get(name)).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Look {
            colour: capable && self.get("NO_COLOR").is_none() && stream.is_terminal(),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
            capable,
            columns: self.get("COLUMNS").and_then(|c| c.parse().ok()).filter(|c| *c > 0),
        }
    }
}

/// Whether the ids of this process are those of the machine: the first user namespace maps all of them to themselves.
fn in_first_namespace() -> bool {
    let map = fs_err::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_store() {
        let store = |variables: &[(&str, &str)], root: bool, flag: Option<&str>| {
            let environment = Environment::of(variables, root);
            environment.store(flag.map(Path::new)).map(|p| p.display().to_string()).ok()
        };
        let home = [("HOME", "/home/u")];
        let all = [("HOME", "/h"), ("XDG_DATA_HOME", "/x"), ("KILN_ROOT", "/k")];
        assert_eq!(store(&home, false, None).as_deref(), Some("/home/u/.local/share/kiln"));
        assert_eq!(store(&home, true, None).as_deref(), Some("/var/lib/kiln"));
        assert_eq!(store(&all, false, Some("/f")).as_deref(), Some("/f"));
        assert_eq!(store(&all, true, None).as_deref(), Some("/k"));
        assert_eq!(store(&all[..2], true, None).as_deref(), Some("/x/kiln"));
        assert_eq!(
            store(&[("HOME", "/h"), ("XDG_DATA_HOME", "rel")], false, None).as_deref(),
            Some("/h/.local/share/kiln")
        );
        assert_eq!(store(&[("HOME", "")], false, None), None);
    }

    #[test]
    fn looks() {
        let look = |variables: &[(&str, &str)]| Environment::of(variables, false).look();
        assert!(
            !look(&[]).capable && !look(&[("TERM", "dumb")]).capable && look(&[("TERM", "xterm")]).capable
        );
        assert!(
            look(&[("LANG", "C.UTF-8")]).unicode && look(&[("LC_ALL", "de_DE.utf8"), ("LANG", "C")]).unicode
        );
        assert!(!look(&[("LC_ALL", "C"), ("LANG", "C.UTF-8")]).unicode);
        assert_eq!(look(&[("COLUMNS", "0")]).columns, None);
        assert_eq!(look(&[("COLUMNS", "132")]).columns, Some(132));
    }
}
