//! Paths inside a root filesystem.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A path inside a layer or root filesystem: bytes (names need not be UTF-8), relative to the root, components joined by
/// single slashes, no `.` or `..`, no leading or trailing slash. The root itself is the empty path.
///
/// The order is that of the bytes, so a directory always comes before what it holds.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerPath(Vec<u8>);

impl LayerPath {
    /// The root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Cleans `raw` lexically: `.` and empty components vanish, `..` takes one component back and stops at
    /// the root. No symbolic link is looked at.
    pub fn clean(raw: impl AsRef<[u8]>) -> Self {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in raw.as_ref().split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => {
                    parts.pop();
                }
                name => parts.push(name),
            }
        }
        Self(parts.join(&b'/'))
    }

    /// The path that is written exactly so; `None` if `raw` is not clean.
    pub fn exact(raw: &[u8]) -> Option<Self> {
        Self::is_clean(raw).then(|| Self(raw.to_vec()))
    }

    /// Whether [`LayerPath::clean`] would leave `raw` as it is.
    pub(crate) fn is_clean(raw: &[u8]) -> bool {
        raw.is_empty() || !raw.split(|b| *b == b'/').any(|part| matches!(part, b"" | b"." | b".."))
    }

    /// A path of bytes that are known to be clean.
    pub(crate) fn of_clean(raw: Vec<u8>) -> Self {
        debug_assert!(Self::is_clean(&raw), "{raw:?}");
        Self(raw)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// `self/name`; `name` is one component or itself a clean relative path.
    #[must_use]
    pub fn join(&self, name: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        if self.0.is_empty() || name.is_empty() {
            return Self([self.0.as_slice(), name].concat());
        }
        Self([self.0.as_slice(), b"/", name].concat())
    }

    /// The directory that holds it; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        &self.0[start..]
    }

    /// The components from the top.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|c| !c.is_empty())
    }

    /// Whether `self` is `dir` or stands below it.
    pub fn is_within(&self, dir: &LayerPath) -> bool {
        dir.is_root() || (self.0.starts_with(&dir.0) && matches!(self.0.get(dir.0.len()), None | Some(b'/')))
    }

    /// Whether something in `dir`, which sorts before `self`, may be `self` or sort after it still: siblings such as `dir-x` come
    /// before `dir/x`.
    pub fn may_lead_into(&self, dir: &LayerPath) -> bool {
        let rest = self.0.strip_prefix(dir.0.as_slice());
        dir.is_root() || rest.is_some_and(|rest| rest.first() <= Some(&b'/'))
    }

    /// Whether `path` stands directly in `self`.
    pub fn is_parent_of(&self, path: &LayerPath) -> bool {
        path.0.len() > self.0.len()
            && path.is_within(self)
            && path.0.len() - path.name().len() <= self.0.len() + 1
    }

    /// What is left of it below `dir`; `None` if it does not stand there.
    pub fn below(&self, dir: &LayerPath) -> Option<Self> {
        if !self.is_within(dir) {
            return None;
        }
        let start = if dir.is_root() { 0 } else { (dir.0.len() + 1).min(self.0.len()) };
        Some(Self(self.0[start..].to_vec()))
    }

    /// For messages: lossy, with a leading slash.
    pub fn display(&self) -> String {
        format!("/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display())
    }
}
