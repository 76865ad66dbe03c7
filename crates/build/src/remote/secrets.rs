//! Which secret goes to which server.
//!
//! The names are BuildKit's. For downloads `HTTP_AUTH_TOKEN_<host>`, sent as a bearer token, wins over `HTTP_AUTH_HEADER_<host>`, sent
//! as it is. For git over http(s) `GIT_AUTH_HEADER.<host>`, then `GIT_AUTH_TOKEN.<host>`, then either without a host; a token becomes
//! the password of `x-access-token`. The hosts of downloads are written without a port, those of git with one, if the URL has one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_dockerfile::source::GitSource;

use crate::error::RemoteError;
use crate::remote::port::{Access, Repository};
use crate::secret::SecretSource;

/// Scheme, user information and `host[:port]` of a URL, and where its path begins.
struct Parts<'a> {
    scheme: &'a str,
    user: Option<&'a str>,
    host: &'a str,
    path: &'a str,
}

fn parts(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    Some(Parts { scheme, user, host, path })
}

/// The host alone: no port, no brackets.
fn bare(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    }
}

/// The value of the secret `id` as one line; a line feed at its end, as files have it, does not count.
fn line(secrets: &BTreeMap<String, SecretSource>, id: &str) -> Result<Option<String>, RemoteError> {
    let bytes = match secrets.get(id) {
        None => return Ok(None),
        Some(SecretSource::Bytes(bytes)) => bytes.to_vec(),
        Some(SecretSource::File(path)) => {
            fs_err::read(path).map_err(|source| RemoteError::Secret { id: id.to_owned(), source })?
        }
    };
    let bad = || RemoteError::BadSecret { id: id.to_owned() };
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(bad());
    }
    Ok(Some(text.to_owned()))
}

/// The `Authorization` header of a download.
pub(super) fn of_download(access: &Access<'_>, url: &str) -> Result<Option<String>, RemoteError> {
    let Some(parts) = parts(url) else { return Ok(None) };
    let host = bare(parts.host);
    if let Some(token) = line(access.secrets, &format!("HTTP_AUTH_TOKEN_{host}"))? {
        return Ok(Some(format!("Bearer {token}")));
    }
    line(access.secrets, &format!("HTTP_AUTH_HEADER_{host}"))
}

/// A repository with what opens it. What stands before the `@` of an http(s) URL is taken out of the address and made a header: git would
/// show it to every user of the machine among its arguments.
pub(super) fn of_repository(access: &Access<'_>, source: &GitSource) -> Result<Repository, RemoteError> {
    let plain = |url: String, agent| Repository { scope: String::new(), authorization: None, url, agent };
    let agent = || access.ssh.get("default").or_else(|| access.ssh.values().next()).cloned();
    let Some(found) = parts(&source.remote) else { return Ok(plain(source.remote.clone(), agent())) };
    if found.scheme == "ssh" {
        let user = found.user.map(|user| user.split(':').next().unwrap_or_default());
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        return Ok(plain(format!("ssh://{user}{}{}", found.host, found.path), agent()));
    }
    let url = format!("{}://{}{}", found.scheme, found.host, found.path);
    if found.scheme == "git" {
        return Ok(plain(url, None));
    }
    let site = format!("{}://{}/", found.scheme, found.host);
    let given = [
        (format!("GIT_AUTH_HEADER.{}", found.host), false, true),
        (format!("GIT_AUTH_TOKEN.{}", found.host), true, true),
        ("GIT_AUTH_HEADER".to_owned(), false, false),
        ("GIT_AUTH_TOKEN".to_owned(), true, false),
    ];
    for (id, token, for_host) in given {
        let Some(secret) = line(access.secrets, &id)? else { continue };
        let header = if token {
            format!("basic {}", STANDARD.encode(format!("x-access-token:{secret}")))
        } else {
            secret
        };
        // A secret that names its host is for all of it, submodules included. One that does not is for this repository; but for
        // GitHub, where one token opens all that a user may see, both are.
        let wide = for_host || matches!(found.host, "github.com" | "www.github.com");
        let scope = if wide { site } else { url.clone() };
        return Ok(Repository { url, authorization: Some(header), scope, agent: None });
    }
    let authorization = found.user.filter(|user| !user.is_empty()).map(|user| {
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let pair = [decoded(name), b":".to_vec(), decoded(password)].concat();
        format!("basic {}", STANDARD.encode(pair))
    });
    let scope = url.clone();
    Ok(Repository { url, authorization, scope, agent: None })
}

