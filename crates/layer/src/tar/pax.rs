//! PAX extended headers (POSIX.1-2001): `LENGTH KEY=VALUE\n` records.

use std::collections::BTreeMap;

use super::TarError;
use super::header::decimal;
use super::sparse::PaxSparse;
use crate::index::Mtime;

/// What the records of one `x` header say; `None` where they leave the ustar field in force.
#[derive(Debug, Default)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<i128>,
    pub(crate) gid: Option<i128>,
    pub(crate) mtime: Option<Mtime>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) sparse: PaxSparse,
}

const XATTR: &[u8] = b"SCHILY.xattr.";

impl Pax {
    /// Reads the records; `position` is for messages.
    pub(crate) fn parse(mut data: &[u8], position: u64) -> Result<Self, TarError> {
        let bad = |field| TarError::Extended { position, field };
        let mut pax = Self::default();
        while data.first().is_some_and(|b| *b != 0) {
            let blank = data.iter().take(20).position(|b| *b == b' ').ok_or_else(|| bad("record length"))?;
            let length = decimal(&data[..blank]).ok_or_else(|| bad("record length"))?;
            let length = usize::try_from(length).map_err(|_| bad("record length"))?;
            if length <= blank + 1 || length > data.len() || data[length - 1] != b'\n' {
                return Err(bad("record length"));
            }
            let record = &data[blank + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(|| bad("record"))?;
            pax.take(&record[..equals], &record[equals + 1..]).map_err(bad)?;
            data = &data[length..];
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if let Some(name) = key.strip_prefix(XATTR) {
            self.xattrs.insert(name.to_vec(), value.to_vec());
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.take(key, value);
        }
        // An empty value takes the ustar field back into force.
        let empty = value.is_empty();
        match key {
            b"path" => self.path = (!empty).then(|| value.to_vec()),
            b"linkpath" => self.link = (!empty).then(|| value.to_vec()),
            b"size" => self.size = optional(value, decimal).ok_or("size")?,
            b"uid" => self.uid = optional(value, decimal).ok_or("uid")?.map(i128::from),
            b"gid" => self.gid = optional(value, decimal).ok_or("gid")?.map(i128::from),
            b"mtime" => self.mtime = optional(value, time).ok_or("mtime")?,
            _ => {}
        }
        Ok(())
    }
}

fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { parse(value).map(Some) }
}

/// `[-]SECONDS[.FRACTION]`, nanoseconds cut off below.
fn time(text: &[u8]) -> Option<Mtime> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|b| *b == b'.');
    let whole = &text[..dot.unwrap_or(text.len())];
    let fraction = dot.map_or(&b""[..], |at| &text[at + 1..]);
    let secs = i64::try_from(decimal(whole)?).ok()?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut nanos = 0;
    for at in 0..9 {
        nanos = nanos * 10 + u32::from(fraction.get(at).map_or(0, |b| b - b'0'));
    }
    Some(match (negative, nanos) {
        (false, _) => Mtime { secs, nanos },
        (true, 0) => Mtime { secs: -secs, nanos: 0 },
        (true, _) => Mtime { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

/// Adds one record. Its length counts its own digits.
pub(crate) fn push_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while rest + digits(length) != length {
        length = rest + digits(length);
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Adds an extended attribute's record.
pub(crate) fn push_xattr(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    push_record(out, &[XATTR, name].concat(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_lengths_count_themselves() {
        for length in [1, 80, 88, 89, 90, 91, 92, 980, 986, 987, 988, 989, 990, 9_985, 9_990] {
            let mut out = Vec::new();
            push_record(&mut out, b"path", &vec![b'x'; length]);
            let blank = out.iter().position(|b| *b == b' ').unwrap();
            assert_eq!(decimal(&out[..blank]), Some(out.len() as u64), "value of {length}");
            assert_eq!(Pax::parse(&out, 0).unwrap().path.unwrap().len(), length);
        }
    }

    #[test]
    fn times() {
        type Case = (&'static [u8], Option<(i64, u32)>);
        let cases: [Case; 10] = [
            (b"0", Some((0, 0))),
            (b"12.5", Some((12, 500_000_000))),
            (b"12.0000000019", Some((12, 1))),
            (b"-1", Some((-1, 0))),
            (b"-1.25", Some((-2, 750_000_000))),
            (b"1.", Some((1, 0))),
            (b".5", None),
            (b"1e3", None),
            (b"99999999999999999999", None),
            (b"--1", None),
        ];
        for (text, want) in cases {
            assert_eq!(time(text), want.map(|(secs, nanos)| Mtime { secs, nanos }), "{text:?}");
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"x"[..],
            b"5 a=b",
            b"6 a=bc",
            b"4 ab\n",
            b"0 a=b\n",
            b"99 a=b\n",
            b"18446744073709551616 a=b\n",
            b"-6 a=b\n",
            b"12 size=abc\n",
        ] {
            assert!(Pax::parse(bad, 0).is_err(), "{bad:?}");
        }
    }
}
