//! Expansion: against the reference, and of whatever the bytes say.

use std::collections::BTreeMap;

use kiln_dockerfile::expand::{expand_for_display, expand_heredoc_body, expand_word, expand_words};

use crate::random::{Choices, Signature};
use crate::reference::expansion::{VARIABLES, value, word, written};

/// The first byte says which of the two.
pub(super) fn expand(bytes: &[u8]) -> u64 {
    let Some((first, rest)) = bytes.split_first() else { return 0 };
    if first % 2 == 0 { against_reference(rest) } else { anything(&String::from_utf8_lossy(rest)) }
}

fn variables() -> BTreeMap<String, String> {
    VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn against_reference(bytes: &[u8]) -> u64 {
    let parts = word(&mut Choices::new(bytes), 3);
    let text = written(&parts);
    let got = expand_word(&text, '\\', &variables());
    let got = got.map(|expansion| expansion.text);
    assert_eq!(got.as_deref().ok(), Some(value(&parts).as_str()), "{text} is {got:?}");
    let mut seen = Signature::default();
    seen.add(text.chars().filter(|c| !c.is_alphanumeric()).take(12).collect::<String>());
    seen.finish()
}

fn anything(text: &str) -> u64 {
    let variables = variables();
    let mut seen = Signature::default();
    for escape in ['\\', '`'] {
        match expand_word(text, escape, &variables) {
            Ok(expansion) => {
                seen.add([0, expansion.unset.len().min(3) as u8, expansion.used.len().min(3) as u8]);
                // Splitting loses nothing but blanks.
                let words = expand_words(text, escape, &variables).map(|words| words.concat());
                let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
                assert_eq!(words.map(|w| squeezed(&w)), Ok(squeezed(&expansion.text)), "{text:?}");
            }
            Err(error) => {
                assert!(text.is_char_boundary(error.offset) && error.offset <= text.len(), "{error:?}");
                seen.add(error.to_string().split(['`', '"']).next().unwrap_or_default());
            }
        }
    }
    _ = expand_for_display(text, '\\', &variables);
    seen.add([u8::from(expand_heredoc_body(text, &variables).is_ok())]);
    seen.finish()
}
