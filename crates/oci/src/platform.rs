//! Platforms: `os/architecture[/variant]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An operating system and a processor, normalised as containerd does (`x86_64` is `amd64`, `aarch64` and
/// `arm64/v8` are `arm64`, `arm` alone is `arm/v7`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// `amd64`
    pub architecture: String,
    /// `v7`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// The operating systems that Go knows. One of them alone is a platform, with the processor of this machine.
pub const SYSTEMS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

/// The processors that Go knows. One of them alone is a platform, of Linux.
pub const ARCHITECTURES: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a platform (expected os/architecture or os/architecture/variant, such as linux/amd64, or one of the two alone)"
)]
pub struct BadPlatform {
    /// What was given.
    pub text: String,
}

impl Platform {
    /// The platform that this program runs on.
    pub fn host() -> Self {
        Self::normalised("linux", host_architecture(), None)
    }

    /// `os/architecture/variant` in containerd's normal form.
    pub fn normalised(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os {
            "macos" => "darwin".to_owned(),
            other => other.to_ascii_lowercase(),
        };
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.map(str::to_ascii_lowercase).filter(|v| !v.is_empty());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("i386" | "x86" | "i686", _) => ("386", None),
            ("x86_64" | "x86-64", v) => ("amd64", v.filter(|v| *v != "v1")),
            ("amd64", Some("v1")) => ("amd64", None),
            ("aarch64" | "arm64", Some("8" | "v8" | "v8.0") | None) => ("arm64", None),
            ("aarch64" | "arm64", Some("9" | "9.0" | "v9.0")) => ("arm64", Some("v9")),
            ("aarch64", v) => ("arm64", v),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            (a, v) => (a, v),
        };
        Self { os, architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// The same platform in containerd's normal form; what a foreign document says need not be in it.
    #[must_use]
    pub fn normal(&self) -> Self {
        Self::normalised(&self.os, &self.architecture, self.variant.as_deref())
    }

    /// What else runs here, best first, when an index has nothing for exactly this platform: older `arm` variants and
    /// lower `amd64` levels (containerd's platform vectors).
    pub fn fallbacks(&self) -> Vec<Self> {
        let with = |v: &str| Self::normalised(&self.os, &self.architecture, Some(v));
        let older: &[&str] = match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm", Some("v8")) => &["v7", "v6", "v5"],
            ("arm", Some("v7")) => &["v6", "v5"],
            ("arm", Some("v6")) => &["v5"],
            ("amd64", Some("v4")) => &["v3", "v2", "v1"],
            ("amd64", Some("v3")) => &["v2", "v1"],
            ("amd64", Some("v2")) => &["v1"],
            _ => &[],
        };
        older.iter().map(|v| with(v)).collect()
    }

    /// Its first part that is none of [`SYSTEMS`] or [`ARCHITECTURES`], and what is known in its stead.
    pub fn unknown_part(&self) -> Option<(&str, &'static [&'static str])> {
        let parts = [(self.os.as_str(), &SYSTEMS[..]), (self.architecture.as_str(), &ARCHITECTURES[..])];
        parts.into_iter().find(|(part, known)| !known.contains(part))
    }

    /// Whether an image for `image` runs where `self` is asked for: same os and architecture, and the same
    /// variant unless one of the two leaves it out.
    pub fn accepts(&self, image: &Platform) -> bool {
        self.os == image.os
            && self.architecture == image.architecture
            && (self.variant == image.variant || self.variant.is_none() || image.variant.is_none())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |v| write!(f, "/{v}"))
    }
}

impl FromStr for Platform {
    type Err = BadPlatform;

    fn from_str(text: &str) -> Result<Self, BadPlatform> {
        let bad = || BadPlatform { text: text.to_owned() };
        let parts: Vec<&str> = text.split('/').collect();
        let wrong =
            |p: &&str| p.is_empty() || !p.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        if parts.iter().any(wrong) {
            return Err(bad());
        }
        match parts[..] {
            [alone] => {
                let with_host = Self::normalised(alone, host_architecture(), None);
                let on_linux = Self::normalised("linux", alone, None);
                match () {
                    () if SYSTEMS.contains(&with_host.os.as_str()) => Ok(with_host),
                    () if ARCHITECTURES.contains(&on_linux.architecture.as_str()) => Ok(on_linux),
                    () => Err(bad()),
                }
            }
            [os, architecture] => Ok(Self::normalised(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::normalised(os, architecture, Some(variant))),
            _ => Err(bad()),
        }
    }
}

/// Rust's name of the processor as Go has it, where `normalised` would not know.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_nobody_knows() {
        let unknown =
            |text: &str| text.parse::<Platform>().unwrap().unknown_part().map(|(part, _)| part.to_owned());
        assert_eq!(unknown("linux/x86_64"), None);
        assert_eq!(unknown("linux/amd46/v2").as_deref(), Some("amd46"));
        assert_eq!(unknown("lniux/amd64").as_deref(), Some("lniux"));
    }

    #[test]
    fn normal_forms() {
        let table = [
            ("linux/x86_64", "linux/amd64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/v8.0", "linux/arm64"),
            ("linux/arm64/9", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/s390x", "linux/s390x"),
        ];
        for (text, normal) in table {
            let platform: Platform = text.parse().unwrap();
            assert_eq!(platform.to_string(), normal, "{text}");
            assert_eq!(platform.normal(), platform, "{text}");
            assert_eq!(normal.parse(), Ok(platform), "{text}");
        }
        assert_eq!("linux".parse(), Ok(Platform::host()));
        for (alone, whole) in [("arm64", "linux/arm64"), ("X86_64", "linux/amd64"), ("armhf", "linux/arm/v7")]
        {
            assert_eq!(alone.parse::<Platform>(), whole.parse(), "{alone}");
        }
        for bad in ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "amd46", "linux/ä"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn fallbacks_go_down_only() {
        let fallbacks = |text: &str| -> Vec<String> {
            text.parse::<Platform>().unwrap().fallbacks().iter().map(Platform::to_string).collect()
        };
        assert_eq!(fallbacks("linux/arm/v7"), ["linux/arm/v6", "linux/arm/v5"]);
        assert_eq!(fallbacks("linux/amd64/v3"), ["linux/amd64/v2", "linux/amd64"]);
        assert_eq!(fallbacks("linux/amd64"), [""; 0]);
    }
}
