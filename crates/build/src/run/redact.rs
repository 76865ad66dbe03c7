//! A command's output without the secrets that it was given: what is shown is copied into CI logs, what is kept stays on disk.

/// Stands for a secret.
const MASK: &[u8] = b"****";
/// Shorter ones are left: so few bytes occur in any output by chance, and hiding them tells where they are.
const SHORTEST: usize = 4;

/// Replaces secrets in a stream, also where one is cut by the end of a piece. Of several lines each counts for itself, too: that
/// is how tools print a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redactor {
    /// Longest first.
    secrets: Vec<Vec<u8>>,
    /// The end of what was fed, if it may be the beginning of a secret.
    held: Vec<u8>,
}

impl Redactor {
    /// One that hides these values.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut secrets = Vec::new();
        for value in values {
            secrets.extend(value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).map(<[u8]>::to_vec));
            secrets.push(value.trim_ascii().to_vec());
        }
        secrets.retain(|secret| secret.len() >= SHORTEST);
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets, held: Vec::new() }
    }

    /// The next piece of the stream; gives what can be told by now.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(piece);
        let (out, rest) = self.replace(&text, true);
        self.held = text.split_off(text.len() - rest);
        out
    }

    /// What is left at the stream's end.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let text = std::mem::take(&mut self.held);
        self.replace(&text, false).0
    }

    /// `text` with the secrets replaced, and how many bytes at its end have to wait for what comes after them.
    fn replace(&self, text: &[u8], more: bool) -> (Vec<u8>, usize) {
        let mut out = Vec::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let begins = |secret: &&Vec<u8>| rest.starts_with(secret) || more && secret.starts_with(rest);
            match self.secrets.iter().find(begins) {
                Some(secret) if secret.len() <= rest.len() => {
                    out.extend_from_slice(MASK);
                    at += secret.len();
                }
                Some(_) => return (out, rest.len()),
                None => {
                    out.push(rest[0]);
                    at += 1;
                }
            }
        }
        (out, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_passes_however_the_stream_is_cut() {
        let table: [(&[&str], &str, &str); 7] = [
            (&[], "all of it", "all of it"),
            (&["s3cret\n"], "the s3cret is s3cret\n", "the **** is ****\n"),
            (&["s3cret"], "s3cre s3c", "s3cre s3c"),
            (&["abc"], "abc is too short", "abc is too short"),
            (&["abcd", "abcdef"], "abcdef abcde abcd", "**** ****e ****"),
            (&["first line\nsecond line\n"], "x\nsecond line\nfirst line\nsecond line\n", "x\n****\n****\n"),
            (&["aaab"], "aaaab aab", "a**** aab"),
        ];
        for (secrets, text, shown) in table {
            for size in 1..=text.len() {
                let mut redactor = Redactor::new(secrets.iter().map(|s| s.as_bytes()));
                let mut out = Vec::new();
                text.as_bytes().chunks(size).for_each(|piece| out.extend(redactor.feed(piece)));
                out.extend(redactor.finish());
                assert_eq!(String::from_utf8_lossy(&out), shown, "{secrets:?} in pieces of {size}");
            }
        }
    }
}
