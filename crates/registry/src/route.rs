//! Which way a connection takes: directly or through a proxy, and what it trusts.

use std::net::IpAddr;

use crate::url::Site;

/// Whether `no_proxy` (as in `NO_PROXY`) excepts a site. Names match themselves and everything below, names with a
/// leading dot or `*.` only what is below; addresses match as text or by `address/bits`; an entry may end in `:port`.
pub(crate) fn bypasses(no_proxy: &str, site: &Site) -> bool {
    let entries = no_proxy.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
    entries.into_iter().any(|entry| matches(&entry.to_ascii_lowercase(), site))
}

fn matches(entry: &str, site: &Site) -> bool {
    if entry == "*" {
        return true;
    }
    let host = site.host();
    if let Ok(address) = host.parse::<IpAddr>()
        && let Some((network, bits)) = entry.split_once('/')
    {
        return match (network.parse(), bits.parse()) {
            (Ok(network), Ok(bits)) => within(address, network, bits),
            _ => false,
        };
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, port.parse::<u16>().ok()),
        _ => (entry, None),
    };
    if port.is_some_and(|port| port != site.port()) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let below = |suffix: &str| host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
        Some(suffix) => below(suffix),
        None => host == name || below(name),
    }
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |a: u128, b: u128, width: u32| bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_follows_the_usual_rules() {
        for (list, url, want) in [
            ("", "https://a.io", false),
            ("*", "https://a.io", true),
            ("b.io, a.io", "https://a.io", true),
            ("a.io", "https://x.a.io", true),
            ("a.io", "https://xa.io", false),
            (".a.io", "https://a.io", false),
            (".a.io", "https://x.a.io", true),
            ("*.a.io", "https://x.a.io", true),
            ("A.io", "https://a.IO", true),
            ("a.io:444", "https://a.io", false),
            ("a.io:443", "https://a.io", true),
            ("10.0.0.0/8", "https://10.1.2.3:5000", true),
            ("10.0.0.0/8", "https://11.1.2.3", false),
            ("0.0.0.0/0", "https://11.1.2.3", true),
            ("fd00::/8", "https://[fd12::1]:5000", true),
            ("fd00::/8", "https://[fe12::1]:5000", false),
            ("10.0.0.0/99", "https://10.1.2.3", false),
            ("fd12::1", "https://[fd12::1]", true),
            ("[fd12::1]:443", "https://[fd12::1]", true),
        ] {
            assert_eq!(bypasses(list, &Site::of(url).unwrap()), want, "{list:?} {url}");
        }
    }
}
