//! `--output`: where a result goes, and in which form.

use std::path::PathBuf;

use kiln_dockerfile::suggest::nearest;

use crate::args::annotation::{Annotation, parse_level};
use crate::args::csv::{CsvError, fields};

/// One `--output`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    /// `type=image`: kept in the store, pushed with `push=true` (`type=registry` means that).
    Image {
        /// `push=`
        push: bool,
        /// `push-by-digest=`: without a tag.
        by_digest: bool,
        /// `registry.insecure=`
        insecure: bool,
        /// How.
        image: ImageSpec,
    },
    /// `type=oci`: an OCI layout as a tar archive.
    OciArchive {
        /// Where.
        dest: Dest,
        /// How.
        image: ImageSpec,
    },
    /// `type=oci,tar=false`: an OCI layout as a directory.
    OciDirectory {
        /// Where.
        dest: PathBuf,
        /// How.
        image: ImageSpec,
    },
    /// `type=docker,dest=`: an archive for `docker load`.
    DockerArchive {
        /// Where.
        dest: Dest,
        /// How.
        image: ImageSpec,
    },
    /// `type=docker` without `dest`, `--load`: handed to a Docker or Podman on this machine.
    Load {
        /// How.
        image: ImageSpec,
    },
    /// `type=local`: the root filesystem as a directory.
    Local {
        /// Where.
        dest: PathBuf,
        /// `mode=delete`: what was there before goes.
        delete: bool,
        /// `platform-split=`; `None` leaves it to the number of platforms.
        split: Option<bool>,
    },
    /// `type=tar`: the root filesystem as one tar.
    Tar {
        /// Where.
        dest: Dest,
        /// `platform-split=`; `None` leaves it to the number of platforms.
        split: Option<bool>,
    },
}

/// Where an archive goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dest {
    /// `dest=-`
    Stdout,
    /// `dest=PATH`
    Path(PathBuf),
}

/// The form of an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ImageSpec {
    /// `name=`, in addition to `--tag`.
    pub(crate) names: Vec<String>,
    /// `compression=`
    pub(crate) compression: Option<Algorithm>,
    /// `compression-level=`
    pub(crate) level: Option<i32>,
    /// `force-compression=`
    pub(crate) force: bool,
    /// `rewrite-timestamp=`
    pub(crate) rewrite_timestamp: bool,
    /// `oci-mediatypes=`
    pub(crate) oci_mediatypes: Option<bool>,
    /// `annotation.KEY=` and its relatives.
    pub(crate) annotations: Vec<Annotation>,
}

/// `compression=`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// `uncompressed`
    Uncompressed,
    /// `gzip`
    Gzip,
    /// `zstd`
    Zstd,
}

/// Why an `--output` cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutputError {
    /// Not a CSV record.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// A field that is no `key=value`.
    #[error("`{0}` is not a key=value pair")]
    NoPair(String),
    /// No type.
    #[error("`type=` is missing (one of oci, docker, image, registry, local, tar)")]
    NoType,
    /// A type that does not exist.
    #[error("unknown type `{name}`{}", did_you_mean_type(.nearest))]
    UnknownType {
        /// As given.
        name: String,
        /// A near one.
        nearest: Option<String>,
    },
    /// A key that this type does not have.
    #[error("type={kind} has no key `{key}`{}", did_you_mean(.nearest))]
    UnknownKey {
        /// The type.
        kind: String,
        /// As given.
        key: String,
        /// A near one.
        nearest: Option<String>,
    },
    /// A value that the key does not take.
    #[error("`{key}={value}`: expected {expected}")]
    BadValue {
        /// The key.
        key: String,
        /// As given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// A key whose function kiln does not have yet.
    #[error("`{0}` is not supported yet")]
    NotYet(String),
    /// `dest=` is missing.
    #[error("type={0} needs `dest=`")]
    NoDest(String),
    /// A directory on standard output.
    #[error("type={0} writes a directory, which cannot go to standard output")]
    DirectoryToStdout(String),
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|n| format!(", did you mean `{n}`?")).unwrap_or_default()
}

