//! Values of single flags of `kiln build` that are more than a word. Every parser here is pure; what names a file or a
//! variable is looked up later.

use kiln_dockerfile::suggest::nearest;

use crate::args::csv::{CsvError, fields};

/// Why a value is not what its flag takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    /// Not a CSV record.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// A field that is no `key=value`.
    #[error("`{0}` is not a key=value pair")]
    NoPair(String),
    /// A key that the flag does not have.
    #[error("unknown key `{key}` (one of {known})")]
    UnknownKey {
        /// As given.
        key: String,
        /// What there is.
        known: &'static str,
    },
    /// A key that has to be there.
    #[error("`{0}=` is missing")]
    Missing(&'static str),
    /// Something else is expected.
    #[error("expected {0}")]
    Expected(&'static str),
    /// An address that is none.
    #[error("`{0}` is not an IP address")]
    Address(String),
    /// A name that does not exist.
    #[error("unknown {what} `{name}`{}", near.as_ref().map_or_else(|| format!(" (one of {})", known.join(", ")), |n| format!(", did you mean `{n}`?")))]
    Unknown {
        /// What kind of name.
        what: &'static str,
        /// As given.
        name: String,
        /// A near one.
        near: Option<String>,
        /// All that there are.
        known: &'static [&'static str],
    },
    /// A soft limit over the hard one.
    #[error("the soft limit {soft} is above the hard limit {hard}")]
    SoftAboveHard {
        /// Soft.
        soft: u64,
        /// Hard.
        hard: u64,
    },
}

/// `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// Before the first `=`.
    pub(crate) key: String,
    /// Behind it.
    pub(crate) value: String,
}

/// Reads `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<Pair, ValueError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok(Pair { key: key.to_owned(), value: value.to_owned() }),
        _ => Err(ValueError::Expected("KEY=VALUE")),
    }
}

/// A label: `KEY=VALUE`, or `KEY` for an empty value.
pub(crate) fn label(text: &str) -> Result<Pair, ValueError> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(ValueError::Expected("KEY=VALUE"));
    }
    Ok(Pair { key: key.to_owned(), value: value.to_owned() })
}

/// `--build-arg KEY=VALUE`, or `KEY` for the value of the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildArg {
    /// Its name.
    pub(crate) key: String,
    /// Its value, if given.
    pub(crate) value: Option<String>,
}

/// Reads a `--build-arg`.
pub(crate) fn build_arg(text: &str) -> Result<BuildArg, ValueError> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, None),
    };
    if key.is_empty() {
        return Err(ValueError::Expected("KEY=VALUE, or KEY to take it from the environment"));
    }
    Ok(BuildArg { key: key.to_owned(), value })
}

/// `--secret`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Secret {
    /// `id=`
    pub(crate) id: String,
    /// Where it comes from.
    pub(crate) from: SecretFrom,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretFrom {
    /// `src=`
    File(String),
    /// `env=`
    Variable(String),
    /// Not said: the variable of that name, else the file.
    Either(String),
}

/// Reads `id=ID[,src=FILE][,env=NAME][,type=file|env]`.
pub(crate) fn secret(text: &str) -> Result<Secret, ValueError> {
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for field in fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| ValueError::NoPair(field.clone()))?;
        let value = value.to_owned();
        match key.trim().to_ascii_lowercase().as_str() {
            "id" => id = Some(value),
            "src" | "source" => source = Some(value),
            "env" => variable = Some(value),
            "type" if value == "file" || value == "env" => kind = Some(value),
            "type" => return Err(ValueError::Expected("type=file or type=env")),
            _ => return Err(ValueError::UnknownKey { key: key.to_owned(), known: "id, src, env, type" }),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or(ValueError::Missing("id"))?;
    let from = match (source, variable, kind.as_deref()) {
        (Some(_), Some(_), _) => return Err(ValueError::Expected("either src= or env=, not both")),
        (Some(name), None, Some("env")) | (None, Some(name), _) => SecretFrom::Variable(name),
        (Some(path), None, _) => SecretFrom::File(path),
        (None, None, Some("env")) => SecretFrom::Variable(id.clone()),
        (None, None, Some(_)) => SecretFrom::File(id.clone()),
        (None, None, None) => SecretFrom::Either(id.clone()),
    };
    Ok(Secret { id, from })
}

