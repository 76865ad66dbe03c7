//! The binary under test, and how big it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::meter;
use crate::place;

/// The binary of `--kiln`, or the static release binary of this repository.
///
/// # Errors
/// [`Failure::Usage`] when it has not been built; nothing is built in passing, since a build would disturb the figures.
pub(crate) fn locate(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let target = || {
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| place::repository().join("target"), PathBuf::from)
    };
    let binary = given.unwrap_or_else(|| target().join(triple()).join("release/kiln"));
    fs_err::canonicalize(&binary).map_err(|error| Failure::Usage {
        what: format!(
            "{error}; build it with: RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --target {} -p kiln-cli",
            triple()
        ),
    })
}

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// What the program costs before it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Of the file.
    pub(crate) bytes: u64,
    /// Whether it needs no library of the machine.
    pub(crate) is_static: bool,
    /// Packages in `cargo tree` of the command line, its own among them.
    pub(crate) crates: usize,
}

/// The most crates that the program may have.
pub(crate) const MOST_CRATES: usize = 150;
/// The most MiB that the static binary may have.
pub(crate) const MOST_MIB: u64 = 12;

impl Sizes {
    /// Measures the binary, and asks cargo for the crates of this repository.
    ///
    /// # Errors
    /// When cargo fails or the binary is gone.
    pub(crate) fn of(binary: &Path) -> Result<Self, Failure> {
        let tree = [
            "tree",
            "--locked",
            "--offline",
            "-p",
            "kiln-cli",
            "-e",
            "normal",
            "--prefix",
            "none",
            "--no-dedupe",
            "--target",
        ];
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(tree).arg(triple()).current_dir(place::repository());
        let crates = packages(&meter::printed(&mut cargo)?);
        // ldd fails for what is not dynamic, and says so on the one or the other stream.
        let linked = Command::new("ldd")
            .arg(binary)
            .output()
            .map_err(|source| Failure::Start { program: "ldd".into(), source })?;
        let said = [linked.stdout, linked.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let is_static = said.contains("statically linked") || said.contains("not a dynamic executable");
        Ok(Self { bytes: fs_err::metadata(binary)?.len(), is_static, crates })
    }
}

/// How many packages a `cargo tree --prefix none` names, each version once.
fn packages(tree: &str) -> usize {
    let package = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    tree.lines().filter(|line| !line.is_empty()).map(package).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_counts_once_for_each_version() {
        assert_eq!(packages("a v1 (/here)\nb v1\nb v2\n\nb v1 (*)\n"), 3);
    }
}
