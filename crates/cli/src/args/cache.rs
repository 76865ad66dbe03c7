//! `--cache-to` and `--cache-from`: where records and layers of steps are kept.

use std::path::PathBuf;

use crate::args::csv::fields;
use crate::args::output::Algorithm;
use crate::args::values::ValueError;

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CachePlace {
    /// `type=local,dest=DIR` or `src=DIR`
    Directory {
        /// The OCI layout.
        path: PathBuf,
        /// `tag=`
        tag: String,
    },
    /// `type=registry,ref=REF`
    Registry {
        /// As given.
        reference: String,
        /// `registry.insecure=`
        insecure: bool,
    },
}

/// One `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheTo {
    /// Where; `None` for `type=inline`, in the image itself.
    pub(crate) place: Option<CachePlace>,
    /// `mode=max`
    pub(crate) all: bool,
    /// `compression=`
    pub(crate) compression: Option<Algorithm>,
    /// `compression-level=`
    pub(crate) level: Option<i32>,
    /// `ignore-error=`
    pub(crate) ignore_error: bool,
}

/// One `--cache-from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheFrom(pub(crate) CachePlace);

const TYPES: &str = "type=local or type=registry";

#[derive(Default)]
struct Fields {
    kind: Option<String>,
    directory: Option<String>,
    tag: Option<String>,
    reference: Option<String>,
    insecure: bool,
    all: bool,
    compression: Option<Algorithm>,
    level: Option<i32>,
    ignore_error: bool,
}

fn read(text: &str, directory: &'static str) -> Result<Fields, ValueError> {
    let mut all = Fields::default();
    let fields = fields(text)?;
    for foreign in ["gha", "s3", "azblob"] {
        if fields.iter().any(|field| field == &format!("type={foreign}")) {
            return Ok(Fields { kind: Some(foreign.to_owned()), ..all });
        }
    }
    for field in fields {
        // As with buildx, a reference alone is one of a registry.
        if !field.contains('=') && all.kind.is_none() && all.reference.is_none() {
            all.reference = Some(field);
            continue;
        }
        let (key, value) = field.split_once('=').ok_or_else(|| ValueError::NoPair(field.clone()))?;
        let key = key.trim().to_ascii_lowercase();
        match key.as_str() {
            "type" => all.kind = Some(value.to_owned()),
            "tag" => all.tag = Some(value.to_owned()),
            "ref" => all.reference = Some(value.to_owned()),
            "registry.insecure" => all.insecure = flag(value)?,
            "mode" => match value {
                "min" | "max" => all.all = value == "max",
                _ => return Err(ValueError::Expected("mode=min or mode=max")),
            },
            "compression" => all.compression = Some(algorithm(value)?),
            "compression-level" => {
                all.level =
                    Some(value.parse().map_err(|_| ValueError::Expected("a number for compression-level="))?);
            }
            "ignore-error" => all.ignore_error = flag(value)?,
            // Every cache of kiln's is an OCI manifest in OCI's media types, of layers in one compression.
            "oci-mediatypes" | "image-manifest" | "force-compression" => drop(flag(value)?),
            key if key == directory => all.directory = Some(value.to_owned()),
            _ => {
                let known = "type, dest or src, ref, tag, mode, compression, compression-level, ignore-error";
                return Err(ValueError::UnknownKey { key, known });
            }
        }
    }
    Ok(all)
}

fn flag(value: &str) -> Result<bool, ValueError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(ValueError::Expected("true or false")),
    }
}

fn algorithm(value: &str) -> Result<Algorithm, ValueError> {
    match value {
        "uncompressed" => Ok(Algorithm::Uncompressed),
        "gzip" => Ok(Algorithm::Gzip),
        "zstd" => Ok(Algorithm::Zstd),
        _ => Err(ValueError::Expected("compression=gzip, zstd or uncompressed")),
    }
}

