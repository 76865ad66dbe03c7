//! Authentication: from a server's challenge and our credentials to an `Authorization` header (distribution's token
//! authentication specification, with the OAuth2 variant for identity tokens).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use ureq::http::Method;

use crate::answer::Answer;
use crate::challenge::{Challenge, parse};
use crate::credentials::{self, Found};
use crate::error::Failure;
use crate::retry;
use crate::secret::{Credential, basic};
use crate::transport::{Call, Transport};
use crate::url::{Site, encode, is_loopback, shown, with_query};

/// The most that is read of a token server's answer.
const TOKEN_BODY: u64 = 1 << 20;

/// What a request needs to be allowed.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// The repository whose credentials are used.
    pub(crate) repository: String,
    /// Token scopes such as `repository:library/debian:pull`, sorted.
    pub(crate) scopes: Vec<String>,
}

impl Access {
    /// Reading a repository.
    pub(crate) fn pull(repository: &str) -> Self {
        Self::with(repository, "pull")
    }

    /// Writing to a repository.
    pub(crate) fn push(repository: &str) -> Self {
        Self::with(repository, "pull,push")
    }

    /// As `self`, and reading `other` too.
    pub(crate) fn and_pull(&self, other: &str) -> Self {
        let mut both = self.clone();
        both.scopes.push(format!("repository:{other}:pull"));
        both.scopes.sort();
        both
    }

    fn with(repository: &str, actions: &str) -> Self {
        let scopes = vec![format!("repository:{repository}:{actions}")];
        Self { repository: repository.to_owned(), scopes }
    }
}

/// Challenges, credentials and tokens, by registry.
#[derive(Default)]
pub(crate) struct Keyring {
    registries: Mutex<HashMap<String, Arc<Mutex<Keys>>>>,
}

