//! Step keys.
//!
//! A key names everything that a step's result depends on, each part framed by its length: the format's version, the
//! operation in canonical form, the environment that it sees, the content of the root filesystem below, the content of
//! what it reads. Times and the host's owners stay out. The parts themselves are kept with the step's record, so that a miss
//! can be explained.

use std::io;
use std::path::Path;
use std::sync::Arc;

use kiln_layer::bytes::{Cursor, put_bytes};
use kiln_layer::rows::{Row, Rows};
use kiln_oci::digest::{Digest, Hasher};
use serde::Serialize;

/// Changes whenever the same parts would make another layer.
const VERSION: &str = "kiln step 3";

/// The kind of the part that is the content of the root filesystem below.
const ROOTFS: &str = "rootfs";

/// The kinds of parts that are the content of something that is read.
const READ: [&str; 7] = [ROOTFS, "file", "parent", "archive", "download", "commit", "bound"];

/// The parts of a key, in order. A COPY adds one for each file that it reads: they are hashed as they come, and kept where memory need not
/// hold them.
pub(crate) struct KeyParts {
    tmp: Arc<Path>,
    /// Has seen all of them.
    all: Hasher,
    /// Has seen those whose kind is not in [`READ`].
    instruction: Hasher,
    has_rootfs: bool,
    rows: Rows<Framed>,
    /// The part that was added last.
    last: Framed,
    /// Why not all are in `rows`.
    lost: Option<io::Error>,
}

/// One part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Part<'a> {
    /// What it is: `command`, `env`, `rootfs`, `file`.
    pub kind: &'a str,
    /// Which of its kind: a variable's name, a path. Empty if there is only one.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: &'a str,
    /// Its value, or the hash of it.
    pub value: &'a str,
}

impl KeyParts {
    /// None yet. What is too much for memory goes to an unnamed file in `tmp`.
    pub(crate) fn new(tmp: impl Into<Arc<Path>>) -> Self {
        let tmp = tmp.into();
        let mut start = Hasher::new();
        start.part(VERSION.as_bytes());
        Self {
            all: start.clone(),
            instruction: start,
            has_rootfs: false,
            rows: Rows::new(tmp.clone()),
            last: Framed::default(),
            lost: None,
            tmp,
        }
    }

    /// Adds a part.
    pub(crate) fn add(&mut self, kind: &str, name: impl AsRef<str>, value: impl AsRef<str>) {
        self.last.set([kind, name.as_ref(), value.as_ref()]);
        self.all.update(&self.last.0);
        if !READ.contains(&kind) {
            self.instruction.update(&self.last.0);
        }
        self.has_rootfs |= kind == ROOTFS;
        if self.lost.is_none() {
            self.lost = self.rows.push(&self.last).err();
        }
    }

    /// Whether the root filesystem below is part of it.
    pub(crate) fn has_rootfs(&self) -> bool {
        self.has_rootfs
    }

    /// All parts but that of the root filesystem below.
    ///
    /// # Errors
    /// As [`KeyParts::each`].
    pub(crate) fn without_rootfs(&self) -> io::Result<Self> {
        let mut others = Self::new(self.tmp.clone());
        self.each(&mut |part| {
            if part.kind != ROOTFS {
                others.add(part.kind, part.name, part.value);
            }
            Ok(())
        })?;
        Ok(others)
    }

    /// The key.
    pub(crate) fn key(&self) -> Digest {
        self.all.clone().finish()
    }

    /// Identity of what the step does, whatever the files are that it reads.
    pub(crate) fn instruction(&self) -> Digest {
        self.instruction.clone().finish()
    }

    /// Hands over the parts, one by one.
    ///
    /// # Errors
    /// Those of `take`, and if the parts could not be kept: their digests are right even so, and all that a step in the cache needs.
    pub(crate) fn each(&self, take: &mut dyn FnMut(Part<'_>) -> io::Result<()>) -> io::Result<()> {
        if let Some(error) = &self.lost {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        for row in &self.rows {
            let row = row?;
            take(row.part().ok_or(io::ErrorKind::InvalidData)?)?;
        }
        Ok(())
    }
}

/// A part as it is hashed: kind, name and value, each with its length before it.
#[derive(Default)]
struct Framed(Vec<u8>);

impl Framed {
    fn set(&mut self, pieces: [&str; 3]) {
        self.0.clear();
        for piece in pieces {
            self.0.extend_from_slice(&(piece.len() as u64).to_le_bytes());
            self.0.extend_from_slice(piece.as_bytes());
        }
    }

    fn part(&self) -> Option<Part<'_>> {
        let mut left = self.0.as_slice();
        let mut piece = || {
            let (length, rest) = left.split_first_chunk()?;
            let (piece, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            left = rest;
            std::str::from_utf8(piece).ok()
        };
        Some(Part { kind: piece()?, name: piece()?, value: piece()? })
    }
}

impl Row for Framed {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, &self.0);
    }

