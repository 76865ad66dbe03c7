//! The nearest known name to a misspelt one.

/// How many edits away a name may be to still be worth proposing.
const FARTHEST: usize = 2;

/// The option nearest to `value` within two edits (insert, delete, replace), the first of equals. Of
/// `value` itself something must be left: nothing is near to a single letter.
///
/// `None` if nothing is near, or if `value` is itself one of the options: then the spelling is not
/// what is wrong. With `case_sensitive` off the answer takes the case of `value`, where that has one.
pub fn nearest<'a, I>(value: &str, options: I, case_sensitive: bool) -> Option<String>
where
    I: IntoIterator<Item = &'a str>,
{
    let fold = |s: &str| if case_sensitive { s.to_owned() } else { s.to_lowercase() };
    let wanted = fold(value);
    let farthest = FARTHEST.min(wanted.chars().count().saturating_sub(1));
    let mut best: Option<(usize, String)> = None;
    for option in options {
        let option = fold(option);
        if option == wanted {
            return None;
        }
        let distance = edit_distance(&wanted, &option);
        if distance <= farthest && best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, option));
        }
    }
    let (_, name) = best?;
    if !case_sensitive && value == value.to_uppercase() {
        return Some(name.to_uppercase());
    }
    Some(name)
}

/// Levenshtein's distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names() {
        let flags = ["chown", "from", "chmod", "link", "ro"];
        let cases = [
            ("frob", Some("from")),
            ("chmood", Some("chmod")),
            ("lnik", Some("link")),
            ("from", None),
            ("completely", None),
            ("FROM", None),
            ("x", None),
            ("", None),
        ];
        for (value, want) in cases {
            assert_eq!(nearest(value, flags, true).as_deref(), want, "{value}");
        }
    }

    #[test]
    fn case_follows_the_writer() {
        assert_eq!(nearest("RUNN", ["RUN", "COPY"], false).as_deref(), Some("RUN"));
        assert_eq!(nearest("coppy", ["RUN", "COPY"], false).as_deref(), Some("copy"));
        assert_eq!(nearest("run", ["RUN"], false), None);
    }

    #[test]
    fn distances() {
        for (a, b, want) in [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("größe", "grosse", 3)]
        {
            assert_eq!(edit_distance(a, b), want, "{a} {b}");
            assert_eq!(edit_distance(b, a), want, "{b} {a}");
        }
    }
}
