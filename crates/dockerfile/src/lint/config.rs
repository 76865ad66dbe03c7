//! Which checks run: `# check=skip=A,B;error=true;experimental=all`.

use super::rule::Rule;

/// A choice of checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    skip: Selection,
    experimental: Selection,
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

    /// Whether `rule` is to run.
    pub fn runs(&self, rule: &Rule) -> bool {
        if rule.experimental { self.experimental.holds(rule) } else { !self.skip.holds(rule) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::{INVALID_DEFINITION_DESCRIPTION, STAGE_NAME_CASING, UNDEFINED_VAR};
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
    fn comments_add() {
        let config = Config::default();
        let one = config.with_comment("about it\ncheck=skip=UndefinedVar,StageNameCasing reason");
        assert!(!one.runs(&UNDEFINED_VAR) && !one.runs(&STAGE_NAME_CASING));
        assert_eq!(config.with_comment("check=nonsense"), config);
        assert_eq!(config.with_comment("uncheck=skip=all"), config);
    }
}
