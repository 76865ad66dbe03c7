//! Archives of strangers.

use std::env::temp_dir;
use std::io::{self, Read};

use kiln_layer::index::{Entry, Kind};
use kiln_layer::tar::Member;
use kiln_layer::tar::scan::{Sink, scan};

use crate::random::Signature;

/// More than any input here stands for, sparse files apart.
const MOST: u64 = 1 << 24;

#[derive(Default)]
struct Counting {
    read: u64,
}

impl Sink for Counting {
    fn member(&mut self, _: &Member, content: &mut dyn Read) -> io::Result<()> {
        self.read += io::copy(&mut content.take(MOST), &mut io::sink())?;
        Ok(())
    }
}

/// Reads an archive and looks at what was let in.
pub(super) fn read(bytes: &[u8]) -> u64 {
    let mut seen = Signature::default();
    let (mut sink, tmp) = (Counting::default(), temp_dir());
    match scan(bytes, &tmp, &mut sink) {
        Err(error) => {
            let text = error.to_string();
            seen.add(text.chars().filter(|c| c.is_alphabetic() || *c == ' ').take(24).collect::<String>());
        }
        Ok(scanned) => {
            assert_eq!(scanned.size, bytes.len() as u64, "all of it is read");
            let entries: Vec<Entry> = scanned.index.iter().map(|entry| entry.expect("in memory")).collect();
            assert!(entries.windows(2).all(|pair| pair[0].path < pair[1].path), "sorted, each path once");
            for entry in &entries {
                let parts: Vec<&[u8]> = entry.path.components().collect();
                let is_clean = parts.iter().all(|part| !part.is_empty() && *part != b"." && *part != b"..");
                assert!(is_clean && !entry.path.as_bytes().starts_with(b"/"), "{}", entry.path.display());
                assert!(entry.mode <= 0o7777, "mode {:o}", entry.mode);
                if let (Kind::File { size, .. }, Some(offset)) = (&entry.kind, entry.offset) {
                    assert!(offset.saturating_add(*size) <= bytes.len() as u64, "beyond the end");
                }
                seen.add(format!("{:?}", std::mem::discriminant(&entry.kind)));
            }
            let again =
                scan(bytes, &tmp, &mut Counting::default()).map(|again| again.index.content_id().ok());
            assert_eq!(again.ok(), Some(scanned.index.content_id().ok()), "read twice differently");
        }
    }
    seen.finish()
}
