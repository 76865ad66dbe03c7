//! `--annotation [LEVEL[PLATFORM][,LEVEL...]:]KEY=VALUE`.

use kiln_oci::platform::Platform;

/// One annotation at one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Annotation {
    /// Where it goes.
    pub(crate) level: Level,
    /// Only for this platform's manifest (or its descriptor).
    pub(crate) platform: Option<Platform>,
    /// Its name.
    pub(crate) key: String,
    /// Its value.
    pub(crate) value: String,
}

/// Which document carries an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The image manifest.
    Manifest,
    /// The manifest's descriptor in the index.
    ManifestDescriptor,
    /// The image index.
    Index,
    /// The index's descriptor in the layout's `index.json`.
    IndexDescriptor,
}

/// Why a text is not an annotation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnnotationError {
    /// No `=`.
    #[error("expected KEY=VALUE or LEVEL:KEY=VALUE")]
    NoValue,
    /// A level that does not exist.
    #[error("unknown level `{0}` (one of manifest, manifest-descriptor, index, index-descriptor)")]
    UnknownLevel(String),
    /// A platform that is none.
    #[error(transparent)]
    Platform(#[from] kiln_oci::platform::BadPlatform),
}

/// Reads one `--annotation`: one annotation for each level named, the manifest if none is.
pub(crate) fn parse(text: &str) -> Result<Vec<Annotation>, AnnotationError> {
    let (name, value) = text.split_once('=').ok_or(AnnotationError::NoValue)?;
    let (levels, key) = name.split_once(':').unwrap_or(("manifest", name));
    if key.is_empty() {
        return Err(AnnotationError::NoValue);
    }
    let one = |level: &str| {
        let (level, platform) = parse_level(level)?;
        Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
    };
    levels.split(',').map(one).collect()
}

/// `index` or `manifest[linux/arm64]`.
pub(crate) fn parse_level(text: &str) -> Result<(Level, Option<Platform>), AnnotationError> {
    let (name, platform) = match text.strip_suffix(']').and_then(|t| t.split_once('[')) {
        Some((name, platform)) => (name, Some(platform.parse()?)),
        None => (text, None),
    };
    let level = match name {
        "manifest" => Level::Manifest,
        "manifest-descriptor" => Level::ManifestDescriptor,
        "index" => Level::Index,
        "index-descriptor" => Level::IndexDescriptor,
        _ => return Err(AnnotationError::UnknownLevel(text.to_owned())),
    };
    Ok((level, platform))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        let show = |text: &str| match parse(text) {
            Ok(list) => list
                .iter()
                .map(|a| {
                    let platform = a.platform.as_ref().map(|p| format!("@{p}")).unwrap_or_default();
                    format!("{:?}{platform} {}={}", a.level, a.key, a.value)
                })
                .collect::<Vec<_>>()
                .join("; "),
            Err(error) => format!("error: {error}"),
        };
        let cases = [
            ("a=b", "Manifest a=b"),
            ("a=b=c:d", "Manifest a=b=c:d"),
            ("index:a=b", "Index a=b"),
            ("manifest,index:a=", "Manifest a=; Index a="),
            ("manifest[linux/arm64]:org.x/y=1", "Manifest@linux/arm64 org.x/y=1"),
            ("manifest-descriptor,index-descriptor:k=v", "ManifestDescriptor k=v; IndexDescriptor k=v"),
            ("a", "error: expected KEY=VALUE or LEVEL:KEY=VALUE"),
            (
                "indx:a=b",
                "error: unknown level `indx` (one of manifest, manifest-descriptor, index, index-descriptor)",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(show(text), want, "{text}");
        }
    }
}
