//! From syntax to a plan.
//!
//! A Dockerfile says what to do in terms of names: stages, arguments, variables, images, contexts. This crate resolves them
//! all and gives a [`Plan`](model::Plan): the stages that the target needs, each with its steps in order, every step with the
//! operation on the root filesystem that it stands for, the history line that it leaves and the variables that it saw, and
//! the configuration that the stage ends with. Whoever executes a plan needs to know nothing about Dockerfiles any more.
//!
//! Nothing here reads a file, a clock or the environment: what the outside has to say comes in as [`Inputs`] and as the
//! configurations of base images. These cannot all be named in advance, since a base image's `ONBUILD` triggers may copy
//! from stages that nothing else needs; so a [`Planner`] is asked what it [`needs`](Planner::needs), is
//! [`supplied`](Planner::supply) with it, and asked again.
//!
//! ```
//! use kiln_dockerfile::parse;
//! use kiln_oci::config::ImageConfig;
//! use kiln_oci::platform::Platform;
//! use kiln_plan::{BaseImage, Inputs, Planner};
//!
//! let text = "ARG TAG=12\nFROM debian:$TAG\nENV GREETING=hello\nRUN echo $GREETING\n";
//! let file = parse(text).dockerfile;
//! let platform = Platform::normalised("linux", "amd64", None);
//! let mut planner = Planner::new(&file, Inputs::new(platform.clone())).unwrap();
//! while let Some(need) = planner.needs().first() {
//!     planner.supply(&need.key, BaseImage { config: ImageConfig::scratch(&platform) });
//! }
//! let plan = planner.finish().unwrap();
//! let steps = &plan.stages[plan.target].steps;
//! assert_eq!(steps[1].created_by, "RUN /bin/sh -c echo $GREETING # buildkit");
//! ```
//!
//! The rules are those of BuildKit's Dockerfile frontend 1.26, down to the spelling of the history. Mistakes are
//! diagnostics that point into the text; all are reported, not only the first. Modules, from the ground up: [`model`] is the
//! contract with the executor, [`inputs`] the one with the command line; [`environment`],
//! `variables`, `words` and `globals` expand words;
//! `graph` knows how stages depend on each other; `state` and `turn` are what an instruction sees and changes; `metadata`,
//! `mounts`, `run` and `copy` interpret instructions, `stage` all those of a stage, `planner` all stages;
//! `survey` and [`outline`] look at a file without a build.

mod copy;
pub mod environment;
mod frontend;
mod globals;
mod go;
mod graph;
pub mod inputs;
mod metadata;
pub mod model;
mod mounts;
pub mod outline;
pub mod planner;
mod run;
mod stage;
mod state;
mod survey;
mod trigger;
mod turn;
mod variables;
mod words;

pub use inputs::{ContextKind, Inputs};
pub use planner::{BaseImage, CopiedPath, Need, Outside, Planner};
pub use survey::{Survey, likely};
