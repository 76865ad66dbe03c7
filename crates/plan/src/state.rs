//! What a stage has come to after some of its instructions.

use kiln_oci::config::{DEFAULT_PATH, ImageConfig};

use crate::go;
use crate::variables::{BuildArgs, Variables, set_in_image};

/// The configuration of a stage and the variables that its next instruction sees.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// As it would be written if the stage ended here.
    pub(crate) config: ImageConfig,
    /// The environment of a RUN: the image's, then arguments; whichever was set last wins.
    pub(crate) variables: Variables,
    /// The arguments declared so far, those of the stages below included.
    pub(crate) arguments: BuildArgs,
    /// Whether CMD came in this very stage, so that ENTRYPOINT leaves it alone.
    pub(crate) command_is_own: bool,
}

impl State {
    /// On a base image, or on nothing with [`ImageConfig::scratch`].
    pub(crate) fn on_image(config: ImageConfig) -> Self {
        Self::start(Self {
            config,
            variables: Variables::default(),
            arguments: BuildArgs::default(),
            command_is_own: false,
        })
    }

    /// On an earlier stage as that one ended. Its arguments stay visible, but where an argument hides a variable of the
    /// image, the image's value is back.
    pub(crate) fn on_stage(below: &State) -> Self {
        Self::start(Self { command_is_own: false, ..below.clone() })
    }

    fn start(mut self) -> Self {
        let config = &mut self.config.config;
        self.config.created = None;
        config.on_build.clear();
        let has_path = config.env.iter().any(|pair| pair.starts_with("PATH="));
        if !has_path {
            set_in_image(&mut config.env, "PATH", DEFAULT_PATH);
        }
        if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
            config.working_dir = go::absolute("/", &config.working_dir);
        }
        self.variables.set_all(&config.env);
        self
    }

    /// The working directory, absolute and clean.
    pub(crate) fn directory(&self) -> String {
        go::absolute("/", &self.config.config.working_dir)
    }

    /// `args` behind the shell of the stage.
    pub(crate) fn with_shell(&self, line: String) -> Vec<String> {
        let own = self.config.config.shell.clone().filter(|shell| !shell.is_empty());
        let mut argv = own.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
        argv.push(line);
        argv
    }
}
