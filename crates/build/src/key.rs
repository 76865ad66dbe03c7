//! Step keys.
//!
//! A key names everything that a step's result depends on, each part framed by its length: the format's version, the
//! operation in canonical form, the environment that it sees, the content of the root filesystem below, the content of
//! what it reads. Times and the host's owners stay out. The parts themselves are kept with the step's record, so that a miss
//! can be explained.

use std::borrow::Cow;

use kiln_oci::digest::{Digest, Hasher};
use serde::{Deserialize, Serialize};

/// Changes whenever the same parts would make another layer.
const VERSION: &str = "kiln step 3";

/// The kind of the part that is the content of the root filesystem below.
const ROOTFS: &str = "rootfs";

/// The kinds of parts that are the content of something that is read.
const READ: [&str; 7] = [ROOTFS, "file", "parent", "archive", "download", "commit", "bound"];

/// The parts of a key, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyParts(pub Vec<Part>);

/// One part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// What it is: `command`, `env`, `rootfs`, `file`.
    pub kind: Cow<'static, str>,
    /// Which of its kind: a variable's name, a path. Empty if there is only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its value, or the hash of it.
    pub value: String,
}

impl KeyParts {
    /// Adds a part.
    pub(crate) fn add(&mut self, kind: &'static str, name: impl Into<String>, value: impl Into<String>) {
        self.0.push(Part { kind: kind.into(), name: name.into(), value: value.into() });
    }

    /// Whether the root filesystem below is part of it.
    pub(crate) fn has_rootfs(&self) -> bool {
        self.0.iter().any(|part| part.kind == ROOTFS)
    }

    /// All parts but that of the root filesystem below.
    pub(crate) fn without_rootfs(&self) -> Self {
        Self(self.0.iter().filter(|part| part.kind != ROOTFS).cloned().collect())
    }

    /// The key.
    pub(crate) fn key(&self) -> Digest {
        Self::digest(self.0.iter())
    }

    /// Identity of what the step does, whatever the files are that it reads.
    pub(crate) fn instruction(&self) -> Digest {
        Self::digest(self.0.iter().filter(|part| !READ.contains(&part.kind.as_ref())))
    }

    fn digest<'a>(parts: impl Iterator<Item = &'a Part>) -> Digest {
        let mut hasher = Hasher::new();
        hasher.part(VERSION.as_bytes());
        for part in parts {
            hasher.part(part.kind.as_bytes());
            hasher.part(part.name.as_bytes());
            hasher.part(part.value.as_bytes());
        }
        hasher.finish()
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

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = |parts: &[(&'static str, &str, &str)]| {
            let mut all = KeyParts::default();
            parts.iter().for_each(|(k, n, v)| all.add(k, *n, *v));
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
