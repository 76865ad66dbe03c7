//! `kiln prune --filter`, as docker's.

use std::time::{Duration, SystemTime};

use kiln_build::collect::{CacheKind, Filter, Subject};

use crate::args::values::{ValueError, age};

/// Docker's names for parts of the cache, and kiln's own.
const KINDS: [(&str, &[CacheKind]); 12] = [
    ("regular", &[CacheKind::Step, CacheKind::Base]),
    ("step", &[CacheKind::Step]),
    ("base", &[CacheKind::Base]),
    ("exec.cachemount", &[CacheKind::CacheMount]),
    ("cache-mount", &[CacheKind::CacheMount]),
    ("source.local", &[CacheKind::Context]),
    ("context", &[CacheKind::Context]),
    ("source.git.checkout", &[CacheKind::Source]),
    ("source", &[CacheKind::Source]),
    ("internal", &[CacheKind::Record]),
    ("record", &[CacheKind::Record]),
    // A kind that docker has and kiln never keeps.
    ("frontend", &[]),
];

/// Reads one filter: `KEY=VALUE`, `KEY==VALUE` or `KEY!=VALUE`.
pub(crate) fn filter(text: &str) -> Result<Filter, ValueError> {
    let wanted = ValueError::Expected("a filter: type=KIND, until=AGE, unused-for=AGE, id=ID or inuse=false");
    let (key, value) = text.split_once('=').ok_or(wanted.clone())?;
    let (key, not) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
    let value = value.strip_prefix('=').unwrap_or(value);
    let of = match key {
        "type" => kind(value)?,
        "until" | "unused-for" => Subject::Until(time(value)?),
        "id" => Subject::Id(value.to_owned()),
        // While a collection decides, nothing is in use.
        "inuse" if value == "false" => return Ok(Filter { not: !not, of: Subject::Kind(Vec::new()) }),
        "inuse" if value == "true" => Subject::Kind(Vec::new()),
        _ => return Err(wanted),
    };
    Ok(Filter { not, of })
}

fn kind(name: &str) -> Result<Subject, ValueError> {
    let found = KINDS.iter().find(|(known, _)| *known == name);
    let wanted = "a type: regular, step, base, exec.cachemount, source.local or internal";
    found.map(|(_, kinds)| Subject::Kind(kinds.to_vec())).ok_or(ValueError::Expected(wanted))
}

/// An age (`24h`, `1h30m`), or a time: seconds since 1970 or RFC 3339.
fn time(text: &str) -> Result<SystemTime, ValueError> {
    if let Ok(age) = age(text) {
        return Ok(SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH));
    }
    let since = |secs: u64| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(secs));
    let secs = text.parse().ok().or_else(|| {
        let stamp: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(stamp.as_second()).ok()
    });
    secs.and_then(since)
        .ok_or(ValueError::Expected("an age such as 24h, or a time such as 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match filter(text) {
            Ok(Filter { not, of: Subject::Until(time) }) => {
                format!("{not} {:?}", time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
            }
            Ok(filter) => format!("{} {:?}", filter.not, filter.of),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn filters() {
        let keys = "expected a filter: type=KIND, until=AGE, unused-for=AGE, id=ID or inuse=false";
        let kinds = "expected a type: regular, step, base, exec.cachemount, source.local or internal";
        let table = [
            ("type=regular", "false Kind([Step, Base])"),
            ("type==exec.cachemount", "false Kind([CacheMount])"),
            ("type!=exec.cachemount", "true Kind([CacheMount])"),
            ("type=frontend", "false Kind([])"),
            ("id=go-build", "false Id(\"go-build\")"),
            ("inuse=false", "true Kind([])"),
            ("until=1700000000", "false 1700000000s"),
            ("until=2023-11-14T22:13:20Z", "false 1700000000s"),
            ("type=nonsense", kinds),
            ("colour=red", keys),
            ("until", keys),
            ("until=soon", "expected an age such as 24h, or a time such as 2026-01-31T12:00:00Z"),
        ];
        for (text, want) in table {
            assert_eq!(read(text), want, "{text}");
        }
        let Ok(Filter { of: Subject::Until(time), .. }) = filter("until=1h30m") else { panic!() };
        let age = SystemTime::now().duration_since(time).unwrap_or_default();
        assert!((5400..5460).contains(&age.as_secs()), "{age:?}");
    }
}
