//! Which checks run: `# check=skip=A,B;error=true;experimental=all`.

use super::rule::{Group, Rule};
use crate::suggest::nearest;

/// A choice of checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    skip: Selection,
    experimental: Selection,
    asked: Selection,
    /// Findings make the build fail.
    pub error: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Selection {
    all: bool,
    names: Vec<String>,
}

impl Selection {
    fn parse(text: &str) -> Self {
        let text = text.trim();
        if text == "all" {
            return Self { all: true, names: Vec::new() };
        }
        Self { all: false, names: text.split(',').map(|name| name.trim().to_owned()).collect() }
    }

    fn holds(&self, rule: &Rule) -> bool {
        self.all || self.names.iter().any(|name| name == rule.name)
    }

    fn merge(&mut self, other: &Self) {
        self.all |= other.all;
        self.names.extend(other.names.iter().cloned());
    }
}

/// A part of the text that says nothing known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not `skip=`, `error=` or `experimental=`.
    #[error("invalid check option `{0}`, known are skip=, error= and experimental=")]
    Option(String),
    /// A rule that does not exist, where it is asked for by name.
    #[error("there is no check `{name}`{}", .near.as_ref().map(|near| format!(", did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// As written.
        name: String,
        /// The nearest that there is.
        near: Option<String>,
    },
    /// `error=` with something other than a truth value.
    #[error("invalid value `{0}` for the check option error")]
    Truth(String),
}

impl Config {
    /// Parses the value of a `check` directive or of `BUILDKIT_DOCKERFILE_CHECK`.
    ///
    /// # Errors
    /// If a part is not one of the three options.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for part in text.trim().splitn(3, ';').filter(|_| !text.trim().is_empty()) {
            let invalid = || ConfigError::Option(part.to_owned());
            let (key, value) = part.split_once('=').ok_or_else(invalid)?;
            match key.trim() {
                "skip" => config.skip = Selection::parse(value),
                "experimental" => config.experimental = Selection::parse(value),
                "error" => {
                    config.error = match value.trim() {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        other => return Err(ConfigError::Truth(other.to_owned())),
                    }
                }
                _ => return Err(invalid()),
            }
        }
        Ok(config)
    }

    /// This choice with what the comment above an instruction adds (`check=skip=...` on a line of it).
    #[must_use]
    pub fn with_comment(&self, comment: &str) -> Self {
        let mut merged = self.clone();
        let option = comment.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            key.trim()
                .eq_ignore_ascii_case("check")
                .then(|| value.trim().split(' ').next().unwrap_or_default())
        });
        if let Some(Ok(other)) = option.map(Self::parse) {
            merged.skip.merge(&other.skip);
            merged.experimental.merge(&other.experimental);
        }
        merged
    }

    /// This choice with rules that are off by default turned on: `all`, or names with commas between them.
    ///
    /// # Errors
    /// If there is no such rule. (What the Dockerfile names may be a rule of another program, and is let pass.)
    pub fn with_asked(mut self, names: &str) -> Result<Self, ConfigError> {
        if names.trim().is_empty() {
            return Ok(self);
        }
        let asked = Selection::parse(names);
        if let Some(name) = asked.names.iter().find(|name| Rule::named(name).is_none()) {
            let near = nearest(name, Rule::all().map(|rule| rule.name), true);
            let near = near.or_else(|| other_case(name));
            return Err(ConfigError::Unknown { name: name.clone(), near });
        }
        self.asked.merge(&asked);
        Ok(self)
    }

    /// Whether `rule` is to run.
    ///
    /// `experimental=all` means BuildKit's experiments, so that a Dockerfile with `error=true` builds here if it builds there.
    pub fn runs(&self, rule: &Rule) -> bool {
        match rule.group {
            Group::Stable | Group::Own => !self.skip.holds(rule),
            Group::Experimental => self.experimental.holds(rule) || self.asked.holds(rule),
            Group::Extra => {
                let named = self.experimental.names.iter().any(|name| name == rule.name);
                (named || self.asked.holds(rule)) && !self.skip.holds(rule)
            }
        }
    }
}

fn other_case(name: &str) -> Option<String> {
    Rule::all().find(|rule| rule.name.eq_ignore_ascii_case(name)).map(|rule| rule.name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::rule::{INVALID_DEFINITION_DESCRIPTION, ROOT_USER, STAGE_NAME_CASING, UNDEFINED_VAR};
    use super::*;

    #[test]
    fn options() {
        let config = Config::parse("skip=StageNameCasing, Other;error=true").expect("valid");
        assert!(config.error && !config.runs(&STAGE_NAME_CASING) && config.runs(&UNDEFINED_VAR));
        assert!(!config.runs(&INVALID_DEFINITION_DESCRIPTION));
        let config = Config::parse("skip=all;experimental=all").expect("valid");
        assert!(!config.runs(&UNDEFINED_VAR) && config.runs(&INVALID_DEFINITION_DESCRIPTION));
        assert_eq!(Config::parse(""), Ok(Config::default()));
        for bad in ["skip", "skpi=all", "error=maybe"] {
            assert!(Config::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn extras_are_asked_for_by_name() {
        let runs = |text: &str, asked: Option<&str>| {
            let config = Config::parse(text).expect("valid");
            asked
                .map_or(Ok(config.clone()), |asked| config.with_asked(asked))
                .expect("known")
                .runs(&ROOT_USER)
        };
        for (text, asked, want) in [
            ("", None, false),
            ("experimental=all", None, false),
            ("experimental=RootUser", None, true),
            ("", Some("all"), true),
            ("", Some("CdInRun,RootUser"), true),
            ("", Some("CdInRun"), false),
            ("skip=RootUser", Some("all"), false),
            ("skip=all", Some("all"), false),
        ] {
            assert_eq!(runs(text, asked), want, "{text} {asked:?}");
        }
        let error = |names| Config::default().with_asked(names).map_err(|e| e.to_string());
        assert_eq!(
            error("rootuser"),
            Err("there is no check `rootuser`, did you mean `RootUser`?".to_owned())
        );
        assert_eq!(error("RotUser"), Err("there is no check `RotUser`, did you mean `RootUser`?".to_owned()));
    }

    #[test]
    fn comments_add() {
        let config = Config::default();
        let one = config.with_comment("about it\ncheck=skip=UndefinedVar,StageNameCasing reason");
        assert!(!one.runs(&UNDEFINED_VAR) && !one.runs(&STAGE_NAME_CASING));
        assert_eq!(config.with_comment("check=nonsense"), config);
        assert_eq!(config.with_comment("uncheck=skip=all"), config);
    }
}
