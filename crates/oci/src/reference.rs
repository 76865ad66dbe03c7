//! Image references: `[registry/]repository[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry of a reference that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const OFFICIAL: &str = "library/";
const LONGEST_TAG: usize = 128;
const LONGEST_REPOSITORY: usize = 255;

/// A normalised image reference (the grammar and defaults of distribution/reference: no registry means `docker.io`, one
/// path component on docker.io means `library/`, neither tag nor digest means `latest`).
///
/// `Display` writes the canonical form (`docker.io/library/debian:12`), [`Reference::familiar`] the one that people
/// type (`debian:12`); both parse back to the same reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// `docker.io`, `127.0.0.1:5000`
    pub registry: String,
    /// `library/debian`
    pub repository: String,
    /// `bookworm`; `None` only if there is a digest.
    pub tag: Option<String>,
    /// `sha256:...`
    pub digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {reason}")]
pub struct BadReference {
    /// What was given.
    pub text: String,
    /// Which rule it breaks.
    pub reason: &'static str,
}

impl Reference {
    /// What a user would write: without `docker.io` and `library/` where they are implied.
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    /// The familiar form without tag and digest: `debian`, `ghcr.io/owner/app`.
    pub fn familiar_name(&self) -> String {
        let full = format!("{}/{}", self.registry, self.repository);
        if self.registry != DEFAULT_REGISTRY {
            return full;
        }
        let short = match self.repository.strip_prefix(OFFICIAL) {
            Some(rest) if !rest.contains('/') => rest,
            _ => &self.repository,
        };
        // `docker.io/a.b/c` must stay long: `a.b/c` would name the registry `a.b`.
        let (registry, repository) = split_registry(short);
        if registry == self.registry && with_default_owner(registry, repository) == self.repository {
            short.to_owned()
        } else {
            full
        }
    }

    /// The name without tag and digest: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|t| format!(":{t}")).unwrap_or_default();
        let digest = self.digest.map(|d| format!("@{d}")).unwrap_or_default();
        tag + &digest
    }
}

impl FromStr for Reference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        parse(text).map_err(|reason| BadReference { text: text.to_owned(), reason })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.registry, self.repository, self.suffix())
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err("64 hex digits are an image id, not a name");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
        None => (text, None),
    };
    let (registry, rest) = split_registry(rest);
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    check_registry(registry)?;
    let repository = with_default_owner(registry, path);
    check_repository(&repository)?;
    tag.map_or(Ok(()), check_tag)?;
    let tag = match (tag, digest) {
        (None, None) => Some("latest"),
        (tag, _) => tag,
    };
    Ok(Reference { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
}

/// Tells a registry from the first path component: it has a dot, a colon or an upper-case letter, or is `localhost`.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some(("index.docker.io", rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, text),
    }
}

fn with_default_owner(registry: &str, path: &str) -> String {
    if registry == DEFAULT_REGISTRY && !path.contains('/') {
        format!("{OFFICIAL}{path}")
    } else {
        path.to_owned()
    }
}

fn parse_digest(text: &str) -> Result<Digest, &'static str> {
    text.parse().map_err(|_| match text.split_once(':') {
        Some(("sha256", _)) => "a sha256 digest has 64 lower-case hex digits",
        Some(_) => "only sha256 digests are supported",
        None => "a digest is sha256: and 64 lower-case hex digits",
    })
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    let (host, port) = match registry.strip_prefix('[') {
        Some(v6) => {
            let (address, rest) = v6.split_once(']').ok_or("the IPv6 address is not closed by ]")?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("the registry is not an IPv6 address");
            }
            match rest.strip_prefix(':') {
                None if rest.is_empty() => (None, None),
                None => return Err("only a port may follow the IPv6 address"),
                port => (None, port),
            }
        }
        None => match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(registry), None),
        },
    };
    if port.is_some_and(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_digit())) {
        return Err("the registry's port is not a number");
    }
    let good = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match host {
        Some(host) if !host.split('.').all(good) => Err("the registry is not a host name"),
        _ => Ok(()),
    }
}

