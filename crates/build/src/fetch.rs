//! Files that ADD takes from URLs.

use std::path::PathBuf;

use kiln_oci::digest::Digest;

use crate::error::BuildErrorKind;
use crate::request::Fetcher;
use crate::store::Store;

/// A file that was fetched; its bytes are a blob of the store.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    /// Its name at a destination that is a directory: from the URL.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// From `Last-Modified`, else 0.
    pub(crate) mtime: i64,
}

/// Fetches `url`; with `checksum` (`sha256:...`) its content must have that digest.
pub(crate) fn fetch(
    store: &Store,
    fetcher: Option<&dyn Fetcher>,
    url: &str,
    checksum: Option<&str>,
) -> Result<Download, BuildErrorKind> {
    let failed = |reason: String| BuildErrorKind::Fetch { url: url.to_owned(), reason };
    let fetcher = fetcher.ok_or_else(|| failed("no downloads are possible here".to_owned()))?;
    let wanted = checksum.map(str::parse::<Digest>).transpose();
    let wanted = wanted.map_err(|e| failed(format!("--checksum: {e}")))?;
    let mut writer = store.content().writer()?;
    let fetched = fetcher.fetch(url, &mut writer).map_err(|e| failed(e.reason))?;
    let blob = writer.finish()?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != blob.digest) {
        return Err(failed(format!("its digest is {}, not the checksum {wanted}", blob.digest)));
    }
    Ok(Download {
        name: name_of(url),
        path: store.content().path_of(&blob.digest),
        digest: blob.digest,
        size: blob.size,
        mtime: fetched.last_modified.unwrap_or(0),
    })
}

/// The last segment of the URL's path, decoded; `__unnamed__` if it has none.
fn name_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let segment = path.split_once('/').map_or("", |(_, path)| path).rsplit('/').next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let decoded = (*first == b'%')
            .then(|| {
                tail.get(..2)
                    .and_then(|h| std::str::from_utf8(h).ok())
                    .and_then(|h| u8::from_str_radix(h, 16).ok())
            })
            .flatten();
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    let name = String::from_utf8_lossy(&bytes).into_owned();
    match name.as_str() {
        "" | "." | ".." => "__unnamed__".to_owned(),
        // A decoded slash or NUL would lead elsewhere.
        bad if bad.contains(['/', '\0']) => "__unnamed__".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_come_from_the_path() {
        let cases = [
            ("http://h/file.txt", "file.txt"),
            ("http://h/path/deep.bin?x=1", "deep.bin"),
            ("http://h/a%20b", "a b"),
            ("http://h/a%2Fb", "__unnamed__"),
            ("http://h/%2e%2e", "__unnamed__"),
            ("http://h/", "__unnamed__"),
            ("http://h", "__unnamed__"),
            ("http://h/x%zz", "x%zz"),
        ];
        for (url, name) in cases {
            assert_eq!(super::name_of(url), name, "{url}");
        }
    }
}
