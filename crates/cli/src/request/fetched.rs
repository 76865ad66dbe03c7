//! The Dockerfile of a build whose context, or whose Dockerfile, was fetched.

use std::path::Path;
use std::sync::Arc;

use kiln_build::remote::FetchedContext;
use kiln_build::request::Context;

use crate::args::build::BuildArgs;
use crate::errors::CliError;
use crate::request::{Input, find_dockerfile, to_text};
use crate::stdin;

impl Input {
    /// A context that was fetched: `-f` is a path in it, unless it is absolute, a URL or standard input.
    pub(super) fn of_fetched(
        args: &BuildArgs,
        fetched: &Arc<FetchedContext>,
        dockerfile: Option<&FetchedContext>,
    ) -> Result<Self, CliError> {
        let (name, text) = match (args.file.as_deref(), dockerfile) {
            (_, Some(dockerfile)) => one_file(dockerfile)?,
            (Some("-"), None) => {
                let name = "Dockerfile".to_owned();
                let text = to_text(&name, stdin::read_all(&mut stdin::spool()?)?)?;
                (name, text)
            }
            (Some(file), None) if Path::new(file).is_absolute() => {
                let path = find_dockerfile(Some(file), &fetched.root)?;
                (file.to_owned(), to_text(file, fs_err::read(path)?)?)
            }
            (None, None) if fetched.file.is_some() => one_file(fetched)?,
            (Some(file), None) if fetched.file.is_some() => {
                let problem = format!("{file} is looked for in {}, but that is a single file", fetched.name);
                return Err(CliError::usage("--file", problem));
            }
            (file, None) => in_fetched(file, fetched)?,
        };
        let context = Context::Fetched(fetched.clone());
        Ok(Self { name, text, path: None, context, unpacked: None })
    }
}

/// The Dockerfile of a context that was fetched; links in it lead nowhere else.
fn in_fetched(file: Option<&str>, fetched: &FetchedContext) -> Result<(String, String), CliError> {
    let root = fs_err::canonicalize(&fetched.root)?;
    let inside = file.map(|file| root.join(file).display().to_string());
    let outside = |path: &Path| path.strip_prefix(&root).unwrap_or(path).display().to_string();
    let path = find_dockerfile(inside.as_deref(), &root).map_err(|error| match error {
        CliError::NoDockerfile { path, .. } => CliError::NoDockerfile {
            path: format!("{} (in {})", outside(&path), fetched.name).into(),
            instead: None,
        },
        other => other,
    })?;
    if !fs_err::canonicalize(&path)?.starts_with(&root) {
        return Err(CliError::usage("--file", format!("the Dockerfile leads out of {}", fetched.name)));
    }
    let name = outside(&path);
    let text = to_text(&name, fs_err::read(&path)?)?;
    Ok((name, text))
}

/// The text of a Dockerfile that was fetched by itself.
pub(super) fn one_file(fetched: &FetchedContext) -> Result<(String, String), CliError> {
    let Some(file) = &fetched.file else {
        let problem = format!("{} is an archive and no Dockerfile", fetched.name);
        return Err(CliError::usage("--file", problem));
    };
    let name = "Dockerfile".to_owned();
    let text = to_text(&name, fs_err::read(file)?)?;
    Ok((name, text))
}
