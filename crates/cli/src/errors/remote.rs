//! Remote sources: the way out of each failure.

use kiln_build::remote::{Refused, RemoteError};
use kiln_dockerfile::suggest::nearest;

use crate::errors::{judge_io, say, status};

/// Exit status and hint; `url` is what was fetched, without credentials.
pub(super) fn judge(url: &str, error: &RemoteError) -> (u8, Option<String>) {
    let host = host_of(url);
    let hint = match error {
        RemoteError::NoProgram => {
            return (
                status::HOST,
                say("kiln reads repositories through git: install it (Debian: `apt install git`)"),
            );
        }
        RemoteError::Io(error) => return judge_io(error),
        RemoteError::Secret { source, .. } => return judge_io(source),
        RemoteError::Url(_) | RemoteError::NeedsCommit => return (status::USAGE, None),
        RemoteError::Denied { refused, .. } => Some(denied(*refused, host)),
        RemoteError::NoReference { reference, others } => {
            let near = nearest(reference, others.iter().map(String::as_str), true);
            near.map(|name| format!("did you mean {name:?}?")).or_else(|| {
                let some: Vec<&str> = others.iter().map(String::as_str).take(8).collect();
                (!some.is_empty()).then(|| format!("it has {}", some.join(", ")))
            })
        }
        RemoteError::NoCommit { .. } => {
            say("check the commit's id; a server may refuse commits that no branch or tag leads to")
        }
        RemoteError::NotFound { .. } => {
            Some(format!("check the address; if {host} hides it from strangers, {}", secret(url, host)))
        }
        RemoteError::Redirected => say("use the address that the server redirects to"),
        RemoteError::Checksum { .. } => say(
            "if the new content is what you want, write its checksum into the Dockerfile; if not, somebody has changed it",
        ),
        RemoteError::Submodules { .. } => Some(format!(
            "`?submodules=false` in the URL leaves them out; for private ones of {host}, {}",
            secret(url, host)
        )),
        RemoteError::NoDirectory { .. } => {
            say("check the part behind the colon, or `subdir=`; links are not followed")
        }
        RemoteError::BadSecret { .. } => say("the file or variable should hold the token and nothing else"),
        RemoteError::Status { status: 429 | 500..=599, .. }
        | RemoteError::Cut { .. }
        | RemoteError::Unreachable { .. } => say("check the address and the network, or try again later"),
        _ => None,
    };
    (status::FAILED, hint)
}

fn denied(refused: Refused, host: &str) -> String {
    match refused {
        Refused::Download => {
            format!("give a token with --secret id=HTTP_AUTH_TOKEN_{},env=NAME", without_port(host))
        }
        Refused::DownloadWithSecret => {
            let host = without_port(host);
            format!("the secret HTTP_AUTH_TOKEN_{host} or HTTP_AUTH_HEADER_{host} was sent and not accepted")
        }
        Refused::Git => format!("give a token with --secret id=GIT_AUTH_TOKEN.{host},env=NAME"),
        Refused::GitWithSecret => {
            "the secret GIT_AUTH_TOKEN or GIT_AUTH_HEADER (or the URL's password) was sent and not accepted"
                .to_owned()
        }
        Refused::NoAgent => "give an agent that holds a key for it, with --ssh default".to_owned(),
        Refused::Agent => {
            "no key of the agent given with --ssh is accepted; `ssh-add -l` lists them".to_owned()
        }
        Refused::HostKey => {
            format!(
                "the key of {host} is not the known one: see ~/.ssh/known_hosts and the store's known_hosts"
            )
        }
    }
}

fn secret(url: &str, host: &str) -> String {
    let is_git = url.split('#').next().is_some_and(|bare| bare.ends_with(".git"));
    match url.starts_with("http") && !is_git && !host.ends_with("github.com") {
        true => format!("give --secret id=HTTP_AUTH_TOKEN_{},env=NAME", without_port(host)),
        false => format!("give --secret id=GIT_AUTH_TOKEN.{host},env=NAME"),
    }
}

/// `host[:port]` of a URL or of `user@host:path`.
fn host_of(url: &str) -> &str {
    let authority = match url.split_once("://") {
        Some((_, rest)) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
        None => url.split(':').next().unwrap_or_default(),
    };
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_host_as_the_secret_does() {
        let denied = |refused| RemoteError::Denied { refused, detail: String::new() };
        let cases = [
            ("http://127.0.0.1:8080/f", denied(Refused::Download), "id=HTTP_AUTH_TOKEN_127.0.0.1,"),
            ("http://h:81/r.git#main", denied(Refused::Git), "id=GIT_AUTH_TOKEN.h:81,"),
            ("git@h:r", denied(Refused::NoAgent), "--ssh default"),
            ("https://h/r.git", RemoteError::NotFound { detail: String::new() }, "id=GIT_AUTH_TOKEN.h,"),
            ("https://h/f.tar", RemoteError::NotFound { detail: String::new() }, "id=HTTP_AUTH_TOKEN_h,"),
        ];
        for (url, error, want) in cases {
            let (status, hint) = judge(url, &error);
            assert_eq!(status, status::FAILED, "{url}");
            assert!(hint.as_deref().is_some_and(|hint| hint.contains(want)), "{url}: {hint:?}");
        }
        let others = vec!["main".to_owned(), "v1".to_owned()];
        let error = RemoteError::NoReference { reference: "mian".to_owned(), others };
        assert_eq!(judge("https://h/r.git", &error).1.as_deref(), Some("did you mean \"main\"?"));
    }
}
