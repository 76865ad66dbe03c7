//! Credential helpers: programs named `docker-credential-NAME` that are asked for a server's credentials.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::tame;
use crate::secret::Credential;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    secret: String,
}

/// Asks the helper `name` for the credentials of `server`; nothing if it has none. The error is in words fit to be
/// shown: what the helper prints on failure, but never its output on success.
pub(crate) fn get(name: &str, server: &str) -> Result<Option<Credential>, String> {
    let program = format!("docker-credential-{name}");
    // The name comes from a file that other tools write; it must not lead out of the search path.
    if name.contains('/') {
        return Err(format!("{program:?} is not the name of a credential helper"));
    }
    ask(&program, Command::new(&program).arg("get"), server)
}

fn ask(program: &str, command: &mut Command, server: &str) -> Result<Option<Credential>, String> {
    let failed = |e: std::io::Error| format!("{program}: {e}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that exits early closes its end; its exit status tells more than our EPIPE.
        let _ = stdin.write_all(server.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        let words = format!(
            "{} {}",
            String::from_utf8_lossy(&output.stdout).trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        if words.contains("credentials not found in native keychain") {
            return Ok(None);
        }
        return Err(format!("{program}: {}", tame(&words)));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("{program}: its answer is not a credential"))?;
    Ok(match answer.username.as_str() {
        "<token>" => Some(Credential::Identity(answer.secret)),
        _ if answer.secret.is_empty() => None,
        _ => Some(Credential::Basic { user: answer.username, secret: answer.secret }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(script: &str, want: Result<Option<Credential>, &str>) {
        let got = ask("helper", Command::new("sh").args(["-c", script]), "quay.io");
        assert!(got == want.map_err(str::to_owned), "{script}: {got:?}");
    }

    #[test]
    fn helpers_answer_in_their_ways() {
        let basic = Credential::Basic { user: "u".to_owned(), secret: "quay.io".to_owned() };
        check(
            r#"read -r server; echo "{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"$server\"}""#,
            Ok(Some(basic)),
        );
        let token = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        check(token, Ok(Some(Credential::Identity("t".to_owned()))));
        check("echo credentials not found in native keychain; exit 1", Ok(None));
        check("exec <&-; echo locked >&2; exit 1", Err("helper: locked"));
        check("echo s3cret", Err("helper: its answer is not a credential"));
        assert!(get("../evil", "quay.io").is_err());
    }
}
