//! Whether a text could name an image.

/// Whether `text` has the form `[domain/]path[:tag][@digest]`.
pub(super) fn is_valid(text: &str) -> bool {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first != first.to_lowercase() =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    };
    digest.is_none_or(is_digest)
        && tag.is_none_or(is_tag)
        && domain.is_none_or(is_domain)
        && path.split('/').all(is_component)
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn is_tag(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(word) && text.chars().all(|c| word(c) || ".-".contains(c))
}

fn is_domain(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "1"));
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_ok = bracketed
        || host.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        });
    host_ok && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

/// Lowercase letters and digits, joined by `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let allowed = text.chars().all(|c| plain(c) || "._-".contains(c));
    let joined = text
        .split(plain)
        .all(|gap| gap.is_empty() || matches!(gap, "." | "_" | "__") || gap.bytes().all(|b| b == b'-'));
    allowed && joined && text.starts_with(plain) && text.ends_with(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let digest = format!("alpine@sha256:{}", "0".repeat(64));
        for good in [
            "alpine",
            "alpine:3.20",
            "library/alpine",
            "127.0.0.1:5000/a/b",
            "localhost/x",
            "ghcr.io/a/b-c_d.e:T-1",
            "a--b",
            "a__b",
            &digest,
        ] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "", ":", ":3", "alpine:", "Alpine", "a/", "/a", "a//b", "a..b", "a___b", "-a", "a b", "a@x",
            "x.y:z/a",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
