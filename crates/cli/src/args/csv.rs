//! The comma-separated fields of `--output`, `--secret` and `--ssh`: one CSV record (RFC 4180), as `docker buildx` reads
//! them, so that a value may hold a comma when its whole field is quoted: `type=oci,"dest=a,b.tar"`.

/// Why a text is not one record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CsvError {
    /// A quote inside a field that does not begin with one.
    #[error("a field with a quote must be quoted as a whole, such as \"dest=a,b\"")]
    BareQuote,
    /// No closing quote.
    #[error("a quote is not closed")]
    Unclosed,
}

/// The fields of `text`, unquoted.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, CsvError> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted)?,
            None => take_plain(rest)?,
        };
        fields.push(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(fields),
        }
    }
}

/// A field up to its closing quote, and what follows the comma behind it.
fn take_quoted(text: &str) -> Result<(String, Option<&str>), CsvError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"').ok_or(CsvError::Unclosed)?;
        field.push_str(before);
        if let Some(after) = after.strip_prefix('"') {
            field.push('"');
            rest = after;
        } else if after.is_empty() {
            return Ok((field, None));
        } else if let Some(after) = after.strip_prefix(',') {
            return Ok((field, Some(after)));
        } else {
            return Err(CsvError::BareQuote);
        }
    }
}

fn take_plain(text: &str) -> Result<(String, Option<&str>), CsvError> {
    let (field, after) = match text.split_once(',') {
        Some((field, after)) => (field, Some(after)),
        None => (text, None),
    };
    if field.contains('"') {
        return Err(CsvError::BareQuote);
    }
    Ok((field.to_owned(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[""]),
            ("a", &["a"]),
            ("a,b=c", &["a", "b=c"]),
            ("a,", &["a", ""]),
            (r#"type=oci,"dest=a,b""#, &["type=oci", "dest=a,b"]),
            (r#""say ""hi""",x"#, &[r#"say "hi""#, "x"]),
        ];
        for (text, want) in cases {
            assert_eq!(fields(text).unwrap(), *want, "{text}");
        }
        assert_eq!(fields(r#"dest="a,b""#), Err(CsvError::BareQuote));
        assert_eq!(fields(r#""a"b"#), Err(CsvError::BareQuote));
        assert_eq!(fields(r#""a"#), Err(CsvError::Unclosed));
    }
}
