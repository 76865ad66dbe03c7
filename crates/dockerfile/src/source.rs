//! What a source of `ADD` or `COPY`, or a build context, is: a path, a URL to fetch or a git reference.
//!
//! The rules are BuildKit's (its `dfgitutil` and `gitutil`): `http(s)://` is git only if the path
//! ends in `.git`, `ssh://` and `git://` always are, and so is `user@host:path`. A build context may also be
//! written `github.com/...`, which in a Dockerfile would be a path.
//!
//! What comes out of here goes to programs as arguments: no part of it begins with a dash or holds a control character.

/// A classified source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path in the context or in a stage.
    Path,
    /// A file to fetch.
    Http(HttpSource),
    /// A repository to check out.
    Git(GitSource),
}

/// An `http://` or `https://` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    /// The URL as written.
    pub url: String,
    /// The name that the file gets if the destination is a directory: the last part of the decoded
    /// path, `__unnamed__` if there is none.
    pub file_name: String,
}

/// A git reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitSource {
    /// The repository, without query and fragment.
    pub remote: String,
    /// Its name without `.git`.
    pub short_name: String,
    /// Commit, tag or branch; empty for the default branch.
    pub reference: String,
    /// The directory inside to take; empty for all.
    pub subdir: String,
    /// The commit that must be found, or its prefix.
    pub checksum: Option<String>,
    /// Whether `.git` is kept, if said.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched, if said.
    pub submodules: Option<bool>,
    /// File times: `checkout` or `commit`, if said.
    pub mtime: Option<String>,
    /// The checksum names the commit to fetch, whatever the reference points to.
    pub fetch_by_commit: bool,
}

/// What is wrong with the query of a git URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// A key without the value that it needs.
    #[error("query `{}` has no value", .0.escape_debug())]
    NoValue(String),
    /// A key given twice.
    #[error("query `{}` has multiple values", .0.escape_debug())]
    Repeated(String),
    /// A key that means nothing.
    #[error("unexpected query `{}`, there is ref, tag, branch, subdir, checksum, commit, keep-git-dir, submodules, fetch-by-commit and mtime", .0.escape_debug())]
    UnknownKey(String),
    /// A value that the key does not take.
    #[error("invalid {key} value `{}`", .value.escape_debug())]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A checksum that is no commit id or the beginning of one.
    #[error("checksum `{}` is no commit id: hexadecimal digits are expected", .0.escape_debug())]
    Checksum(String),
    /// A part that is missing, that a program would take for an option, or that no line can hold.
    #[error("{part} of `{}` is empty, begins with a dash, or holds a space or a control character", .value.escape_debug())]
    Unsafe {
        /// `host`, `path`, `reference` or `directory`.
        part: &'static str,
        /// As given, without its password.
        value: String,
    },
    /// A colon behind the host with something else than a number.
    #[error("what follows the host of `{}` is no port: a path begins with /, and special characters of a password are written %XX", .url.escape_debug())]
    Port {
        /// As given, without its password.
        url: String,
    },
    /// Two places name different references or directories.
    #[error("{what} conflicts: `{}` vs `{}`", .one.escape_debug(), .other.escape_debug())]
    Conflict {
        /// `ref`, `subdir` or `branch`.
        what: &'static str,
        /// The first.
        one: String,
        /// The second.
        other: String,
    },
}

/// Classifies an expanded source.
///
/// # Errors
/// If it is a git URL whose query cannot be understood.
pub fn classify(text: &str) -> Result<Source, SourceError> {
    if let Some(url) = Url::parse(text) {
        let scheme = url.scheme.to_ascii_lowercase();
        let is_http = matches!(scheme.as_str(), "http" | "https");
        if is_http && (url.authority.is_empty() || no_host(url.authority)) {
            let value = redacted(text);
            return Err(SourceError::Unsafe { part: "host", value });
        }
        if (is_http || matches!(scheme.as_str(), "ssh" | "git")) && url.has_port_of_words() {
            return Err(SourceError::Port { url: redacted(text) });
        }
        let is_git = match scheme.as_str() {
            "http" | "https" => decode(url.path, false).is_some_and(|path| path.ends_with(".git")),
            "ssh" | "git" => true,
            _ => false,
        };
        if is_git {
            let remote = format!("{scheme}://{}{}", url.authority, url.path);
            return git(remote, url.query, url.fragment).map(Source::Git);
        }
        if is_http && (text.starts_with("http://") || text.starts_with("https://")) {
            return Ok(Source::Http(HttpSource { url: text.to_owned(), file_name: file_name(url.path) }));
        }
        return Ok(Source::Path);
    }
    match scp_style(text) {
        Some((remote, query, fragment)) => git(remote.to_owned(), query, fragment).map(Source::Git),
        None => Ok(Source::Path),
    }
}

