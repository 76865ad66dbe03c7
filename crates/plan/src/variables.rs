//! Variables in the order in which they were first set, as a container's environment keeps them.

use std::collections::HashMap;
use std::sync::Arc;

use kiln_oci::platform::Platform;

use crate::environment::{Environment, Variable};
use crate::inputs::Inputs;

/// An ordered set of variables; setting one again keeps its place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    list: Vec<(Arc<str>, Arc<str>)>,
    places: HashMap<Arc<str>, usize>,
    environment: Environment,
}

impl Variables {
    /// The value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.list[*place].1.as_ref())
    }

    /// Sets `name`, in its old place if it had one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.put(name, value, false);
    }

    /// Sets `name`, which the image has.
    pub(crate) fn set_of_image(&mut self, name: &str, value: &str) {
        self.put(name, value, true);
    }

    /// Sets each `KEY=value` of an image; without `=` the value is empty.
    pub(crate) fn set_all(&mut self, pairs: &[String]) {
        for pair in pairs {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.put(name, value, true);
        }
    }

    fn put(&mut self, name: &str, value: &str, of_image: bool) {
        let value: Arc<str> = value.into();
        let name = match self.places.get(name) {
            Some(place) => {
                let known = &mut self.list[*place];
                known.1 = value.clone();
                known.0.clone()
            }
            None => {
                let name: Arc<str> = name.into();
                self.places.insert(name.clone(), self.list.len());
                self.list.push((name.clone(), value.clone()));
                name
            }
        };
        self.environment.set(Variable { name, value, of_image });
    }

    /// All names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|(name, _)| name.as_ref())
    }

    /// As they are now.
    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// The build arguments that a stage has declared, each once, in the order in which they first were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BuildArgs {
    list: Vec<(String, Option<String>)>,
    places: HashMap<String, usize>,
}

impl BuildArgs {
    /// Declares `name`; what it was declared with before no longer counts.
    pub(crate) fn declare(&mut self, name: &str, value: Option<String>) {
        match self.places.get(name) {
            Some(place) => self.list[*place].1 = value,
            None => {
                self.places.insert(name.to_owned(), self.list.len());
                self.list.push((name.to_owned(), value));
            }
        }
    }

    /// The value that `name` was last declared with; the outer `None` if it was not.
    pub(crate) fn get(&self, name: &str) -> Option<Option<&str>> {
        self.places.get(name).map(|place| self.list[*place].1.as_deref())
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Option<&str>)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }
}

/// Sets `name` in an image's `KEY=value` list, in its old place if it had one.
pub(crate) fn set_in_image(env: &mut Vec<String>, name: &str, value: &str) {
    let pair = format!("{name}={value}");
    match env.iter_mut().find(|known| known.split_once('=').map_or(known.as_str(), |(n, _)| n) == name) {
        Some(old) => *old = pair,
        None => env.push(pair),
    }
}

/// The automatic platform arguments of the global scope; `--build-arg` overrides each.
pub(crate) fn automatic(inputs: &Inputs, target_stage: &str) -> Variables {
    let mut variables = Variables::default();
    for (prefix, platform) in [("BUILD", &inputs.build_platform), ("TARGET", &inputs.platform)] {
        for (suffix, value) in parts(platform) {
            variables.set(&format!("{prefix}{suffix}"), &value);
        }
    }
    variables.set("TARGETSTAGE", if target_stage.is_empty() { "default" } else { target_stage });
    let overridden: Vec<String> = variables.names().map(str::to_owned).collect();
    for name in overridden {
        if let Some(value) = inputs.build_args.get(&name) {
            variables.set(&name, value);
        }
    }
    variables
}

