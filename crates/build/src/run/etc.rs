//! What every RUN finds in `/etc/hosts` and its environment.

use crate::request::RunSettings;

/// The host name of every step: the same everywhere, so that no build depends on its machine.
pub(crate) const HOSTNAME: &str = "buildkitsandbox";

/// `/etc/hosts`.
pub(crate) fn hosts(settings: &RunSettings) -> Vec<u8> {
    let mut text = format!("127.0.0.1\tlocalhost {HOSTNAME}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in &settings.hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text.into_bytes()
}

/// Sets `name` unless it is there already.
pub(crate) fn default_variable(env: &mut Vec<(String, String)>, name: &str, value: &str) {
    if !env.iter().any(|(n, _)| n == name) {
        env.push((name.to_owned(), value.to_owned()));
    }
}
