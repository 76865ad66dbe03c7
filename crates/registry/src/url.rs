//! The little that the protocol needs of URLs: resolving a `Location`, comparing origins, showing one without secrets.

use std::net::IpAddr;

/// Scheme, host and port of an absolute URL, lower case, the default port left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Site {
    /// `http` or `https`.
    pub(crate) scheme: String,
    /// `host` or `host:port`; an IPv6 address in brackets.
    pub(crate) authority: String,
}

impl Site {
    /// The site of an absolute URL; nothing for another scheme or without a host.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme != "http" && scheme != "https" {
            return None;
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let default = if scheme == "http" { ":80" } else { ":443" };
        let host = host.strip_suffix(default).unwrap_or(host).to_ascii_lowercase();
        (!host.is_empty()).then_some(Self { scheme, authority: host })
    }

    /// The host without its port and brackets.
    pub(crate) fn host(&self) -> &str {
        host_of(&self.authority)
    }

    /// The port, given or implied.
    pub(crate) fn port(&self) -> u16 {
        let rest = self.authority.rsplit_once(']').map_or(self.authority.as_str(), |(_, rest)| rest);
        let implied = if self.scheme == "http" { 80 } else { 443 };
        rest.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(implied)
    }
}

/// The host of `host:port`, `[v6]:port` or either without port.
pub(crate) fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// Whether a host (no port) can only be this machine: `localhost`, 127.0.0.0/8 or `::1`. Names are not looked up.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A URL fit for an error: without query (signed addresses carry secrets there), fragment and user information.
pub(crate) fn shown(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    match bare.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => bare.to_owned(),
    }
}

/// What a `Location` found at `base` (absolute) points to (RFC 3986, section 5.2, without dot segments).
///
/// A location on the same host that says `http` where `base` says `https` is raised to `https`: registries behind a
/// TLS proxy answer so when they were not told of it.
pub(crate) fn resolve(base: &str, location: &str) -> Option<String> {
    let site = Site::of(base)?;
    let root = format!("{}://{}", site.scheme, site.authority);
    if let Some(target) = Site::of(location) {
        let rest = location.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
        let path = rest.find(['/', '?']).map_or("/", |at| &rest[at..]);
        let same_host = target.authority == site.authority;
        return Some(if same_host && site.scheme == "https" && target.scheme == "http" {
            format!("{root}{path}")
        } else {
            location.to_owned()
        });
    }
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{}://{rest}", site.scheme));
    }
    if location.starts_with('/') {
        return Some(format!("{root}{location}"));
    }
    if location.contains("://") {
        return None;
    }
    let bare = base.split(['?', '#']).next()?;
    let keep = if location.starts_with('?') { bare.len() } else { bare.rfind('/')? + 1 };
    Some(format!("{}{location}", &bare[..keep]))
}

/// Adds `name=value` to a URL's query; `value` is percent-encoded.
pub(crate) fn with_query(url: &str, name: &str, value: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}{name}={}", encode(value))
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_resolve_against_the_request() {
        for (base, location, want) in [
            ("https://r.io/v2/a/blobs/uploads/", "/v2/a/x?s=1", Some("https://r.io/v2/a/x?s=1")),
            ("https://r.io/v2/a/", "https://cdn.io/y", Some("https://cdn.io/y")),
            ("https://r.io/v2/a/", "http://r.io/y?z", Some("https://r.io/y?z")),
            ("https://r.io/v2/a/", "http://other.io/y", Some("http://other.io/y")),
            ("http://r.io:5000/v2/a/b?q", "c", Some("http://r.io:5000/v2/a/c")),
            ("http://r.io:5000/v2/a/b?q", "?n", Some("http://r.io:5000/v2/a/b?n")),
            ("https://r.io/v2/", "//cdn.io/y", Some("https://cdn.io/y")),
            ("https://r.io/v2/", "ftp://cdn.io/y", None),
        ] {
            assert_eq!(resolve(base, location).as_deref(), want, "{base} {location}");
        }
    }

    #[test]
    fn sites_compare_without_default_port_and_case() {
        assert_eq!(Site::of("https://R.io:443/x"), Site::of("https://r.io"));
        assert_ne!(Site::of("https://r.io:444/x"), Site::of("https://r.io"));
        assert_ne!(Site::of("http://r.io"), Site::of("https://r.io"));
        assert_eq!(Site::of("https://u:p@r.io/x").unwrap().authority, "r.io");
        assert_eq!(Site::of("http://[::1]:5000/").unwrap().host(), "::1");
        assert_eq!(Site::of("http://[::1]:5000/").unwrap().port(), 5000);
        assert_eq!(Site::of("https://[::1]/").unwrap().port(), 443);
        assert_eq!(Site::of("file:///etc/passwd"), None);
    }

    #[test]
    fn shown_urls_carry_no_secrets() {
        assert_eq!(shown("https://u:p@h.io/a/b?X-Signature=secret#f"), "https://h.io/a/b");
    }

    #[test]
    fn loopback_is_not_decided_by_prefix() {
        assert!(is_loopback("127.8.9.1") && is_loopback("::1") && is_loopback("LocalHost"));
        assert!(
            !is_loopback("127.0.0.1.evil.io")
                && !is_loopback("localhost.evil.io")
                && !is_loopback("10.0.0.1")
        );
    }
}
