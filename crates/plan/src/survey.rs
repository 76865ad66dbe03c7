//! Looking at a file without building it: what is wrong with it, base images known or not.

use std::collections::{BTreeMap, BTreeSet};

use kiln_dockerfile::ast::Dockerfile;
use kiln_dockerfile::diagnostic::Diagnostic;
use kiln_dockerfile::lint::{self, Values};
use kiln_dockerfile::suggest;
use kiln_oci::platform::Platform;

use crate::graph::{Bases, Graph, Start};
use crate::inputs::Inputs;
use crate::planner::Planner;
use crate::stage::{Known, StageBuilder};
use crate::state::State;
use crate::turn::Site;
use crate::words::Notes;

/// What `platform` is likely to be a misspelling of: one of its parts is nothing that is known, but near to something.
pub fn likely(platform: &Platform) -> Option<Platform> {
    let (part, known) = platform.unknown_part()?;
    let near = suggest::nearest(part, known.iter().copied(), true)?;
    let (os, architecture) = match part == platform.os {
        true => (near.as_str(), platform.architecture.as_str()),
        false => (platform.os.as_str(), near.as_str()),
    };
    Some(Platform::normalised(os, architecture, platform.variant.as_deref()))
}

/// What looking at a file gives.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// All errors and warnings in the needed stages, in the order of the file. Where a base image is not known, nothing is said
    /// that its variables could refute.
    pub found: Vec<Diagnostic>,
    /// What words with variables stand for, as far as that is known.
    pub values: Values,
}

impl<'a> Planner<'a> {
    /// As [`Planner::new`], but mistakes are kept for [`Planner::survey`]. Every stage counts as needed with `all`.
    ///
    /// It is for looking only: [`Planner::finish`] knows nothing of those mistakes.
    pub fn lenient(file: &'a Dockerfile, inputs: Inputs, all: bool) -> Self {
        let (mut graph, errors) = Graph::survey(file, inputs);
        graph.all = all;
        Self { graph, bases: Bases::new(), errors }
    }

    /// Looks at the needed stages, whatever is wrong with them.
    pub fn survey(&self) -> Survey {
        let mut values = Values::new();
        let mut diagnostics = self.errors.clone();
        diagnostics.extend(self.graph.warnings.iter().cloned());
        diagnostics.extend(self.other_platforms());
        self.walk(|builder| {
            diagnostics.append(&mut builder.diagnostics);
            values.append(&mut builder.values);
        });
        let (mut errors, warnings) = Notes { diagnostics, ..Notes::default() }.split();
        errors.extend(warnings);
        errors.sort_by_key(|diagnostic| diagnostic.span.start);
        Survey { found: errors, values }
    }

    /// Interprets the needed stages one after the other.
    pub(crate) fn walk(&self, mut each: impl FnMut(&mut StageBuilder<'_>)) {
        let planned = self.reachable_stages();
        let mut states: Vec<State> = Vec::new();
        let mut unknown = BTreeSet::new();
        for number in &planned {
            let site = Site { graph: &self.graph, number: *number, planned: &planned };
            let mut builder = StageBuilder::new(site, self.start(*number, &planned, &states));
            builder.base = match &self.graph.nodes[*number].start {
                Start::Image(key) if !self.bases.contains_key(key) => Known::InPart,
                Start::Stage(below) if unknown.contains(below) => Known::Hardly,
                _ => Known::Fully,
            };
            if builder.base != Known::Fully {
                unknown.insert(*number);
            }
            self.interpret(&mut builder, *number);
            each(&mut builder);
            states.push(builder.state);
        }
    }

    /// The needed stages whose base image sets a shell of its own, by position, as far as base images are known.
    pub fn with_shell(&self) -> BTreeSet<usize> {
        let sets = |number: &usize| match &self.graph.nodes[*number].start {
            Start::Image(key) => self.bases.get(key).is_some_and(|config| config.config.shell.is_some()),
            _ => false,
        };
        self.reachable_stages().into_iter().filter(sets).collect()
    }

    /// The stages that start from another stage, by position, and the position of that.
    pub fn stage_bases(&self) -> BTreeMap<usize, usize> {
        let starts = self.graph.nodes.iter().enumerate();
        let stages = starts.filter_map(|(number, node)| match node.start {
            Start::Stage(below) => Some((number, below)),
            _ => None,
        });
        stages.collect()
    }

    /// A finding for each base image that is for another platform than its stage.
    pub(crate) fn other_platforms(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for number in self.reachable_stages() {
            let node = &self.graph.nodes[number];
            let Start::Image(key) = &node.start else { continue };
            let Some(config) = self.bases.get(key).filter(|config| !config.architecture.is_empty()) else {
                continue;
            };
            let (expected, actual) = (&node.platform, config.platform());
            if (&expected.os, &expected.architecture) != (&actual.os, &actual.architecture) {
                let span = self.graph.file.stages[number].from.image.span;
                let (actual, name) = (actual.to_string(), expected.to_string());
                let mut finding = lint::base_image_platform(&node.image, span, &actual, &name);
                finding.help = likely(expected).map(|near| format!("did you mean `{near}`?"));
                found.push(finding);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_platforms() {
        let likely = |text: &str| likely(&text.parse().unwrap()).map(|near| near.to_string());
        let table = [
            ("linux/amd46", Some("linux/amd64")),
            ("lniux/arm/v6", Some("linux/arm/v6")),
            ("linux/arm64", None),
            ("linux/quantum", None),
        ];
        for (text, near) in table {
            assert_eq!(likely(text).as_deref(), near, "{text}");
        }
    }
}
