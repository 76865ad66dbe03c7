//! What the keys of steps are made of, in files: a JSON array of `{"kind", "name", "value"}`, written and read part by part, since a COPY has one
//! for each of its files.

use std::io::{self, Write};
use std::path::Path;

use kiln_oci::digest::Digest;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

use super::layout::Store;
use super::record::write_named;
use crate::key::{KeyParts, Part};

/// How much of a file is read at a time.
const BUFFER: usize = 64 << 10;

/// Keeps what `key` is made of. Idempotent and atomic; what is there already stays, and counts as used.
///
/// # Errors
/// If it cannot be written, or `parts` could not be kept until now.
pub(crate) fn write_parts(store: &Store, key: &Digest, parts: &KeyParts) -> io::Result<()> {
    write_named(&store.tmp(), &store.parts_path(key), |out| write(out, parts))
}

fn write(mut out: &mut dyn Write, parts: &KeyParts) -> io::Result<()> {
    let mut before = "[";
    parts.each(&mut |part| {
        out.write_all(before.as_bytes())?;
        before = ",";
        Ok(serde_json::to_writer(&mut out, &part)?)
    })?;
    // Without a part the bracket is still to come.
    out.write_all(if before == "[" { b"[]" } else { b"]" })
}

/// Hands over what the file at `path` holds, part by part; `false` if there is no such file, or one that this kiln cannot understand, and then what was
/// handed over means nothing.
///
/// # Errors
/// Those of `take`, and if the file cannot be read.
pub(crate) fn read_parts(path: &Path, take: &mut dyn FnMut(Part<'_>) -> io::Result<()>) -> io::Result<bool> {
    let file = match fs_err::File::open(path) {
        Ok(file) => io::BufReader::with_capacity(BUFFER, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut failed = None;
    let mut text = serde_json::Deserializer::from_reader(file);
    let done = List { take, failed: &mut failed }.deserialize(&mut text).and_then(|()| text.end());
    match (failed, done) {
        (Some(error), _) => Err(error),
        (None, Err(error)) if error.is_io() => Err(error.into()),
        (None, done) => Ok(done.is_ok()),
    }
}

/// A part as it is read.
#[derive(Deserialize)]
struct Stored {
    kind: String,
    #[serde(default)]
    name: String,
    value: String,
}

/// Takes a list whose parts go as they come.
struct List<'a> {
    take: &'a mut dyn FnMut(Part<'_>) -> io::Result<()>,
    failed: &'a mut Option<io::Error>,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, text: D) -> Result<(), D::Error> {
        text.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the parts of a key")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(Stored { kind, name, value }) = list.next_element()? {
            if let Err(error) = (self.take)(Part { kind: &kind, name: &name, value: &value }) {
                *self.failed = Some(error);
                return Err(A::Error::custom("not taken"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, name, value.
    type Row = (&'static str, &'static str, &'static str);

    fn read(path: &Path) -> Option<Vec<(String, String, String)>> {
        let mut all = Vec::new();
        let mut keep = |p: Part<'_>| {
            all.push((p.kind.to_owned(), p.name.to_owned(), p.value.to_owned()));
            Ok(())
        };
        read_parts(path, &mut keep).unwrap().then_some(all)
    }

    #[test]
    fn the_form_is_what_it_always_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parts.json");
        let of = |list: &[Row]| {
            let mut parts = KeyParts::new(dir.path());
            list.iter().for_each(|(kind, name, value)| parts.add(kind, name, value));
            parts
        };
        // Each text is what a kiln of before wrote.
        let table: [(&[Row], &str); 3] = [
            (&[], "[]"),
            (&[("operation", "", "COPY")], r#"[{"kind":"operation","value":"COPY"}]"#),
            (
                &[("source", "/a", "1"), ("file", "a\"\n", "file 1 é")],
                r#"[{"kind":"source","name":"/a","value":"1"},{"kind":"file","name":"a\"\n","value":"file 1 é"}]"#,
            ),
        ];
        for (list, text) in table {
            let parts = of(list);
            write_named(dir.path(), &path, |out| write(out, &parts)).unwrap();
            assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
            let owned = |(a, b, c): &Row| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned());
            assert_eq!(read(&path), Some(list.iter().map(owned).collect()));
        }
    }

    #[test]
    fn what_is_not_whole_is_as_good_as_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("parts.json");
        assert_eq!(read(&path), None);
        let whole = r#"[{"kind":"a","name":"b","value":"c"},{"kind":"a","value":""}]"#;
        for text in ["", "{}", "[1]", &whole[..whole.len() - 1], &whole[..40], &format!("{whole}x")] {
            fs_err::write(&path, text).unwrap();
            assert_eq!(read(&path), None, "{text}");
        }
        fs_err::write(&path, format!(" {whole}\n")).unwrap();
        assert_eq!(read(&path).map(|parts| parts.len()), Some(2));
        let mut count = 0;
        let error = read_parts(&path, &mut |_| {
            count += 1;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!((error.unwrap_err().kind(), count), (io::ErrorKind::StorageFull, 1));
        assert!(read_parts(dir.path(), &mut |_| Ok(())).is_err(), "a directory can be opened and not read");
    }
}
