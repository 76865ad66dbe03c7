//! Which outputs a build is to have.

use std::io::IsTerminal;

use crate::args::build::BuildArgs;
use crate::args::output::{ImageSpec, Output};
use crate::errors::CliError;
use crate::request;

/// What the arguments say about outputs, their contradictions told. Without any, an image with a name stays in the store.
pub(crate) fn outputs(args: &BuildArgs) -> Result<Vec<Output>, CliError> {
    let mut all = args.outputs.clone();
    let spec = ImageSpec::default;
    if args.push && !turn_on_push(&mut all) {
        all.push(Output::Image { push: true, by_digest: false, insecure: false, image: spec() });
    }
    if args.load && !all.iter().any(|o| matches!(o, Output::Load { .. })) {
        all.push(Output::Load { image: spec() });
    }
    // As with buildx, a name goes with each output; without any it is given in the store.
    if !args.tags.is_empty() && all.is_empty() {
        all.push(Output::Image { push: false, by_digest: false, insecure: false, image: spec() });
    }
    let annotations = args.annotations.iter().flat_map(|list| &list.0);
    for image in all.iter_mut().filter_map(Output::image_mut) {
        image.annotations.extend(annotations.clone().cloned());
    }
    contradictions(args, &all)?;
    Ok(all)
}

fn turn_on_push(outputs: &mut [Output]) -> bool {
    let mut found = false;
    for output in outputs {
        if let Output::Image { push, .. } = output {
            *push = true;
            found = true;
        }
    }
    found
}

fn contradictions(args: &BuildArgs, outputs: &[Output]) -> Result<(), CliError> {
    request::names(&args.tags)?;
    for output in outputs {
        if output.to_stdout() && std::io::stdout().is_terminal() {
            return Err(CliError::Terminal { what: "the archive".to_owned() });
        }
        if let Output::Image { push: true, image, .. } = output
            && args.tags.is_empty()
            && image.names.is_empty()
        {
            return Err(CliError::usage("--push", "the image needs a name: -t NAME"));
        }
        let docker = matches!(output, Output::DockerArchive { .. } | Output::Load { .. });
        if docker && args.platforms.len() > 1 {
            let problem = "a docker archive holds one platform; use type=oci for several";
            return Err(CliError::usage("--output", problem));
        }
    }
    if outputs.iter().filter(|o| o.to_stdout()).count() > 1 {
        return Err(CliError::usage("--output", "two archives cannot both go to standard output"));
    }
    Ok(())
}