/// Classifies a build context: as [`classify`] does, and `github.com/owner/repository` is git, too.
///
/// # Errors
/// If it is a git URL whose query cannot be understood.
pub fn classify_context(text: &str) -> Result<Source, SourceError> {
    if text.starts_with("github.com/") {
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
        return git(format!("https://{remote}"), query, fragment).map(Source::Git);
    }
    classify(text)
}

/// A URL fit for a screen or a record: without user name and password of http(s), without the password of anything else, and
/// without a query, in which storage services carry signatures. Other texts stay as they are.
pub fn shown(text: &str) -> String {
    let bare = redacted(text);
    match (Url::parse(&bare), bare.split_once('?')) {
        (Some(url), Some((before, _))) if !url.query.is_empty() => match url.fragment {
            "" => before.to_owned(),
            fragment => format!("{before}#{fragment}"),
        },
        _ => bare,
    }
}

/// A source as it was written, but for its credentials: what stands before the `@` of an http(s) URL, the password of any other.
pub fn redacted(text: &str) -> String {
    let Some(url) = Url::parse(text) else { return text.to_owned() };
    let rest = &text[url.scheme.len() + 3..];
    // A password with a slash that was not encoded ends the host early; what is no port gives it away.
    let place = if url.has_port_of_words() { rest } else { url.authority };
    let Some(end) = place.rfind('@') else { return text.to_owned() };
    let (user, host) = (&rest[..end], &rest[end + 1..]);
    let http = url.scheme.eq_ignore_ascii_case("http") || url.scheme.eq_ignore_ascii_case("https");
    match user.split_once(':') {
        _ if http => format!("{}://{host}", url.scheme),
        Some((name, _)) => format!("{}://{name}@{host}", url.scheme),
        None => text.to_owned(),
    }
}

struct Url<'a> {
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            return None;
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Some(Self { scheme, authority, path, query, fragment })
    }

    fn has_port_of_words(&self) -> bool {
        let host = self.authority.rsplit_once('@').map_or(self.authority, |(_, host)| host);
        let port = host.rsplit_once(':').map_or("", |(_, port)| port);
        !port.ends_with(']') && !port.bytes().all(|b| b.is_ascii_digit())
    }
}

/// `user@host:path[?query][#fragment]`.
fn scp_style(text: &str) -> Option<(&str, &str, &str)> {
    let (user, rest) = text.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    let word = |s: &str, more: &str| {
        !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || more.contains(c))
    };
    if !word(user, "_") || !word(host, ".") || path.contains('\n') {
        return None;
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
    Some((remote, query, fragment))
}

/// What BuildKit calls a file from a URL with this path. `download` is its name for what cannot be one.
fn file_name(path: &str) -> String {
    let decoded = decode(path, false).unwrap_or_default();
    match decoded.trim_end_matches('/').rsplit('/').next().map(str::trim) {
        None | Some("" | ".") => "__unnamed__".to_owned(),
        Some("..") => "download".to_owned(),
        Some(name) if name.chars().any(char::is_control) => "download".to_owned(),
        Some(name) => name.to_owned(),
    }
}

/// Whether a program could take `text` for an option or for several lines.
fn dangerous(text: &str) -> bool {
    text.starts_with('-') || text.chars().any(char::is_control)
}

fn no_host(text: &str) -> bool {
    dangerous(text) || text.contains(char::is_whitespace)
}

fn check_remote(remote: &str) -> Result<(), SourceError> {
    let unsafe_part = |part| Err(SourceError::Unsafe { part, value: redacted(remote) });
    let (host, path) = match Url::parse(remote) {
        Some(url) => (url.authority, url.path.strip_prefix('/').unwrap_or(url.path)),
        None => remote.split_once(':').unwrap_or((remote, "")),
    };
    let bare = host.rsplit_once('@').map_or(host, |(_, bare)| bare);
    if bare.is_empty() || no_host(host) || dangerous(bare) {
        return unsafe_part("host");
    }
    if dangerous(path) { unsafe_part("path") } else { Ok(()) }
}