fn did_you_mean_type(nearest: &Option<String>) -> String {
    if nearest.is_some() { did_you_mean(nearest) } else { format!(" (one of {})", TYPES.join(", ")) }
}

const TYPES: [&str; 6] = ["oci", "docker", "image", "registry", "local", "tar"];
const IMAGE_KEYS: [&str; 7] = [
    "name",
    "compression",
    "compression-level",
    "force-compression",
    "rewrite-timestamp",
    "oci-mediatypes",
    "annotation.KEY",
];

/// What the short form `DIR` may not begin with when a `=` follows: that is a forgotten `type=`.
const KEYS_OF_ALL: [&str; 6] = ["type", "dest", "name", "push", "tar", "compression"];

/// Keys of BuildKit that name functions which kiln lacks.
const NOT_YET: [&str; 8] = [
    "oci-artifact",
    "unpack",
    "store",
    "dangling-name-prefix",
    "name-canonical",
    "attestation-prefix",
    "attestation-inline",
    "compatibility-version",
];

/// Reads one `--output`: `DIR` (short for `type=local`), `-` (short for `type=tar,dest=-`), or `type=...,key=value,...`.
pub(crate) fn parse(text: &str) -> Result<Output, OutputError> {
    let fields = fields(text)?;
    if let [only] = fields.as_slice()
        && only == text
        && !text.is_empty()
        && !KEYS_OF_ALL.iter().any(|key| text.strip_prefix(key).is_some_and(|t| t.starts_with('=')))
    {
        return Ok(match text {
            "-" => Output::Tar { dest: Dest::Stdout, split: None },
            dir => Output::Local { dest: dir.into(), delete: false, split: None },
        });
    }
    let mut draft = Draft::default();
    let mut pairs = Vec::new();
    for field in &fields {
        let (key, value) = field.split_once('=').ok_or_else(|| OutputError::NoPair(field.clone()))?;
        match key.trim().to_ascii_lowercase().as_str() {
            "type" => value.clone_into(&mut draft.kind),
            // Annotation keys keep their case.
            lower if lower.starts_with("annotation") => pairs.push((key.trim().to_owned(), value)),
            lower => pairs.push((lower.to_owned(), value)),
        }
    }
    if draft.kind.is_empty() {
        return Err(OutputError::NoType);
    }
    if !TYPES.contains(&draft.kind.as_str()) {
        return Err(OutputError::UnknownType {
            nearest: nearest(&draft.kind, TYPES, false),
            name: draft.kind,
        });
    }
    for (key, value) in pairs {
        draft.set(&key, value)?;
    }
    draft.finish()
}

/// What the fields said so far.
#[derive(Default)]
struct Draft {
    kind: String,
    dest: Option<String>,
    tar: Option<bool>,
    push: Option<bool>,
    by_digest: bool,
    insecure: bool,
    delete: bool,
    split: Option<bool>,
    image: ImageSpec,
}