/// `--ssh`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ssh {
    /// Its id.
    pub(crate) id: String,
    /// An agent's socket, or private keys; nothing for `SSH_AUTH_SOCK`.
    pub(crate) paths: Vec<String>,
}

/// Reads `default`, `ID=SOCKET` or `ID=KEY[,KEY...]`.
pub(crate) fn ssh(text: &str) -> Result<Ssh, ValueError> {
    let (id, paths) = match text.split_once('=') {
        Some((id, paths)) => (id, paths.split(',').map(str::to_owned).collect()),
        None => (text, Vec::new()),
    };
    if id.is_empty() || paths.iter().any(String::is_empty) {
        return Err(ValueError::Expected("default, ID=SOCKET, or ID=KEY[,KEY...]"));
    }
    Ok(Ssh { id: id.to_owned(), paths })
}

/// Reads `--add-host NAME:ADDRESS` (or `NAME=ADDRESS`); `host-gateway` is loopback, since steps share the host's network.
pub(crate) fn host(text: &str) -> Result<(String, String), ValueError> {
    let wanted = ValueError::Expected("NAME:ADDRESS, such as db:10.0.0.5");
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or(wanted.clone())?;
    if name.is_empty() || address.is_empty() {
        return Err(wanted);
    }
    if address == "host-gateway" {
        return Ok((name.to_owned(), "127.0.0.1".to_owned()));
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    match bare.parse::<std::net::IpAddr>() {
        Ok(address) => Ok((name.to_owned(), address.to_string())),
        Err(_) => Err(ValueError::Address(address.to_owned())),
    }
}

const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Reads `--ulimit NAME=SOFT[:HARD]`; `-1` or `unlimited` is [`u64::MAX`].
pub(crate) fn ulimit(text: &str) -> Result<(String, u64, u64), ValueError> {
    let wanted = ValueError::Expected("NAME=SOFT or NAME=SOFT:HARD, such as nofile=1024:4096");
    let (name, limits) = text.split_once('=').ok_or(wanted.clone())?;
    if !LIMITS.contains(&name) {
        let near = nearest(name, LIMITS, true);
        return Err(ValueError::Unknown { what: "limit", name: name.to_owned(), near, known: &LIMITS });
    }
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        digits => digits.parse::<u64>().map_err(|_| wanted.clone()),
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if soft > hard {
        return Err(ValueError::SoftAboveHard { soft, hard });
    }
    Ok((name.to_owned(), soft, hard))
}

/// Reads a size: a number of bytes with `b`, `k`, `m`, `g` or `t` behind it, powers of 1024 (`64m`, `1.5g`, `10MiB`).
pub(crate) fn size(text: &str) -> Result<u64, ValueError> {
    let wanted = ValueError::Expected("a size such as 64m or 1.5g");
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let number: f64 = number.parse().map_err(|_| wanted.clone())?;
    let power = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(wanted),
    };
    Ok((number * 1024_f64.powi(power)) as u64)
}

