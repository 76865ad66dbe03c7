//! Asking a repository what a name stands for, without fetching anything.

use std::path::Path;

use crate::command::{Cancel, Git, Runner};
use crate::error::GitError;
use crate::remote::Remote;

/// What a reference stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Id of a commit, or of an annotated tag.
    pub object: String,
    /// The reference in full, such as `refs/heads/main`; none if the repository's head is on no branch.
    pub reference: Option<String>,
    /// The commit that an annotated tag is of.
    pub peeled: Option<String>,
}

impl Resolved {
    /// The commit, as far as it is known without fetching.
    pub fn commit(&self) -> &str {
        self.peeled.as_deref().unwrap_or(&self.object)
    }
}

impl Git {
    /// Asks `remote` for `reference`: a branch, a tag, anything below `refs/`; empty for the default branch. Of a branch and a tag of
    /// one name the branch is meant, as with `git checkout`. `place` is an empty folder to work in.
    ///
    /// # Errors
    /// [`GitError::NoReference`] and those of the connection.
    pub fn resolve(
        &self,
        remote: &Remote,
        reference: &str,
        place: &Path,
        cancel: Cancel<'_>,
    ) -> Result<Resolved, GitError> {
        let runner = Runner::new(self, remote, place, cancel)?;
        if reference.is_empty() {
            let answer =
                runner.run(place, "ls-remote", &["ls-remote", "--symref", "--", &remote.url, "HEAD"])?;
            return default_branch(&String::from_utf8_lossy(&answer)).ok_or(GitError::Empty);
        }
        let peeled = format!("{reference}^{{}}");
        let answer = runner.run(place, "ls-remote", &["ls-remote", "--", &remote.url, reference, &peeled])?;
        if let Some(found) = pick(&String::from_utf8_lossy(&answer), reference) {
            return Ok(found);
        }
        let all = runner.run(
            place,
            "ls-remote",
            &["ls-remote", "--refs", "--heads", "--tags", "--", &remote.url],
        )?;
        Err(GitError::NoReference {
            reference: reference.to_owned(),
            others: names(&String::from_utf8_lossy(&all)),
        })
    }
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Pairs of id and name.
fn lines(answer: &str) -> impl Iterator<Item = (&str, &str)> {
    answer.lines().filter_map(|line| line.split_once('\t'))
}

fn default_branch(answer: &str) -> Option<Resolved> {
    let head = lines(answer).find(|(id, name)| *name == "HEAD" && is_id(id))?.0;
    let branch = lines(answer).find_map(|(id, name)| id.strip_prefix("ref: ").filter(|_| name == "HEAD"));
    let branch = branch.map(str::trim).filter(|name| name.starts_with("refs/"));
    Some(Resolved { object: head.to_owned(), reference: branch.map(str::to_owned), peeled: None })
}

/// The answer's line that `reference` means: what it is in full, then a branch, then a tag.
fn pick(answer: &str, reference: &str) -> Option<Resolved> {
    let id_of = |name: &str| {
        lines(answer).find(|(id, known)| *known == name && is_id(id)).map(|(id, _)| id.to_owned())
    };
    let bare = |prefix: &str| reference.strip_prefix(prefix).unwrap_or(reference).to_owned();
    let candidates = [
        format!("refs/{}", bare("refs/")),
        format!("refs/heads/{}", bare("refs/heads/")),
        format!("refs/tags/{}", bare("refs/tags/")),
    ];
    let (name, object) = candidates.into_iter().find_map(|name| id_of(&name).map(|id| (name, id)))?;
    let peeled = id_of(&format!("{name}^{{}}"));
    Some(Resolved { object, reference: Some(name), peeled })
}

fn names(answer: &str) -> Vec<String> {
    let short = |name: &str| {
        let name = name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/tags/"))?;
        (!name.chars().any(char::is_control)).then(|| name.to_owned())
    };
    lines(answer).filter_map(|(_, name)| short(name)).take(5000).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";

    #[test]
    fn a_branch_comes_before_a_tag() {
        let answer = format!(
            "{A}\trefs/heads/v1\n{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\n{C}\trefs/heads/other/v1\n{C}\trefs/pull/1/head\n"
        );
        let cases = [
            ("v1", Some((A, "refs/heads/v1", None))),
            ("refs/tags/v1", Some((B, "refs/tags/v1", Some(C)))),
            ("tags/v1", Some((B, "refs/tags/v1", Some(C)))),
            ("heads/v1", Some((A, "refs/heads/v1", None))),
            ("other/v1", Some((C, "refs/heads/other/v1", None))),
            ("pull/1/head", Some((C, "refs/pull/1/head", None))),
            ("v", None),
            ("1/head", None),
        ];
        for (reference, want) in cases {
            let got = pick(&answer, reference);
            let got = got
                .as_ref()
                .map(|r| (r.object.as_str(), r.reference.as_deref().unwrap_or(""), r.peeled.as_deref()));
            assert_eq!(got, want, "{reference}");
        }
    }

    #[test]
    fn the_default_branch() {
        let got = default_branch(&format!("ref: refs/heads/trunk\tHEAD\n{A}\tHEAD\n")).unwrap();
        assert_eq!((got.object.as_str(), got.reference.as_deref()), (A, Some("refs/heads/trunk")));
        let detached = default_branch(&format!("{A}\tHEAD\n")).unwrap();
        assert_eq!((detached.object.as_str(), detached.reference), (A, None));
        for none in ["", "garbage", "--upload-pack=x\tHEAD\n"] {
            assert_eq!(default_branch(none), None, "{none:?}");
        }
    }
}
