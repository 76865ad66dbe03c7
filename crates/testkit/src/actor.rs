//! Who runs kiln.

use std::path::Path;
use std::process::Command;

/// One kind of user. The black-box suite must hold for each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Root: the first rung of the ladder.
    Root,
    /// An ordinary user with ranges of subordinate ids: the second.
    Sub,
    /// An ordinary user without: the third.
    NoSub,
    /// An ordinary user who cannot make a namespace: nothing but files can be built.
    NoNamespaces,
}

impl Actor {
    /// Everybody who can run steps.
    pub const RUNNERS: [Self; 3] = [Self::Root, Self::Sub, Self::NoSub];

    /// The account's name, as `testdata/users.sh` makes it.
    pub fn account(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Sub => "kiln-sub",
            Self::NoSub | Self::NoNamespaces => "kiln-nosub",
        }
    }

    /// A command that runs `program` as this actor, with nothing but a PATH in its environment. The process
    /// that is spawned *is* the program in the end (each wrapper execs the next), so its pid can be signalled.
    ///
    /// The caller must be root.
    pub fn command(self, program: &Path) -> Command {
        let mut command = match self {
            Self::Root => Command::new(program),
            Self::Sub | Self::NoSub | Self::NoNamespaces => {
                let mut command = Command::new("/usr/bin/setpriv");
                let account = self.account();
                command.args(["--reuid", account, "--regid", account, "--init-groups", "--"]);
                if self == Self::NoNamespaces {
                    command.args(["/bin/sh", "-c", WITHOUT_NAMESPACES, "sh"]);
                }
                command.arg(program);
                command
            }
        };
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}

/// Two namespaces deep: in the outer one we are root and may say that it holds one namespace and no more, the
/// inner one is that one, in which we are nobody special.
const WITHOUT_NAMESPACES: &str = "\
exec unshare --user --map-root-user sh -c '
    echo 1 > /proc/sys/user/max_user_namespaces &&
    exec unshare --user --map-user=1000 --map-group=1000 \"$@\"' sh \"$@\"";
