//! `# syntax=`: Docker's own frontend is built in, any other one is a program of strangers and is never run.

use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::span::Span;

use crate::inputs::Inputs;

/// The build argument that takes the directive's place.
const SYNTAX: &str = "BUILDKIT_SYNTAX";

/// The name that BuildKit's documentation gives to the frontend inside it.
const BUILT_IN: &str = "dockerfile.v0";

/// What is wrong with the frontend that the file, or [`SYNTAX`] in its place, asks for.
pub(crate) fn refused(file: &Dockerfile, inputs: &Inputs) -> Option<Diagnostic> {
    let given = inputs.build_args.get(SYNTAX).filter(|name| !name.is_empty());
    let (name, span, whence) = match (given, &file.directives.syntax) {
        (Some(name), _) => (name, Span::default(), format!("--build-arg {SYNTAX}={name}")),
        (None, Some(word)) => (&word.value, word.span, format!("`# syntax={}`", word.value)),
        (None, None) => return None,
    };
    if is_docker(name) {
        return None;
    }
    let message = format!(
        "{whence} asks for a foreign frontend, and kiln runs no program of an image to read a Dockerfile"
    );
    let help = "docker/dockerfile is built in, in every version; leave the line out, or write `# syntax=docker/dockerfile:1`";
    Some(Diagnostic::error(span, message).with_help(help))
}

/// Whether `name` is Docker's frontend: of whatever tag, digest and channel, or mirrored under another registry.
fn is_docker(name: &str) -> bool {
    // `# syntax=image options`: only the first word names an image.
    let image = name.split_whitespace().next().unwrap_or_default();
    let bare = image.split('@').next().unwrap_or_default();
    let slash = bare.rfind('/').map_or(0, |i| i + 1);
    let end = bare[slash..].find(':').map_or(bare.len(), |i| slash + i);
    let repository = &bare[..end];
    let mut parts = repository.rsplit('/');
    let (last, owner) = (parts.next().unwrap_or_default(), parts.next());
    repository == BUILT_IN || owner == Some("docker") && matches!(last, "dockerfile" | "dockerfile-upstream")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_frontend() {
        let cases = [
            ("docker/dockerfile", true),
            ("docker/dockerfile:1", true),
            ("docker/dockerfile:1.7-labs", true),
            ("docker.io/docker/dockerfile:1@sha256:0123", true),
            ("docker/dockerfile-upstream:master", true),
            ("mirror.example.com:5000/hub/docker/dockerfile:1", true),
            ("dockerfile.v0", true),
            ("docker/dockerfile:1 key=value", true),
            ("dockerfile", false),
            ("example.com/dockerfile:1", false),
            ("docker/dockerfile-plus", false),
            ("edrevo/dockerfile-plus", false),
            ("example.com:5000", false),
        ];
        for (name, want) in cases {
            assert_eq!(is_docker(name), want, "{name}");
        }
    }
}