fn git(remote: String, query: &str, fragment: &str) -> Result<GitSource, SourceError> {
    check_remote(&remote)?;
    let name = remote.rsplit('/').next().unwrap_or_default();
    let short_name = name.strip_suffix(".git").unwrap_or(name).to_owned();
    let fragment = decode(fragment, false).unwrap_or_else(|| fragment.to_owned());
    let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
    let mut source = GitSource {
        short_name,
        reference: reference.to_owned(),
        subdir: clean_subdir(subdir),
        remote,
        ..GitSource::default()
    };
    let pairs = query_pairs(query)?;
    for (key, value) in &pairs {
        apply_query(&mut source, key, value.as_deref())?;
    }
    let full = |key: &str, prefix: &str| {
        let value = pairs.iter().find(|(k, _)| k == key)?.1.as_deref()?;
        Some(if value.starts_with(prefix) { value.to_owned() } else { format!("{prefix}{value}") })
    };
    let (tag, branch) = (full("tag", "refs/tags/"), full("branch", "refs/heads/"));
    if let (Some(tag), Some(branch)) = (&tag, &branch) {
        return Err(SourceError::Conflict { what: "branch", one: branch.clone(), other: tag.clone() });
    }
    if let Some(reference) = tag.or(branch) {
        merge("ref", &mut source.reference, &reference)?;
    }
    for (part, value) in [("reference", &source.reference), ("directory", &source.subdir)] {
        if dangerous(value) {
            return Err(SourceError::Unsafe { part, value: value.clone() });
        }
    }
    source.subdir = clean_subdir(&source.subdir);
    Ok(source)
}

/// Whether `text` is a commit id or the beginning of one.
pub fn is_commit_prefix(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether `text` is a whole commit id (SHA-1 or SHA-256), which means the same everywhere and for ever.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn apply_query(source: &mut GitSource, key: &str, value: Option<&str>) -> Result<(), SourceError> {
    let text = value.unwrap_or_default();
    match key {
        "tag" | "branch" => {}
        "ref" => merge("ref", &mut source.reference, text)?,
        "subdir" => merge("subdir", &mut source.subdir, text)?,
        "checksum" | "commit" if is_commit_prefix(text) => source.checksum = Some(text.to_ascii_lowercase()),
        "checksum" | "commit" => return Err(SourceError::Checksum(text.to_owned())),
        "keep-git-dir" => source.keep_git_dir = Some(flag(key, value)?),
        "submodules" => source.submodules = Some(flag(key, value)?),
        "fetch-by-commit" => source.fetch_by_commit = flag(key, value)?,
        "mtime" if matches!(text, "checkout" | "commit") => source.mtime = Some(text.to_owned()),
        "mtime" => return Err(SourceError::Value { key: key.to_owned(), value: text.to_owned() }),
        _ => return Err(SourceError::UnknownKey(key.to_owned())),
    }
    Ok(())
}

/// The decoded pairs; `None` for a flag that stands alone.
fn query_pairs(query: &str) -> Result<Vec<(String, Option<String>)>, SourceError> {
    let mut pairs: Vec<(String, Option<String>)> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (Some(key), Some(value)) = (decode(key, true), decode(value, true)) else { continue };
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(SourceError::Repeated(key));
        }
        let alone = matches!(key.as_str(), "submodules" | "keep-git-dir" | "fetch-by-commit");
        match (value.is_empty(), alone) {
            (true, false) => return Err(SourceError::NoValue(key)),
            (true, true) => pairs.push((key, None)),
            (false, _) => pairs.push((key, Some(value))),
        }
    }
    Ok(pairs)
}

fn merge(what: &'static str, field: &mut String, value: &str) -> Result<(), SourceError> {
    if !field.is_empty() && field != value {
        return Err(SourceError::Conflict { what, one: field.clone(), other: value.to_owned() });
    }
    value.clone_into(field);
    Ok(())
}

fn flag(key: &str, value: Option<&str>) -> Result<bool, SourceError> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(SourceError::Value { key: key.to_owned(), value: value.to_owned() }),
    }
}

/// The directory without `.`, `..` and doubled slashes; `..` stops at the root.
fn clean_subdir(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Undoes percent encoding; `None` if it is malformed or does not give UTF-8.
fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            b'+' if plus_is_space => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