/// Reads an age: `90s`, `30m`, `24h`, `7d`, `2w`, or several in a row: `1h30m`.
pub(crate) fn age(text: &str) -> Result<std::time::Duration, ValueError> {
    let wanted = ValueError::Expected("an age such as 30m, 24h or 7d");
    let mut seconds = 0_u64;
    let mut rest = text;
    loop {
        let split = rest.find(|c: char| !c.is_ascii_digit()).ok_or(wanted.clone())?;
        let (number, behind) = rest.split_at(split);
        let number: u64 = number.parse().map_err(|_| wanted.clone())?;
        let mut letters = behind.chars();
        let unit = match letters.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 7 * 86_400,
            _ => return Err(wanted),
        };
        let more = number.checked_mul(unit).and_then(|more| seconds.checked_add(more));
        seconds = more.ok_or(wanted.clone())?;
        rest = letters.as_str();
        if rest.is_empty() {
            return Ok(std::time::Duration::from_secs(seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show<T: std::fmt::Debug>(result: Result<T, ValueError>) -> String {
        match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn secrets() {
        let cases = [
            ("id=a,src=f", r#"Secret { id: "a", from: File("f") }"#),
            ("id=a,source=f,type=file", r#"Secret { id: "a", from: File("f") }"#),
            ("id=a,env=B", r#"Secret { id: "a", from: Variable("B") }"#),
            ("type=env,id=a,src=B", r#"Secret { id: "a", from: Variable("B") }"#),
            ("type=env,id=a", r#"Secret { id: "a", from: Variable("a") }"#),
            ("id=a", r#"Secret { id: "a", from: Either("a") }"#),
            (r#"id=a,"src=x,y""#, r#"Secret { id: "a", from: File("x,y") }"#),
            ("src=f", "error: `id=` is missing"),
            ("id=a,sauce=f", "error: unknown key `sauce` (one of id, src, env, type)"),
            ("id", "error: `id` is not a key=value pair"),
            ("id=a,src=f,env=B", "error: expected either src= or env=, not both"),
        ];
        for (text, want) in cases {
            assert_eq!(show(secret(text)), want, "{text}");
        }
    }

    #[test]
    fn hosts() {
        let cases = [
            ("db:10.0.0.5", r#"("db", "10.0.0.5")"#),
            ("db=10.0.0.5", r#"("db", "10.0.0.5")"#),
            ("six:::1", r#"("six", "::1")"#),
            ("six=[fe80::1]", r#"("six", "fe80::1")"#),
            ("me:host-gateway", r#"("me", "127.0.0.1")"#),
            ("db", "error: expected NAME:ADDRESS, such as db:10.0.0.5"),
            ("db:nowhere", "error: `nowhere` is not an IP address"),
        ];
        for (text, want) in cases {
            assert_eq!(show(host(text)), want, "{text}");
        }
    }

    #[test]
    fn limits() {
        let cases = [
            ("nofile=1024", r#"("nofile", 1024, 1024)"#),
            ("nofile=1024:4096", r#"("nofile", 1024, 4096)"#),
            ("core=-1", r#"("core", 18446744073709551615, 18446744073709551615)"#),
            ("nofile=2:1", "error: the soft limit 2 is above the hard limit 1"),
            ("nofiles=1", "error: unknown limit `nofiles`, did you mean `nofile`?"),
            ("nofile=x", "error: expected NAME=SOFT or NAME=SOFT:HARD, such as nofile=1024:4096"),
        ];
        for (text, want) in cases {
            assert_eq!(show(ulimit(text)), want, "{text}");
        }
    }

    #[test]
    fn sizes_and_ages() {
        for (text, want) in [("64m", 64 << 20), ("1024", 1024), ("1.5g", 3 << 29), ("2 KiB", 2048), ("7b", 7)]
        {
            assert_eq!(size(text), Ok(want), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1.2.3"] {
            assert!(size(text).is_err(), "{text}");
        }
        for (text, want) in [("90s", 90), ("2h", 7200), ("1d", 86_400), ("2w", 1_209_600), ("1h30m", 5400)] {
            assert_eq!(age(text).map(|d| d.as_secs()), Ok(want), "{text}");
        }
        for text in ["", "5", "h", "1y", "1h30", "99999999999999999999s", "9999999999999999999w"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn agents() {
        assert_eq!(ssh("default"), Ok(Ssh { id: "default".into(), paths: Vec::new() }));
        assert_eq!(ssh("git=/run/a.sock"), Ok(Ssh { id: "git".into(), paths: vec!["/run/a.sock".into()] }));
        assert!(ssh("=x").is_err() && ssh("x=").is_err() && ssh("x=a,,b").is_err());
    }

    #[test]
    fn arguments() {
        assert_eq!(build_arg("A"), Ok(BuildArg { key: "A".into(), value: None }));
        assert_eq!(build_arg("A="), Ok(BuildArg { key: "A".into(), value: Some(String::new()) }));
        assert_eq!(build_arg("A=b=c"), Ok(BuildArg { key: "A".into(), value: Some("b=c".into()) }));
        assert!(build_arg("=b").is_err());
        assert_eq!(label("a").map(|p| p.value), Ok(String::new()));
        assert!(pair("a").is_err());
    }
}