/// What is known about one registry. It stays locked while a token is fetched, so that parallel requests fetch one.
#[derive(Default)]
struct Keys {
    challenges: Vec<Challenge>,
    found: HashMap<String, Found>,
    tokens: HashMap<TokenKey, Token>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct TokenKey {
    realm: String,
    service: Option<String>,
    scopes: Vec<String>,
    /// Path-scoped credentials make tokens differ.
    repository: String,
}

#[derive(Clone)]
struct Token {
    value: String,
    stale: Instant,
}

impl Keyring {
    /// The `Authorization` header for a request to `registry`, if it is known to want one and there is something to
    /// give. A token is fetched if none is at hand.
    pub(crate) fn header(
        &self,
        transport: &Transport,
        registry: &str,
        access: &Access,
    ) -> Result<Option<String>, Failure> {
        let keys = self.keys(registry);
        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        let challenges = keys.challenges.clone();
        for challenge in challenges {
            match challenge {
                Challenge::Bearer { realm, service, scope } => {
                    let found = keys.find(transport, registry, &access.repository)?;
                    if let Some(Credential::Bearer(token)) = &found.credential {
                        return Ok(Some(format!("Bearer {token}")));
                    }
                    let key = TokenKey {
                        realm,
                        service,
                        scopes: access.scopes.clone(),
                        repository: access.repository.clone(),
                    };
                    return keys.token(transport, key, scope.as_deref(), &found).map(Some);
                }
                Challenge::Basic => {
                    let found = keys.find(transport, registry, &access.repository)?;
                    if let Some(Credential::Basic { user, secret }) = &found.credential {
                        return Ok(Some(basic(user, secret)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Takes note of a 401: what the server wants, and that `used` did not do.
    pub(crate) fn challenged(&self, registry: &str, answer: &Answer, used: Option<&str>) {
        let challenges = parse(answer.headers("www-authenticate"));
        if challenges.is_empty() {
            return;
        }
        let keys = self.keys(registry);
        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.challenges = challenges;
        if let Some(used) = used.and_then(|header| header.strip_prefix("Bearer ")) {
            keys.tokens.retain(|_, token| token.value != used);
        }
    }

    /// In words, which credentials serve for a repository.
    pub(crate) fn tried(&self, registry: &str, access: &Access) -> String {
        let keys = self.keys(registry);
        let keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.found.get(&access.repository).map(|found| found.note.clone()).unwrap_or_default()
    }

    fn keys(&self, registry: &str) -> Arc<Mutex<Keys>> {
        let mut registries = self.registries.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(registries.entry(registry.to_owned()).or_default())
    }
}

impl Keys {
    fn find(&mut self, transport: &Transport, registry: &str, repository: &str) -> Result<Found, Failure> {
        if let Some(found) = self.found.get(repository) {
            return Ok(found.clone());
        }
        let found = credentials::find(&transport.options().credential_files, registry, repository)?;
        self.found.insert(repository.to_owned(), found.clone());
        Ok(found)
    }

    fn token(
        &mut self,
        transport: &Transport,
        key: TokenKey,
        hint: Option<&str>,
        found: &Found,
    ) -> Result<String, Failure> {
        if let Some(token) = self.tokens.get(&key).filter(|token| token.stale > Instant::now()) {
            return Ok(format!("Bearer {}", token.value));
        }
        let options = transport.options();
        let scopes = with_hint(&key.scopes, hint);
        let token = retry::run(&options.retry, &options.cancel, || fetch(transport, &key, &scopes, found))?;
        let header = format!("Bearer {}", token.value);
        self.tokens.insert(key, token);
        Ok(header)
    }
}

/// Our scopes, and those of the challenge that name another resource (a server may want one that we do not know of).
fn with_hint(ours: &[String], hint: Option<&str>) -> Vec<String> {
    let resource = |scope: &str| scope.rsplit_once(':').map(|(resource, _)| resource.to_owned());
    let mut scopes = ours.to_vec();
    for scope in hint.unwrap_or_default().split_whitespace() {
        // A challenge remembered from another repository must not widen this token.
        let known = ours.iter().any(|own| resource(own) == resource(scope));
        if !known && !scope.starts_with("repository:") {
            scopes.push(scope.to_owned());
        }
    }
    scopes
}

#[derive(Deserialize)]
struct Grant {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

fn fetch(transport: &Transport, key: &TokenKey, scopes: &[String], found: &Found) -> Result<Token, Failure> {
    let unverified = admit(transport, &key.realm)?;
    let start = Instant::now();
    let service = key.service.as_deref().unwrap_or_default();
    let mut headers = vec![("accept", "application/json".to_owned())];
    let response = if let Some(Credential::Identity(identity)) = &found.credential {
        headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
        let form = [
            ("grant_type", "refresh_token"),
            ("service", service),
            ("client_id", "kiln"),
            ("scope", &scopes.join(" ")),
            ("refresh_token", identity),
        ];
        let form = form.map(|(name, value)| format!("{name}={}", encode(value))).join("&");
        let mut body = form.as_bytes();
        let length = body.len() as u64;
        let body = Some((&mut body as &mut dyn std::io::Read, length));
        transport.send(Call { method: Method::POST, url: &key.realm, unverified, headers, body })?
    } else {
        let mut url = key.realm.clone();
        if !service.is_empty() {
            url = with_query(&url, "service", service);
        }
        for scope in scopes {
            url = with_query(&url, "scope", scope);
        }
        if let Some(Credential::Basic { user, secret }) = &found.credential {
            headers.push(("authorization", basic(user, secret)));
        }
        transport.send(Call { method: Method::GET, url: &url, unverified, headers, body: None })?
    };
    let answer = Answer::new(key.realm.clone(), response);
    if answer.status() != 200 {
        return Err(answer.into_failure(&found.note));
    }
    let what = format!("token from {}", shown(&key.realm));
    let bytes = answer.into_bytes(&what, TOKEN_BODY)?;
    read_grant(&bytes, start)
        .ok_or_else(|| Failure::Malformed { what, detail: "it holds no token".to_owned() })
}

fn read_grant(bytes: &[u8], start: Instant) -> Option<Token> {
    let grant: Grant = serde_json::from_slice(bytes).ok()?;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let value = filled(grant.token).or_else(|| filled(grant.access_token))?;
    // The specification's default is 60 seconds. A quarter, at most 10 seconds, is kept in reserve for the request's way.
    let lifetime = Duration::from_secs(grant.expires_in.unwrap_or(60).min(24 * 3600));
    let stale = start + lifetime - (lifetime / 4).min(Duration::from_secs(10));
    Some(Token { value, stale })
}

/// Credentials go to a token server over TLS, or in plain HTTP to loopback and to hosts named insecure. The result says
/// whether any certificate will do.
fn admit(transport: &Transport, realm: &str) -> Result<bool, Failure> {
    let malformed = |detail: &str| Failure::Malformed {
        what: format!("token realm {}", shown(realm)),
        detail: detail.to_owned(),
    };
    let site = Site::of(realm).ok_or_else(|| malformed("not an http or https URL"))?;
    let insecure = transport.is_insecure(&site.authority);
    if site.scheme == "http" && !insecure && !is_loopback(site.host()) {
        return Err(malformed("credentials are not sent in plain HTTP"));
    }
    Ok(insecure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read() {
        let start = Instant::now();
        let value = |bytes: &[u8]| read_grant(bytes, start).map(|token| token.value);
        assert_eq!(value(br#"{"token":"a","access_token":"b"}"#).as_deref(), Some("a"));
        assert_eq!(value(br#"{"token":"","access_token":"b"}"#).as_deref(), Some("b"));
        assert_eq!(value(br#"{"expires_in":9}"#), None);
        assert_eq!(value(b"<html>"), None);
        let stale = |text: &str| read_grant(text.as_bytes(), start).unwrap().stale - start;
        assert_eq!(stale(r#"{"token":"a"}"#), Duration::from_secs(50));
        assert_eq!(stale(r#"{"token":"a","expires_in":300}"#), Duration::from_secs(290));
        assert_eq!(stale(r#"{"token":"a","expires_in":0}"#), Duration::ZERO);
        assert!(stale(r#"{"token":"a","expires_in":18446744073709551615}"#) < Duration::from_secs(90000));
    }

    #[test]
    fn scopes_of_a_challenge_do_not_widen_a_token() {
        let ours = vec!["repository:a/b:pull".to_owned()];
        assert_eq!(with_hint(&ours, Some("repository:a/b:pull,push repository:x:pull")), ours);
        assert_eq!(with_hint(&ours, Some("registry:catalog:*")).len(), 2);
    }
}
