//! `ARG` before the first `FROM`.

use kiln_dockerfile::ast::{Dockerfile, Kind};

use crate::inputs::Inputs;
use crate::variables::{Variables, automatic};
use crate::words::{Expander, Notes};

/// The global scope: the automatic platform arguments, and on top of them the arguments declared before the first `FROM`, with
/// `--build-arg` before defaults, each default seeing what stands above it.
pub(crate) fn collect(file: &Dockerfile, inputs: &Inputs, notes: &mut Notes) -> Variables {
    let last = file.stages.last().and_then(|stage| stage.from.name.as_ref());
    let named = inputs.target.as_deref().or(last.map(|name| name.value.as_str()));
    let mut globals = automatic(inputs, named.unwrap_or_default());
    for instruction in &file.global_args {
        let Kind::Arg(declarations) = &instruction.kind else { continue };
        for declaration in declarations {
            let name = &declaration.name.value;
            let value = match (inputs.build_args.get(name), &declaration.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Expander::new(&globals, file.directives.escape).word(default, notes),
                (None, None) => None,
            };
            if let Some(value) = value {
                globals.set(name, &value);
            }
        }
    }
    globals
}
