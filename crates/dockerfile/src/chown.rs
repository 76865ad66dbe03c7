//! Splitting `user[:group]`.

/// The parts of a `--chown` value or a `USER` argument: the user, and the group if a colon follows.
///
/// Names are looked up in the root filesystem, which is not this crate's business; an empty user
/// (`:group`) is the caller's to judge.
pub fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        assert_eq!(split("app"), ("app", None));
        assert_eq!(split("1000:logs"), ("1000", Some("logs")));
        assert_eq!(split(":logs"), ("", Some("logs")));
        assert_eq!(split("app:"), ("app", Some("")));
    }
}
