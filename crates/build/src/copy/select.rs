//! Which files a COPY source names.

use kiln_dockerfile::glob::{has_wildcard, matches};
use kiln_dockerfile::suggest;
use kiln_layer::path::LayerPath;

use crate::error::{BuildErrorKind, IgnoredBy};
use crate::files::{Files, Node, NodeKind, follow};

/// Something that a source pattern matched.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    /// As matched: gives the name at the destination.
    pub(crate) named: LayerPath,
    /// With all symbolic links followed: where its content is.
    pub(crate) real: LayerPath,
    pub(crate) node: Node,
}

/// What `pattern` matches, sorted. A pattern without wildcards must match; one with wildcards may match nothing. A link that leads
/// nowhere is an error as with BuildKit, unless a wildcard met it and it is `left_out`.
pub(crate) fn select(
    files: &dyn Files,
    pattern: &str,
    left_out: &dyn Fn(&LayerPath) -> bool,
) -> Result<Vec<Match>, BuildErrorKind> {
    let clean = LayerPath::clean(pattern);
    let named = if has_wildcard(pattern) { match_components(files, &clean)? } else { vec![clean] };
    let literal = !has_wildcard(pattern);
    let mut found = Vec::new();
    for named in named {
        match follow(files, &named)? {
            Some((real, node)) => found.push(Match { named, real, node }),
            None if literal => return Err(missing(files, pattern, &named)?),
            None if left_out(&named) => {}
            None => {
                if let Some(dangling) = dangling(files, pattern, &named)? {
                    return Err(dangling);
                }
            }
        }
    }
    Ok(found)
}

fn text(component: &[u8]) -> String {
    String::from_utf8_lossy(component).into_owned()
}

/// `filepath.Match`, one component at a time: no wildcard crosses a slash.
fn match_components(files: &dyn Files, pattern: &LayerPath) -> Result<Vec<LayerPath>, BuildErrorKind> {
    let mut found = vec![LayerPath::root()];
    for component in pattern.components() {
        let component = text(component);
        let mut next = Vec::new();
        for base in found {
            if !has_wildcard(&component) {
                next.push(base.join(&component));
                continue;
            }
            let Some((dir, node)) = follow(files, &base)? else { continue };
            if !node.is_dir() {
                continue;
            }
            for name in files.children(&dir)? {
                if matches(&component, &name).map_err(|_| bad_pattern(pattern))? {
                    next.push(base.join(&name));
                }
            }
        }
        found = next;
    }
    // A literal tail behind a wildcard need not exist below each match.
    let mut there = Vec::with_capacity(found.len());
    for path in found {
        if follow(files, &path)?.is_some() || link_at(files, &path)?.is_some() {
            there.push(path);
        }
    }
    Ok(there)
}

pub(crate) fn bad_pattern(pattern: &LayerPath) -> BuildErrorKind {
    BuildErrorKind::Copy {
        message: format!("{:?} is not a valid pattern", String::from_utf8_lossy(pattern.as_bytes())),
        help: Some(
            if pattern.as_bytes().starts_with(b"[") {
                "in a JSON array every string has double quotes, and commas stand between; a literal bracket is [[]"
            } else {
                "write a literal bracket as [[] and a literal star as [*]"
            }
            .to_owned(),
        ),
    }
}

/// The error for a source that is not there: the nearest name, and the ignore rule that hides it if one does. A socket is there, but no
/// image holds one.
fn missing(files: &dyn Files, pattern: &str, path: &LayerPath) -> Result<BuildErrorKind, BuildErrorKind> {
    if let Some(dangling) = dangling(files, pattern, path)? {
        return Ok(dangling);
    }
    let hidden_by = hidden_by(files, path);
    if hidden_by.is_none() && is_socket(files, path)? {
        return Ok(BuildErrorKind::Copy {
            message: format!("{pattern:?} is a socket, which no image can hold"),
            help: Some("leave it out: it means nothing without the process behind it".to_owned()),
        });
    }
    let nearest = if hidden_by.is_some() { None } else { nearest(files, path)? };
    Ok(BuildErrorKind::MissingSource {
        pattern: pattern.to_owned(),
        whence: files.whence().to_owned(),
        nearest,
        hidden_by,
    })
}

/// The rule that hides `path`, or a whole directory above it.
fn hidden_by(files: &dyn Files, path: &LayerPath) -> Option<IgnoredBy> {
    std::iter::successors(Some(path.clone()), LayerPath::parent).find_map(|path| files.hidden_by(&path))
}

/// Where the symbolic link at `path` is and what it says, if `path` is one that can be got at.
fn link_at(files: &dyn Files, path: &LayerPath) -> Result<Option<(LayerPath, Vec<u8>)>, BuildErrorKind> {
    let Some(parent) = path.parent() else { return Ok(None) };
    let Some((parent, node)) = follow(files, &parent)? else { return Ok(None) };
    if !node.is_dir() {
        return Ok(None);
    }
    Ok(match files.node(&parent.join(path.name()))?.map(|node| node.kind) {
        Some(NodeKind::Symlink { target }) => Some((parent, target)),
        _ => None,
    })
}

/// The error for a link that leads nowhere, if `path` is one.
fn dangling(
    files: &dyn Files,
    pattern: &str,
    path: &LayerPath,
) -> Result<Option<BuildErrorKind>, BuildErrorKind> {
    let Some((parent, target)) = link_at(files, path)? else { return Ok(None) };
    let behind = if target.starts_with(b"/") { LayerPath::root() } else { parent };
    let behind = LayerPath::clean(format!("{}/{}", text(behind.as_bytes()), text(&target)));
    Ok(Some(BuildErrorKind::DanglingSource {
        pattern: pattern.to_owned(),
        link: text(path.as_bytes()),
        target: text(&target),
        whence: files.whence().to_owned(),
        hidden_by: hidden_by(files, &behind),
    }))
}

fn is_socket(files: &dyn Files, path: &LayerPath) -> Result<bool, BuildErrorKind> {
    let parent = follow(files, &path.parent().unwrap_or_default())?;
    Ok(parent.is_some_and(|(real, _)| files.is_socket(&real.join(path.name()))))
}

fn nearest(files: &dyn Files, path: &LayerPath) -> Result<Option<String>, BuildErrorKind> {
    let mut dir = LayerPath::root();
    for component in path.components() {
        let next = dir.join(component);
        if follow(files, &next)?.is_some_and(|(_, node)| node.is_dir()) {
            dir = next;
            continue;
        }
        let Some((real, _)) = follow(files, &dir)? else { return Ok(None) };
        let names: Vec<String> = files.children(&real)?.map(|n| text(&n)).collect();
        let wanted = text(component);
        // The very name can only be a socket, which is in no context.
        let options = || names.iter().map(String::as_str).filter(|name| *name != wanted);
        let same_but_case = options().find(|n| n.eq_ignore_ascii_case(&wanted)).map(str::to_owned);
        let near = same_but_case.or_else(|| suggest::nearest(&wanted, options(), true));
        let Some(near) = near.map(|name| dir.join(name.as_bytes())) else { return Ok(None) };
        let rest = path.components().skip(dir.components().count() + 1);
        let whole = rest.fold(near.clone(), |at, component| at.join(component));
        let there = if follow(files, &whole)?.is_some() { whole } else { near };
        return Ok(Some(text(there.as_bytes())));
    }
    Ok(None)
}