impl Fields {
    fn place(&mut self, directory: &'static str) -> Result<CachePlace, ValueError> {
        let default = if self.reference.is_some() { "registry" } else { "" };
        match self.kind.as_deref().unwrap_or(default) {
            "local" => {
                let path = self.directory.take().filter(|p| !p.is_empty());
                let path = path.ok_or(ValueError::Missing(directory))?.into();
                Ok(CachePlace::Directory {
                    path,
                    tag: self.tag.take().unwrap_or_else(|| "latest".to_owned()),
                })
            }
            "registry" => {
                let reference = self.reference.take().filter(|r| !r.is_empty());
                let reference = reference.ok_or(ValueError::Missing("ref"))?;
                Ok(CachePlace::Registry { reference, insecure: self.insecure })
            }
            "inline" => {
                Err(ValueError::Expected("type=registry,ref=IMAGE, which reads what an image carries, too"))
            }
            "gha" => Err(ValueError::Expected(
                "another type: kiln does not speak to GitHub's cache service; write type=local,dest=DIR and let actions/cache keep DIR",
            )),
            "s3" | "azblob" => Err(ValueError::Expected(
                "another type: kiln does not speak to object stores; write type=local,dest=DIR and copy DIR, or use type=registry",
            )),
            "" => Err(ValueError::Expected(TYPES)),
            other => match kiln_dockerfile::suggest::nearest(other, ["local", "registry"], true) {
                None => Err(ValueError::Expected(TYPES)),
                near => Err(ValueError::Unknown {
                    what: "type",
                    name: other.to_owned(),
                    near,
                    known: &["local", "registry"],
                }),
            },
        }
    }
}

/// Reads a `--cache-to`.
pub(crate) fn to(text: &str) -> Result<CacheTo, ValueError> {
    let mut fields = read(text, "dest")?;
    let inline = fields.kind.as_deref() == Some("inline");
    if inline && fields.all {
        return Err(ValueError::Expected(
            "mode=min with type=inline, since an image has its own layers only; type=registry,ref=NAME has room for all",
        ));
    }
    let place = if inline { None } else { Some(fields.place("dest")?) };
    Ok(CacheTo {
        place,
        all: fields.all,
        compression: fields.compression,
        level: fields.level,
        ignore_error: fields.ignore_error,
    })
}

/// Reads a `--cache-from`.
pub(crate) fn from(text: &str) -> Result<CacheFrom, ValueError> {
    Ok(CacheFrom(read(text, "src")?.place("src")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let local = |path: &str, tag: &str| CachePlace::Directory { path: path.into(), tag: tag.to_owned() };
        let registry = |r: &str| CachePlace::Registry { reference: r.to_owned(), insecure: false };
        for (text, want, all) in [
            ("type=local,dest=/c", local("/c", "latest"), false),
            ("type=local,dest=c,mode=max,tag=x,compression=zstd", local("c", "x"), true),
            ("type=registry,ref=a/b:c,mode=max,image-manifest=true", registry("a/b:c"), true),
            ("a/b:c", registry("a/b:c"), false),
        ] {
            let got = to(text).unwrap();
            assert_eq!((got.place, got.all), (Some(want), all), "{text}");
        }
        assert_eq!(from("type=local,src=c").unwrap().0, local("c", "latest"));
        assert_eq!(from("a/b").unwrap().0, registry("a/b"));
        assert_eq!(to("type=inline").unwrap().place, None);
        assert!(from("type=inline").unwrap_err().to_string().contains("type=registry,ref=IMAGE"));
        for (text, want) in [
            ("type=local", "`dest=` is missing"),
            ("type=local,src=x", "unknown key `src`"),
            ("type=registry", "`ref=` is missing"),
            ("type=gha", "actions/cache"),
            ("type=s3,bucket=x", "object stores"),
            ("type=azblob", "object stores"),
            ("type=locl,dest=x", "did you mean `local`?"),
            ("mode=max", "type=local or type=registry"),
            ("type=inline,mode=max", "mode=min with type=inline"),
            ("type=elsewhere", "type=local or type=registry"),
            ("type=local,dest=x,mode=most", "mode=min or mode=max"),
        ] {
            let got = to(text).unwrap_err().to_string();
            assert!(got.contains(want), "{text}: {got}");
        }
    }
}
