//! `WWW-Authenticate` (RFC 9110, section 11.6.1), as registries write it and as they should not.

/// A way in which a server wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password.
    Basic,
    /// A token from the server at `realm` (distribution's token specification).
    Bearer {
        /// An absolute URL.
        realm: String,
        /// Whom the token is for.
        service: Option<String>,
        /// What it must allow, such as `repository:library/debian:pull`.
        scope: Option<String>,
    },
}

/// All challenges of a response's header values that kiln understands, Bearer first. One value may hold several
/// challenges; values may be quoted or not; unknown schemes and broken parts are passed over.
pub(crate) fn parse<'a>(values: impl Iterator<Item = &'a str>) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = values.flat_map(parse_value).collect();
    found.sort_by_key(|c| matches!(c, Challenge::Basic));
    found
}

fn parse_value(value: &str) -> Vec<Challenge> {
    let mut rest = value;
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',', '=']);
        if rest.is_empty() {
            break;
        }
        let end = rest.find([' ', '\t', ',', '=', '"']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            // A stray quote: pass over it, so that the loop always moves on.
            rest = &rest[1..];
            continue;
        }
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            Some(text) => {
                let (value, left) = take_value(text.trim_start_matches([' ', '\t']));
                if let Some((_, parameters)) = schemes.last_mut() {
                    parameters.push((word.to_ascii_lowercase(), value));
                }
                rest = left;
            }
            None => {
                schemes.push((word.to_ascii_lowercase(), Vec::new()));
                rest = after;
            }
        }
    }
    schemes.into_iter().filter_map(|(scheme, parameters)| understand(&scheme, parameters)).collect()
}

/// A quoted string with escapes, or everything up to a comma or space.
fn take_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, &quoted[at + 1..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn understand(scheme: &str, parameters: Vec<(String, String)>) -> Option<Challenge> {
    let find =
        |name: &str| parameters.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.clone());
    match scheme {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            Some(Challenge::Bearer { realm: find("realm")?, service: find("service"), scope: find("scope") })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        let own = |text: &str| text.to_owned();
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(own), scope: scope.map(own) }
    }

    #[test]
    fn headers_of_the_field_are_understood() {
        let hub = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:a/b:pull,push"),
        );
        for (value, want) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                vec![hub.clone()],
            ),
            (r#"Basic realm="x, Bearer realm=\"y\"""#, vec![Challenge::Basic]),
            (r#"bearer REALM=https://t/x , Service=s"#, vec![bearer("https://t/x", Some("s"), None)]),
            (
                r#"Negotiate abc==, Basic realm="a", Bearer realm="https://t/" scope="s""#,
                vec![bearer("https://t/", None, Some("s")), Challenge::Basic],
            ),
            (r#"Bearer service="no realm""#, vec![]),
            (r#"Bearer realm="unterminated"#, vec![bearer("unterminated", None, None)]),
            (r#""""=,,= ="#, vec![]),
            ("Digest realm=x", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse([value].into_iter()), want, "{value}");
        }
        assert_eq!(
            parse(["Basic realm=a", r#"Bearer realm="https://t/""#].into_iter()),
            vec![bearer("https://t/", None, None), Challenge::Basic]
        );
    }
}