    fn take(from: &mut Cursor<'_>) -> Option<Self> {
        from.bytes().map(|bytes| Self(bytes.to_vec()))
    }
}

/// The identity of a root filesystem's content: that of the layers below and of one more.
pub(crate) fn chain(below: &Digest, layer_content: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.part(b"kiln chain 1");
    hasher.part(below.as_bytes());
    hasher.part(layer_content.as_bytes());
    hasher.finish()
}

/// The empty root filesystem.
pub(crate) fn empty_chain() -> Digest {
    Digest::of(b"kiln empty root filesystem 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest<'a>(parts: impl Iterator<Item = &'a (String, String, String)>) -> Digest {
        let mut hasher = Hasher::new();
        hasher.part(VERSION.as_bytes());
        for (kind, name, value) in parts {
            hasher.part(kind.as_bytes());
            hasher.part(name.as_bytes());
            hasher.part(value.as_bytes());
        }
        hasher.finish()
    }

    fn of(parts: &[(String, String, String)], tmp: &Path) -> KeyParts {
        let mut all = KeyParts::new(tmp);
        parts.iter().for_each(|(kind, name, value)| all.add(kind, name, value));
        all
    }

    fn listed(parts: &KeyParts) -> Vec<(String, String, String)> {
        let mut all = Vec::new();
        let mut keep = |p: Part<'_>| {
            all.push((p.kind.to_owned(), p.name.to_owned(), p.value.to_owned()));
            Ok(())
        };
        parts.each(&mut keep).unwrap();
        all
    }

    /// However many there are: the third list goes to the disk.
    #[test]
    fn digests_are_those_of_all_parts_in_order() {
        const KINDS: [&str; 6] = ["operation", "env", "file", "parent", ROOTFS, "source"];
        let tmp = tempfile::tempdir().unwrap();
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for count in [0, 300, 30_000] {
            let parts: Vec<_> = (0..count)
                .map(|i| {
                    let name = "né".repeat(random(9) as usize);
                    (
                        KINDS[random(6) as usize].to_owned(),
                        name,
                        format!("{i} {}", "v".repeat(random(90) as usize)),
                    )
                })
                .collect();
            let all = of(&parts, tmp.path());
            assert_eq!(all.key(), digest(parts.iter()));
            let said = |p: &&(String, String, String)| !READ.contains(&p.0.as_str());
            assert_eq!(all.instruction(), digest(parts.iter().filter(said)));
            assert!(listed(&all) == parts, "{count}");
            let others: Vec<_> = parts.iter().filter(|p| p.0 != ROOTFS).cloned().collect();
            assert_eq!(all.has_rootfs(), others.len() < parts.len());
            let without = all.without_rootfs().unwrap();
            assert!(listed(&without) == others && !without.has_rootfs(), "{count}");
            assert_eq!(without.key(), digest(others.iter()));
        }
        assert_eq!(fs_err::read_dir(tmp.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_no_file_takes_is_held() {
        let parts = vec![("file".to_owned(), "f".repeat(1000), "v".repeat(1000)); 2000];
        let all = of(&parts, Path::new("/nowhere/at/all"));
        assert_eq!(all.key(), digest(parts.iter()));
        assert!(listed(&all) == parts);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = |parts: &[(&'static str, &str, &str)]| {
            let mut all = KeyParts::new(Path::new("/nowhere"));
            parts.iter().for_each(|(k, n, v)| all.add(k, n, v));
            all.key()
        };
        let table = [
            key(&[("env", "A", "BC")]),
            key(&[("env", "AB", "C")]),
            key(&[("envA", "", "BC")]),
            key(&[("env", "A", "B"), ("", "", "C")]),
            key(&[]),
        ];
        for (i, a) in table.iter().enumerate() {
            assert!(table[i + 1..].iter().all(|b| a != b), "row {i} collides");
        }
    }
}