impl Draft {
    /// The keys that this type has.
    fn keys(&self) -> Vec<&'static str> {
        let own: &[&str] = match self.kind.as_str() {
            "oci" => &["dest", "tar"],
            "docker" => &["dest"],
            "image" => &["push", "push-by-digest", "registry.insecure", "insecure"],
            "registry" => &["push-by-digest", "registry.insecure", "insecure"],
            "local" => &["dest", "mode", "platform-split"],
            _ => &["dest", "platform-split"],
        };
        let shared = if matches!(self.kind.as_str(), "local" | "tar") { &[][..] } else { &IMAGE_KEYS[..] };
        own.iter().chain(shared).copied().collect()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), OutputError> {
        if NOT_YET.contains(&key) {
            return Err(OutputError::NotYet(format!("{key}=")));
        }
        let keys = self.keys();
        let annotation = key.starts_with("annotation") && keys.contains(&"annotation.KEY");
        if !annotation && !keys.contains(&key) {
            return Err(OutputError::UnknownKey {
                kind: self.kind.clone(),
                key: key.to_owned(),
                nearest: nearest(key, keys, true),
            });
        }
        match key {
            "dest" => self.dest = Some(value.to_owned()),
            "tar" => self.tar = Some(flag(key, value)?),
            "push" => self.push = Some(flag(key, value)?),
            "push-by-digest" => self.by_digest = flag(key, value)?,
            "registry.insecure" | "insecure" => self.insecure = flag(key, value)?,
            "platform-split" => self.split = Some(flag(key, value)?),
            "mode" => self.delete = mode(value)?,
            _ => self.set_image(key, value)?,
        }
        Ok(())
    }

    fn set_image(&mut self, key: &str, value: &str) -> Result<(), OutputError> {
        let image = &mut self.image;
        match key {
            "name" => image.names.extend(value.split(',').filter(|n| !n.is_empty()).map(str::to_owned)),
            "compression" => image.compression = Some(algorithm(value)?),
            "compression-level" => {
                image.level = Some(value.parse().map_err(|_| bad(key, value, "a number"))?);
            }
            "force-compression" => image.force = flag(key, value)?,
            "rewrite-timestamp" => image.rewrite_timestamp = flag(key, value)?,
            "oci-mediatypes" => image.oci_mediatypes = Some(flag(key, value)?),
            _ => image.annotations.push(annotation(key, value)?),
        }
        Ok(())
    }

    fn finish(self) -> Result<Output, OutputError> {
        let Self { kind, dest, tar, push, by_digest, insecure, delete, split, image } = self;
        let dest = dest.filter(|d| !d.is_empty());
        check_level(&image)?;
        let needed = dest.clone().ok_or_else(|| OutputError::NoDest(kind.clone()));
        let directory = |dest: String| match dest.as_str() {
            "-" => Err(OutputError::DirectoryToStdout(kind.clone())),
            _ => Ok(PathBuf::from(dest)),
        };
        Ok(match kind.as_str() {
            "oci" if tar == Some(false) => Output::OciDirectory { dest: directory(needed?)?, image },
            // As with docker: standard output if nothing else is said; a terminal is refused later.
            "oci" => Output::OciArchive { dest: dest.map_or(Dest::Stdout, to_dest), image },
            "docker" => match dest {
                Some(dest) => Output::DockerArchive { dest: to_dest(dest), image },
                None => Output::Load { image },
            },
            "image" => Output::Image { push: push == Some(true), by_digest, insecure, image },
            "registry" => Output::Image { push: true, by_digest, insecure, image },
            "local" => Output::Local { dest: directory(needed?)?, delete, split },
            _ => Output::Tar { dest: dest.map_or(Dest::Stdout, to_dest), split },
        })
    }
}

fn to_dest(text: String) -> Dest {
    if text == "-" { Dest::Stdout } else { Dest::Path(text.into()) }
}

fn bad(key: &str, value: &str, expected: &'static str) -> OutputError {
    OutputError::BadValue { key: key.to_owned(), value: value.to_owned(), expected }
}

/// The spellings of Go's `strconv.ParseBool`, which scripts use.
fn flag(key: &str, value: &str) -> Result<bool, OutputError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(bad(key, value, "true or false")),
    }
}

fn mode(value: &str) -> Result<bool, OutputError> {
    match value {
        "copy" => Ok(false),
        "delete" => Ok(true),
        _ => Err(bad("mode", value, "copy or delete")),
    }
}

fn algorithm(value: &str) -> Result<Algorithm, OutputError> {
    match value {
        "uncompressed" => Ok(Algorithm::Uncompressed),
        "gzip" => Ok(Algorithm::Gzip),
        "zstd" => Ok(Algorithm::Zstd),
        "estargz" => Err(OutputError::NotYet("compression=estargz".to_owned())),
        _ => Err(bad("compression", value, "gzip, zstd or uncompressed")),
    }
}