fn parts(platform: &Platform) -> [(&'static str, String); 5] {
    [
        ("PLATFORM", platform.to_string()),
        ("OS", platform.os.clone()),
        ("OSVERSION", String::new()),
        ("ARCH", platform.architecture.clone()),
        ("VARIANT", platform.variant.clone().unwrap_or_default()),
    ]
}

/// The proxies, in the order in which a RUN gets them.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Arguments that mean something to the builder itself and need no `ARG`.
pub(crate) fn is_predefined(name: &str) -> bool {
    name.starts_with("BUILDKIT_")
        || name == "SOURCE_DATE_EPOCH"
        || PROXIES.iter().any(|proxy| name.eq_ignore_ascii_case(proxy))
}

/// Arguments that a stage may declare without their reaching the environment.
pub(crate) fn stays_out_of_environment(name: &str) -> bool {
    matches!(name, "BUILDKIT_SBOM_SCAN_CONTEXT" | "BUILDKIT_SBOM_SCAN_STAGE")
}

/// The proxy variables that a RUN sees without being keyed by them: both spellings of each proxy that was given in either
/// (the lower-case one wins), except those that `environment` sets itself.
pub(crate) fn proxies(inputs: &Inputs, environment: &Variables) -> Vec<(String, String)> {
    let mut given = Vec::new();
    for proxy in PROXIES {
        let values = inputs.build_args.iter().filter(|(name, _)| name.eq_ignore_ascii_case(proxy));
        let Some(value) = values.map(|(_, value)| value).next_back().filter(|value| !value.is_empty()) else {
            continue;
        };
        for name in [proxy.to_owned(), proxy.to_ascii_lowercase()] {
            if environment.get(&name).is_none() {
                given.push((name, value.clone()));
            }
        }
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_again_keeps_the_place() {
        let mut variables = Variables::default();
        variables.set_all(&["A=1".to_owned(), "B=x=y".to_owned(), "C".to_owned(), "A=2".to_owned()]);
        assert_eq!(variables.get("B"), Some("x=y"));
        assert_eq!(variables.names().collect::<Vec<_>>(), ["A", "B", "C"]);
        assert_eq!((variables.get("A"), variables.get("C"), variables.get("D")), (Some("2"), Some(""), None));
        let mut env = vec!["A=1".to_owned(), "AB=2".to_owned()];
        set_in_image(&mut env, "A", "3");
        set_in_image(&mut env, "B", "4");
        assert_eq!(env, ["A=3", "AB=2", "B=4"]);
    }

    #[test]
    fn the_image_has_what_it_ever_had() {
        let mut variables = Variables::default();
        variables.set_all(&["PATH=/bin".to_owned()]);
        for name in ["PATH", "A", "B"] {
            variables.set(name, "argument");
        }
        variables.set_of_image("B", "2");
        let arguments = ["PATH", "A", "B"].map(|name| variables.environment().is_argument(name));
        assert_eq!(arguments, [false, true, false]);
        assert_eq!((variables.get("PATH"), variables.get("B")), (Some("argument"), Some("2")));
    }

    #[test]
    fn an_argument_keeps_its_first_place_and_its_last_value() {
        let mut arguments = BuildArgs::default();
        for (name, value) in [("A", Some("1")), ("B", Some("2")), ("A", None), ("B", Some("3"))] {
            arguments.declare(name, value.map(str::to_owned));
        }
        assert_eq!(arguments.iter().collect::<Vec<_>>(), [("A", None), ("B", Some("3"))]);
        assert_eq!(
            (arguments.get("A"), arguments.get("B"), arguments.get("C")),
            (Some(None), Some(Some("3")), None)
        );
    }

    #[test]
    fn platform_arguments() {
        let mut inputs = Inputs::new(Platform::normalised("linux", "arm", Some("v7")));
        inputs.build_platform = Platform::normalised("linux", "amd64", None);
        inputs.build_args.insert("BUILDARCH".to_owned(), "mine".to_owned());
        let variables = automatic(&inputs, "");
        let cases = [
            ("TARGETPLATFORM", "linux/arm/v7"),
            ("TARGETVARIANT", "v7"),
            ("BUILDPLATFORM", "linux/amd64"),
            ("BUILDVARIANT", ""),
            ("BUILDARCH", "mine"),
            ("TARGETSTAGE", "default"),
        ];
        for (name, want) in cases {
            assert_eq!(variables.get(name), Some(want), "{name}");
        }
    }

    #[test]
    fn proxies_come_in_both_spellings() {
        let mut inputs = Inputs::new(Platform::host());
        for (name, value) in
            [("HTTP_PROXY", "upper"), ("http_proxy", "lower"), ("no_proxy", "x"), ("ftp_proxy", "")]
        {
            inputs.build_args.insert(name.to_owned(), value.to_owned());
        }
        let mut environment = Variables::default();
        environment.set("NO_PROXY", "from the image");
        let got = proxies(&inputs, &environment);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(got, [pair("HTTP_PROXY", "lower"), pair("http_proxy", "lower"), pair("no_proxy", "x")]);
        assert!(is_predefined("Https_Proxy") && is_predefined("BUILDKIT_SYNTAX") && !is_predefined("PROXY"));
    }
}
