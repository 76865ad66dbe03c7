//! Putting the certain mends in place.

use crate::diagnostic::Diagnostic;

/// A text after [`mend`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// The text; what no mend touched is there byte for byte.
    pub text: String,
    /// How many mends were made.
    pub count: usize,
}

/// Puts each finding's `fix` in place of its span. Of mends that overlap the first is made: look again, there may be more.
///
/// `findings` must be about `text`; a span that is not one of its is passed over.
pub fn mend(text: &str, findings: &[Diagnostic]) -> Mended {
    let mut mends: Vec<(usize, usize, &str)> =
        findings.iter().filter_map(|d| Some((d.span.start, d.span.end, d.fix.as_deref()?))).collect();
    mends.sort_unstable();
    let (mut out, mut at, mut count) = (String::with_capacity(text.len()), 0, 0);
    for (start, end, fix) in mends {
        let Some(before) = text.get(at..start).filter(|_| start <= end && text.is_char_boundary(end)) else {
            continue;
        };
        out.push_str(before);
        out.push_str(fix);
        (at, count) = (end, count + 1);
    }
    out.push_str(&text[at..]);
    Mended { text: out, count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;

    #[test]
    fn what_overlaps_waits() {
        let fix = |start, end, text: &str| Diagnostic {
            fix: Some(text.to_owned()),
            ..Diagnostic::warning("A", Span::new(start, end), "x")
        };
        let none = Diagnostic::warning("A", Span::new(0, 1), "x");
        let got = mend(
            "añb c",
            &[fix(5, 6, "C"), none, fix(0, 1, "A"), fix(0, 6, "all"), fix(2, 3, "!"), fix(9, 12, "?")],
        );
        assert_eq!(got, Mended { text: "Añb C".to_owned(), count: 2 });
        assert_eq!(mend("ab", &[fix(1, 1, "-"), fix(2, 2, "!")]).text, "a-b!");
        assert_eq!(mend("", &[]).count, 0);
    }
}
