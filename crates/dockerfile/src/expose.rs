//! Port specifications of `EXPOSE`.

use std::net::IpAddr;

/// Why a specification names no ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExposeError {
    /// Nothing before the `/`.
    #[error("no port specified in `{0}`")]
    NoPort(String),
    /// Something other than `tcp`, `udp` or `sctp` after the `/`.
    #[error("invalid protocol `{protocol}` in port `{spec}`")]
    Protocol {
        /// What was written.
        protocol: String,
        /// The whole specification.
        spec: String,
    },
    /// Not a number from 0 to 65535, nor a rising range of them.
    #[error("invalid port `{0}`, ports are numbers from 0 to 65535 or ranges of them")]
    Port(String),
    /// The address of a host mapping.
    #[error("invalid IP address `{0}`")]
    Address(String),
    /// A range mapped onto a range of another length.
    #[error("port ranges `{container}` and `{host}` differ in length")]
    Ranges {
        /// The container's side.
        container: String,
        /// The host's side.
        host: String,
    },
}

/// The ports of one expanded word, as `number/protocol`: `80` gives `80/tcp`, `8000-8001/UDP` gives
/// `8000/udp` and `8001/udp`. A host mapping (`[ip:]host:`) is checked and left out, as BuildKit
/// does; see [`maps_host`] to warn about it.
///
/// # Errors
/// If the word is malformed or out of range.
pub fn parse(spec: &str) -> Result<Vec<String>, ExposeError> {
    let (address, host, container) = parts(spec);
    let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
    if ports.is_empty() {
        return Err(ExposeError::NoPort(spec.to_owned()));
    }
    let protocol = match protocol.to_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => {
            return Err(ExposeError::Protocol { protocol: protocol.to_owned(), spec: spec.to_owned() });
        }
    };
    check_address(address)?;
    let (first, last) = range(ports)?;
    if !host.is_empty() {
        let (host_first, host_last) = range(host)?;
        if last != first && last - first != host_last.abs_diff(host_first) {
            return Err(ExposeError::Ranges { container: ports.to_owned(), host: host.to_owned() });
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Whether the word maps a host address or port, which `EXPOSE` has no use for.
pub fn maps_host(spec: &str) -> bool {
    let (address, host, _) = parts(spec);
    !address.is_empty() || !host.is_empty()
}

/// Address, host port and container port of `[[address:]host:]container`.
fn parts(spec: &str) -> (&str, &str, &str) {
    match spec.rsplit_once(':') {
        None => ("", "", spec),
        Some((rest, container)) => match rest.rsplit_once(':') {
            None => ("", rest, container),
            Some((address, host)) => (address, host, container),
        },
    }
}

fn check_address(address: &str) -> Result<(), ExposeError> {
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if address.is_empty() || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(ExposeError::Address(address.to_owned()))
}

fn range(text: &str) -> Result<(u16, u16), ExposeError> {
    let invalid = || ExposeError::Port(text.to_owned());
    let number = |s: &str| s.parse::<u16>().map_err(|_| invalid());
    let Some((first, last)) = text.split_once('-') else {
        let port = number(text)?;
        return Ok((port, port));
    };
    let (first, last) = (number(first)?, number(last)?);
    if last < first { Err(invalid()) } else { Ok((first, last)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        let cases: [(&str, &[&str]); 9] = [
            ("80", &["80/tcp"]),
            ("0", &["0/tcp"]),
            ("53/UDP", &["53/udp"]),
            ("80/", &["80/tcp"]),
            ("7000-7002/sctp", &["7000/sctp", "7001/sctp", "7002/sctp"]),
            ("9-9", &["9/tcp"]),
            ("8080:80", &["80/tcp"]),
            ("127.0.0.1:8080:80/tcp", &["80/tcp"]),
            ("[::1]::80", &["80/tcp"]),
        ];
        for (spec, want) in cases {
            assert_eq!(parse(spec).expect(spec), want, "{spec}");
        }
        assert!(maps_host("8080:80") && maps_host("::1:1:2") && !maps_host("80/tcp"));
    }

    #[test]
    fn refused() {
        for spec in [
            "70000",
            "",
            "/tcp",
            "1-3:7-10",
            "80/icmp",
            "x",
            "-1",
            "90-80",
            "80-",
            "1.2.3:1:2",
            "1-2:3-9",
            "80 ",
        ] {
            assert!(parse(spec).is_err(), "{spec}");
        }
        assert!(parse("70000").unwrap_err().to_string().contains("70000"));
    }
}
