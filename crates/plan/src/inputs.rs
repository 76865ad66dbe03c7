//! What the command line says about a build.

use std::collections::BTreeMap;

use kiln_oci::platform::Platform;
use kiln_oci::reference::Reference;

/// What a `--build-context` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextKind {
    /// A directory (or something that the caller has turned into one: a git checkout, an archive).
    Directory,
    /// `docker-image://REF`, without the scheme. `scratch` is the empty image.
    Image(String),
    /// `oci-layout://DIR[:tag][@digest]`, without the scheme.
    Layout(String),
}

/// Everything besides the Dockerfile and the base images that decides what is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// `--target`: a stage's name (in any case) or its number from 0. `None` is the last stage.
    pub target: Option<String>,
    /// `--build-arg`, values already taken from the environment where only a name was given.
    pub build_args: BTreeMap<String, String>,
    /// `--build-context`, by the name as given.
    pub contexts: BTreeMap<String, ContextKind>,
    /// The platform that is built for.
    pub platform: Platform,
    /// Whether the platform was asked for. If not, a result takes the platform of its base image, which
    /// `FROM --platform=` may have chosen.
    pub platform_given: bool,
    /// The platform that builds.
    pub build_platform: Platform,
    /// `--label`, in order; set on the target's configuration at its end.
    pub labels: Vec<(String, String)>,
}

impl Inputs {
    /// A build for and on `platform`, with nothing else said.
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            contexts: BTreeMap::new(),
            build_platform: platform.clone(),
            platform,
            platform_given: true,
            labels: Vec::new(),
        }
    }

    /// The build context that replaces the image or stage `name`: names are compared as buildx does, so that
    /// `debian`, `debian:latest` and `docker.io/library/debian` are one. `scratch` and `context` are never replaced.
    pub(crate) fn context(&self, name: &str) -> Option<(&str, &ContextKind)> {
        if ["scratch", "context"].iter().any(|fixed| name.eq_ignore_ascii_case(fixed)) {
            return None;
        }
        let wanted = familiar(name);
        let found = self.contexts.iter().find(|(known, _)| familiar(known) == wanted)?;
        Some((found.0.as_str(), found.1))
    }
}

/// The shortest spelling of an image name, without `:latest`; in lower case if it is no image name at all.
fn familiar(name: &str) -> String {
    let Ok(reference) = name.parse::<Reference>() else { return name.to_ascii_lowercase() };
    let short = reference.familiar();
    let bare = if reference.digest.is_none() { short.strip_suffix(":latest") } else { None };
    bare.unwrap_or(&short).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_found_under_any_spelling() {
        let mut inputs = Inputs::new(Platform::host());
        for name in ["debian", "docker.io/library/golang:1.22", "127.0.0.1:5000/a/b", "Assets", "scratch"] {
            inputs.contexts.insert(name.to_owned(), ContextKind::Directory);
        }
        let cases = [
            ("debian", Some("debian")),
            ("debian:latest", Some("debian")),
            ("docker.io/library/debian", Some("debian")),
            ("debian:12", None),
            ("golang:1.22", Some("docker.io/library/golang:1.22")),
            ("127.0.0.1:5000/a/b:latest", Some("127.0.0.1:5000/a/b")),
            ("assets", Some("Assets")),
            ("scratch", None),
            ("context", None),
        ];
        for (name, want) in cases {
            assert_eq!(inputs.context(name).map(|(key, _)| key), want, "{name}");
        }
    }
}
