//! Users and groups out of an image's `/etc/passwd` and `/etc/group` texts, by Docker's rules for `USER`.

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Home directory, empty if the line has none.
    pub home: String,
}

/// A line of `/etc/group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Group number.
    pub gid: u32,
    /// Login names of its members.
    pub members: Vec<String>,
}

/// All users and groups of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// In the order of the file.
    pub users: Vec<User>,
    /// In the order of the file.
    pub groups: Vec<Group>,
}

/// Who a command runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User number.
    pub uid: u32,
    /// Group number.
    pub gid: u32,
    /// All groups for `setgroups(2)`: the primary one first, each once.
    pub groups: Vec<u32>,
    /// Home directory of the user, if the image knows the user and says it.
    pub home: Option<String>,
}

/// Why a `USER` is nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownAccount {
    /// Not in `/etc/passwd`, and no number.
    #[error("no user {name:?} in /etc/passwd")]
    User {
        /// What was asked for.
        name: String,
    },
    /// Not in `/etc/group`, and no number.
    #[error("no group {name:?} in /etc/group")]
    Group {
        /// What was asked for.
        name: String,
    },
    /// A number that is no id: they go from 0 to 2^31 - 1.
    #[error("{text} is not a user or group number")]
    Number {
        /// What was asked for.
        text: String,
    },
}

impl Accounts {
    /// Reads both texts. Lines that are comments, malformed or cut short are passed over, as libc does; bytes that are not
    /// UTF-8 are replaced.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        let fields = |text: &[u8]| -> Vec<Vec<String>> {
            let text = String::from_utf8_lossy(text);
            let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
            lines.map(|line| line.split(':').map(str::to_owned).collect()).collect()
        };
        let users = fields(passwd).into_iter().filter_map(|f| {
            let (uid, gid) = (f.get(2)?.parse().ok()?, f.get(3)?.parse().ok()?);
            Some(User { name: f[0].clone(), uid, gid, home: f.get(5).cloned().unwrap_or_default() })
        });
        let groups = fields(group).into_iter().filter_map(|f| {
            let members = f.get(3).map(String::as_str).unwrap_or_default();
            let members = members.split(',').map(str::trim).filter(|m| !m.is_empty());
            let gid = f.get(2)?.parse().ok()?;
            Some(Group { name: f[0].clone(), gid, members: members.map(str::to_owned).collect() })
        });
        Self { users: users.collect(), groups: groups.collect() }
    }

    /// The first user of that name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// The first group of that name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// What `USER spec` means. A number is always a number, even where a name looks like it; if the image knows it, its
    /// primary group counts, else group 0. A group that is given stands alone; without one all groups that list the user
    /// count. `spec` empty: user 0. Two numbers need nothing of the image, not even a home.
    ///
    /// # Errors
    /// [`UnknownAccount`].
    pub fn identity(&self, spec: &str) -> Result<Identity, UnknownAccount> {
        let (user_text, group_text) = spec.split_once(':').unwrap_or((spec, ""));
        let user_text = if user_text.is_empty() { "0" } else { user_text };
        let user_number = number(user_text)?;
        let known = match user_number {
            Some(uid) => self.users.iter().find(|user| user.uid == uid),
            None => self.user(user_text),
        };
        let (uid, primary) = match (known, user_number) {
            (Some(user), _) => (user.uid, user.gid),
            (None, Some(uid)) => (uid, 0),
            (None, None) => return Err(UnknownAccount::User { name: user_text.to_owned() }),
        };
        let home = known.map(|user| user.home.clone()).filter(|home| !home.is_empty());
        if !group_text.is_empty() {
            let gid = self.group_number(group_text)?;
            return Ok(Identity { uid, gid, groups: vec![gid], home });
        }
        let mut groups = vec![primary];
        for group in &self.groups {
            let member = known.is_some_and(|user| group.members.contains(&user.name));
            if member && !groups.contains(&group.gid) {
                groups.push(group.gid);
            }
        }
        Ok(Identity { uid, gid: primary, groups, home })
    }

    fn group_number(&self, text: &str) -> Result<u32, UnknownAccount> {
        if let Some(gid) = number(text)? {
            return Ok(gid);
        }
        let group = self.group(text).ok_or_else(|| UnknownAccount::Group { name: text.to_owned() })?;
        Ok(group.gid)
    }
}

/// The id that `text` is; `None` if it is a name.
fn number(text: &str) -> Result<Option<u32>, UnknownAccount> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<i32>() {
        Ok(id) => Ok(Some(id.cast_unsigned())),
        Err(_) => Err(UnknownAccount::Number { text: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# comment\nbroken:x:1\nbad:x:x:1::/\n\
        app:x:1000:1000::/home/app:/bin/sh\nsvc:x:1001:1001::/:/bin/sh\nnohome:x:1003:5\n1000:x:4000:4000::/n:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nwheel:x:10:root,svc\napp:x:1000:\nsvc:x:1001:svc\n\
        logs:x:2001:app, svc\nextra:x:2002:svc\nextra2:x:2002:svc\n";

    #[test]
    fn users_as_docker_sees_them() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        let cases: [(&str, u32, &[u32], Option<&str>); 14] = [
            ("", 0, &[0, 10], Some("/root")),
            ("root", 0, &[0, 10], Some("/root")),
            ("svc", 1001, &[1001, 10, 2001, 2002], Some("/")),
            ("svc:app", 1001, &[1000], Some("/")),
            ("svc:", 1001, &[1001, 10, 2001, 2002], Some("/")),
            ("svc:77", 1001, &[77], Some("/")),
            ("1000", 1000, &[1000, 2001], Some("/home/app")),
            ("1001:logs", 1001, &[2001], Some("/")),
            ("7777:8888", 7777, &[8888], None),
            ("7777", 7777, &[0], None),
            ("7777:logs", 7777, &[2001], None),
            (":app", 0, &[1000], Some("/root")),
            ("nohome", 1003, &[5], None),
            ("2147483647", 2_147_483_647, &[0], None),
        ];
        for (spec, uid, groups, home) in cases {
            let want =
                Identity { uid, gid: groups[0], groups: groups.to_vec(), home: home.map(str::to_owned) };
            assert_eq!(accounts.identity(spec), Ok(want), "USER {spec}");
        }
    }

    #[test]
    fn nobody() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        for spec in ["nope", "nope:app", "app:nope", "2147483648", "1000:4294967296", "broken", "bad"] {
            assert!(accounts.identity(spec).is_err(), "USER {spec}");
        }
        assert!(Accounts::default().identity("app").is_err());
        assert_eq!(Accounts::default().identity("").map(|who| who.groups), Ok(vec![0]));
    }
}
