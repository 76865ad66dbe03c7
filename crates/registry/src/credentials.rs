//! Credentials: where they are kept (Docker's and the containers tools' files, credential helpers), and finding the one
//! for a repository.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use serde::Deserialize;

use crate::error::Failure;
use crate::helper;
use crate::secret::Credential;

/// Where Docker Hub's credentials are filed.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The files that Docker, Podman and skopeo look for, in order of preference: `$REGISTRY_AUTH_FILE`,
/// `$DOCKER_CONFIG/config.json` (else `~/.docker/config.json`), `$XDG_RUNTIME_DIR/containers/auth.json`,
/// `$XDG_CONFIG_HOME/containers/auth.json` (else `~/.config/containers/auth.json`). They need not exist. `env` looks up
/// an environment variable.
pub fn default_credential_files(env: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = path("HOME");
    let below_home = |folder: &str| home.as_ref().map(|home| home.join(folder));
    [
        path("REGISTRY_AUTH_FILE"),
        path("DOCKER_CONFIG").or_else(|| below_home(".docker")).map(|dir| dir.join("config.json")),
        path("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
        path("XDG_CONFIG_HOME").or_else(|| below_home(".config")).map(|dir| dir.join("containers/auth.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a search for credentials found.
#[derive(Clone, Default)]
pub(crate) struct Found {
    /// The credential, unless access is anonymous.
    pub(crate) credential: Option<Credential>,
    /// In words: where it comes from, or why there is none (a helper that failed). Never the credential itself.
    pub(crate) note: String,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.note)
    }
}

/// Docker's `config.json`, as far as credentials go; `auth.json` of the containers tools is the same.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

/// Finds the credential for `registry/repository` in the first file that knows one. A credential helper that fails is
/// no error here, since most images need no credentials; its words are kept in the note.
pub(crate) fn find(files: &[PathBuf], registry: &str, repository: &str) -> Result<Found, Failure> {
    let mut troubles = Vec::new();
    for path in files {
        let Some(file) = read(path)? else { continue };
        match look(&file, registry, repository) {
            Ok(Some(credential)) => {
                let note = format!("with credentials from {}", path.display());
                return Ok(Found { credential: Some(credential), note });
            }
            Ok(None) => {}
            Err(Trouble::Helper(words)) => troubles.push(words),
            Err(Trouble::Entry(detail)) => {
                return Err(Failure::Malformed { what: path.display().to_string(), detail });
            }
        }
    }
    let mut note = format!("no credentials for {registry}");
    if !troubles.is_empty() {
        note = format!("{note} ({})", troubles.join("; "));
    }
    Ok(Found { credential: None, note })
}

fn read(path: &Path) -> Result<Option<File>, Failure> {
    let bytes = match fs_err::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(Failure::Local { what: "credential file".to_owned(), cause }),
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    // serde's message may quote the text around an error, so only the place is told.
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Failure::Malformed {
        what: path.display().to_string(),
        detail: format!("not a credential file (line {}, column {})", e.line(), e.column()),
    })
}

enum Trouble {
    Helper(String),
    Entry(String),
}

fn look(file: &File, registry: &str, repository: &str) -> Result<Option<Credential>, Trouble> {
    let helper = file
        .cred_helpers
        .iter()
        .find(|(key, _)| normalise(key) == registry)
        .map(|(key, name)| (name.as_str(), key.clone()))
        .or_else(|| {
            let key = if registry == "docker.io" { HUB_KEY } else { registry };
            (!file.creds_store.is_empty()).then(|| (file.creds_store.as_str(), key.to_owned()))
        });
    let mut trouble = None;
    if let Some((name, key)) = helper {
        match helper::get(name, &key) {
            Ok(Some(credential)) => return Ok(Some(credential)),
            Ok(None) => {}
            Err(words) => trouble = Some(Trouble::Helper(words)),
        }
    }
    let full = format!("{registry}/{repository}");
    let mut wanted = full.as_str();
    loop {
        if let Some((key, entry)) = file.auths.iter().find(|(key, _)| normalise(key) == wanted)
            && let Some(credential) = open(key, entry)?
        {
            return Ok(Some(credential));
        }
        match wanted.rsplit_once('/') {
            Some((shorter, _)) => wanted = shorter,
            None => return trouble.map_or(Ok(None), Err),
        }
    }
}

/// A key of `auths` as `registry[/path]`: no scheme, no API version, Docker Hub under its short name.
fn normalise(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    match host {
        "index.docker.io" | "registry-1.docker.io" => format!("docker.io{path}"),
        host => format!("{host}{path}"),
    }
}

fn open(key: &str, entry: &Entry) -> Result<Option<Credential>, Trouble> {
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Credential::Identity(entry.identitytoken.clone())));
    }
    if !entry.registrytoken.is_empty() {
        return Ok(Some(Credential::Bearer(entry.registrytoken.clone())));
    }
    if entry.auth.is_empty() {
        let (user, secret) = (entry.username.clone(), entry.password.clone());
        return Ok((!user.is_empty()).then_some(Credential::Basic { user, secret }));
    }
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bad = || Trouble::Entry(format!("the auth value of {key:?} is not base64 of user:password"));
    let bytes = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient)
        .decode(entry.auth.trim())
        .map_err(|_| bad())?;
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    let (user, secret) = text.split_once(':').ok_or_else(bad)?;
    let secret = secret.trim_matches('\0').to_owned();
    Ok(Some(Credential::Basic { user: user.to_owned(), secret }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "auths": {
            "https://index.docker.io/v1/": {"auth": "aHVidXNlcjpodWI6cGFzcw=="},
            "quay.io": {"auth": "cTpob3N0"},
            "quay.io/team": {"auth": "cTp0ZWFt"},
            "quay.io/team/app": {"username": "q", "password": "app"},
            "https://old.io/v2/": {"auth": "bzpv"},
            "id.azurecr.io": {"auth": "MDAwOg==", "identitytoken": "IDT"},
            "tok.io": {"registrytoken": "RT"},
            "empty.io": {},
            "broken.io": {"auth": "!!!"}
        },
        "HttpHeaders": {"x": "y"}
    }"#;

    fn check(registry: &str, repository: &str, want: &str) {
        let file: File = serde_json::from_str(FILE).unwrap();
        let got = match look(&file, registry, repository) {
            Ok(None) => "-".to_owned(),
            Ok(Some(Credential::Basic { user, secret })) => format!("{user}/{secret}"),
            Ok(Some(Credential::Identity(token))) => format!("id {token}"),
            Ok(Some(Credential::Bearer(token))) => format!("bearer {token}"),
            Err(Trouble::Entry(words) | Trouble::Helper(words)) => words,
        };
        assert_eq!(got, want, "{registry}/{repository}");
    }

    #[test]
    fn the_longest_key_wins() {
        check("docker.io", "library/debian", "hubuser/hub:pass");
        check("quay.io", "other/x", "q/host");
        check("quay.io", "team/x", "q/team");
        check("quay.io", "teamster/x", "q/host");
        check("quay.io", "team/app", "q/app");
        check("quay.io", "team/app/sub", "q/app");
        check("old.io", "a", "o/o");
        check("id.azurecr.io", "a", "id IDT");
        check("tok.io", "a", "bearer RT");
        check("empty.io", "a", "-");
        check("unknown.io", "a", "-");
        check("broken.io", "a", r#"the auth value of "broken.io" is not base64 of user:password"#);
    }

    #[test]
    fn default_files_follow_the_environment() {
        let env = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
        };
        let paths = |pairs| {
            let files = default_credential_files(env(pairs));
            files.iter().map(|p| p.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            paths(&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r"), ("DOCKER_CONFIG", "")]),
            ["/h/.docker/config.json", "/r/containers/auth.json", "/h/.config/containers/auth.json"]
        );
        assert_eq!(
            paths(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("REGISTRY_AUTH_FILE", "/a.json")]),
            ["/a.json", "/d/config.json", "/h/.config/containers/auth.json"]
        );
        assert!(paths(&[]).is_empty());
    }

    #[test]
    fn a_helper_that_is_missing_is_told_in_the_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs_err::write(&path, r#"{"credsStore":"kiln-no-such-helper"}"#).unwrap();
        let found = find(&[dir.path().join("absent"), path], "quay.io", "a").unwrap();
        assert!(found.credential.is_none());
        assert!(found.note.contains("docker-credential-kiln-no-such-helper"), "{}", found.note);
    }

    #[test]
    fn a_broken_file_is_an_error_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs_err::write(&path, r#"{"auths":{"quay.io":{"auth":["s3cret"]}}}"#).unwrap();
        let error = find(&[path], "quay.io", "a").unwrap_err().to_string();
        assert!(error.contains("config.json") && !error.contains("s3cret"), "{error}");
    }
}
