//! What every RUN finds in `/etc/hosts` and its environment.

use crate::request::Request;

/// The host name of every step: the same everywhere, so that no build depends on its machine.
pub(crate) const HOSTNAME: &str = "buildkitsandbox";

/// The host name of this build's steps: [`HOSTNAME`], or what the build argument says.
pub(crate) fn hostname(request: &Request) -> &str {
    request.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").map_or(HOSTNAME, String::as_str)
}

/// `/etc/hosts`.
pub(crate) fn hosts(request: &Request) -> Vec<u8> {
    hosts_of(hostname(request), &request.run.hosts)
}

/// The same for a step whose host is called `name`, with these names beside the ones that everybody has.
pub(crate) fn hosts_of(name: &str, hosts: &[(String, String)]) -> Vec<u8> {
    let mut text = format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in hosts {
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
