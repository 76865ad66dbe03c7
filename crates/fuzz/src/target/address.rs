//! Addresses: what an argument means that names a context, and how much of it may be seen.

use kiln_dockerfile::source::{Source, classify_context, is_commit_prefix, redacted, shown};

use crate::random::{Choices, Signature};

/// Schemes of addresses that have a place for a password.
const SCHEMES: [&str; 6] = ["https", "http", "ssh", "git", "HTTPS", "git+ssh"];

/// Passwords, some of which nobody has encoded as they should.
const PASSWORDS: [&str; 5] = ["HUNKTERK", "HUNK/TERK", "HUNK#TERK", "HUNK?TERK", "HUNK/T@XERK"];

/// What is never in the words that a part of an address is made of, and does not come about when something is left out or escaped: none
/// has an `@`, at which what stands before and behind a password meets, and escapes are of small letters and digits.
const SECRET: [&str; 3] = ["HUNK", "TERK", "XERK"];

/// The bytes as an address; and the same bytes around a password and behind a query.
pub(super) fn address(bytes: &[u8]) -> u64 {
    let mut seen = Signature::default();
    let text = String::from_utf8_lossy(bytes);
    meaning(&text, &mut seen);
    let (Some(&first), rest) = (bytes.first(), bytes.get(1..).unwrap_or_default()) else {
        return seen.finish();
    };
    let mut choices = Choices::new(std::slice::from_ref(&first));
    let scheme = choices.one(&SCHEMES).unwrap_or_default();
    let password = PASSWORDS[usize::from(first >> 4) % PASSWORDS.len()];
    let rest = String::from_utf8_lossy(rest);
    if SECRET.iter().any(|part| rest.contains(part)) {
        return seen.finish();
    }
    let (user, place) = rest.split_once('\n').unwrap_or(("u", &rest));
    if !user.contains(['/', '?', '#']) {
        hidden(&format!("{scheme}://{user}:{password}@{place}"));
    }
    let (path, _) = place.split_once(['#', '?']).unwrap_or((place, ""));
    hidden(&format!("{scheme}://h/{path}?sig=HUNKTERK#{user}"));
    seen.finish()
}

/// What is accepted can be handed to a program, and what is shown is always shown alike.
fn meaning(text: &str, seen: &mut Signature) {
    let bare = shown(text);
    assert_eq!(shown(&bare), bare, "{text:?} shown again");
    assert!(bare.len() <= text.len() && redacted(text).len() <= text.len(), "{text:?}");
    let source = match classify_context(text) {
        Ok(Source::Git(source)) => source,
        Ok(Source::Http(found)) => {
            assert!(!found.file_name.contains('/') && !found.file_name.is_empty(), "{text:?}");
            return seen.add("http");
        }
        Ok(Source::Path) => return seen.add("path"),
        Err(error) => {
            let said = error.to_string();
            assert!(!said.chars().any(|c| c.is_control() && c != '\t'), "{text:?}: {said:?}");
            return seen.add(said.split('`').next().unwrap_or_default());
        }
    };
    for part in [&source.remote, &source.reference, &source.subdir] {
        assert!(!part.starts_with('-') && !part.chars().any(char::is_control), "{text:?}: {part:?}");
    }
    assert!(!source.subdir.split('/').any(|name| name == ".."), "{text:?}: {}", source.subdir);
    assert!(source.checksum.as_deref().is_none_or(is_commit_prefix), "{text:?}");
    let shape = |text: &str| text.chars().filter(|c| !c.is_alphanumeric()).take(12).collect::<String>();
    for part in [&source.remote, &source.reference, &source.subdir] {
        seen.add(shape(part));
    }
}

/// No part of the password is in what is shown, nor in what is said of a mistake.
fn hidden(text: &str) {
    let mut told = vec![shown(text)];
    told.extend(classify_context(text).err().map(|error| error.to_string()));
    for told in told {
        assert!(!SECRET.iter().any(|part| told.contains(part)), "{text:?}: {told:?}");
    }
}