fn check_level(image: &ImageSpec) -> Result<(), OutputError> {
    let Some(level) = image.level else { return Ok(()) };
    let (range, expected) = match image.compression.unwrap_or(Algorithm::Gzip) {
        Algorithm::Uncompressed => return Ok(()),
        Algorithm::Gzip => (0..=9, "0 to 9 for gzip"),
        Algorithm::Zstd => (0..=22, "0 to 22 for zstd"),
    };
    if range.contains(&level) { Ok(()) } else { Err(bad("compression-level", &level.to_string(), expected)) }
}

/// `annotation.KEY`, `annotation-index.KEY`, `annotation[linux/arm64].KEY`.
fn annotation(key: &str, value: &str) -> Result<Annotation, OutputError> {
    let expected = "annotation.KEY, annotation-index.KEY or the like";
    let (scope, name) = key.split_once('.').ok_or_else(|| bad(key, value, expected))?;
    let scope = scope.strip_prefix("annotation").unwrap_or_default();
    let (level, platform) = match scope.strip_prefix('-') {
        Some(scope) => parse_level(scope).map_err(|_| bad(key, value, expected))?,
        None => parse_level(&format!("manifest{scope}")).map_err(|_| bad(key, value, expected))?,
    };
    Ok(Annotation { level, platform, key: name.to_owned(), value: value.to_owned() })
}

impl Output {
    /// The form of the image, if it is one.
    pub(crate) fn image_mut(&mut self) -> Option<&mut ImageSpec> {
        match self {
            Self::Image { image, .. }
            | Self::OciArchive { image, .. }
            | Self::OciDirectory { image, .. }
            | Self::DockerArchive { image, .. }
            | Self::Load { image } => Some(image),
            Self::Local { .. } | Self::Tar { .. } => None,
        }
    }

    /// The form of the image, if it is one.
    pub(crate) fn image(&self) -> Option<&ImageSpec> {
        match self {
            Self::Image { image, .. }
            | Self::OciArchive { image, .. }
            | Self::OciDirectory { image, .. }
            | Self::DockerArchive { image, .. }
            | Self::Load { image } => Some(image),
            Self::Local { .. } | Self::Tar { .. } => None,
        }
    }

    /// Whether it writes to standard output.
    pub(crate) fn to_stdout(&self) -> bool {
        matches!(
            self,
            Self::OciArchive { dest: Dest::Stdout, .. }
                | Self::DockerArchive { dest: Dest::Stdout, .. }
                | Self::Tar { dest: Dest::Stdout, .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `testdata/outputs.txt`: a line per case, `TEXT => what it means` (Rust's debug form, `default` for an image form of
    /// defaults) or `TEXT => error: message`. `UPDATE=1` writes it anew.
    #[test]
    fn table() {
        let table = include_str!("../../testdata/outputs.txt");
        let mut cases = 0;
        let (mut wrong, mut all) = (String::new(), String::new());
        for line in table.lines() {
            if line.starts_with('#') {
                all.push_str(&format!("{line}\n"));
                continue;
            }
            let (text, want) = line.split_once(" => ").unwrap();
            let got = match parse(text) {
                Ok(output) => {
                    format!("{output:?}").replace(&format!("{:?}", ImageSpec::default()), "default")
                }
                Err(error) => format!("error: {error}"),
            };
            if got != want {
                wrong.push_str(&format!("{text} => {got}\n"));
            }
            all.push_str(&format!("{text} => {got}\n"));
            cases += 1;
        }
        if std::env::var_os("UPDATE").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/outputs.txt");
            return fs_err::write(path, all).unwrap();
        }
        assert!(wrong.is_empty(), "these differ:\n{wrong}");
        assert!(cases > 25, "the table was not read");
    }
}