/// Undoes percent encoding where there is any.
fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kiln_dockerfile::source::{Source, classify};

    use super::*;

    fn secrets(list: &[(&str, &str)]) -> BTreeMap<String, SecretSource> {
        list.iter()
            .map(|(id, text)| ((*id).to_owned(), SecretSource::Bytes(Arc::from(text.as_bytes()))))
            .collect()
    }

    fn with<T>(list: &[(&str, &str)], work: impl FnOnce(&Access<'_>) -> T) -> T {
        let (secrets, ssh) = (secrets(list), BTreeMap::from([("default".to_owned(), "/agent".into())]));
        work(&Access { fetcher: None, repositories: None, secrets: &secrets, ssh: &ssh })
    }

    #[test]
    fn downloads() {
        let all =
            [("HTTP_AUTH_TOKEN_h", "t\n"), ("HTTP_AUTH_HEADER_h", "Basic x"), ("HTTP_AUTH_HEADER_::1", "y")];
        let of = |url: &str| with(&all, |access| of_download(access, url).unwrap());
        assert_eq!(of("https://h/x").as_deref(), Some("Bearer t"));
        assert_eq!(of("https://u:p@h:8080/x").as_deref(), Some("Bearer t"));
        assert_eq!(of("http://[::1]:80/x").as_deref(), Some("y"));
        assert_eq!(of("https://other/h"), None);
        assert_eq!(of("https://h.other/h"), None);
        let header = with(&all[1..], |access| of_download(access, "http://h").unwrap());
        assert_eq!(header.as_deref(), Some("Basic x"));
        for bad in ["", "\n", "a\nb", "a\r\nX-Evil: 1"] {
            let error =
                with(&[("HTTP_AUTH_TOKEN_h", bad)], |access| of_download(access, "http://h/").unwrap_err());
            assert!(matches!(error, RemoteError::BadSecret { .. }), "{bad:?}");
        }
    }

    #[test]
    fn repositories() {
        let of = |list: &[(&str, &str)], text: &str| {
            let Ok(Source::Git(source)) = classify(text) else { panic!("{text}") };
            let found = with(list, |access| of_repository(access, &source).unwrap());
            let agent = if found.agent.is_some() { "agent" } else { "" };
            (found.url, found.authorization.unwrap_or_default(), found.scope, agent)
        };
        let row = |a: &str, b: &str, c: &str, d: &'static str| (a.to_owned(), b.to_owned(), c.to_owned(), d);
        let token = [("GIT_AUTH_TOKEN", "T")];
        let coded = "basic eC1hY2Nlc3MtdG9rZW46VA==";
        let r = "https://h/r.git";
        assert_eq!(of(&token, r), row(r, coded, r, ""));
        assert_eq!(of(&token, "https://github.com/a/b.git").2, "https://github.com/");
        assert_eq!(of(&[("GIT_AUTH_TOKEN.h", "T")], r), row(r, coded, "https://h/", ""));
        assert_eq!(of(&[("GIT_AUTH_TOKEN.other", "T")], r), row(r, "", r, ""));
        assert_eq!(of(&[("GIT_AUTH_TOKEN.h:81", "T")], "http://h:81/r.git").1, coded);
        assert_eq!(
            of(&[("GIT_AUTH_HEADER", "H"), ("GIT_AUTH_TOKEN.h", "T")], r).1,
            coded,
            "the host's own wins"
        );
        assert_eq!(of(&[("GIT_AUTH_HEADER", "H"), ("GIT_AUTH_TOKEN", "T")], r).1, "H");
        assert_eq!(of(&[], "https://u:p%40@h/r.git"), row(r, "basic dTpwQA==", r, ""), "not in an argument");
        assert_eq!(of(&token, "ssh://git:pw@h:22/r"), row("ssh://git@h:22/r", "", "", "agent"));
        assert_eq!(of(&token, "git@h:r"), row("git@h:r", "", "", "agent"));
        assert_eq!(of(&token, "git://u@h/r"), row("git://h/r", "", "", ""));
    }
}