fn check_repository(path: &str) -> Result<(), &'static str> {
    if path.len() > LONGEST_REPOSITORY {
        return Err("the repository name has more than 255 characters");
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the repository name must be lower case");
    }
    path.split('/').try_for_each(check_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn check_component(component: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if component.is_empty() {
        return Err("the repository name has an empty component");
    }
    if !component.bytes().all(|b| word(b) || b"._-".contains(&b)) {
        return Err("the repository name may have only a-z, 0-9 and separators (. _ __ -)");
    }
    let separators = component.split(|c: char| word(c as u8)).filter(|s| !s.is_empty());
    let edges = component.bytes().next().is_some_and(word) && component.bytes().next_back().is_some_and(word);
    let good = |s: &str| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    if edges && separators.into_iter().all(good) {
        Ok(())
    } else {
        Err("separators (. _ __ -) stand between letters or digits, one at a time")
    }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if tag.is_empty() {
        return Err("the tag is empty");
    }
    if tag.len() > LONGEST_TAG {
        return Err("the tag has more than 128 characters");
    }
    if !word(tag.as_bytes()[0]) || !tag.bytes().all(|b| word(b) || b == b'.' || b == b'-') {
        return Err("a tag has letters, digits, _ . and -, and does not begin with . or -");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn accepted() {
        let at = |s: &str| format!("{s}@{SHA}");
        let table: &[(&str, &str, &str)] = &[
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest"),
            ("index.docker.io/debian:1", "docker.io/library/debian:1", "debian:1"),
            ("docker.io/library/a/b:1", "docker.io/library/a/b:1", "library/a/b:1"),
            ("docker.io/a.b/c:1", "docker.io/a.b/c:1", "docker.io/a.b/c:1"),
            ("docker.io/localhost/c:1", "docker.io/localhost/c:1", "docker.io/localhost/c:1"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("localhost:5000/x:V_1.2-3", "localhost:5000/x:V_1.2-3", "localhost:5000/x:V_1.2-3"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            ("Host/a", "Host/a:latest", "Host/a:latest"),
            (
                "host.example/a__b/c-d---e.f:t",
                "host.example/a__b/c-d---e.f:t",
                "host.example/a__b/c-d---e.f:t",
            ),
            (&at("debian"), &at("docker.io/library/debian"), &at("debian")),
            (&at("debian:12"), &at("docker.io/library/debian:12"), &at("debian:12")),
        ];
        for (text, canonical, familiar) in table {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), *canonical, "{text}");
            assert_eq!(reference.familiar(), *familiar, "{text}");
        }
    }

    #[test]
    fn refused_with_the_reason() {
        let long_tag = format!("a:{}", "x".repeat(129));
        let long_name = "a/".repeat(130) + "a";
        let id = "a".repeat(64);
        let table: &[(&str, &str)] = &[
            ("", "empty"),
            (&id, "image id"),
            ("Debian", "lower case"),
            ("localhost/Debian", "lower case"),
            ("a//b", "empty component"),
            ("a/", "empty component"),
            ("/a", "empty component"),
            ("a..b", "separators"),
            ("a___b", "separators"),
            ("-a", "separators"),
            ("a_", "separators"),
            ("a b", "only a-z"),
            ("a:", "tag is empty"),
            ("a:b:c", "a tag has"),
            ("a:.b", "a tag has"),
            ("a:ü", "a tag has"),
            (&long_tag, "128"),
            (&long_name, "255"),
            ("host:port/a", "port"),
            ("host:/a", "port"),
            ("-h.example/a", "host name"),
            ("h..example/a", "host name"),
            ("[::1/a", "closed"),
            ("[::z]/a", "IPv6"),
            ("[::1]x/a", "only a port"),
            ("a@sha512:00", "only sha256"),
            ("a@sha256:00", "64 lower-case"),
            ("a@", "digest"),
            ("a@x@y", "digest"),
            ("ü", "only a-z"),
        ];
        for (text, reason) in table {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.reason.contains(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn both_forms_parse_back(text in "([a-zA-Z0-9.-]{1,6}(:[0-9]{1,4})?/)?[a-z0-9._/-]{1,12}(:[a-zA-Z0-9_.-]{1,5})?") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            }
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Reference>();
        }
    }
}
