//! `--call`, `--check`, `--format` and `--fix`: what is asked about a Dockerfile instead of building it.

use kiln_dockerfile::lint::{Config, ConfigError};
use kiln_dockerfile::suggest::nearest;

use crate::args::Format;
use crate::args::csv::fields;
use crate::args::values::ValueError;

/// What to do with the Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Build it.
    Build,
    /// Check it.
    Check,
    /// List what the target can be given.
    Outline,
    /// List the stages.
    Targets,
}

/// `--call`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// What to do.
    pub(crate) method: Method,
    /// `format=`
    pub(crate) format: Option<Format>,
    /// `ignorestatus=true`: findings are no failure.
    pub(crate) ignore_status: bool,
}

/// Reads `METHOD[,format=text|json][,ignorestatus=BOOL]`, as buildx does.
pub(crate) fn parse(text: &str) -> Result<Call, ValueError> {
    const METHODS: [&str; 5] = ["build", "check", "lint", "outline", "targets"];
    let mut call = Call { method: Method::Build, format: None, ignore_status: false };
    for (i, field) in fields(text)?.iter().enumerate() {
        match field.split_once('=') {
            Some(("format", "json")) => call.format = Some(Format::Json),
            Some(("format", "text" | "")) => call.format = Some(Format::Text),
            Some(("format", _)) => return Err(ValueError::Expected("format=text or format=json")),
            Some(("ignorestatus", truth)) => {
                call.ignore_status = matches!(truth, "1" | "t" | "true" | "TRUE" | "True")
            }
            Some((key, _)) => {
                return Err(ValueError::UnknownKey { key: key.to_owned(), known: "format, ignorestatus" });
            }
            None if i > 0 => return Err(ValueError::Expected("one method, then format=json")),
            None => {
                call.method = match field.as_str() {
                    "" | "build" => Method::Build,
                    "check" | "lint" => Method::Check,
                    "outline" => Method::Outline,
                    "targets" => Method::Targets,
                    other => {
                        let near = nearest(other, METHODS, true);
                        return Err(ValueError::Unknown {
                            what: "method",
                            name: other.to_owned(),
                            near,
                            known: &METHODS,
                        });
                    }
                }
            }
        }
    }
    Ok(call)
}

/// `--check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Whether to check.
    pub(crate) on: bool,
    /// Rules to turn on: names, or `all`.
    pub(crate) names: Option<String>,
}

/// Reads `true`, `false`, `all` or names of rules.
pub(crate) fn rules(text: &str) -> Result<Rules, ConfigError> {
    match text {
        "true" | "1" => Ok(Rules { on: true, names: None }),
        "false" | "0" => Ok(Rules { on: false, names: None }),
        names => {
            Config::default().with_asked(names)?;
            Ok(Rules { on: true, names: Some(names.to_owned()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        let show = |text| match parse(text) {
            Ok(call) => format!("{:?} {:?} {}", call.method, call.format, call.ignore_status),
            Err(error) => error.to_string(),
        };
        for (text, want) in [
            ("build", "Build None false"),
            ("check,format=json", "Check Some(Json) false"),
            ("lint", "Check None false"),
            ("format=json,outline", "one method, then format=json"),
            ("outline,format=text,ignorestatus=1", "Outline Some(Text) true"),
            ("tragets", "unknown method `tragets`, did you mean `targets`?"),
            ("nonsense", "unknown method `nonsense` (one of build, check, lint, outline, targets)"),
            ("check,format=xml", "expected format=text or format=json"),
            ("check,from=x", "unknown key `from` (one of format, ignorestatus)"),
        ] {
            assert!(show(text).ends_with(want), "{text}: {}", show(text));
        }
    }

    #[test]
    fn choices_of_rules() {
        for (text, want) in
            [("true", Ok((true, None))), ("false", Ok((false, None))), ("all", Ok((true, Some("all"))))]
        {
            let got = rules(text).map(|rules| (rules.on, rules.names)).map_err(|e| e.to_string());
            assert_eq!(
                got,
                want.map(|(on, names): (bool, Option<&str>)| (on, names.map(str::to_owned))),
                "{text}"
            );
        }
        assert!(rules("RootUser,CdInRun").is_ok() && rules("RootUsr").is_err());
    }
}
