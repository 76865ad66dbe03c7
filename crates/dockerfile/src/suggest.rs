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

/// The option that `value` is beyond doubt: the only one that a single slip (a letter too many, too few, wrong, or swapped
/// with its neighbour) turns into it. Case as for [`nearest`].
pub fn certain<'a, I>(value: &str, options: I, case_sensitive: bool) -> Option<String>
where
    I: IntoIterator<Item = &'a str>,
{
    let fold = |s: &str| if case_sensitive { s.to_owned() } else { s.to_lowercase() };
    let wanted = fold(value);
    let mut near = options.into_iter().map(fold).filter(|option| is_one_slip(&wanted, option));
    let found = near.next().filter(|option| option.len() > 2)?;
    if near.next().is_some() {
        return None;
    }
    let shout = !case_sensitive && value == value.to_uppercase();
    Some(if shout { found.to_uppercase() } else { found })
}

fn is_one_slip(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (x, y) = (&a[same..], &b[same..]);
    match (x, y) {
        ([], [_]) | ([_], []) => true,
        ([p, q, rest @ ..], [r, s, end @ ..]) if p == s && q == r && p != q && rest == end => true,
        ([_, x @ ..], [_, y @ ..]) if x == y => true,
        ([_, x @ ..], y) if x == y => true,
        (x, [_, y @ ..]) if x == y => true,
        _ => false,
    }
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
    fn slips() {
        let names = ["RUN", "ARG", "ADD", "FROM", "COPY", "ENV"];
        let cases = [
            ("RUM", Some("RUN")),
            ("FORM", Some("FROM")),
            ("cpoy", Some("copy")),
            ("COPPY", Some("COPY")),
            ("CPY", Some("COPY")),
            ("ENVV", Some("ENV")),
            // Two names are as near.
            ("ARD", None),
            ("RUN", None),
            ("FRMO X", None),
            ("COYYP", None),
            ("", None),
        ];
        for (value, want) in cases {
            assert_eq!(certain(value, names, false).as_deref(), want, "{value}");
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
